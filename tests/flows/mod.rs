//! No flow is mistreated in a change, nor whoever works against it: tens of thousands of new connections a second, one such
//! test at a time.

// A test that cannot be set up must fail.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod addresses;
mod ending;
mod feature_flips;
mod flips;
mod moving_over;
mod opponents;
mod switches;
mod taking_over;
