//! What the daemon does with the kernel, its worker, its files and who asks it by HTTP, from start to end.

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

mod bad_times;
mod config_watch;
mod events;
mod following;
mod foreign_objects;
mod http;
mod in_place;
mod kernel;
mod missing_features;
mod observed;
mod over_time;
mod ownership;
mod process_one;
mod races;
mod soak;
mod stuck_worker;
mod worker;
