//! Start → rules read back.

use std::io;
use std::thread;
use std::time::Duration;

use crate::configurations::{Flip, with_separators};
use crate::samples::{Samples, print_head, print_line, verdict};
use crate::support::netns::{Namespace, succeed};
use crate::support::nft::{Nft, TABLE};
use crate::watched::Watched;
use crate::yardstick::{Yardstick, deletion};

/// The longest that a start may take, at p50.
const BOUND: Duration = Duration::from_millis(20);
/// With how many CIDRs at most the bound holds.
const BOUND_CIDRS: usize = 64;
/// Until the worker of the daemon before has ended too.
const PAUSE: Duration = Duration::from_millis(10);

/// With how many CIDRs, and how many times.
const CASES: [(usize, usize); 5] = [
    (4, 50),
    (BOUND_CIDRS, 100),
    (1_000, 20),
    (10_000, 10),
    (50_000, 2),
];

#[derive(Default)]
struct Times {
    in_kernel: Samples,
    read_back: Samples,
    alone: Samples,
}

/// Prints the table.
pub(crate) fn print(most_cidrs: usize) -> io::Result<()> {
    print_head("Process made, no table there → rules in the kernel, and read back");
    for (cidrs, n) in CASES {
        if cidrs > most_cidrs {
            continue;
        }
        let flip = Flip::one_of(cidrs);
        let alone = Namespace::new()?;
        let times = alone.run(|| measure(flip, n, &alone))?;
        println!(" {} CIDRs", with_separators(cidrs));
        let alone = Some(&times.alone);
        print_line("daemon: in the kernel", &times.in_kernel, alone, "");
        let judged = judged(cidrs, &times);
        print_line("daemon: read back", &times.read_back, alone, &judged);
        print_line("libnftables alone: read back", &times.alone, alone, "");
    }
    Ok(())
}

fn measure(flip: Flip, n: usize, alone: &Namespace) -> io::Result<Times> {
    let mut yardstick = Yardstick::new(alone)?;
    let creation = yardstick.creation(&flip.ruleset(0)?)?;
    let deletion = [deletion()?];
    let namespace = Namespace::new()?;
    let mut times = Times::default();
    for _ in 0..n {
        let (watched, done) = Watched::start(&namespace, &flip.file(0))?;
        times.in_kernel.push(done.in_kernel);
        times.read_back.push(done.read_back);
        watched.daemon.terminate()?;
        let mut nft = Nft::host().command(&namespace);
        succeed(nft.args(["delete", "table", "ip", TABLE]))?;
        thread::sleep(PAUSE);
        times.alone.push(yardstick.create(&creation)?);
        yardstick.apply(&deletion)?;
    }
    Ok(times)
}

fn judged(cidrs: usize, times: &Times) -> String {
    if cidrs > BOUND_CIDRS {
        return String::new();
    }
    verdict("at most 20 ms", times.read_back.median() <= BOUND)
}
