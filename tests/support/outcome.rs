//! A command that was run to its end, as a user meets it.

use std::io;
use std::process::{Command, Output};

use serde_json::Value;

use super::netns::{Namespace, succeed};

/// As the pod of the manifests runs: with the one capability, and not root. The list is the kernel's of iptables-legacy, as
/// net/netfilter/x_tables.c makes it.
pub const AS_IN_THE_POD: &str = "
net=/proc/$$/net
mkdir -p /run/net
mount -t tmpfs tmpfs /run/net
cp $net/route $net/ipv6_route $net/netlink /run/net/
printf 'nat\\n' > /run/net/ip_tables_names
chmod 0440 /run/net/ip_tables_names
mount --bind /run/net $net
set -- setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all,+net_admin --ambient-caps=+net_admin \"$@\"
";

/// What it said, and how it ended.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub output: String,
    /// Standard error.
    pub errors: String,
}

impl Outcome {
    /// Runs the command to its end.
    pub fn of(command: &mut Command) -> Self {
        let Output {
            status,
            stdout,
            stderr,
        } = command.output().expect("a command that can be run");
        Self {
            code: status.code().expect("a command that is not killed"),
            output: String::from_utf8(stdout).expect("UTF-8"),
            errors: String::from_utf8(stderr).expect("UTF-8"),
        }
    }

    /// Standard output as one JSON value.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.output).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Fails unless the exit code is this one.
    #[track_caller]
    pub fn assert_code(&self, code: i32) {
        assert_eq!(self.code, code, "{}\n{}", self.output, self.errors);
    }
}

/// The program, with words separated by spaces as arguments.
pub fn words(mut command: Command, arguments: &str) -> Command {
    command.args(arguments.split_whitespace());
    command
}

/// What runs the words on a terminal that has so many columns and takes colours: script(1) of util-linux gives it one. Its
/// lines end with a carriage return, too.
pub fn on_a_terminal(namespace: &Namespace, columns: usize, words: &str) -> Command {
    let mut script = namespace.command("script");
    let line = format!("stty rows 24 cols {columns}; exec {words}");
    script.args(["-qec", &line, "/dev/null"]);
    script.env("TERM", "xterm").env_remove("NO_COLOR");
    script
}

/// What makes `program` run in the namespace without CAP_NET_ADMIN: setpriv(1) of util-linux takes it away.
pub fn without_net_admin(namespace: &Namespace, program: &str) -> Command {
    let mut command = namespace.command("setpriv");
    command.args([
        "--bounding-set=-net_admin",
        "--inh-caps=-net_admin",
        program,
    ]);
    command
}

/// What makes a copy of `program` at `copy` run in the namespace as an ordinary user. Only root can.
pub fn as_ordinary_user(namespace: &Namespace, program: &str, copy: &str) -> io::Result<Command> {
    // By another process: what a test beside this one is just starting may hold a copy of what is open here, and then
    // it could not be run (ETXTBSY, execve(2)). The directory of the original may be root's alone.
    succeed(Command::new("cp").args([program, copy]))?;
    let mut command = namespace.command("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", copy]);
    Ok(command)
}
