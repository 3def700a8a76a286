//! No flow is mistreated in a change: tens of thousands of new connections a second, one such test at a time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)] // in a test, that is a failure

#[path = "../support/mod.rs"]
mod support;

mod feature_flips;
mod flips;
mod moving_over;
mod switches;
mod taking_over;

const DAEMON: &str = env!("CARGO_BIN_EXE_non-masquerade-daemon");
