//! What packets show: how the pod's connections are treated under each key, judged by their receivers.

// A test that cannot be set up must fail.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod competitors;
mod connections;
mod conntrack;
mod drop_invalid;
mod edges;
mod elements;
mod enforce;
mod features;
mod interfaces;
mod lab;
mod longest_prefix;
mod ports;
mod random_lists;
mod snat_address;
mod sources;
