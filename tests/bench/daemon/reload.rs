//! File change by SIGHUP → rules read back.

use std::io;

use crate::configurations::{Change, Flip};
use crate::samples::{self, Samples, print_head, print_line, verdict};
use crate::support::netns::Namespace;
use crate::watched::Watched;
use crate::yardstick::Yardstick;

/// With how many CIDRs the bound holds.
const BOUND_CIDRS: usize = 64;
/// How often libnftables' own time a reload may take.
const BOUND_RATIO: f64 = 3.0;
/// Changes whose times are not counted.
const WARM_UP: usize = 4;

/// What is changed, and how many times.
const CASES: [(Flip, usize); 6] = [
    (Flip::half_of(4), 200),
    (Flip::half_of(64), 200),
    (Flip::one_of(4), 200),
    (Flip::one_of(64), 200),
    (Flip::one_of(1_000), 100),
    (Flip::one_of(10_000), 50),
];

#[derive(Default)]
struct Times {
    in_kernel: Samples,
    read_back: Samples,
    alone: Samples,
}

/// Prints the table.
pub(crate) fn print(most_cidrs: usize) -> io::Result<()> {
    print_head("File renamed into place and SIGHUP sent → rules in the kernel, and read back");
    for (flip, n) in CASES {
        if flip.cidrs > most_cidrs {
            continue;
        }
        println!(" {flip}");
        let alone = Namespace::new()?;
        let times = match alone.run(|| measure(flip, n, &alone)) {
            // Root of a user namespace only: how much it may send, the host's sysctl net.core.wmem_max says.
            Err(error) if error.to_string().contains("Message too long") => {
                println!("  left out: outgrows the netlink send buffer, which only root can raise");
                continue;
            }
            times => times?,
        };
        print_line("daemon: in the kernel", &times.in_kernel, &times.alone, "");
        let judged = judged(flip, &times);
        print_line("daemon: read back", &times.read_back, &times.alone, &judged);
        print_line(
            "libnftables alone: read back",
            &times.alone,
            &times.alone,
            "",
        );
    }
    Ok(())
}

/// The two take turns, so that both see the same machine.
fn measure(flip: Flip, n: usize, alone: &Namespace) -> io::Result<Times> {
    let mut yardstick = Yardstick::new(alone)?;
    let documents = yardstick.prepare(flip)?;
    let (mut watched, _) = Watched::start(&Namespace::new()?, &flip.file(0))?;
    let mut times = Times::default();
    for version in 1..=WARM_UP + n {
        let done = watched.reload(&flip.file(version))?;
        let alone = yardstick.change(&documents, version)?;
        if version > WARM_UP {
            times.in_kernel.push(done.in_kernel);
            times.read_back.push(done.read_back);
            times.alone.push(alone);
        }
    }
    yardstick.check(flip, WARM_UP + n)?;
    Ok(times)
}

fn judged(flip: Flip, times: &Times) -> String {
    if flip.cidrs != BOUND_CIDRS || flip.change == Change::LinkLocal {
        return String::new();
    }
    let ratio = samples::ratio(times.read_back.median(), times.alone.median());
    verdict("at most 3 times", ratio <= BOUND_RATIO)
}
