//! What the kernel counts for a process, proc(5).

use std::fs;
use std::io;
use std::time::Duration;

use nix::unistd::Pid;

/// Time on a CPU of all threads, in user space and in the kernel.
pub(crate) fn cpu_time(process: Pid) -> io::Result<Duration> {
    let mut sum = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        // In nanoseconds: Documentation/scheduler/sched-stats.rst.
        let schedule = fs::read_to_string(thread?.path().join("schedstat"))?;
        sum += Duration::from_nanos(first_number(&schedule)?);
    }
    Ok(sum)
}

/// Proportional set size: pages that it shares are divided by the number of who share them.
pub(crate) fn pss_kibibytes(process: Pid) -> io::Result<u64> {
    field(process, "smaps_rollup", "Pss:")
}

/// What it has written to and shares with nobody: what others do on the machine does not change it.
pub(crate) fn private_kibibytes(process: Pid) -> io::Result<u64> {
    field(process, "smaps_rollup", "Private_Dirty:")
}

/// How many descriptors it has open.
pub(crate) fn descriptors(process: Pid) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{process}/fd"))?.count())
}

/// The most that it had resident.
pub(crate) fn peak_kibibytes(process: Pid) -> io::Result<u64> {
    field(process, "status", "VmHWM:")
}

/// How often it waited and was woken.
pub(crate) fn wake_ups(process: Pid) -> io::Result<u64> {
    field(process, "status", "voluntary_ctxt_switches:")
}

fn field(process: Pid, file: &str, name: &str) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/{file}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    first_number(line.unwrap_or_default())
}

fn first_number(text: &str) -> io::Result<u64> {
    let number = text.split_whitespace().next().unwrap_or_default();
    number
        .parse()
        .map_err(|error| io::Error::other(format!("{text:?}: {error}")))
}
