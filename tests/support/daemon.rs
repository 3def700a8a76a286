//! The built daemon as a process in a namespace, its configuration file and its log.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::lab::Family;
use super::netns::{Namespace, succeed};
use super::nft::{Nft, TABLE, debian_13_root};
use super::wait_until;

/// Name of the daemon's worker process.
const WORKER: &str = "nmd-nft-worker";
/// The daemon promises to end within this time.
const END_LIMIT: Duration = Duration::from_secs(1);
/// Generous: only a test that fails waits so long.
pub const WAIT_LIMIT: Duration = Duration::from_secs(5);

/// Runs the daemon below another root: shell words `root program config-directory arguments…`. Each
/// step becomes the next one, so that the process id stays.
const ENTER_ROOT: &str = r#"
root=$0 program=$1 directory=$2
shift 2
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --bind "$directory" "$root/srv"
mount --bind "$(dirname "$program")" "$root/mnt"
exec chroot "$root" "/mnt/$(basename "$program")" run --config /srv/config "$@"
"#;

/// A directory that is removed when dropped.
#[derive(Debug)]
pub struct TemporaryDirectory {
    path: PathBuf,
}

impl TemporaryDirectory {
    /// A new, empty one.
    pub fn new() -> io::Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("non-masquerade-daemon-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path)?;
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        // What is left lies in the temporary directory of the system, and the test is over.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A running daemon. Dropped, it is killed.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    started: Instant,
    namespace: Namespace,
    directory: TemporaryDirectory,
    /// Runs below Debian 13's root, with its libraries.
    is_on_debian_13: bool,
}

impl Daemon {
    /// Starts `program run --config FILE` and `arguments` in the namespace, with this text as the file.
    pub fn start(
        program: impl AsRef<Path>,
        namespace: &Namespace,
        configuration: &str,
        arguments: &[&str],
    ) -> io::Result<Self> {
        let directory = TemporaryDirectory::new()?;
        let mut command = namespace.command(program.as_ref());
        command.arg("run").arg("--config");
        command.arg(config_file(&directory)).args(arguments);
        Self::spawn(command, namespace, directory, configuration)
    }

    /// Starts `command run --config FILE`, which writes its log where `log` says and not to a file, so that
    /// the moment of each line can be seen. [`Self::log`] is empty then.
    pub fn start_logging_to(
        log: impl Into<Stdio>,
        mut command: Command,
        namespace: &Namespace,
        configuration: &str,
    ) -> io::Result<Self> {
        let directory = TemporaryDirectory::new()?;
        command.arg("run").arg("--config");
        command.arg(config_file(&directory));
        command.stdout(Stdio::null()).stderr(log);
        Self::spawn_with_streams(command, namespace, directory, configuration)
    }

    /// The same with Debian 13's libraries: in a mount namespace of its own, below the root that `make
    /// test` installs if it is run by root.
    pub fn start_on_debian_13(
        program: impl AsRef<Path>,
        namespace: &Namespace,
        configuration: &str,
        arguments: &[&str],
    ) -> io::Result<Self> {
        let directory = TemporaryDirectory::new()?;
        let program = program.as_ref();
        let command = on_debian_13(program, namespace, directory.path(), arguments)?;
        let mut daemon = Self::spawn(command, namespace, directory, configuration)?;
        daemon.is_on_debian_13 = true;
        Ok(daemon)
    }

    fn spawn(
        mut command: Command,
        namespace: &Namespace,
        directory: TemporaryDirectory,
        configuration: &str,
    ) -> io::Result<Self> {
        let log = fs::File::create(log_file(&directory))?;
        command.stdout(log.try_clone()?).stderr(log);
        Self::spawn_with_streams(command, namespace, directory, configuration)
    }

    fn spawn_with_streams(
        command: Command,
        namespace: &Namespace,
        directory: TemporaryDirectory,
        configuration: &str,
    ) -> io::Result<Self> {
        write_by_rename(&config_file(&directory), configuration)?;
        let started = Instant::now();
        Ok(Self {
            child: spawn(command)?,
            started,
            namespace: namespace.clone(),
            directory,
            is_on_debian_13: false,
        })
    }

    /// Just before its process was made.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Kills it, or what is left of it, and starts the next one on the same files.
    pub fn kill_and_restart(&mut self, program: impl AsRef<Path>) -> io::Result<()> {
        self.kill()?;
        let log = fs::OpenOptions::new()
            .append(true)
            .open(log_file(&self.directory))?;
        let mut command = if self.is_on_debian_13 {
            let directory = self.directory.path();
            on_debian_13(program.as_ref(), &self.namespace, directory, &[])?
        } else {
            let mut command = self.namespace.command(program.as_ref());
            command.arg("run").arg("--config").arg(self.config_file());
            command
        };
        command.stdout(log.try_clone()?).stderr(log);
        self.started = Instant::now();
        self.child = spawn(command)?;
        Ok(())
    }

    /// Its process id.
    pub fn process_id(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a process id"))
    }

    /// The process id of its worker, if it has one now.
    pub fn worker(&self) -> Option<Pid> {
        worker_of(self.process_id())
    }

    /// Stops it, has `hand` do something that it sees all at once, and lets it go on.
    pub fn while_it_sleeps<T>(&self, hand: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        kill(self.process_id(), Signal::SIGSTOP)?;
        let done = hand();
        kill(self.process_id(), Signal::SIGCONT)?;
        done
    }

    /// Kills its worker, and has `hand` do something before there is another one: nobody owns the table then, and nobody
    /// looks.
    pub fn between_two_workers(&self, mut hand: impl FnMut() -> io::Result<()>) -> io::Result<()> {
        self.while_it_sleeps(|| {
            kill(self.worker().expect("a worker"), Signal::SIGKILL)?;
            // What it owned is its own until it has ended.
            let mut done = Ok(());
            let waited = wait_until(WAIT_LIMIT, || {
                done = hand();
                done.is_ok()
            });
            done.and(waited)
        })
    }

    /// How often it and its worker have been woken: their voluntary context switches, proc(5). The worker is woken once
    /// for each request.
    pub fn wakeups(&self) -> [u64; 2] {
        let worker = self.worker().expect("a worker");
        [self.process_id(), worker].map(voluntary_switches)
    }

    /// Where its configuration file is.
    pub fn config_file(&self) -> PathBuf {
        config_file(&self.directory)
    }

    /// Replaces its configuration file in one step, as editors do. The daemon is not told.
    pub fn replace_configuration(&self, text: &str) -> io::Result<()> {
        write_by_rename(&self.config_file(), text)
    }

    /// Tells it to reload (SIGHUP).
    pub fn reload(&self) -> io::Result<()> {
        Ok(kill(self.process_id(), Signal::SIGHUP)?)
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(log_file(&self.directory)).unwrap_or_default()
    }

    /// Waits until its log contains these words.
    pub fn wait_for_log(&self, words: &str) -> io::Result<()> {
        wait_until(WAIT_LIMIT, || self.log().contains(words))
            .map_err(|error| self.with_log(&format!("no line with {words:?}: {error}")))
    }

    /// Waits until its table masquerades: its base chain is there, which comes last.
    pub fn wait_for_table(&mut self) -> io::Result<()> {
        self.wait_for_table_within(WAIT_LIMIT)
    }

    /// The same with a limit.
    pub fn wait_for_table_within(&mut self, limit: Duration) -> io::Result<()> {
        self.wait_for_table_of(Family::V4, limit)
    }

    /// The same for the table of a family.
    pub fn wait_for_table_of(&mut self, family: Family, limit: Duration) -> io::Result<()> {
        let waited = wait_until(limit, || {
            self.has_ended() || has_base_chain(family, &self.namespace)
        });
        if self.has_ended() {
            return Err(self.with_log("the daemon ended"));
        }
        waited.map_err(|error| self.with_log(&format!("no table of {family}: {error}")))
    }

    /// Whether it is no longer running.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it by SIGTERM. An error if it takes longer than promised.
    pub fn terminate(self) -> io::Result<ExitStatus> {
        self.terminate_within(END_LIMIT)
    }

    /// The same with another promise.
    pub fn terminate_within(mut self, limit: Duration) -> io::Result<ExitStatus> {
        kill(self.process_id(), Signal::SIGTERM)?;
        wait_until(limit, || self.has_ended())
            .map_err(|error| self.with_log(&format!("SIGTERM: {error}")))?;
        self.child.wait()
    }

    /// Kills it (SIGKILL) and waits for its end.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    fn with_log(&self, what: &str) -> io::Error {
        io::Error::other(format!("{what}\nlog of the daemon:\n{}", self.log()))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // An error here says that it has ended already.
        let _ = self.kill();
        if std::thread::panicking() {
            eprintln!("log of the daemon:\n{}", self.log());
        }
    }
}

/// Runs the daemon with Debian 13's libraries, with the file `config` of the directory.
pub fn on_debian_13(
    program: &Path,
    namespace: &Namespace,
    directory: &Path,
    arguments: &[&str],
) -> io::Result<Command> {
    let mut command = namespace.command("unshare");
    command.args(["--mount", "sh", "-ceu", ENTER_ROOT]);
    command
        .arg(debian_13_root())
        .arg(fs::canonicalize(program)?);
    command.arg(directory).args(arguments);
    Ok(command)
}

/// Has a user who may have no more than `processes` run a copy of the daemon in `directory`, with CAP_NET_ADMIN. The processes
/// of a user are counted, getrlimit(2): each test has another `user`.
pub fn limited_to_processes(
    namespace: &Namespace,
    directory: &TemporaryDirectory,
    daemon: &str,
    (user, processes): (u32, u32),
) -> io::Result<Command> {
    let copy = directory.path().join("daemon");
    // By another process: what a test beside this one is just starting may hold a copy of what is open here (ETXTBSY).
    succeed(Command::new("cp").arg(daemon).arg(&copy))?;
    let words = format!(
        "--reuid={user} --regid={user} --clear-groups --inh-caps=-all,+net_admin --ambient-caps=+net_admin \
         prlimit --nproc={processes}"
    );
    let mut limited = namespace.command("setpriv");
    limited.args(words.split_whitespace()).arg(copy);
    Ok(limited)
}

/// Starts a process that ends with the thread that called this function.
pub fn spawn(mut command: Command) -> io::Result<Child> {
    command.stdin(Stdio::null());
    // SAFETY: between fork and exec only prctl(2) is called, which is async-signal-safe.
    unsafe {
        // An interrupted test must not leave its daemon behind.
        command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?));
    }
    command.spawn()
}

fn config_file(directory: &TemporaryDirectory) -> PathBuf {
    directory.path().join("config")
}

fn log_file(directory: &TemporaryDirectory) -> PathBuf {
    directory.path().join("log")
}

fn write_by_rename(file: &Path, text: &str) -> io::Result<()> {
    let new = file.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(new, file)
}

fn has_base_chain(family: Family, namespace: &Namespace) -> bool {
    Nft::host()
        .list_table_text_of(family, namespace, TABLE)
        .is_ok_and(|text| text.contains("hook postrouting"))
}

fn voluntary_switches(process: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    let switches = line.and_then(|switches| switches.trim().parse().ok());
    switches.expect("the number of context switches of a living process")
}

/// The process id of the worker of this daemon, if it has one now.
pub fn worker_of(daemon: Pid) -> Option<Pid> {
    workers_of(daemon).next()
}

/// The same of all that it has, ended ones included that it has not waited for yet.
pub fn workers_of(daemon: Pid) -> impl Iterator<Item = Pid> {
    let processes = fs::read_dir("/proc").into_iter().flatten();
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(move |process| is_worker_of(*process, daemon))
        .map(Pid::from_raw)
}

fn is_worker_of(process: i32, parent: Pid) -> bool {
    // proc(5): "pid (comm) state ppid …"
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let Some((before, after)) = stat.rsplit_once(')') else {
        return false;
    };
    let name = before.split_once('(').map_or("", |(_, name)| name);
    let parent_field = after.split_whitespace().nth(1);
    name == WORKER && parent_field == Some(parent.to_string().as_str())
}
