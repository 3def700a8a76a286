//! File swapped → rules in the kernel, and foreign commit → repaired; without a signal.

use std::ffi::CString;
use std::io;
use std::thread;
use std::time::Duration;

use non_masquerade_daemon::kernel::libnftables::Context;
use non_masquerade_daemon::ruleset::Ruleset;
use serde_json::{Value, json};

use crate::configurations::{Flip, with_separators};
use crate::samples::{Samples, print_head, print_line, verdict};
use crate::support::netns::Namespace;
use crate::support::nft::TABLE;
use crate::watched::Watched;
use crate::yardstick::{Yardstick, deletion};

/// From the rename to the kernel, at p99, with [`BOUND_CIDRS`].
const SWAP_BOUND: Duration = Duration::from_millis(3);
/// From the foreign commit's return to the kernel, at p99, with [`BOUND_CIDRS`].
const REPAIR_BOUND: Duration = Duration::from_millis(2);
const BOUND_CIDRS: usize = 64;

/// How many CIDRs, and how many events of each kind. A swap with 100,000 is a part of its own, `change`.
const CASES: [(usize, usize); 4] = [(4, 100), (BOUND_CIDRS, 200), (1_000, 40), (10_000, 10)];
/// Longer than daemon and worker need to come to rest, which gives memory back and lets the CPU sleep.
const REST: Duration = Duration::from_millis(200);
/// One event of so many comes after such a rest, where no bound is judged: each takes so long.
const AFTER_REST_OF: usize = 4;

/// How long nothing happens before an event, and how many come.
#[derive(Clone, Copy)]
struct Pace {
    rest: Duration,
    n: usize,
}

/// Prints the table.
pub(crate) fn print(most_cidrs: usize) -> io::Result<()> {
    print_head("File renamed into place, or table changed by another process, and no signal");
    for (cidrs, n) in CASES {
        if cidrs > most_cidrs {
            continue;
        }
        println!(" {} CIDRs", with_separators(cidrs));
        print_case(cidrs, n)?;
    }
    Ok(())
}

fn print_case(cidrs: usize, n: usize) -> io::Result<()> {
    let at_once = Pace {
        rest: Duration::ZERO,
        n,
    };
    let after_rest = Pace {
        rest: REST,
        n: match cidrs {
            BOUND_CIDRS => n,
            _ => n.div_ceil(AFTER_REST_OF),
        },
    };
    let flip = Flip::one_of(cidrs);
    let namespace = Namespace::new()?;
    let (mut watched, _) = Watched::start(&namespace, &flip.file(0))?;
    let mut versions = 1..;
    for (name, pace) in [
        ("file swapped, one changed", at_once),
        ("file swapped, after rest", after_rest),
    ] {
        let mut samples = Samples::default();
        for version in versions.by_ref().take(pace.n) {
            thread::sleep(pace.rest);
            samples.push(watched.swap(&flip.file(version))?.in_kernel);
        }
        print_line(name, &samples, None, &judged(cidrs, &samples, SWAP_BOUND));
    }
    let alone = Namespace::new()?;
    let mut of_hand = |name, document: &str, pace| -> io::Result<()> {
        let ours = namespace.run(|| repairs(&mut watched, document, pace))?;
        let mended = alone.run(|| mended_alone(&alone, &flip.ruleset(0)?, document, n))?;
        let verdict = judged(cidrs, &ours, REPAIR_BOUND);
        print_line(name, &ours, Some(&mended), &verdict);
        print_line("  libnftables alone, at once", &mended, Some(&mended), "");
        Ok(())
    };
    for (name, document) in foreign_hands() {
        of_hand(name, &document, at_once)?;
    }
    of_hand("rule added, after rest", &rule_added(), after_rest)
}

fn judged(cidrs: usize, samples: &Samples, bound: Duration) -> String {
    if cidrs != BOUND_CIDRS {
        return String::new();
    }
    let text = format!("p99 at most {} ms", bound.as_millis());
    verdict(&text, samples.percentile(99) <= bound)
}

/// In the daemon's namespace: a context has its socket where it is made.
fn repairs(watched: &mut Watched, document: &str, pace: Pace) -> io::Result<Samples> {
    let mut hand = Context::new().map_err(io::Error::other)?;
    let document = CString::new(document)?;
    let mut samples = Samples::default();
    for _ in 0..pace.n {
        thread::sleep(pace.rest);
        let done = watched.repair(|| match hand.run(&document) {
            said if said.succeeded => Ok(()),
            said => Err(io::Error::other(said.error)),
        })?;
        samples.push(done.in_kernel);
    }
    Ok(samples)
}

/// The same damage mended by libnftables alone, with the documents that the daemon sends; it does not look first what is
/// damaged.
fn mended_alone(
    namespace: &Namespace,
    ruleset: &Ruleset,
    document: &str,
    n: usize,
) -> io::Result<Samples> {
    let damage = CString::new(document)?;
    let mut yardstick = Yardstick::new(namespace)?;
    let mending = yardstick.prepare_mending(ruleset, &damage)?;
    let mut samples = Samples::default();
    for _ in 0..n {
        samples.push(yardstick.mend(&damage, &mending)?);
    }
    yardstick.apply(&[deletion()?])?;
    Ok(samples)
}

/// What is done to the table, as libnftables' JSON.
fn foreign_hands() -> [(&'static str, String); 4] {
    let table = json!({ "family": "ip", "name": TABLE });
    let set = json!({ "family": "ip", "table": TABLE, "name": "non-masquerade-cidrs" });
    let chain = json!({ "family": "ip", "table": TABLE, "name": "postrouting" });
    [
        (
            "table deleted",
            command(json!({ "delete": { "table": table } })),
        ),
        (
            "chain flushed",
            command(json!({ "flush": { "chain": chain } })),
        ),
        ("set flushed", command(json!({ "flush": { "set": set } }))),
        ("rule added", rule_added()),
    ]
}

fn rule_added() -> String {
    let rule =
        json!({ "family": "ip", "table": TABLE, "chain": TABLE, "expr": [{ "accept": null }] });
    command(json!({ "add": { "rule": rule } }))
}

fn command(command: Value) -> String {
    json!({ "nftables": [command] }).to_string()
}
