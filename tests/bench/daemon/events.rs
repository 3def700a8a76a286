//! File swapped → rules in the kernel, and foreign commit → repaired; without a signal.

use std::ffi::CString;
use std::io;
use std::thread;
use std::time::Duration;

use non_masquerade_daemon::kernel::libnftables::{Context, Mode};
use serde_json::{Value, json};

use crate::configurations::{Flip, with_separators};
use crate::samples::{Samples, print_head, print_line, ratio, verdict};
use crate::support::foreign_hands::exempt_set;
use crate::support::netns::Namespace;
use crate::support::nft::TABLE;
use crate::watched::Watched;
use crate::yardstick::{Lost, Yardstick, deletion};

/// How often libnftables' own time a repair may take, from the return of the foreign commit, with [`BOUND_CIDRS`].
const BOUND_RATIO: f64 = 3.0;
const BOUND_CIDRS: usize = 64;

/// How many CIDRs, and how many events of each kind. A swap with 50,000 is a part of its own, `change`.
const CASES: [(usize, usize); 4] = [(4, 40), (BOUND_CIDRS, 100), (1_000, 40), (10_000, 10)];
/// Longer than daemon and worker need to come to rest, and the CPU to sleep. Before a repair also because no more than ten
/// a second are made for long.
const REST: Duration = Duration::from_millis(100);

/// What others do, by the set that is in use, and what is to be made anew then.
type Hand = (&'static str, fn(&str) -> String, Lost);

const HANDS: [Hand; 4] = [
    ("table deleted", table_deleted, Lost::Table),
    ("chain flushed", chain_flushed, Lost::Rules),
    ("set flushed", set_flushed, Lost::Set),
    ("rule added", rule_added, Lost::Rules),
];

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
    let flip = Flip::one_of(cidrs);
    let (namespace, alone) = (Namespace::new()?, Namespace::new()?);
    let (mut watched, _) = Watched::start(&namespace, &flip.file(0))?;
    let mut samples = Samples::default();
    // An even number of times, so that it is in version 0 again.
    for version in 1..=n.next_multiple_of(2) {
        thread::sleep(REST);
        samples.push(watched.swap(&flip.file(version))?.in_kernel);
    }
    print_line("file swapped, one changed", &samples, None, "");
    for hand in HANDS {
        let ours = namespace.run(|| repairs(&namespace, &mut watched, hand, n))?;
        let mended = alone.run(|| mended_alone(&alone, flip, hand, n))?;
        print_line(hand.0, &ours, Some(&mended), &judged(cidrs, &ours, &mended));
        print_line("  libnftables alone", &mended, Some(&mended), "");
    }
    Ok(())
}

fn judged(cidrs: usize, samples: &Samples, yardstick: &Samples) -> String {
    if cidrs != BOUND_CIDRS {
        return String::new();
    }
    let ratio = ratio(samples.median(), yardstick.median());
    verdict("at most 3 times", ratio <= BOUND_RATIO)
}

/// In the daemon's namespace: a context has its socket where it is made.
fn repairs(
    namespace: &Namespace,
    watched: &mut Watched,
    (_, damage, _): Hand,
    n: usize,
) -> io::Result<Samples> {
    let mut context = Context::new().map_err(io::Error::other)?;
    let mut samples = Samples::default();
    for _ in 0..n {
        thread::sleep(REST);
        let document = CString::new(damage(&exempt_set(namespace)?))?;
        let repaired = watched.repair(|| match context.run(&document, Mode::Full) {
            said if said.succeeded => Ok(()),
            said => Err(io::Error::other(said.error)),
        })?;
        samples.push(repaired);
    }
    Ok(samples)
}

/// The same damage mended by libnftables alone, with the documents that the daemon sends; it does not look first what is
/// damaged.
fn mended_alone(
    namespace: &Namespace,
    flip: Flip,
    (_, damage, lost): Hand,
    n: usize,
) -> io::Result<Samples> {
    let mut yardstick = Yardstick::new(namespace)?;
    let ruleset = flip.ruleset(0)?;
    let creation = yardstick.creation(&ruleset)?;
    yardstick.apply(&creation)?;
    let mending = yardstick.mending(&ruleset, lost)?;
    let mut samples = Samples::default();
    for _ in 0..n {
        thread::sleep(REST);
        let damage = damage(&yardstick.set());
        samples.push(yardstick.mend(&damage, &mending)?);
    }
    yardstick.apply(&[deletion()?])?;
    Ok(samples)
}

fn table_deleted(_set: &str) -> String {
    let table = json!({ "family": "ip", "name": TABLE });
    command(json!({ "delete": { "table": table } }))
}

fn chain_flushed(_set: &str) -> String {
    let chain = json!({ "family": "ip", "table": TABLE, "name": "postrouting" });
    command(json!({ "flush": { "chain": chain } }))
}

fn set_flushed(set: &str) -> String {
    let set = json!({ "family": "ip", "table": TABLE, "name": set });
    command(json!({ "flush": { "set": set } }))
}

fn rule_added(_set: &str) -> String {
    let rule =
        json!({ "family": "ip", "table": TABLE, "chain": TABLE, "expr": [{ "accept": null }] });
    command(json!({ "add": { "rule": rule } }))
}

fn command(command: Value) -> String {
    json!({ "nftables": [command] }).to_string()
}
