//! What the integration tests share: throw-away namespaces, real packets, the daemon as a process.

// Each program compiles this module for itself and uses its own part of it: tests/all.rs tells what none uses.
#![allow(unreachable_pub)]
// A test that cannot be set up must fail, and its numbers are small.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

pub mod competitors;
pub mod container;
pub mod daemon;
pub mod destinations;
pub mod flows;
pub mod foreign_hands;
pub mod generations;
pub mod hand;
pub mod hostile_files;
pub mod http;
pub mod ip_masq_agent;
pub mod json_schema;
pub mod judged;
pub mod lab;
pub mod listing;
pub mod moments;
pub mod netlink;
pub mod netns;
pub mod nft;
pub mod opponent;
pub mod oracle;
pub mod outcome;
pub mod picky;
pub mod poison;
pub mod probe;
pub mod process;
pub mod programmed;
pub mod root_file_system;
pub mod security_context;
pub mod service;
pub mod turn;
pub mod unnameable;
pub mod volume;
pub mod wire;

use std::io;
use std::time::{Duration, Instant};

/// How many times slower this machine is than those that limits were set for: `TIME_FACTOR`, for an emulated one.
pub fn time_factor() -> u32 {
    let factor = std::env::var("TIME_FACTOR").ok();
    factor.map_or(1, |factor| factor.parse().expect("TIME_FACTOR: a number"))
}

/// Asks again and again until the answer is yes. An error after `limit`, which is longer on a slow machine.
pub fn wait_until(limit: Duration, mut question: impl FnMut() -> bool) -> io::Result<()> {
    let limit = limit * time_factor();
    let started = Instant::now();
    while !question() {
        if started.elapsed() > limit {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("not within {limit:?}"),
            ));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Takes a port that a socket had which is closed already. A process that another test is just starting
/// may hold a copy of that socket until it executes its program.
pub fn bind_soon<T>(mut bind: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut bound = bind();
    // The answer to a wait that took too long is the last attempt's error.
    let _ = wait_until(Duration::from_secs(2), || {
        let in_use = bound
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse);
        if in_use {
            bound = bind();
        }
        !in_use
    });
    bound
}
