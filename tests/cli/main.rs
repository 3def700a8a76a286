//! What a user types: each command, its words, exit codes and files.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)] // in a test, that is a failure

#[path = "../support/mod.rs"]
mod support;

mod cleanup;
mod command_line;
mod doctor;
mod explain;
mod fuzz_seeds;
mod golden;
mod help;
mod log_lines;
mod peer_configurations;
mod status;

const DAEMON: &str = env!("CARGO_BIN_EXE_non-masquerade-daemon");
