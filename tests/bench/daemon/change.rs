//! File changed → rules in the kernel: the daemon, libnftables alone, and iptables.

use std::io;
use std::thread;
use std::time::Duration;

use crate::configurations::Flip;
use crate::iptables::Iptables;
use crate::netlink_buffer::{LEFT_OUT, unless_too_long};
use crate::samples::{Samples, print_head, print_line, ratio, verdict};
use crate::support::netns::Namespace;
use crate::watched::Watched;
use crate::yardstick::{self, Work, Yardstick};

/// How often libnftables' own time it may take from the rename to the kernel, and with how many CIDRs.
const BOUND_RATIOS: [(usize, f64); 2] = [(64, 3.0), (10_000, 2.0)];
/// Two readings that changes ask for are 20 ms apart.
pub(crate) const REST: Duration = Duration::from_millis(30);
/// The most changes whose times are not counted.
const WARM_UP: usize = 2;

/// What is changed, how many times, and in how many of these rule by rule too.
const CASES: [(Flip, usize, usize); 10] = [
    (Flip::half_of(4), 200, 20),
    (Flip::one_of(4), 200, 20),
    (Flip::half_of(64), 200, 10),
    (Flip::one_of(64), 200, 10),
    (Flip::half_of(1_000), 25, 2),
    (Flip::one_of(1_000), 25, 2),
    (Flip::half_of(10_000), 10, 0),
    (Flip::one_of(10_000), 10, 0),
    (Flip::half_of(50_000), 3, 0),
    (Flip::one_of(50_000), 3, 0),
];

/// Prints the table.
pub(crate) fn print(most_cidrs: usize) -> io::Result<()> {
    print_head("File renamed into place, and no signal → rules in the kernel, and read back");
    println!(
        "  (ratio: to what libnftables alone needs to apply the very same documents; where it is read back or listed, to both)"
    );
    for (flip, n, by_rule) in CASES {
        if flip.cidrs > most_cidrs {
            continue;
        }
        println!(" {flip}");
        let alone = Namespace::new()?;
        match unless_too_long(alone.run(|| measure(flip, n, by_rule, &alone)))? {
            Some(times) => times.print(flip),
            None => println!("  {LEFT_OUT}"),
        }
    }
    Ok(())
}

/// Those who are compared, each in a namespace of its own.
struct Contenders {
    watched: Watched,
    of_daemon: Namespace,
    yardstick: Yardstick,
    work: Work,
    at_once: Option<Iptables>,
    rule_by_rule: Option<Iptables>,
}

/// They take turns, so that all see the same machine.
fn measure(flip: Flip, n: usize, by_rule: usize, alone: &Namespace) -> io::Result<Times> {
    let mut yardstick = Yardstick::new(alone)?;
    let work = yardstick.prepare(flip)?;
    let of_daemon = Namespace::new()?;
    let (watched, _) = Watched::start(&of_daemon, &flip.file(0))?;
    let mut contenders = Contenders {
        watched,
        of_daemon,
        yardstick,
        work,
        at_once: Iptables::filled(flip)?,
        rule_by_rule: (by_rule > 0).then(|| Iptables::new(flip)).transpose()?,
    };
    let warm_up = WARM_UP.min(n / 10);
    for version in 1..=warm_up {
        contenders.change(flip, version, &mut Times::default())?;
    }
    let mut times = Times::default();
    for version in warm_up + 1..=warm_up + n {
        contenders.change(flip, version, &mut times)?;
        if let Some(iptables) = &contenders.rule_by_rule
            && version <= warm_up + by_rule
        {
            times.rule_by_rule.push(iptables.append(version)?);
        }
    }
    contenders.check(flip, warm_up + n)?;
    yardstick::check(alone, flip, warm_up + n)?;
    if let Some(iptables) = &contenders.rule_by_rule {
        iptables.check(warm_up + by_rule)?;
    }
    Ok(times)
}

impl Contenders {
    fn change(&mut self, flip: Flip, version: usize, times: &mut Times) -> io::Result<()> {
        thread::sleep(REST);
        let done = self.watched.swap(&flip.file(version))?;
        times.in_kernel.push(done.in_kernel);
        times.read_back.push(done.read_back);
        times.killed_workers += done.killed_workers;
        let alone = self.yardstick.change(&self.work)?;
        times.applied.push(alone.applied);
        times.listed.push(alone.listed);
        times.both.push(alone.applied + alone.listed);
        if let Some(iptables) = &self.at_once {
            times.at_once.push(iptables.restore(version)?);
        }
        Ok(())
    }

    fn check(&self, flip: Flip, version: usize) -> io::Result<()> {
        yardstick::check(&self.of_daemon, flip, version)?;
        self.at_once
            .iter()
            .try_for_each(|iptables| iptables.check(version))
    }
}

#[derive(Default)]
struct Times {
    in_kernel: Samples,
    read_back: Samples,
    killed_workers: usize,
    /// By libnftables alone, as the next two.
    applied: Samples,
    listed: Samples,
    both: Samples,
    /// By iptables, as the next one.
    at_once: Samples,
    rule_by_rule: Samples,
}

impl Times {
    fn print(&self, flip: Flip) {
        let (applied, both) = (Some(&self.applied), Some(&self.both));
        let in_kernel = self.judged(flip);
        let read_back = self.said_of_workers();
        let by_rule = &self.rule_by_rule;
        print_line(
            "daemon: in the kernel",
            &self.in_kernel,
            applied,
            &in_kernel,
        );
        print_line("daemon: read back", &self.read_back, both, &read_back);
        print_line("libnftables alone: applied", &self.applied, applied, "");
        print_line("libnftables alone: its listing", &self.listed, both, "");
        print_line("libnftables alone: both", &self.both, both, "");
        match self.at_once.is_empty() {
            false => print_line("iptables-restore --noflush", &self.at_once, applied, ""),
            true => println!("  iptables-restore --noflush: {LEFT_OUT}"),
        }
        if !by_rule.is_empty() {
            print_line("iptables -A, rule by rule", by_rule, applied, "");
        }
    }

    fn judged(&self, flip: Flip) -> String {
        let bound = BOUND_RATIOS.iter().find(|bound| bound.0 == flip.cidrs);
        bound.map_or_else(String::new, |(_, times)| {
            let ratio = ratio(self.in_kernel.median(), self.applied.median());
            verdict(&format!("at most {times} times"), ratio <= *times)
        })
    }

    fn said_of_workers(&self) -> String {
        match self.killed_workers {
            0 => String::new(),
            killed => format!("{killed} workers were too slow, and were replaced meanwhile"),
        }
    }
}
