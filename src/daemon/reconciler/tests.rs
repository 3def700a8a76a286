//! The reconciler, event by event, with a clock of its own.

mod commits;
mod convergence;

use std::rc::Rc;

use super::*;
use crate::config::{Flags, defaults};
use crate::daemon::pace::{LAST_RETRY, retry_after};
use crate::policy::Policy;
use crate::ruleset::{ChosenNames, Tables};

const SECOND: Duration = Duration::from_secs(1);

fn desired(table: &str) -> Desired {
    let flags = Flags::default();
    let names = ChosenNames {
        table: table.to_owned(),
        masq_chain: "m".to_owned(),
    };
    let policy = Policy::new(&defaults(&flags));
    Desired {
        tables: Rc::new(Tables::new(&policy, &names)),
        policy: Rc::new(policy),
        resync_interval: 60 * SECOND,
    }
}

/// Read from a file.
fn good(table: &str) -> Reading {
    Reading::Good {
        desired: desired(table),
        files: vec!["file".into()],
        empty_files: Vec::new(),
    }
}

/// Read from a file that is bad.
fn bad() -> Reading {
    Reading::Bad {
        files: vec!["file".into()],
        may_pass: false,
    }
}

/// Of a file that cannot be read.
fn unreadable() -> Reading {
    Reading::Bad {
        files: vec!["file".into()],
        may_pass: true,
    }
}

/// Read where there is none.
fn absent(table: &str) -> Reading {
    Reading::Good {
        desired: desired(table),
        files: Vec::new(),
        empty_files: Vec::new(),
    }
}

fn read(while_written: bool) -> Option<Action> {
    Some(Action::Read { while_written })
}

fn sync(table: &str) -> Option<Action> {
    Some(Action::Sync(desired(table)))
}

fn done(outcome: Outcome) -> Event {
    let differences = match outcome {
        Outcome::Differed => "drift".to_owned(),
        _ => String::new(),
    };
    Event::Done {
        outcome,
        differences,
    }
}

/// A reconciler that has applied the table `a` from a file, and the time.
fn in_step() -> (Reconciler, Instant) {
    let now = Instant::now();
    let mut reconciler = Reconciler::new(1);
    assert_eq!(reconciler.on(Event::ReloadRequested, now), read(false));
    assert_eq!(reconciler.on(Event::Read(good("a")), now), sync("a"));
    assert_eq!(reconciler.deadline(), None);
    assert_eq!(reconciler.on(done(Outcome::InStep), now), None);
    assert_eq!(reconciler.deadline(), Some(now + 60 * SECOND));
    (reconciler, now)
}

#[test]
fn a_bad_file_leaves_the_last_good_policy_in_force_and_under_repair() {
    let (mut reconciler, start) = in_step();
    let now = start + 60 * SECOND;
    assert_eq!(reconciler.on(Event::DeadlineReached, now), read(false));
    assert_eq!(reconciler.on(Event::Read(bad()), now), sync("a"));
}

/// That a descriptor is free again is told by nothing.
#[test]
fn a_file_that_cannot_be_read_is_read_again_later_and_later() {
    let (mut reconciler, mut now) = in_step();
    reconciler.on(Event::FileMayHaveChanged, now);
    let mut wait = Duration::ZERO;
    for readings in 1..12 {
        assert_eq!(reconciler.on(Event::Read(unreadable()), now), None);
        wait = reconciler.deadline().unwrap() - now;
        assert!(wait <= retry_after(readings) && wait >= retry_after(readings) / 2);
        now += wait;
        assert_eq!(reconciler.on(Event::DeadlineReached, now), read(false));
        reconciler.resync_due = now.checked_add(60 * SECOND);
    }
    assert!(wait >= LAST_RETRY / 2);
    assert_eq!(reconciler.on(Event::Read(good("b")), now), sync("b"));
    reconciler.on(done(Outcome::InStep), now);
    assert_eq!(reconciler.deadline(), Some(now + 60 * SECOND));
}

/// The last of them is what is to be read soon.
#[test]
fn many_changes_of_a_file_that_cannot_be_read_do_not_put_off_the_next_reading() {
    let (mut reconciler, now) = in_step();
    for _ in 0..20 {
        reconciler.on(Event::FileMayHaveChanged, now);
        assert_eq!(reconciler.on(Event::Read(unreadable()), now), None);
        assert!(reconciler.deadline().unwrap() <= now + retry_after(1));
    }
}

#[test]
fn an_unreadable_file_at_first_start_is_read_again_as_well() {
    let now = Instant::now();
    let mut reconciler = Reconciler::new(1);
    reconciler.on(Event::ReloadRequested, now);
    assert_eq!(reconciler.on(Event::Read(unreadable()), now), None);
    let due = reconciler.deadline().unwrap();
    assert!(due <= now + retry_after(1));
    assert_eq!(reconciler.on(Event::DeadlineReached, due), read(false));
    assert_eq!(reconciler.on(Event::Read(good("b")), due), sync("b"));
}

#[test]
fn a_bad_file_at_first_start_writes_nothing_until_one_is_good() {
    let now = Instant::now();
    let mut reconciler = Reconciler::new(1);
    reconciler.on(Event::ReloadRequested, now);
    assert_eq!(reconciler.on(Event::Read(bad()), now), None);
    assert_eq!(reconciler.deadline(), Some(now + FIRST_RESYNC_INTERVAL));
    reconciler.on(Event::DeadlineReached, now);
    assert_eq!(reconciler.on(Event::Read(good("b")), now), sync("b"));
}

/// An editor may move it away to write a better one.
#[test]
fn a_bad_file_at_first_start_that_is_gone_for_a_moment_does_not_bring_the_defaults() {
    let now = Instant::now();
    let mut reconciler = Reconciler::new(1);
    reconciler.on(Event::ReloadRequested, now);
    assert_eq!(reconciler.on(Event::Read(bad()), now), None);
    reconciler.on(Event::FileMayHaveChanged, now);
    assert_eq!(reconciler.on(Event::Read(absent("d")), now), None);
    assert_eq!(reconciler.deadline(), Some(now + LOOK_AGAIN));
    let later = now + SECOND;
    assert_eq!(reconciler.on(Event::DeadlineReached, later), read(true));
    assert_eq!(
        reconciler.on(Event::Read(absent("d")), later),
        sync("d"),
        "after a second it is gone"
    );
}

#[test]
fn a_reload_during_a_sync_comes_after_it_once() {
    let (mut reconciler, now) = in_step();
    reconciler.on(Event::ReloadRequested, now);
    reconciler.on(Event::Read(good("b")), now);
    assert_eq!(reconciler.on(Event::ReloadRequested, now), None);
    assert_eq!(reconciler.on(Event::ReloadRequested, now), None);
    assert_eq!(reconciler.on(done(Outcome::InStep), now), read(false));
    reconciler.on(Event::Read(good("b")), now);
    assert_eq!(reconciler.on(done(Outcome::InStep), now), None);
}

#[test]
fn failures_are_retried_later_and_later_but_never_later_than_the_resync() {
    let (mut reconciler, mut now) = in_step();
    reconciler.on(Event::ReloadRequested, now);
    let mut last = Duration::ZERO;
    for failures in 1..40 {
        reconciler.on(Event::Read(bad()), now);
        reconciler.on(done(Outcome::Failed), now);
        last = reconciler.deadline().unwrap() - now;
        assert!(last <= retry_after(failures) && last >= retry_after(failures) / 2);
        now += last;
        assert_eq!(reconciler.on(Event::DeadlineReached, now), read(false));
    }
    assert!(last >= LAST_RETRY / 2);
    reconciler.on(Event::Read(bad()), now);
    reconciler.on(done(Outcome::InStep), now);
    assert_eq!(reconciler.deadline(), Some(now + 60 * SECOND));
}

/// What is to be in force when the trouble is over is the last of them.
#[test]
fn many_changes_that_fail_do_not_put_off_the_next_retry() {
    let (mut reconciler, now) = in_step();
    for table in (0..20).map(|n| n.to_string()) {
        reconciler.on(Event::FileMayHaveChanged, now);
        assert_eq!(reconciler.on(Event::Read(good(&table)), now), sync(&table));
        reconciler.on(done(Outcome::Failed), now);
        assert!(reconciler.deadline().unwrap() <= now + retry_after(1));
    }
}

#[test]
fn a_table_that_another_owns_is_looked_at_every_second() {
    // Sooner at first: the owner may have been killed a moment ago.
    assert_eq!(
        waits_for_owners(&[false; 10]),
        [10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000]
    );
}

#[test]
fn a_table_that_another_owns_is_looked_at_every_second_also_beside_one_that_fails() {
    let (mut reconciler, mut now) = in_step();
    now += 60 * SECOND;
    for _ in 0..20 {
        assert_eq!(reconciler.on(Event::DeadlineReached, now), read(false));
        reconciler.on(Event::Read(bad()), now);
        let outcomes = [Outcome::Failed, Outcome::Owned { is_ending: false }];
        let of_both = outcomes.into_iter().max().unwrap();
        reconciler.on(done(of_both), now);
        let due = reconciler.deadline().unwrap();
        assert!(due <= now + SECOND);
        now = due;
    }
}

/// nf_tables lets go of what a socket owned when that is closed, which waits for the commits that are under way; the
/// process is gone before.
#[test]
fn an_owner_that_is_not_to_be_seen_any_more_is_looked_at_soon() {
    let mut owners = [false; 12];
    owners[9] = true;
    assert_eq!(waits_for_owners(&owners)[7..], [1000, 1000, 10, 20, 40]);
}

/// The milliseconds until the next look, after looks that found an owner that is ending or not.
fn waits_for_owners(are_ending: &[bool]) -> Vec<u128> {
    let (mut reconciler, now) = in_step();
    let looks = are_ending.iter().map(|&is_ending| {
        reconciler.on(Event::ReloadRequested, now);
        reconciler.on(Event::Read(bad()), now);
        reconciler.on(done(Outcome::Owned { is_ending }), now);
        (reconciler.deadline().unwrap() - now).as_millis()
    });
    looks.collect()
}

#[test]
fn a_file_that_goes_counts_as_gone_after_a_second() {
    let (mut reconciler, start) = in_step();
    let mut now = start;
    reconciler.on(Event::ReloadRequested, now);
    while now - start < SECOND {
        assert_eq!(reconciler.on(Event::Read(absent("d")), now), None);
        now = reconciler.deadline().unwrap();
        assert!(matches!(
            reconciler.on(Event::DeadlineReached, now),
            Some(Action::Read { .. })
        ));
    }
    assert_eq!(reconciler.on(Event::Read(absent("d")), now), sync("d"));
}

#[test]
fn a_file_that_comes_back_within_the_second_never_was_gone() {
    let (mut reconciler, now) = in_step();
    reconciler.on(Event::ReloadRequested, now);
    reconciler.on(Event::Read(absent("d")), now);
    reconciler.on(Event::DeadlineReached, now + LOOK_AGAIN);
    let good = Event::Read(good("b"));
    assert_eq!(reconciler.on(good, now + LOOK_AGAIN), sync("b"));
    reconciler.on(done(Outcome::InStep), now + LOOK_AGAIN);
    reconciler.on(Event::ReloadRequested, now + 5 * SECOND);
    let absent = Event::Read(absent("d"));
    assert_eq!(
        reconciler.on(absent, now + 5 * SECOND),
        None,
        "the second starts anew"
    );
}

#[test]
fn without_a_file_from_the_start_the_defaults_come_at_once() {
    let now = Instant::now();
    let mut reconciler = Reconciler::new(1);
    reconciler.on(Event::ReloadRequested, now);
    assert_eq!(reconciler.on(Event::Read(absent("d")), now), sync("d"));
}

#[test]
fn a_file_that_is_written_is_waited_for_a_second_and_then_read_as_it_is() {
    let (mut reconciler, start) = in_step();
    let mut now = start;
    let mut action = reconciler.on(Event::ReloadRequested, now);
    while action == read(false) {
        assert_eq!(reconciler.on(Event::Read(Reading::BeingWritten), now), None);
        now = reconciler.deadline().unwrap();
        action = reconciler.on(Event::DeadlineReached, now);
    }
    assert_eq!(action, read(true));
    assert!(now - start >= SECOND && now - start < SECOND + 2 * LOOK_AGAIN);
}

#[test]
fn an_interval_of_centuries_is_no_overflow() {
    let now = Instant::now();
    let mut reconciler = Reconciler::new(1);
    reconciler.on(Event::ReloadRequested, now);
    let desired = Desired {
        resync_interval: Duration::MAX,
        ..desired("a")
    };
    reconciler.on(
        Event::Read(Reading::Good {
            desired,
            files: Vec::new(),
            empty_files: Vec::new(),
        }),
        now,
    );
    assert_eq!(reconciler.on(done(Outcome::InStep), now), None);
    assert_eq!(reconciler.deadline(), None);
}

#[test]
fn a_change_near_the_file_that_changes_nothing_needs_no_sync_and_moves_no_resync() {
    let (mut reconciler, start) = in_step();
    let now = start + SECOND;
    assert_eq!(reconciler.on(Event::FileMayHaveChanged, now), read(false));
    assert_eq!(reconciler.on(Event::Read(good("a")), now), None);
    assert_eq!(reconciler.deadline(), Some(start + 60 * SECOND));
    reconciler.on(Event::FileMayHaveChanged, now);
    assert_eq!(reconciler.on(Event::Read(good("b")), now), sync("b"));
}

#[test]
fn one_of_several_files_that_goes_is_waited_for_and_one_that_says_nothing_is_not() {
    let (mut reconciler, start) = in_step();
    let reading = |table: &str, files: &[&str], empty_files: &[&str]| {
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect();
        Event::Read(Reading::Good {
            desired: desired(table),
            files: paths(files),
            empty_files: paths(empty_files),
        })
    };
    reconciler.on(Event::FileMayHaveChanged, start);
    let three = reading("b", &["file", "other", "4913"], &["4913"]);
    assert_eq!(reconciler.on(three, start), sync("b"));
    reconciler.on(done(Outcome::Differed), start);
    // The empty one goes.
    reconciler.on(Event::FileMayHaveChanged, start);
    assert_eq!(
        reconciler.on(reading("b", &["file", "other"], &[]), start),
        None
    );
    assert!(!reconciler.waits_for_a_file());
    // A file that is emptied is there.
    reconciler.on(Event::FileMayHaveChanged, start);
    let emptied = reading("c", &["file", "other"], &["other"]);
    assert_eq!(reconciler.on(emptied, start), sync("c"));
    reconciler.on(done(Outcome::Differed), start);
    reconciler.on(Event::FileMayHaveChanged, start);
    let filled = reading("b", &["file", "other"], &[]);
    assert_eq!(reconciler.on(filled, start), sync("b"));
    reconciler.on(done(Outcome::Differed), start);
    reconciler.on(Event::FileMayHaveChanged, start);
    assert_eq!(reconciler.on(reading("d", &["file"], &[]), start), None);
    assert!(reconciler.waits_for_a_file());
    let later = start + SECOND;
    reconciler.on(Event::DeadlineReached, later);
    assert_eq!(
        reconciler.on(reading("d", &["file"], &[]), later),
        sync("d")
    );
}

#[test]
fn what_happens_near_the_file_during_a_pass_is_read_and_what_is_the_same_not_synced_again() {
    let (mut reconciler, now) = in_step();
    reconciler.on(Event::ReloadRequested, now);
    reconciler.on(Event::Read(good("b")), now);
    assert_eq!(reconciler.on(Event::FileMayHaveChanged, now), None);
    assert_eq!(reconciler.on(done(Outcome::Differed), now), read(false));
    assert_eq!(reconciler.on(Event::Read(good("b")), now), None);
    reconciler.on(Event::FileMayHaveChanged, now);
    assert_eq!(reconciler.on(Event::Read(good("c")), now), sync("c"));
}

/// A file that is open for a moment, beside a resync that is due: the reading that waits is the resync's.
#[test]
fn no_resync_is_lost_to_a_file_that_is_touched_when_it_is_due() {
    for unsettled in [Reading::BeingWritten, absent("b")] {
        let (mut reconciler, start) = in_step();
        let now = start + 60 * SECOND;
        assert_eq!(reconciler.on(Event::FileMayHaveChanged, now), read(false));
        assert_eq!(reconciler.on(Event::Read(unsettled), now), None);
        let now = reconciler.deadline().unwrap();
        assert_eq!(reconciler.on(Event::DeadlineReached, now), read(false));
        assert_eq!(reconciler.on(Event::Read(good("a")), now), sync("a"));
    }
}

#[test]
fn a_reload_that_is_asked_for_while_a_file_is_waited_for_leads_to_a_sync() {
    let (mut reconciler, now) = in_step();
    reconciler.on(Event::FileMayHaveChanged, now);
    assert_eq!(reconciler.on(Event::Read(Reading::BeingWritten), now), None);
    assert_eq!(reconciler.on(Event::ReloadRequested, now), read(false));
    assert_eq!(reconciler.on(Event::Read(Reading::BeingWritten), now), None);
    let now = reconciler.deadline().unwrap();
    assert_eq!(reconciler.on(Event::DeadlineReached, now), read(false));
    assert_eq!(reconciler.on(Event::Read(good("a")), now), sync("a"));
}
