//! What holds whatever the bytes are, one function for each reader of what others wrote: it panics where something does
//! not hold. `make fuzz` looks for bytes that do that; tests/fuzz_seeds.rs tries the seeds, and random changes of them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)] // that is how it fails

mod configuration;
mod listing;
mod notifications;
mod worker_protocol;

/// Each target: its name, which its directory of seeds has, and its property.
pub(crate) const TARGETS: [(&str, fn(&[u8])); 4] = [
    ("configuration", configuration::hold),
    ("listing", listing::hold),
    ("notifications", notifications::hold),
    ("worker_protocol", worker_protocol::hold),
];
