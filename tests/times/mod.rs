//! What takes or measures time: nothing else runs beside what measures.

// A test that cannot be set up must fail.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

// The benchmark's way to see when a change is done. It uses the rest of it.
#[allow(dead_code)]
#[path = "../bench/daemon/watched.rs"]
mod watched;

mod addresses;
mod opponents;
mod soak;
