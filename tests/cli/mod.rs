//! What a user types: each command, its words, exit codes and files.

// A test that cannot be set up must fail.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod cleanup;
mod command_line;
mod completions;
mod connections;
mod doctor;
mod explain;
mod fuzz_seeds;
mod golden;
mod help;
mod hostile_files;
mod log_lines;
mod man;
mod peer_configurations;
mod snat_address;
mod status;
