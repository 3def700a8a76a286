//! What others commit, the end of the worker, and the counters.

use super::*;

#[test]
fn commits_of_others_do_not_put_off_a_retry() {
    let (mut reconciler, now) = in_step();
    reconciler.on(Event::ReloadRequested, now);
    reconciler.on(Event::Read(bad()), now);
    reconciler.on(done(Outcome::Failed), now);
    let retry = reconciler.deadline();
    let committed = Event::Committed(Committers::Others);
    let later = now + SECOND / 100;
    assert_eq!(reconciler.on(committed, later), sync("a"));
    reconciler.on(done(Outcome::Failed), later);
    assert_eq!(reconciler.deadline(), retry);
}

/// What comes without an event is read nevertheless: a file below another mount, say.
#[test]
fn commits_of_others_do_not_put_off_the_reading_of_the_file_while_another_owns_the_table() {
    let (mut reconciler, start) = in_step();
    let owned = || done(Outcome::Owned { is_ending: false });
    for _ in 0..10 {
        reconciler.on(Event::ReloadRequested, start);
        reconciler.on(Event::Read(bad()), start);
        reconciler.on(owned(), start);
    }
    let due = start + SECOND;
    let mut now = start;
    while now < due {
        assert_eq!(reconciler.deadline(), Some(due));
        let committed = Event::Committed(Committers::Others);
        assert_eq!(reconciler.on(committed, now), sync("a"));
        reconciler.on(owned(), now);
        now += SECOND / 4;
    }
    assert_eq!(reconciler.on(Event::DeadlineReached, now), read(false));
}

#[test]
fn an_idle_worker_that_ends_is_replaced_at_once_but_not_again_and_again() {
    let (mut reconciler, start) = in_step();
    assert_eq!(reconciler.on(Event::WorkerEnded, start), sync("a"));
    reconciler.on(done(Outcome::InStep), start);
    let soon = start + SECOND / 10;
    assert_eq!(reconciler.on(Event::WorkerEnded, soon), None);
    assert_eq!(reconciler.deadline(), Some(soon + SECOND));
    assert_eq!(
        reconciler.on(Event::DeadlineReached, soon + SECOND),
        read(false)
    );
    reconciler.on(Event::Read(bad()), soon + SECOND);
    reconciler.on(done(Outcome::InStep), soon + SECOND);
    let later = soon + 2 * SECOND;
    assert_eq!(reconciler.on(Event::WorkerEnded, later), sync("a"));
}

#[test]
fn a_commit_is_looked_at_at_once_and_a_repair_does_not_delay_the_next() {
    let (mut reconciler, mut now) = in_step();
    let committed = Event::Committed(Committers::Others);
    for _ in 0..10 {
        now += Duration::from_millis(1);
        assert_eq!(reconciler.on(committed.clone(), now), sync("a"));
        assert_eq!(reconciler.on(done(Outcome::Differed), now), None);
    }
}

#[test]
fn a_neighbour_that_commits_all_the_time_costs_a_few_looks_a_second() {
    let (mut reconciler, start) = in_step();
    let committed = Event::Committed(Committers::Others);
    let (mut now, mut looks) = (start, 0);
    while now < start + 10 * SECOND {
        now += Duration::from_millis(10);
        let mut action = None;
        if reconciler.deadline().is_some_and(|due| due <= now) {
            action = reconciler.on(Event::DeadlineReached, now);
        }
        action = action.or_else(|| reconciler.on(committed.clone(), now));
        if action.is_some() {
            assert_eq!(action, sync("a"));
            looks += 1;
            reconciler.on(done(Outcome::InStep), now);
        }
    }
    assert!((40..=50).contains(&looks), "{looks} looks in 10 s");
    // After a quiet second the next one does not wait.
    now += 2 * SECOND;
    if reconciler.on(Event::DeadlineReached, now).is_some() {
        reconciler.on(done(Outcome::InStep), now);
    }
    now += 2 * SECOND;
    assert_eq!(reconciler.on(committed, now), sync("a"));
}

#[test]
fn a_busy_neighbour_does_not_put_off_the_resync() {
    let (mut reconciler, start) = in_step();
    let now = start + 59 * SECOND;
    reconciler.on(Event::Committed(Committers::Others), now);
    reconciler.on(done(Outcome::InStep), now);
    assert_eq!(reconciler.deadline(), Some(start + 60 * SECOND));
}

#[test]
fn what_another_daemon_commits_is_only_looked_at_until_the_resync() {
    let (mut reconciler, start) = in_step();
    let mut now = start + SECOND;
    let committed = Event::Committed(Committers::AnotherDaemon);
    assert_eq!(
        reconciler.on(committed, now),
        Some(Action::Look(desired("a")))
    );
    assert_eq!(reconciler.on(done(Outcome::Differed), now), None);
    now = reconciler.deadline().unwrap();
    assert_eq!(now, start + 60 * SECOND);
    assert_eq!(reconciler.on(Event::DeadlineReached, now), read(false));
    assert_eq!(reconciler.on(Event::Read(good("a")), now), sync("a"));
}

#[test]
fn a_commit_before_any_good_file_changes_nothing() {
    let now = Instant::now();
    let mut reconciler = Reconciler::new(1);
    assert_eq!(
        reconciler.on(Event::Committed(Committers::Others), now),
        None
    );
}

#[test]
fn counters_are_read_once_a_second_and_move_no_deadline() {
    let (mut reconciler, start) = in_step();
    let count = Some(Action::Count(desired("a")));
    let mut now = start + 5 * SECOND;
    assert_eq!(reconciler.on(Event::CountWanted, now), count);
    assert_eq!(reconciler.on(Event::CountWanted, now), None);
    assert_eq!(reconciler.on(done(Outcome::InStep), now), None);
    assert_eq!(reconciler.deadline(), Some(start + 60 * SECOND));
    assert_eq!(reconciler.on(Event::CountWanted, now), None);
    now += SECOND;
    assert_eq!(reconciler.on(Event::CountWanted, now), count);
    // One that takes long is not asked for again soon.
    now += SECOND;
    assert_eq!(reconciler.on(done(Outcome::InStep), now), None);
    assert_eq!(reconciler.on(Event::CountWanted, now + 19 * SECOND), None);
    assert_eq!(reconciler.on(Event::CountWanted, now + 20 * SECOND), count);
}

#[test]
fn what_comes_while_counters_are_read_comes_after_it() {
    let (mut reconciler, now) = in_step();
    reconciler.on(Event::CountWanted, now);
    assert_eq!(reconciler.on(Event::FileMayHaveChanged, now), None);
    assert_eq!(reconciler.on(done(Outcome::InStep), now), read(false));
}

#[test]
fn counters_are_not_read_where_the_tables_cannot_be() {
    let now = Instant::now();
    let mut reconciler = Reconciler::new(1);
    assert_eq!(reconciler.on(Event::CountWanted, now), None);
    let (mut reconciler, now) = in_step();
    for outcome in [Outcome::Failed, Outcome::Owned { is_ending: false }] {
        reconciler.on(Event::ReloadRequested, now);
        reconciler.on(Event::Read(bad()), now);
        assert_eq!(reconciler.on(Event::CountWanted, now), None, "under way");
        reconciler.on(done(outcome), now);
        assert_eq!(reconciler.on(Event::CountWanted, now), None);
    }
}

#[test]
fn a_worker_that_ends_while_it_reads_counters_is_replaced_at_once() {
    let (mut reconciler, now) = in_step();
    reconciler.on(Event::CountWanted, now);
    assert_eq!(reconciler.on(done(Outcome::Failed), now), sync("a"));
}

/// Whose commit it is does not tell whose the difference is: with a neighbour that commits, two daemons would mend each
/// other's table as often as that.
#[test]
fn a_neighbour_s_commits_do_not_make_two_daemons_fight() {
    let (mut reconciler, mut now) = in_step();
    let committed = Event::Committed;
    let look = Some(Action::Look(desired("a")));
    assert_eq!(
        reconciler.on(committed(Committers::AnotherDaemon), now),
        look
    );
    assert_eq!(reconciler.on(done(Outcome::Differed), now), None);
    for _ in 0..5 {
        now += SECOND;
        assert_eq!(reconciler.on(committed(Committers::Others), now), look);
        assert_eq!(reconciler.on(done(Outcome::Differed), now), None);
    }
    // Someone else has changed the table as well.
    now += SECOND;
    assert_eq!(reconciler.on(committed(Committers::Others), now), look);
    let more = Event::Done {
        outcome: Outcome::Differed,
        differences: "drift and more".to_owned(),
    };
    assert_eq!(reconciler.on(more, now), sync("a"));
    assert_eq!(reconciler.on(done(Outcome::Differed), now), None);
    now += SECOND;
    assert_eq!(reconciler.on(committed(Committers::Others), now), sync("a"));
}

/// Either may have changed the table: it is mended at once, and after that another daemon's change is left.
#[test]
fn what_a_daemon_and_others_commit_together_is_mended_once_until_the_resync() {
    let (mut reconciler, mut now) = in_step();
    let committed = || Event::Committed(Committers::Both);
    assert_eq!(reconciler.on(committed(), now), sync("a"));
    assert_eq!(reconciler.on(done(Outcome::InStep), now), None);
    now += SECOND;
    assert_eq!(reconciler.on(committed(), now), sync("a"));
    assert_eq!(reconciler.on(done(Outcome::Differed), now), None);
    for _ in 0..5 {
        now += SECOND;
        let look = Some(Action::Look(desired("a")));
        assert_eq!(reconciler.on(committed(), now), look);
        assert_eq!(reconciler.on(done(Outcome::Differed), now), None);
    }
    now = reconciler.deadline().unwrap();
    reconciler.on(Event::DeadlineReached, now);
    assert_eq!(reconciler.on(Event::Read(good("a")), now), sync("a"));
    assert_eq!(reconciler.on(done(Outcome::Differed), now), None);
    now += SECOND;
    assert_eq!(reconciler.on(committed(), now), sync("a"));
}

#[test]
fn a_table_that_another_daemon_has_put_right_is_mended_again() {
    let (mut reconciler, mut now) = in_step();
    let committed = Event::Committed;
    reconciler.on(committed(Committers::AnotherDaemon), now);
    reconciler.on(done(Outcome::Differed), now);
    now += SECOND;
    reconciler.on(committed(Committers::AnotherDaemon), now);
    assert_eq!(reconciler.on(done(Outcome::InStep), now), None);
    now += SECOND;
    assert_eq!(reconciler.on(committed(Committers::Others), now), sync("a"));
}

/// What was drift in one table is not less urgent because the other fails.
#[test]
fn a_repair_beside_a_failure_does_not_delay_the_next_look() {
    let (mut reconciler, start) = in_step();
    let mut now = start + SECOND;
    for _ in 0..10 {
        let committed = Event::Committed(Committers::Others);
        assert_eq!(reconciler.on(committed, now), sync("a"));
        let mended = Event::Done {
            outcome: Outcome::Failed,
            differences: "drift".to_owned(),
        };
        assert_eq!(reconciler.on(mended, now), None);
        now += SECOND / 1000;
    }
}

#[test]
fn a_worker_that_ends_while_it_reads_counters_is_replaced_whatever_happens_near_the_file() {
    let (mut reconciler, now) = in_step();
    reconciler.on(Event::CountWanted, now);
    assert_eq!(reconciler.on(Event::FileMayHaveChanged, now), None);
    assert_eq!(reconciler.on(done(Outcome::Failed), now), sync("a"));
    assert_eq!(reconciler.on(done(Outcome::InStep), now), read(false));
}
