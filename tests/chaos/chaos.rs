//! Everything at once, at random from a seed, under many new flows a second: `make chaos`.
//!
//! Files flip and are bad, others change the table, commit all the time and ask for what there is not, processes are
//! killed, stopped and limited. No flow has a wrong source but while a foreign hand's change is not yet undone, the kernel
//! is in step again after each of these, and nothing grows. It ends with a summary, and with 1 if something was not so.
//!
//! In the environment: `CHAOS_SECONDS`, `CHAOS_SEED` and `CHAOS_LIBNFTABLES` (`host`, `debian-13`; without it both, half of
//! the time each, where Debian 13's root is installed).

// What cannot be set up must fail, and its numbers are small.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

#[allow(dead_code)] // tests/all.rs tells what no program uses.
#[path = "../support/mod.rs"]
mod support;

mod acts;
mod beside;
mod conditions;
mod course;
mod damage;
mod dice;
mod disturbances;
mod files;
mod growth;
mod log;
mod subject;
mod summary;
mod timeline;

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use course::Course;
use dice::Dice;
use subject::Libnftables;

const DAEMON: &str = env!("CARGO_BIN_EXE_non-masquerade-daemon");

/// Ten minutes.
const SECONDS: u32 = 600;

fn main() -> ExitCode {
    let (seconds, seed) = match (number("CHAOS_SECONDS"), number("CHAOS_SEED")) {
        (Ok(seconds), Ok(seed)) => (
            seconds.unwrap_or(SECONDS),
            seed.unwrap_or_else(|| RandomState::new().hash_one(0)),
        ),
        (Err(error), _) | (_, Err(error)) => {
            eprintln!("chaos: {error}");
            return ExitCode::from(2);
        }
    };
    let chosen = match chosen_libnftables() {
        Ok(chosen) => chosen,
        Err(error) => {
            eprintln!("chaos: {error}");
            return ExitCode::from(2);
        }
    };
    println!("chaos for {seconds} s; again with CHAOS_SECONDS={seconds} CHAOS_SEED={seed}");
    let share = Duration::from_secs(seconds.into()) / chosen.len() as u32;
    let mut dice = Dice::new(seed);
    for libnftables in chosen {
        // A part of the run is the same whatever became of the part before.
        let dice = Dice::new(dice.roll());
        if let Err(error) = run(libnftables, share, dice) {
            eprintln!("chaos: {error}\nThe seed was {seed}.");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn run(libnftables: Libnftables, time: Duration, dice: Dice) -> io::Result<()> {
    let mut course = Course::begin(libnftables, dice)?;
    let result = course.run(time);
    println!("{}", course.summary());
    result.map_err(|error| io::Error::other(format!("{error}\n{}", course.last_words())))
}

fn number<T: std::str::FromStr>(variable: &str) -> Result<Option<T>, String> {
    match std::env::var(variable) {
        Ok(text) if !text.is_empty() => match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(format!("{variable}={text} is no number")),
        },
        _ => Ok(None),
    }
}

fn chosen_libnftables() -> Result<Vec<Libnftables>, String> {
    let chosen = match std::env::var("CHAOS_LIBNFTABLES").as_deref() {
        Ok("host") => vec![Libnftables::Host],
        Ok("debian-13") => vec![Libnftables::Debian13],
        Ok("") | Err(_) => {
            let mut both = vec![Libnftables::Host, Libnftables::Debian13];
            both.retain(|libnftables| libnftables.is_installed());
            both
        }
        Ok(other) => return Err(format!("CHAOS_LIBNFTABLES={other}: host or debian-13")),
    };
    match chosen
        .iter()
        .find(|libnftables| !libnftables.is_installed())
    {
        Some(_) => Err("Debian 13's root is not installed: make test does it for root".to_owned()),
        None => Ok(chosen),
    }
}
