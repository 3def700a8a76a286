//! The worker: a process of its own that alone calls libnftables.
//!
//! libnftables may call `exit()` inside of its caller (an over-long comment, no memory, no socket)
//! and may crash it (one set of another table, written by nftables ≥ 1.1.2, makes 1.0.6 call a NULL
//! pointer on any apply). In a process of its own each of these is an error value. The process is
//! long-lived rather than forked per call, because the netlink socket of its one context is what
//! owns the table.
//!
//! The daemon writes requests to the worker's standard input, the worker answers on its standard
//! output; each line is one JSON document. The documents of a request follow it line by line, so that
//! libnftables runs the first while the daemon still writes the next. Without an answer in time the
//! worker is killed and replaced.

mod client;
mod error;
mod process;
mod running;

pub use client::Worker;
pub use error::WorkerError;
pub use process::serve;

use std::borrow::Cow;
use std::ffi::CStr;

use serde::{Deserialize, Serialize};

/// The argument that makes the program a worker; the next one is its name.
pub const WORKER_ARGUMENT: &str = "nft-worker";

/// The worker's name in ps(1); `TASK_COMM_LEN` leaves 15 bytes, prctl(2).
pub const WORKER_NAME: &CStr = c"nmd-nft-worker";

/// The worker's name where it is a command's that runs once: to a daemon what it commits is anyone's change, to be undone
/// at once, and not that of another daemon.
pub const COMMAND_WORKER_NAME: &CStr = c"nmd-nft-command";

/// The daemon asks. `documents` lines follow, each a document for libnftables, which is to run one after the other up to
/// the first that it refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The answer carries the same number.
    pub id: u64,
    /// How it is to take them.
    pub mode: Mode,
    /// How many follow.
    pub documents: usize,
}

/// How libnftables takes a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Whole.
    Full,
    /// It lists no elements of named sets and maps.
    Terse,
    /// The kernel judges it, and nothing is applied.
    DryRun,
}

/// The worker answers.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer<'a> {
    /// The request's number.
    pub id: u64,
    /// What libnftables said to each document that it ran.
    #[serde(borrow)]
    pub said: Vec<Words<'a>>,
}

/// What libnftables said to one document.
#[derive(Debug, Serialize, Deserialize)]
pub struct Words<'a> {
    /// False: nothing of the document was applied.
    pub succeeded: bool,
    /// libnftables' output; a string, for its bytes need not be JSON.
    #[serde(borrow)]
    pub output: Cow<'a, str>,
    /// libnftables' error messages.
    #[serde(borrow)]
    pub error: Cow<'a, str>,
}
