//! The pages for people who use or change the daemon: what they say is what the program does, what a reader would paste
//! works as it stands, and links lead somewhere.

// In a test, what cannot be unwrapped is a failure.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod kubectl;
mod links;
mod output;
mod page;
mod promises;
mod shell;
#[path = "../support/mod.rs"]
mod support;
mod tables;
mod yaml;

const DAEMON: &str = env!("CARGO_BIN_EXE_non-masquerade-daemon");
/// The sample configuration, with which the pages show what they show.
const SAMPLE: &str = include_str!("../../daemon-config/config");
