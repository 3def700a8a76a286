//! The daemon under test: one process after the other, and the configuration file that all of them read.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use non_masquerade_daemon::config::{self, Flags};

use crate::DAEMON;
use crate::dice::Dice;
use crate::log::Log;
use crate::support::daemon::{TemporaryDirectory, on_debian_13, spawn, worker_of};
use crate::support::lab::Family;
use crate::support::netns::{Namespace, feed, succeed};
use crate::support::nft::{Nft, TABLE, debian_13_root, without_set_numbers};
use crate::support::volume::Volume;
use crate::support::wait_until;

/// The daemon promises to end within this time.
pub(crate) const END_LIMIT: Duration = Duration::from_secs(1);

/// Whose libnftables the daemon runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Libnftables {
    /// The machine's.
    Host,
    /// That of the root which `make test` installs if it is run by root: the table is owned.
    Debian13,
}

/// How a file gets another content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Another file is renamed to its name.
    Rename,
    /// A ConfigMap's `..data` is swapped.
    Swap,
    /// It is truncated, and written in two steps; after the first it does not parse.
    InPlace,
    /// It is deleted for so long, and made anew.
    Removal(Duration),
}

pub(crate) struct Subject {
    pub(crate) libnftables: Libnftables,
    pub(crate) log: Log,
    namespace: Namespace,
    directory: TemporaryDirectory,
    child: Child,
    versions: u32,
}

impl Subject {
    pub(crate) fn start(
        namespace: &Namespace,
        libnftables: Libnftables,
        log: Log,
        text: &str,
    ) -> io::Result<Self> {
        let directory = TemporaryDirectory::new()?;
        Volume(directory.path().to_owned()).publish("v0", text)?;
        Ok(Self {
            child: start(namespace, libnftables, directory.path(), &log, &[])?,
            libnftables,
            log,
            namespace: namespace.clone(),
            directory,
            versions: 0,
        })
    }

    /// Starts the next one. The one before has ended.
    pub(crate) fn start_again(&mut self) -> io::Result<()> {
        let directory = self.directory.path();
        self.child = start(&self.namespace, self.libnftables, directory, &self.log, &[])?;
        Ok(())
    }

    /// Starts another one beside it: with a file of its own, or the same.
    pub(crate) fn start_second(&self, text: Option<&str>) -> io::Result<Second> {
        let own = match text {
            None => None,
            Some(text) => {
                let directory = TemporaryDirectory::new()?;
                fs::write(directory.path().join("config"), text)?;
                Some(directory)
            }
        };
        let directory = own.as_ref().unwrap_or(&self.directory).path();
        let arguments = ["--http-address", "off"];
        let (namespace, log) = (&self.namespace, &self.log);
        let child = start(namespace, self.libnftables, directory, log, &arguments)?;
        Ok(Second { child, _own: own })
    }

    pub(crate) fn process_id(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Its worker. A daemon without one may still be starting: no signal is for it yet.
    pub(crate) fn worker(&self) -> Option<Pid> {
        worker_of(self.process_id())
    }

    /// How it ended, if it has.
    pub(crate) fn end(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    pub(crate) fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Ends it by SIGTERM, within this time.
    pub(crate) fn terminate(&mut self, limit: Duration) -> io::Result<ExitStatus> {
        kill(self.process_id(), Signal::SIGTERM)?;
        wait_until(limit, || !matches!(self.child.try_wait(), Ok(None))).map_err(|error| {
            io::Error::other(format!("the daemon did not end at SIGTERM: {error}"))
        })?;
        self.child.wait()
    }

    /// Tells it to reload, if it is there to be told.
    pub(crate) fn reload(&self) {
        if self.worker().is_some() {
            // That it has ended since is seen elsewhere.
            let _ = kill(self.process_id(), Signal::SIGHUP);
        }
    }

    /// Gives the file this content.
    pub(crate) fn write(&mut self, way: Way, bytes: &[u8], dice: &mut Dice) -> io::Result<()> {
        let file = self.config_file();
        match way {
            Way::Rename => rename_into_place(&file, |new| fs::write(new, bytes)),
            Way::Swap => self.swap(bytes),
            Way::InPlace => {
                let mut writer = File::create(&file)?;
                let (first, second) = bytes.split_at(where_the_beginning_is_bad(bytes));
                writer.write_all(first)?;
                std::thread::sleep(dice.milliseconds(0..60));
                writer.write_all(second)
            }
            Way::Removal(time) => {
                fs::remove_file(&file)?;
                std::thread::sleep(time);
                fs::write(&file, bytes)
            }
        }
    }

    fn swap(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.versions += 1;
        let text = String::from_utf8_lossy(bytes);
        let volume = Volume(self.directory.path().to_owned());
        volume.publish(&format!("v{}", self.versions), &text)?;
        let file = self.config_file();
        if file.is_symlink() {
            return Ok(());
        }
        rename_into_place(&file, |new| symlink("..data/config", new))
    }

    fn config_file(&self) -> PathBuf {
        self.directory.path().join("config")
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // An error here says that it has ended already.
        let _ = self.kill();
    }
}

/// A second daemon. Dropped, it is killed.
pub(crate) struct Second {
    child: Child,
    _own: Option<TemporaryDirectory>,
}

impl Second {
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        // An error here says that it has ended already.
        let _ = self.kill();
    }
}

/// About the middle, where no configuration can be read from what comes before: what parses counts, whoever is still writing,
/// so that a reading in the pause is not to find the half of a bad file that is good.
fn where_the_beginning_is_bad(bytes: &[u8]) -> usize {
    let middle = bytes.len() / 2;
    let is_bad = |end: &usize| {
        let beginning = &bytes[..*end];
        config::judge("config", beginning, &Flags::default()).is_err()
    };
    let mut places = (0..=middle).rev().chain(middle..=bytes.len());
    places.find(is_bad).unwrap_or(0)
}

fn rename_into_place(file: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let new = file.with_extension("new");
    make(&new)?;
    fs::rename(new, file)
}

fn start(
    namespace: &Namespace,
    libnftables: Libnftables,
    directory: &Path,
    log: &Log,
    arguments: &[&str],
) -> io::Result<Child> {
    let mut command = match libnftables {
        Libnftables::Debian13 => on_debian_13(Path::new(DAEMON), namespace, directory, arguments)?,
        Libnftables::Host => {
            let mut command = namespace.command(DAEMON);
            command.args(["run", "--config"]);
            command.arg(directory.join("config")).args(arguments);
            command
        }
    };
    command.stdout(log.writer()?).stderr(log.writer()?);
    spawn(command)
}

impl Libnftables {
    /// Whether it is there.
    pub(crate) fn is_installed(self) -> bool {
        self == Self::Host || debian_13_root().is_dir()
    }

    /// The lines of the daemon's tables in any order, without what differs from one daemon to the next: what was counted.
    pub(crate) fn listed(self, namespace: &Namespace) -> io::Result<Vec<String>> {
        let nft = self.nft();
        let mut lines = Vec::new();
        for family in Family::BOTH {
            let text = nft.list_table_text_of(family, namespace, TABLE)?;
            let text = without_set_numbers(&text);
            lines.extend(
                text.lines()
                    .map(|line| format!("{family} {}", uncounted(line))),
            );
        }
        lines.sort();
        Ok(lines)
    }

    /// All chains of the daemon's tables, as its own nft lists them.
    pub(crate) fn chains(self, namespace: &Namespace) -> io::Result<String> {
        let mut chains = String::new();
        for family in Family::BOTH {
            let listed = self.nft().list_table_text_of(family, namespace, TABLE);
            // No table of IPv6 may be right too.
            let listed = match family {
                Family::V4 => listed?,
                Family::V6 => listed.unwrap_or_default(),
            };
            // A chain that was made anew stands last, which is nothing to packets.
            let mut of_family: Vec<&str> = listed.split("\tchain ").skip(1).collect();
            let end = |chain: &str| chain.find("\n\t}").unwrap_or(chain.len());
            of_family
                .iter_mut()
                .for_each(|chain| *chain = &chain[..end(chain)]);
            of_family.sort_unstable();
            chains += &format!("{family}\n{}\n", without_set_numbers(&of_family.join("\n")));
        }
        Ok(chains)
    }

    /// The same of what `render` makes of a file on the node.
    pub(crate) fn chains_of(self, file: &str, node: &Namespace) -> io::Result<String> {
        let (namespace, directory) = (Namespace::new()?, TemporaryDirectory::new()?);
        let config = directory.path().join("config");
        fs::write(&config, file)?;
        let mut render = node.command(DAEMON);
        let rendered = succeed(render.arg("render").arg("--config").arg(&config))?;
        let document = String::from_utf8(rendered.stdout).map_err(io::Error::other)?;
        let mut nft = self.nft().command(&namespace);
        feed(nft.args(["-j", "-f", "-"]), &document)?;
        self.chains(&namespace)
    }

    fn nft(self) -> Nft {
        match self {
            Self::Host => Nft::host(),
            Self::Debian13 => Nft::debian_13(),
        }
    }
}

fn uncounted(line: &str) -> String {
    let mut words: Vec<&str> = line.split_whitespace().collect();
    for at in 1..words.len() {
        if ["packets", "bytes"].contains(&words[at - 1]) {
            words[at] = "N";
        }
    }
    words.join(" ")
}
