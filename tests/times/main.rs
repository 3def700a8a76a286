//! What takes or measures time: one test at a time, and no other program beside them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)] // in a test, that is a failure

#[path = "../support/mod.rs"]
mod support;

// The benchmark's way to see when a change is done, what the kernel counts for a process, and files that cost much: their
// full size is a benchmark.
#[path = "../bench/hostile_files/inputs.rs"]
mod inputs;
#[allow(dead_code)] // The benchmark uses the rest of both.
#[path = "../bench/daemon/process.rs"]
mod process;
#[allow(dead_code)]
#[path = "../bench/daemon/watched.rs"]
mod watched;

mod bad_times;
mod hostile_files;
mod opponents;
mod soak;

const DAEMON: &str = env!("CARGO_BIN_EXE_non-masquerade-daemon");
