//! What is delivered around the program: image, manifests, `make install`, licences.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)] // in a test, that is a failure

#[path = "../support/mod.rs"]
mod support;

mod image;
mod install;
mod licences;
mod manifests;
mod promises;
mod pushing;

const DAEMON: &str = env!("CARGO_BIN_EXE_non-masquerade-daemon");
