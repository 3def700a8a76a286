//! What the daemon does with the kernel, its worker, its files and who asks it by HTTP, from start to end.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)] // in a test, that is a failure

#[path = "../support/mod.rs"]
mod support;

mod config_watch;
mod daemon;
mod events;
mod foreign_objects;
mod http;
mod in_place;
mod kernel;
mod missing_features;
mod observed;
mod ownership;
mod process_one;
mod races;
mod stuck_worker;
mod worker;

const DAEMON: &str = env!("CARGO_BIN_EXE_non-masquerade-daemon");
