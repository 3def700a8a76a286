//! Who holds a table, in one wording for all commands.

use std::fmt;

use serde::Serialize;

use crate::kernel::netlink::TableHeader;
use crate::kernel::owner::{self, Process};

/// Who may change a table. Its `Display` completes "the table is owned by". The names of its fields are a contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Holder {
    pub(super) kind: HolderKind,
    process: Option<String>,
    pid: Option<u32>,
    /// The netlink port id of the socket that owns it.
    pub(super) port: Option<u32>,
}

/// What kind of holder it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum HolderKind {
    /// The worker of a daemon.
    Daemon,
    /// Another process.
    Other,
    /// A process that is not to be seen from here.
    Unseen,
    /// The owner has ended; the next daemon adopts the table.
    Ended,
    /// It never had an owner, so that anyone may change it.
    None,
}

impl Holder {
    /// Of a table with this header.
    pub(super) fn of(header: TableHeader) -> Self {
        Self::new(header, header.owner.and_then(owner::with_port))
    }

    /// `process` is who has the owner's socket, where that is to be seen.
    pub(super) fn new(header: TableHeader, process: Option<Process>) -> Self {
        let kind = match (header.owner, &process) {
            (Some(_), Some(process)) if process.is_a_worker() => HolderKind::Daemon,
            (Some(_), Some(_)) => HolderKind::Other,
            (Some(_), None) => HolderKind::Unseen,
            (None, _) if header.is_persistent() => HolderKind::Ended,
            (None, _) => HolderKind::None,
        };
        Self {
            kind,
            pid: process.as_ref().map(|process| process.id),
            process: process.map(|process| process.name),
            port: header.owner,
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(process), Some(pid)) = (&self.process, self.pid) {
            write!(f, "{process} (pid {pid}), ")?;
        }
        f.write_str(match self.kind {
            HolderKind::Daemon => "the worker of a running daemon",
            HolderKind::Other => "which is no daemon's worker",
            HolderKind::Unseen => owner::UNSEEN,
            HolderKind::Ended => "nobody: its owner has ended, and the next daemon adopts it",
            HolderKind::None => "nobody: others can change it, and a running daemon undoes that",
        })?;
        match self.port {
            Some(port) => write!(f, " (netlink port {port})"),
            None => Ok(()),
        }
    }
}
