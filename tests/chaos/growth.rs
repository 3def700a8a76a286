//! How large the daemon and its worker are at rest, and how much they have grown.

use std::fmt;
use std::io;

use nix::unistd::Pid;

use crate::support::process::{descriptors, private_kibibytes};

/// Memory that each of the two may have more than after the warm-up: allocators keep what was once needed for a large file.
pub(crate) const TOLERANCE_KIBIBYTES: u64 = 1_024;

/// A process at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    process: Pid,
    private_kibibytes: u64,
    pub(crate) descriptors: usize,
}

impl Size {
    pub(crate) fn of(process: Pid) -> io::Result<Self> {
        Ok(Self {
            process,
            private_kibibytes: private_kibibytes(process)?,
            descriptors: descriptors(process)?,
        })
    }
}

/// The most that the processes grew within one stretch without kills.
#[derive(Debug, Default)]
pub(crate) struct Growth {
    stretches: usize,
    /// Of the daemon, then of the worker.
    kibibytes: [u64; 2],
    descriptors: [usize; 2],
}

impl Growth {
    /// Adds a stretch; an error where a process is another one, or has grown.
    pub(crate) fn add(&mut self, before: [Size; 2], after: [Size; 2]) -> io::Result<()> {
        self.stretches += 1;
        for (which, name) in ["daemon", "worker"].into_iter().enumerate() {
            let (before, after) = (before[which], after[which]);
            if before.process != after.process {
                return Err(io::Error::other(format!(
                    "the {name} ended by itself: another one is in its place"
                )));
            }
            let grown = after
                .private_kibibytes
                .saturating_sub(before.private_kibibytes);
            self.kibibytes[which] = self.kibibytes[which].max(grown);
            self.descriptors[which] = after.descriptors;
            if grown > TOLERANCE_KIBIBYTES || before.descriptors != after.descriptors {
                return Err(io::Error::other(format!(
                    "the {name} has grown: {before:?}, then {after:?}"
                )));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ([daemon, worker], [daemon_open, worker_open]) = (self.kibibytes, self.descriptors);
        write!(
            f,
            "daemon +{daemon} KiB, worker +{worker} KiB at most in {} stretches without kills; {daemon_open} and {worker_open} descriptors before and after",
            self.stretches
        )
    }
}
