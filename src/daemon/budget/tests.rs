use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Looks at a table that others change again at once, every `interval` for `time`. Gives the times of the repairs.
fn repairs(budget: &mut Budget, now: &mut Instant, interval: Duration, time: Duration) -> Vec<f32> {
    let (start, mut repairs) = (*now, Vec::new());
    while *now < start + time {
        let outcome = match budget.grant(*now) {
            true => Outcome::Repaired,
            false => Outcome::Withheld,
        };
        if outcome == Outcome::Repaired {
            repairs.push((*now - start).as_secs_f32());
        }
        budget.passed(outcome, *now);
        *now += interval;
    }
    repairs
}

#[test]
fn a_hundred_repairs_come_at_once_and_the_next_ones_later_and_later() {
    let (mut budget, mut now) = (Budget::default(), Instant::now());
    let repairs = repairs(&mut budget, &mut now, SECOND / 1000, 200 * SECOND);
    // In the first 100 ms the bucket gets one more.
    let late: Vec<f32> = repairs.iter().skip(101).copied().collect();
    let waits: Vec<f32> = repairs[100..]
        .windows(2)
        .map(|two| two[1] - two[0])
        .collect();
    assert_eq!(
        waits.iter().map(|wait| wait.round()).collect::<Vec<_>>(),
        [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 30.0, 30.0]
    );
    assert!(repairs[100] < 0.2 && late.len() == 10);
    assert!(budget.is_used_up(now));
}

#[test]
fn ten_changes_a_second_are_undone_for_ever() {
    let (mut budget, mut now) = (Budget::default(), Instant::now());
    let repairs = repairs(&mut budget, &mut now, SECOND / 10, 100 * SECOND);
    assert_eq!(repairs.len(), 1000);
    assert!(!budget.is_used_up(now));
}

#[test]
fn five_seconds_without_drift_fill_the_bucket_and_reset_the_wait() {
    let (mut budget, mut now) = (Budget::default(), Instant::now());
    let millisecond = SECOND / 1000;
    repairs(&mut budget, &mut now, millisecond, 20 * SECOND);
    now = budget.due().unwrap();
    assert!(budget.grant(now));
    budget.passed(Outcome::Repaired, now);
    assert!(budget.is_used_up(now + 4 * SECOND) && !budget.is_used_up(now + 5 * SECOND));
    now += 5 * SECOND;
    let again = repairs(&mut budget, &mut now, millisecond, 2 * SECOND);
    assert_eq!(again.len(), 102, "{again:?}");
}

/// While nobody looks, the table still differs.
#[test]
fn a_repair_that_waits_is_no_quiet() {
    let (mut budget, mut now) = (Budget::default(), Instant::now());
    repairs(&mut budget, &mut now, SECOND / 1000, 10 * SECOND);
    let due = budget.due().unwrap();
    assert!(due > now + 5 * SECOND, "the last look has found drift");
    assert!(budget.is_used_up(due));
    assert!(!budget.grant(now + 5 * SECOND));
    assert!(budget.grant(due));
}

#[test]
fn a_table_that_is_in_step_again_waits_for_nothing() {
    let (mut budget, mut now) = (Budget::default(), Instant::now());
    repairs(&mut budget, &mut now, SECOND / 1000, SECOND / 2);
    assert!(budget.due().is_some());
    budget.passed(Outcome::InStep, now);
    assert_eq!(budget.due(), None);
}

/// What has failed may be tried again, and there is no second wait before that.
#[test]
fn a_repair_that_failed_after_its_wait_is_granted_to_the_retry() {
    let (mut budget, mut now) = (Budget::default(), Instant::now());
    repairs(&mut budget, &mut now, SECOND / 1000, SECOND / 2);
    now = budget.due().unwrap();
    assert!(budget.grant(now));
    budget.passed(Outcome::Failed, now);
    assert_eq!(budget.due(), None);
    assert!(budget.grant(now));
    budget.passed(Outcome::Repaired, now);
    assert!(!budget.grant(now));
}

#[test]
fn passes_that_fail_are_no_quiet() {
    let (mut budget, mut now) = (Budget::default(), Instant::now());
    repairs(&mut budget, &mut now, SECOND / 1000, SECOND / 2);
    budget.passed(Outcome::Applied, now);
    budget.passed(Outcome::Failed, now + SECOND);
    assert!(budget.is_used_up(now + 60 * SECOND));
    budget.passed(Outcome::InStep, now + 60 * SECOND);
    assert!(!budget.is_used_up(now + 65 * SECOND));
}
