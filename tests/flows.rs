//! No flow is mistreated in a change, nor whoever works against it: tens of thousands of new connections a second, one such
//! test at a time.

#[path = "flows/mod.rs"]
mod flows;
#[allow(dead_code)] // tests/all.rs tells what no program uses.
mod support;

const DAEMON: &str = env!("CARGO_BIN_EXE_non-masquerade-daemon");
