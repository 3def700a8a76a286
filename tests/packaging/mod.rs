//! What is delivered around the program: image, manifests, `make install`, licences.

// A test that cannot be set up must fail.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod chart;
mod image;
mod install;
mod licences;
mod manifests;
mod monitoring;
mod pages;
mod pushing;
mod sbom;
