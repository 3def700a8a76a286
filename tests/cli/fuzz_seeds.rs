//! What `make fuzz` looks for, without looking long: the properties of its targets hold for its seeds, whatever the
//! fuzzer has found among them, and for random changes of these.

#[path = "../fuzz/properties/mod.rs"]
mod properties;

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestRunner;

use properties::TARGETS;

fn fuzz_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
}

fn names_in(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// The seeds of a target, with their names.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = fuzz_directory().join("seeds").join(target);
    let names = names_in(&directory).into_iter();
    names
        .map(|name| {
            let bytes = fs::read(directory.join(&name)).unwrap();
            (name, bytes)
        })
        .collect()
}

/// One step of a random change.
#[derive(Debug, Clone)]
enum Step {
    Replace(Index, u8),
    Remove(Index, usize),
    Repeat(Index, usize),
    /// Goes on as another seed does from some place.
    GoOnAs(Index, Index, Index),
}

fn step() -> impl Strategy<Value = Step> {
    let place = any::<Index>;
    prop_oneof![
        (place(), any::<u8>()).prop_map(|(at, byte)| Step::Replace(at, byte)),
        (place(), 1..20_usize).prop_map(|(at, length)| Step::Remove(at, length)),
        (place(), 1..200_usize).prop_map(|(at, length)| Step::Repeat(at, length)),
        (place(), place(), place()).prop_map(|(at, seed, from)| Step::GoOnAs(at, seed, from)),
    ]
}

fn change(bytes: &mut Vec<u8>, step: &Step, seeds: &[(String, Vec<u8>)]) {
    let end = |at: usize, length: usize, bytes: &[u8]| bytes.len().min(at + length);
    let within = |at: &Index, bytes: &[u8]| at.index(bytes.len() + 1);
    match step {
        Step::Replace(at, byte) => {
            let at = within(at, bytes);
            bytes.splice(at..end(at, 1, bytes), [*byte]);
        }
        Step::Remove(at, length) => {
            let at = within(at, bytes);
            bytes.drain(at..end(at, *length, bytes));
        }
        Step::Repeat(at, length) => {
            let at = within(at, bytes);
            let repeated = bytes[at..end(at, *length, bytes)].to_vec();
            bytes.splice(at..at, repeated);
        }
        Step::GoOnAs(at, seed, from) => {
            let (_, other) = seed.get(seeds);
            bytes.truncate(within(at, bytes));
            bytes.extend_from_slice(&other[within(from, other)..]);
        }
    }
}

/// Tries random changes of a target's seeds.
fn assert_holds_for_changed_seeds(target: &str) {
    let (_, property) = TARGETS
        .into_iter()
        .find(|(name, _)| *name == target)
        .unwrap();
    let seeds = seeds(target);
    let changed =
        (any::<Index>(), prop::collection::vec(step(), 1..6)).prop_map(|(seed, steps)| {
            let (_, mut bytes) = seed.get(&seeds).clone();
            for step in &steps {
                change(&mut bytes, step, &seeds);
            }
            bytes
        });
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 1_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let tried = runner.run(&changed, |bytes| {
        property(&bytes);
        Ok(())
    });
    assert!(tried.is_ok(), "{}", tried.unwrap_err());
}

#[test]
fn each_target_has_seeds_and_a_dictionary() {
    let targets: BTreeSet<String> = TARGETS.map(|(name, _)| name.to_owned()).into();
    for what in ["seeds", "dictionaries"] {
        assert_eq!(names_in(&fuzz_directory().join(what)), targets, "{what}");
    }
    assert!(targets.iter().all(|target| !seeds(target).is_empty()));
}

#[test]
fn each_seed_holds_what_its_target_promises() {
    for (target, property) in TARGETS {
        for (name, bytes) in seeds(target) {
            let held = catch_unwind(|| property(&bytes));
            assert!(held.is_ok(), "{target}/{name}");
        }
    }
}

#[test]
fn whatever_a_configuration_says_it_is_judged_and_means_the_same_when_written_out() {
    assert_holds_for_changed_seeds("configuration");
}

#[test]
fn whatever_a_foreign_table_holds_it_is_searched() {
    assert_holds_for_changed_seeds("listing");
}

#[test]
fn whatever_the_kernel_sends_comes_to_an_end() {
    assert_holds_for_changed_seeds("notifications");
}

#[test]
fn whatever_the_worker_and_the_daemon_say_goes_there_and_back_in_one_line() {
    assert_holds_for_changed_seeds("worker_protocol");
}
