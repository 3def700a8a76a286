//! What the daemon does with the kernel, its worker, its files and who asks it by HTTP, from start to end.

#[path = "daemon/mod.rs"]
mod daemon;
#[allow(dead_code)] // tests/all.rs tells what no program uses.
mod support;

const DAEMON: &str = env!("CARGO_BIN_EXE_non-masquerade-daemon");
