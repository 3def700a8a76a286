//! What the kernel counts for a process, proc(5).

use std::fs;
use std::io;
use std::time::Duration;

use nix::unistd::Pid;

/// Time on a CPU of all threads, in user space and in the kernel.
pub fn cpu_time(process: Pid) -> io::Result<Duration> {
    let mut sum = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        // In nanoseconds: Documentation/scheduler/sched-stats.rst.
        let schedule = fs::read_to_string(thread?.path().join("schedstat"))?;
        sum += Duration::from_nanos(first_number(&schedule)?);
    }
    Ok(sum)
}

/// What it has written to and shares with nobody: what others do on the machine does not change it.
pub fn private_kibibytes(process: Pid) -> io::Result<u64> {
    field(process, "smaps_rollup", "Private_Dirty:")
}

/// How many descriptors it has open.
pub fn descriptors(process: Pid) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{process}/fd"))?.count())
}

/// A number of one of its files, by the name in front of it.
pub fn field(process: Pid, file: &str, name: &str) -> io::Result<u64> {
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
