//! The real `nft`, the host's or Debian 13's, in a namespace.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::Value;

use super::lab::Family;
use super::netns::{Namespace, feed, succeed};

/// The table of the daemon under test.
pub const TABLE: &str = "non-masquerade-daemon";

/// Which `nft` to run.
#[derive(Clone, Debug)]
pub struct Nft {
    root: Option<PathBuf>,
}

/// One element of a set.
#[derive(Clone, Debug, PartialEq)]
pub struct Element {
    /// The address, prefix or range, as nft's JSON has it.
    pub value: Value,
    /// The configured CIDR that it came from.
    pub comment: Option<String>,
    /// Connections that met it.
    pub packets: u64,
}

/// An `nft -i`: what it makes as owned stays so until it ends, or is dropped.
pub struct Session {
    nft: Child,
    input: Option<ChildStdin>,
}

impl Session {
    /// Has it run one line of commands.
    pub fn say(&mut self, line: &str) -> io::Result<()> {
        let input = self.input.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        writeln!(input, "{line}")
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.nft.id()
    }

    /// Ends its input, and waits for its end.
    pub fn end(mut self) -> io::Result<()> {
        self.input = None;
        self.nft.wait().map(drop)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.nft.kill();
        let _ = self.nft.wait();
    }
}

impl Nft {
    /// The host's.
    pub fn host() -> Self {
        Self { root: None }
    }

    /// Debian 13's, in the root that `make test` installs if it is run by root.
    pub fn debian_13() -> Self {
        Self {
            root: Some(debian_13_root()),
        }
    }

    /// `nft` with no arguments yet.
    pub fn command(&self, namespace: &Namespace) -> Command {
        let Some(root) = &self.root else {
            return namespace.command("nft");
        };
        let mut command = namespace.command("chroot");
        command.arg(root).arg("/usr/sbin/nft");
        command
    }

    /// One that runs what it is told, on one socket.
    pub fn session(&self, namespace: &Namespace) -> io::Result<Session> {
        let mut command = self.command(namespace);
        command
            .arg("-i")
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        let mut nft = command.spawn()?;
        let input = nft.stdin.take();
        Ok(Session { nft, input })
    }

    /// Runs one or more nft commands as one transaction.
    pub fn apply(&self, namespace: &Namespace, text: &str) -> io::Result<()> {
        feed(self.command(namespace).args(["-f", "-"]), text).map(drop)
    }

    /// The IPv4 table as text. An error if there is none.
    pub fn list_table_text(&self, namespace: &Namespace, table: &str) -> io::Result<String> {
        self.list_table_text_of(Family::V4, namespace, table)
    }

    /// The table of a family as text. An error if there is none.
    pub fn list_table_text_of(
        &self,
        family: Family,
        namespace: &Namespace,
        table: &str,
    ) -> io::Result<String> {
        let mut nft = self.command(namespace);
        let output = succeed(nft.args(["list", "table", family.nft(), table]))?;
        String::from_utf8(output.stdout).map_err(io::Error::other)
    }

    /// The IPv4 table as JSON: the objects below the key `nftables`. An error if there is none.
    pub fn list_table_json(&self, namespace: &Namespace, table: &str) -> io::Result<Vec<Value>> {
        let output = succeed(
            self.command(namespace)
                .args(["-j", "list", "table", "ip", table]),
        )?;
        let mut document: Value = serde_json::from_slice(&output.stdout)?;
        match document["nftables"].take() {
            Value::Array(objects) => Ok(objects),
            other => Err(io::Error::other(format!("not a list of objects: {other}"))),
        }
    }

    /// The elements of one set of the table.
    pub fn elements(
        &self,
        namespace: &Namespace,
        table: &str,
        set: &str,
    ) -> io::Result<Vec<Element>> {
        let objects = self.list_table_json(namespace, table)?;
        let found = objects
            .iter()
            .map(|object| &object["set"])
            .find(|object| object["name"] == set)
            .ok_or_else(|| io::Error::other(format!("no set {set}")))?;
        Ok(found["elem"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|element| match &element["elem"] {
                // Without counter and comment, an element is only its value.
                Value::Null => Element {
                    value: element.clone(),
                    comment: None,
                    packets: 0,
                },
                full => Element {
                    value: full["val"].clone(),
                    comment: full["comment"].as_str().map(str::to_owned),
                    packets: full["counter"]["packets"].as_u64().unwrap_or(0),
                },
            })
            .collect())
    }
}

/// Where `make test` installs Debian 13's nft and libnftables.
pub fn debian_13_root() -> PathBuf {
    match std::env::var_os("DEBIAN_13_ROOT") {
        Some(root) => root.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("target/debian-13"),
    }
}
