//! File swapped → rules in the kernel, and foreign commit → repaired; without a signal.

use std::io;
use std::time::Duration;

use non_masquerade_daemon::kernel::libnftables::Context;
use serde_json::{Value, json};

use crate::configurations::Flip;
use crate::samples::{Samples, print_head, print_line, verdict};
use crate::support::netns::Namespace;
use crate::support::nft::TABLE;
use crate::watched::Watched;

const CIDRS: usize = 64;
const N: usize = 200;
/// From the rename to the kernel, at p99.
const SWAP_BOUND: Duration = Duration::from_millis(3);
/// From the foreign commit's return to the kernel, at p99.
const REPAIR_BOUND: Duration = Duration::from_millis(2);

/// Prints the table.
pub(crate) fn print() -> io::Result<()> {
    print_head(
        "File renamed into place, or table changed by another process, and no signal (64 CIDRs)",
    );
    let swapped = Flip::one_of(CIDRS);
    let namespace = Namespace::new()?;
    let (mut watched, _) = Watched::start(&namespace, &swapped.file(0))?;
    let mut samples = Samples::default();
    for version in 1..=N {
        samples.push(watched.swap(&swapped.file(version))?.in_kernel);
    }
    let judged = verdict("p99 at most 3 ms", samples.percentile(99) <= SWAP_BOUND);
    print_line("file swapped, one changed", &samples, &samples, &judged);
    for (name, document) in foreign_hands() {
        let samples = namespace.run(|| repairs(&mut watched, &document))?;
        let judged = verdict("p99 at most 2 ms", samples.percentile(99) <= REPAIR_BOUND);
        print_line(name, &samples, &samples, &judged);
    }
    Ok(())
}

/// In the daemon's namespace: a context has its socket where it is made.
fn repairs(watched: &mut Watched, document: &str) -> io::Result<Samples> {
    let mut hand = Context::new().map_err(io::Error::other)?;
    let mut samples = Samples::default();
    for _ in 0..N {
        let done = watched.repair(|| match hand.run_str(document)? {
            said if said.succeeded => Ok(()),
            said => Err(io::Error::other(said.error)),
        })?;
        samples.push(done.in_kernel);
    }
    Ok(samples)
}

/// What is done to the table, as libnftables' JSON.
fn foreign_hands() -> [(&'static str, String); 4] {
    let table = json!({ "family": "ip", "name": TABLE });
    let set = json!({ "family": "ip", "table": TABLE, "name": "non-masquerade-cidrs" });
    let chain = json!({ "family": "ip", "table": TABLE, "name": "postrouting" });
    let rule =
        json!({ "family": "ip", "table": TABLE, "chain": TABLE, "expr": [{ "accept": null }] });
    let command = |command: Value| json!({ "nftables": [command] }).to_string();
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
        ("rule added", command(json!({ "add": { "rule": rule } }))),
    ]
}
