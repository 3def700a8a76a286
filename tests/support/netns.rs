//! Anonymous network namespaces: held by a file descriptor, gone when it is dropped.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace without a name. It lives as long as this value, a process or a thread in it.
#[derive(Clone, Debug)]
pub struct Namespace {
    file: Arc<File>,
}

impl Namespace {
    /// A fresh network namespace with its loopback interface up.
    pub fn new() -> io::Result<Self> {
        let made = std::thread::spawn(|| -> io::Result<File> {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        });
        let file = made.join().expect("the thread that makes a namespace")?;
        let namespace = Self {
            file: Arc::new(file),
        };
        namespace.ip("link set dev lo up")?;
        Ok(namespace)
    }

    /// Runs `work` in a thread inside of the namespace. A socket made there stays in it, whoever uses it.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.enter().expect("setns into a namespace that is held");
                work()
            });
            match inside.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Moves the calling thread into the namespace, for good.
    pub fn enter(&self) -> io::Result<()> {
        Ok(setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET)?)
    }

    /// A command that will run inside of the namespace.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let namespace = self.clone();
        // SAFETY: between fork and exec only setns(2) is called, which is async-signal-safe, and
        // nothing is allocated or locked.
        unsafe { command.pre_exec(move || namespace.enter()) };
        command
    }

    /// Runs `ip` with words separated by spaces, and fails unless it succeeds.
    pub fn ip(&self, words: &str) -> io::Result<()> {
        succeed(self.command("ip").args(words.split_whitespace())).map(drop)
    }

    /// Runs `ip` once for many lines of words, and fails at the first that does not succeed.
    pub fn ip_batch(&self, lines: &[String]) -> io::Result<()> {
        let mut ip = self.command("ip");
        feed(ip.args(["-batch", "-"]), &lines.join("\n")).map(drop)
    }

    /// The MAC address of an interface.
    pub fn hardware_address(&self, interface: &str) -> io::Result<String> {
        let mut ip = self.command("ip");
        let listed = succeed(ip.args(["-oneline", "link", "show", "dev", interface]))?;
        let text = String::from_utf8_lossy(&listed.stdout);
        let words = text.split_whitespace();
        let mut address = words.skip_while(|word| *word != "link/ether").skip(1);
        let missing = || io::Error::other(format!("{interface} has none"));
        address.next().map(str::to_owned).ok_or_else(missing)
    }

    /// Writes one value under `/proc/sys`, as this namespace sees it.
    pub fn sysctl(&self, path: &str, value: &str) -> io::Result<()> {
        self.run(|| std::fs::write(format!("/proc/sys/{path}"), value))
            .map_err(|error| io::Error::new(error.kind(), format!("{path}={value}: {error}")))
    }

    /// A path that other processes can open as long as this value lives.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()).into()
    }
}

/// Runs a command to its end with this text on its standard input, as [`succeed`].
pub fn feed(command: &mut Command, text: &str) -> io::Result<Output> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut input = child.stdin.take().expect("a piped stdin");
    // A command that fails may end before it has read all: what it says of that counts more.
    let written = input.write_all(text.as_bytes());
    drop(input);
    let output = checked(command, child.wait_with_output()?)?;
    written.map(|()| output)
}

/// Runs a command to its end; what is not success becomes an error that shows the command and what it said.
pub fn succeed(command: &mut Command) -> io::Result<Output> {
    let output = command.output()?;
    checked(command, output)
}

fn checked(command: &Command, output: Output) -> io::Result<Output> {
    if output.status.success() {
        return Ok(output);
    }
    Err(io::Error::other(format!(
        "{command:?}: {}: {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    )))
}
