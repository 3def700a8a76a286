//! Times and sizes of the daemon, each beside what libnftables alone needs for the same in the same run:
//! `make bench`. Bounds are printed, and nothing fails because it took long.

// A benchmark that cannot be set up must fail.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../support/mod.rs"]
mod support;

mod configurations;
mod events;
mod footprint;
mod memory;
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
    reload::print(most_cidrs)?;
    events::print()?;
    start::print(most_cidrs)?;
    resync::print(most_cidrs)?;
    memory::print(most_cidrs)?;
    footprint::print()
}

/// Whether root here is root of the initial user namespace, user_namespaces(7).
fn has_root_of_the_host() -> io::Result<bool> {
    let map = fs::read_to_string("/proc/self/uid_map")?;
    let all: Vec<&str> = map.split_whitespace().collect();
    Ok(all == ["0", "0", "4294967295"])
}
