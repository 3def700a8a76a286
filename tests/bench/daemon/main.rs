//! Times and sizes of the daemon, beside what libnftables alone and iptables need for the same in the same run:
//! `make bench`, or a part of it by its name, `cargo bench --bench daemon events`. Bounds are printed, and nothing fails because it took long.

// A benchmark that cannot be set up must fail.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code)] // tests/all.rs tells what no program uses.
#[path = "../../support/mod.rs"]
mod support;

mod beside;
mod change;
mod configurations;
mod connections;
mod events;
mod flow_nodes;
mod flow_sender;
mod flows;
mod footprint;
mod hands;
mod iptables;
mod memory;
mod netlink_buffer;
mod process;
mod resync;
mod samples;
mod start;
mod watched;
mod yardstick;

use std::fs;
use std::io;

const DAEMON: &str = env!("CARGO_BIN_EXE_non-masquerade-daemon");

fn main() -> io::Result<()> {
    let has_root = has_root_of_the_host()?;
    if !has_root {
        println!("10,000 CIDRs and more are left out: they need root (netlink send buffer).");
    }
    let most_cidrs = if has_root {
        usize::MAX
    } else {
        netlink_buffer::MOST_CIDRS_WITHOUT_ROOT
    };
    let wanted = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    type Part<'a> = (&'a str, &'a dyn Fn() -> io::Result<()>);
    let parts: [Part<'_>; 10] = [
        ("change", &|| change::print(most_cidrs)),
        ("beside", &|| beside::print(has_root)),
        ("flows", &|| flows::print(most_cidrs)),
        ("events", &|| events::print(most_cidrs)),
        ("hands", &|| hands::print(has_root)),
        ("start", &|| start::print(most_cidrs)),
        ("resync", &|| resync::print(most_cidrs)),
        ("memory", &|| memory::print(most_cidrs)),
        ("connections", &connections::print),
        ("footprint", &footprint::print),
    ];
    for (name, print) in parts {
        if wanted.as_deref().is_none_or(|wanted| wanted == name) {
            print()?;
        }
    }
    Ok(())
}

/// Whether root here is root of the initial user namespace, user_namespaces(7).
fn has_root_of_the_host() -> io::Result<bool> {
    let map = fs::read_to_string("/proc/self/uid_map")?;
    let all: Vec<&str> = map.split_whitespace().collect();
    Ok(all == ["0", "0", "4294967295"])
}
