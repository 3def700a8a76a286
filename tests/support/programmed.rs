//! The daemon's own way to the kernel, without the daemon: applies rulesets in a namespace and reads them back.

use std::io;
use std::path::{Path, PathBuf};

use non_masquerade_daemon::kernel::difference::Difference;
use non_masquerade_daemon::kernel::drift::Drift;
use non_masquerade_daemon::kernel::error::KernelError;
use non_masquerade_daemon::kernel::ownership::TableOwner;
use non_masquerade_daemon::kernel::tables::TablePass;
use non_masquerade_daemon::kernel::{Kernel, Observation, SyncReport};
use non_masquerade_daemon::ruleset::{Family, Ruleset, Tables};
use tokio::runtime::Runtime;

use super::daemon::TemporaryDirectory;
use super::netns::{Namespace, succeed};
use super::nft::debian_13_root;

/// Starts the worker below another root. The mounts end with it.
const WORKER_IN_ROOT: &str = r#"#!/bin/sh
exec unshare --mount sh -ceu 'mount --bind "$1" "$0/mnt"; exec chroot "$0" "/mnt/$2" nft-worker' ROOT DIRECTORY PROGRAM
"#;

/// Passes what it is asked on to the worker, and does something once, just before what the pattern matches is passed on.
const WORKER_WITH_A_HAND: &str = r#"#!/bin/sh
while IFS= read -r line; do
	case $line in *PATTERN*) mkdir "$0.done" 2>/dev/null && { HAND; } ;; esac
	printf '%s\n' "$line"
done | WORKER "$@"
"#;

/// The same, just before the answer to what the pattern matches is passed back.
const WORKER_WITH_A_LATE_HAND: &str = r#"#!/bin/sh
while IFS= read -r line; do
	case $line in *PATTERN*) : > "$0.asked" ;; esac
	printf '%s\n' "$line"
done | WORKER "$@" | while IFS= read -r answer; do
	[ -e "$0.asked" ] && mkdir "$0.done" 2>/dev/null && { HAND; }
	printf '%s\n' "$answer"
done
"#;

/// A namespace that the calling thread has entered for good, and one worker in it.
pub struct Programmed {
    /// The namespace.
    pub namespace: Namespace,
    runtime: Runtime,
    kernel: Kernel,
    _script: Option<TemporaryDirectory>,
}

impl Programmed {
    /// A fresh one, with the host's libnftables.
    pub fn new(daemon: &str) -> io::Result<Self> {
        Self::within(Namespace::new()?, daemon)
    }

    /// With the host's libnftables.
    pub fn within(namespace: Namespace, daemon: &str) -> io::Result<Self> {
        Self::by_worker(namespace, PathBuf::from(daemon), None)
    }

    /// A fresh one, with the libnftables of Debian 13 in the root that `make test` installs if it is run by root.
    pub fn on_debian_13(daemon: &str) -> io::Result<Self> {
        Self::on_debian_13_within(Namespace::new()?, daemon)
    }

    /// The same in a namespace that is there.
    pub fn on_debian_13_within(namespace: Namespace, daemon: &str) -> io::Result<Self> {
        let directory = TemporaryDirectory::new()?;
        let script = worker_in_root(&directory, daemon)?;
        Self::by_worker(namespace, script, Some(directory))
    }

    /// A fresh one, in which something happens once, just before the first line that matches the shell's `pattern` reaches
    /// the worker: the shell command `hand`. With the host's libnftables, or that of Debian 13.
    pub fn with_a_hand(
        daemon: &str,
        is_on_debian_13: bool,
        pattern: &str,
        hand: &str,
    ) -> io::Result<Self> {
        let directory = TemporaryDirectory::new()?;
        let worker = if is_on_debian_13 {
            worker_in_root(&directory, daemon)?
        } else {
            PathBuf::from(daemon)
        };
        Self::by_hand(WORKER_WITH_A_HAND, &worker, pattern, hand, directory)
    }

    /// The same, just before the answer to that line comes back; with the host's libnftables.
    pub fn with_a_late_hand(daemon: &str, pattern: &str, hand: &str) -> io::Result<Self> {
        let directory = TemporaryDirectory::new()?;
        let (script, daemon) = (WORKER_WITH_A_LATE_HAND, Path::new(daemon));
        Self::by_hand(script, daemon, pattern, hand, directory)
    }

    fn by_hand(
        script: &str,
        worker: &Path,
        pattern: &str,
        hand: &str,
        directory: TemporaryDirectory,
    ) -> io::Result<Self> {
        let text = script
            .replace("PATTERN", pattern)
            .replace("HAND", hand)
            .replace("WORKER", &format!("'{}'", worker.display()));
        let script = written_script(&directory, "with-a-hand", &text)?;
        Self::by_worker(Namespace::new()?, script, Some(directory))
    }

    fn by_worker(
        namespace: Namespace,
        program: PathBuf,
        script: Option<TemporaryDirectory>,
    ) -> io::Result<Self> {
        namespace.enter()?;
        Ok(Self {
            namespace,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?,
            kernel: Kernel::new(program, TableOwner::Auto),
            _script: script,
        })
    }

    /// See [`Kernel::sync`].
    pub fn sync(&mut self, ruleset: &Ruleset) -> Result<SyncReport, KernelError> {
        self.runtime.block_on(self.kernel.sync(ruleset))
    }

    /// See [`Kernel::sync_all`].
    pub fn sync_all(&mut self, tables: &Tables) -> Vec<TablePass> {
        self.runtime.block_on(self.kernel.sync_all(tables))
    }

    /// In what the kernel differs from the tables, whoever owns them. A table that is too many is a difference.
    pub fn differences(&mut self, tables: &Tables) -> Result<Vec<Difference>, KernelError> {
        let mut differences = Vec::new();
        for ruleset in tables.wanted() {
            let observed = self.kernel.observe(ruleset.family, &ruleset.table);
            differences.extend(match &self.runtime.block_on(observed)? {
                Observation::Missing => Drift::of_missing_table(ruleset).differences,
                Observation::Unreadable(header) => {
                    Drift::of_unreadable_table(ruleset, *header).differences
                }
                Observation::Table(header, table) => {
                    Drift::of_table(ruleset, *header, table)?.differences
                }
            });
        }
        let has_ip6 = self.kernel.found(Family::Ip6, &tables.ip.table)?.is_some();
        if tables.ip6.is_none() && has_ip6 {
            differences.push(Difference::TableUnwanted);
        }
        Ok(differences)
    }

    /// Whether each of the tables that are there has an owner.
    pub fn are_owned(&mut self, tables: &Tables) -> Result<bool, KernelError> {
        let mut are_owned = true;
        for ruleset in tables.wanted() {
            let found = self.kernel.found(ruleset.family, &ruleset.table)?;
            are_owned &= found.is_none_or(|found| found.header.owner.is_some());
        }
        Ok(are_owned)
    }

    /// See [`Kernel::look`].
    pub fn look(&mut self, ruleset: &Ruleset) -> Result<SyncReport, KernelError> {
        self.runtime.block_on(self.kernel.look(ruleset))
    }
}

fn worker_in_root(directory: &TemporaryDirectory, daemon: &str) -> io::Result<PathBuf> {
    let daemon = Path::new(daemon).canonicalize()?;
    let quoted = |path: Option<&Path>| format!("'{}'", path.unwrap_or(Path::new("")).display());
    let text = WORKER_IN_ROOT
        .replace("ROOT", &quoted(Some(&debian_13_root())))
        .replace("DIRECTORY", &quoted(daemon.parent()))
        .replace("PROGRAM", &quoted(daemon.file_name().map(Path::new)));
    written_script(directory, "worker", &text)
}

/// Written by another process: what a test beside this one is just starting may hold a copy of what is open here, and then
/// the script could not be run (ETXTBSY, execve(2)).
fn written_script(directory: &TemporaryDirectory, name: &str, text: &str) -> io::Result<PathBuf> {
    let script = directory.path().join(name);
    let write = r#"printf %s "$1" > "$0"; chmod 755 "$0""#;
    let mut writer = std::process::Command::new("sh");
    succeed(writer.args(["-c", write]).arg(&script).arg(text))?;
    Ok(script)
}
