mod commits;
mod small_world;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);
const BOTH: [Family; 2] = [Family::Ip, Family::Ip6];

impl Keeper {
    /// A pass that is due at `now`, and ends at once.
    fn pass(&mut self, ip: Outcome, ip6: Outcome, now: Instant) -> Vec<Family> {
        let granted = self.next(now).expect("a pass is due");
        self.passed(&[(Family::Ip, ip), (Family::Ip6, ip6)], now);
        granted
    }

    /// The same in which the tables end alike; gives the time until the next one.
    fn pass_alike(&mut self, outcome: Outcome, now: Instant) -> Duration {
        self.pass(outcome, outcome, now);
        self.due().expect("a resync is due") - now
    }
}

/// A keeper that has applied both tables, and the time.
fn in_step() -> (Keeper, Instant) {
    let (mut keeper, now) = (Keeper::new(), Instant::now());
    assert_eq!(keeper.due(), None);
    keeper.wants(BOTH.to_vec(), 60 * SECOND, now);
    assert_eq!(keeper.pass(Outcome::Applied, Outcome::Applied, now), BOTH);
    assert_eq!(keeper.due(), Some(now + 60 * SECOND));
    (keeper, now)
}

#[test]
fn nothing_is_due_before_something_is_wanted() {
    let (mut keeper, now) = (Keeper::new(), Instant::now());
    keeper.committed(now);
    keeper.worker_ended(now);
    assert_eq!((keeper.due(), keeper.next(now)), (None, None));
}

#[test]
fn nothing_happens_until_the_resync_is_due() {
    let (mut keeper, start) = in_step();
    assert_eq!(keeper.next(start + 59 * SECOND), None);
    assert_eq!(keeper.next(start + 60 * SECOND), Some(BOTH.to_vec()));
    assert_eq!(
        (keeper.due(), keeper.next(start + 61 * SECOND)),
        (None, None)
    );
}

#[test]
fn a_resync_in_centuries_is_never_due() {
    let (mut keeper, now) = in_step();
    keeper.wants(BOTH.to_vec(), Duration::MAX, now);
    keeper.pass(Outcome::InStep, Outcome::InStep, now);
    assert_eq!(keeper.due(), None);
    keeper.committed(now + SECOND);
    assert_eq!(keeper.due(), Some(now + SECOND));
}

#[test]
fn what_is_wanted_during_a_pass_is_applied_by_the_next() {
    let (mut keeper, now) = in_step();
    keeper.wants(BOTH.to_vec(), 60 * SECOND, now);
    assert!(keeper.next(now).is_some());
    keeper.wants(BOTH.to_vec(), 10 * SECOND, now);
    keeper.passed(&BOTH.map(|family| (family, Outcome::Applied)), now);
    assert_eq!(keeper.due(), Some(now));
    assert_eq!(keeper.pass_alike(Outcome::Applied, now), 10 * SECOND);
}

#[test]
fn what_fails_is_tried_again_later_and_later() {
    let (mut keeper, mut now) = in_step();
    keeper.wants(BOTH.to_vec(), 3600 * SECOND, now);
    for wait in [
        100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000,
    ] {
        assert_eq!(keeper.pass_alike(Outcome::Failed, now), wait * MILLISECOND);
        now += wait * MILLISECOND;
    }
    assert_eq!(keeper.pass_alike(Outcome::InStep, now), 3600 * SECOND);
    keeper.committed(now + SECOND);
    assert_eq!(
        keeper.pass_alike(Outcome::Failed, now + SECOND),
        SECOND / 10
    );
}

#[test]
fn a_retry_comes_at_least_once_per_resync_interval() {
    let (mut keeper, mut now) = in_step();
    keeper.wants(BOTH.to_vec(), SECOND / 2, now);
    for wait in [100, 200, 400, 500, 300, 500, 500, 500] {
        assert_eq!(keeper.pass_alike(Outcome::Failed, now), wait * MILLISECOND);
        now += wait * MILLISECOND;
    }
}

#[test]
fn another_configuration_is_retried_soon_where_the_one_before_has_failed_for_long() {
    let (mut keeper, mut now) = in_step();
    keeper.wants(BOTH.to_vec(), 60 * SECOND, now);
    for _ in 0..10 {
        now += keeper.pass_alike(Outcome::Failed, now);
    }
    keeper.wants(BOTH.to_vec(), 60 * SECOND, now);
    assert_eq!(keeper.pass_alike(Outcome::Failed, now), SECOND / 10);
}

#[test]
fn an_owned_table_is_looked_at_every_second_and_more_often_at_first() {
    let (mut keeper, mut now) = in_step();
    keeper.worker_ended(now);
    let owned = |is_ending| Outcome::Owned { is_ending };
    for wait in [10, 20, 40, 80, 160, 320, 640, 1000, 1000] {
        assert_eq!(keeper.pass_alike(owned(false), now), wait * MILLISECOND);
        now += wait * MILLISECOND;
    }
    // It was killed. That it takes its time, in a system call that cannot be interrupted, costs no look every 10 ms.
    for wait in [10, 20, 40, 80, 160, 320, 640, 1000, 1000] {
        assert_eq!(keeper.pass_alike(owned(true), now), wait * MILLISECOND);
        now += wait * MILLISECOND;
    }
    assert_eq!(keeper.pass_alike(owned(false), now), SECOND);
    assert_eq!(
        keeper.pass_alike(owned(true), now + SECOND),
        10 * MILLISECOND
    );
}

#[test]
fn a_failing_table_does_not_make_looks_at_an_owned_one_rarer() {
    let (mut keeper, mut now) = in_step();
    keeper.worker_ended(now);
    for _ in 0..100 {
        let granted = keeper.next(now);
        assert!(granted.is_some());
        let owned = Outcome::Owned { is_ending: false };
        keeper.passed(&[(Family::Ip, Outcome::Failed), (Family::Ip6, owned)], now);
        let due = keeper.due().unwrap();
        assert!(due <= now + SECOND);
        now = due;
    }
}

#[test]
fn an_idle_worker_that_ends_is_replaced_at_once_but_not_again_and_again() {
    let (mut keeper, start) = in_step();
    keeper.worker_ended(start);
    keeper.pass_alike(Outcome::InStep, start);
    for tenths in [1, 2, 3] {
        keeper.worker_ended(start + tenths * SECOND / 10);
        assert_eq!(keeper.due(), Some(start + SECOND));
    }
    keeper.pass_alike(Outcome::InStep, start + SECOND);
    let later = start + 3 * SECOND;
    keeper.worker_ended(later);
    assert_eq!(keeper.due(), Some(later));
}

/// A worker that could not be killed ends while a pass over the tables says that it is still there.
#[test]
fn a_worker_that_ends_during_a_pass_is_replaced_after_it() {
    let (mut keeper, now) = in_step();
    keeper.committed(now + SECOND);
    assert!(keeper.next(now + SECOND).is_some());
    keeper.worker_ended(now + SECOND);
    keeper.passed(&BOTH.map(|family| (family, Outcome::Failed)), now + SECOND);
    assert_eq!(keeper.due(), Some(now + SECOND));
}
