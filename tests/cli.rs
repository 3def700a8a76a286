//! What a user types: each command, its words, exit codes and files.

#[path = "cli/mod.rs"]
mod cli;
#[allow(dead_code)] // tests/all.rs tells what no program uses.
mod support;

const DAEMON: &str = env!("CARGO_BIN_EXE_non-masquerade-daemon");
