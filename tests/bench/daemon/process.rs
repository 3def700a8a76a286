//! What the kernel counts for a process, proc(5): what tests do not ask for.

use std::io;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use crate::support::process::field;

/// Proportional set size: pages that it shares are divided by the number of who share them.
pub(crate) fn pss_kibibytes(process: Pid) -> io::Result<u64> {
    field(process, "smaps_rollup", "Pss:")
}

/// The most that it had resident.
pub(crate) fn peak_kibibytes(process: Pid) -> io::Result<u64> {
    field(process, "status", "VmHWM:")
}

/// How often it waited and was woken.
pub(crate) fn wake_ups(process: Pid) -> io::Result<u64> {
    field(process, "status", "voluntary_ctxt_switches:")
}

/// Of the thread that asks, in user space and in the kernel.
pub(crate) fn own_cpu_time() -> io::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}
