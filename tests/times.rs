//! What takes or measures time: one test at a time, and no other program beside them.

#[allow(dead_code)] // tests/all.rs tells what no program uses.
mod support;
#[path = "times/mod.rs"]
mod times;

const DAEMON: &str = env!("CARGO_BIN_EXE_non-masquerade-daemon");
