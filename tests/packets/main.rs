//! What packets show: how the pod's connections are treated under each key, judged by their receivers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)] // in a test, that is a failure

#[path = "../support/mod.rs"]
mod support;

mod competitors;
mod elements;
mod enforce;
mod features;
mod lab;
mod longest_prefix;
mod packets;
mod ports;
mod random_lists;
mod sources;

const DAEMON: &str = env!("CARGO_BIN_EXE_non-masquerade-daemon");
