//! The real `nft`, the host's or Debian 13's, in a namespace.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::Value;

use super::lab::Family;
use super::netns::{Namespace, feed, succeed};

/// The table of the daemon under test.
pub const TABLE: &str = "non-masquerade-daemon";

/// What the daemon's sets are called, but for the numbers behind it.
pub const EXEMPT_SET: &str = "non-masquerade-cidrs";
/// The same for `sourceCIDRs`.
pub const SOURCE_SET: &str = "source-cidrs";

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
    /// Where the element itself does not say it: the configured CIDR that it came from, or `link-local`.
    pub comment: Option<String>,
    /// Connections that met it.
    pub packets: u64,
}

impl Element {
    /// The configured CIDR that it came from, or `link-local`: a comment says so only where the element itself does not.
    pub fn origin(&self) -> String {
        let prefix = &self.value["prefix"];
        match (&self.comment, &self.value, prefix["addr"].as_str()) {
            (Some(comment), ..) => comment.clone(),
            (None, Value::String(address), _) if address.contains(':') => format!("{address}/128"),
            (None, Value::String(address), _) => format!("{address}/32"),
            (None, _, Some(network)) => format!("{network}/{}", prefix["len"]),
            (None, range, None) => range.to_string(),
        }
    }
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

    /// The set of exempt destinations that the rules of the daemon's IPv4 table look up.
    pub fn exempt_set(&self, namespace: &Namespace) -> io::Result<String> {
        let table = self.list_table_text(namespace, TABLE)?;
        let set = set_in_use(&table, EXEMPT_SET).map(str::to_owned);
        set.ok_or_else(|| io::Error::other(format!("no rule looks up {EXEMPT_SET}\n{table}")))
    }

    /// The IPv4 table's handle: one that was deleted and is made again has another. An error if there is none.
    pub fn table_handle(&self, namespace: &Namespace, table: &str) -> io::Result<u64> {
        let objects = self.list_table_json(namespace, table)?;
        let mut handles = objects.iter().map(|object| &object["table"]["handle"]);
        let handle = handles.find_map(Value::as_u64);
        handle.ok_or_else(|| io::Error::other("a table without a handle"))
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

/// The set of this name that the rules of a listed table look up: two take turns, `NAME-1` and `NAME-2`.
pub fn set_in_use<'a>(table: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = table.split_once(&format!("@{name}-"))?;
    let number = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    let from = table.len() - rest.len() - name.len() - 1;
    table.get(from..table.len() - rest.len() + number.len())
}

/// Whether the listed table exempts this configured CIDR: an element of the set in use is it, or says in its comment that
/// it is a part of it.
pub fn exempts(table: &str, cidr: &str) -> bool {
    let Some(set) = set_in_use(table, EXEMPT_SET) else {
        return false;
    };
    let Some((_, set)) = table.split_once(&format!("\tset {set} {{\n")) else {
        return false;
    };
    let Some((_, elements)) = set.split_once("elements = { ") else {
        return false;
    };
    let elements = elements.split(" }\n").next().unwrap_or_default();
    // nft shows a single address without the length of its prefix.
    let alone = if cidr.contains(':') { "/128" } else { "/32" };
    let element = cidr.strip_suffix(alone).unwrap_or(cidr);
    let comment = format!("comment \"{cidr}\"");
    elements
        .split(',')
        .any(|shown| shown.split_whitespace().next() == Some(element) || shown.contains(&comment))
}

/// The listed table without what differs between two that do the same: which of two sets the rules look up.
pub fn without_set_numbers(table: &str) -> String {
    let mut table = table.to_owned();
    for set in [EXEMPT_SET, SOURCE_SET] {
        for number in 1..=2 {
            table = table.replace(&format!("{set}-{number}"), set);
        }
    }
    table
}

/// Where `make test` installs Debian 13's nft and libnftables.
pub fn debian_13_root() -> PathBuf {
    match std::env::var_os("DEBIAN_13_ROOT") {
        Some(root) => root.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("target/debian-13"),
    }
}
