//! What takes or measures time: nothing else runs beside what measures.

#[allow(dead_code)] // tests/all.rs tells what no program uses.
mod support;
#[path = "times/mod.rs"]
mod times;

const DAEMON: &str = env!("CARGO_BIN_EXE_non-masquerade-daemon");
