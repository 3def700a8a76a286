//! What the reconciler is told, and what it answers.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use crate::daemon::contest::Committers;
use crate::policy::Policy;
use crate::ruleset::Tables;

/// What a good configuration asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// The tables.
    pub tables: Rc<Tables>,
    /// The policy that the tables are made of, for the log.
    pub policy: Rc<Policy>,
    /// How often file and kernel are compared without any event.
    pub resync_interval: Duration,
}

/// What reading the configuration gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// It is good, or there is no file, which means the defaults.
    Good {
        /// What it asks for.
        desired: Desired,
        /// The files that it was read from.
        files: Vec<PathBuf>,
        /// Those of them that say nothing.
        empty_files: Vec<PathBuf>,
    },
    /// Someone has it open for writing.
    BeingWritten,
    /// It is bad, or cannot be read.
    Bad {
        /// The files that are there, but for those that say nothing.
        files: Vec<PathBuf>,
        /// One cannot be read, and nothing may tell when it can be.
        may_pass: bool,
    },
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The daemon starts, or is asked to reload.
    ReloadRequested,
    /// Something has happened near the file.
    FileMayHaveChanged,
    /// Someone has committed to nftables; not this daemon.
    Committed(Committers),
    /// The idle worker has ended, and with it its ownership of the table.
    WorkerEnded,
    /// Someone wants to know the counters.
    CountWanted,
    /// [`Reconciler::deadline`](super::Reconciler::deadline) has come.
    DeadlineReached,
    /// [`Action::Read`] is done.
    Read(Reading),
    /// [`Action::Sync`], [`Action::Look`] or [`Action::Count`] is done.
    Done {
        /// Of the table that is to be looked at again the soonest.
        outcome: Outcome,
        /// In what the tables differed from the desired ones, in words; empty: in nothing.
        differences: String,
    },
}

/// How a pass over a table ended, what is to be looked at again the soonest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The kernel had what is desired.
    InStep,
    /// It had not; after a sync it has.
    Differed,
    /// Whether it has is not known.
    Failed,
    /// Another owns a table.
    Owned {
        /// Its process was to be seen at the pass before, and is not any more.
        is_ending: bool,
    },
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Read the configuration.
    Read {
        /// Take a file that someone has open for writing for what it holds now.
        while_written: bool,
    },
    /// Make the kernel's tables the desired ones.
    Sync(Desired),
    /// Compare the kernel's tables with the desired ones, and leave them as they are.
    Look(Desired),
    /// Read the counters of the desired tables.
    Count(Desired),
}
