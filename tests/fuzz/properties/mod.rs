//! What holds whatever the bytes are, one property for each reader of what others wrote. `make fuzz` looks for bytes of
//! which it does not hold; tests/cli/fuzz_seeds.rs tries the seeds, and random changes of them.

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

/// Panics where something does not hold of the bytes.
pub(crate) type Property = fn(&[u8]);

/// Each target: its name, which its directory of seeds has, and its property.
pub(crate) const TARGETS: [(&str, Property); 4] = [
    ("configuration", configuration::hold),
    ("listing", listing::hold),
    ("notifications", notifications::hold),
    ("worker_protocol", worker_protocol::hold),
];
