//! Times and sizes of the daemon, each beside what libnftables alone needs for the same in the same run:
//! `make bench`, or a part of it by its name, `cargo bench --bench daemon events`. Bounds are printed, and nothing fails because it took long.

// A benchmark that cannot be set up must fail.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../support/mod.rs"]
mod support;

mod configurations;
mod events;
mod footprint;
mod hands;
mod memory;
#[allow(dead_code)] // Tests use the rest of it.
mod process;
mod reload;
mod resync;
mod samples;
mod start;
mod watched;
mod yardstick;

use std::fs;
use std::io;

const DAEMON: &str = env!("CARGO_BIN_EXE_non-masquerade-daemon");

/// More CIDRs than this in one transaction outgrow the netlink send buffer, unless root of the host raises
/// it: EMSGSIZE.
const MOST_CIDRS_WITHOUT_ROOT: usize = 1_000;

fn main() -> io::Result<()> {
    let has_root = has_root_of_the_host()?;
    if !has_root {
        println!("10,000 CIDRs are left out: they need root (netlink send buffer).");
    }
    let most_cidrs = if has_root {
        usize::MAX
    } else {
        MOST_CIDRS_WITHOUT_ROOT
    };
    let wanted = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    type Part<'a> = (&'a str, &'a dyn Fn() -> io::Result<()>);
    let parts: [Part<'_>; 7] = [
        ("reload", &|| reload::print(most_cidrs)),
        ("events", &events::print),
        ("hands", &|| hands::print(has_root)),
        ("start", &|| start::print(most_cidrs)),
        ("resync", &|| resync::print(most_cidrs)),
        ("memory", &|| memory::print(most_cidrs)),
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
