//! What others commit, and tables that they change again and again.

use super::*;

/// Someone changes both tables as soon as they are repaired, until their budgets are empty.
fn out_of_budget() -> (Keeper, Instant) {
    let (mut keeper, mut now) = in_step();
    now += SECOND;
    loop {
        keeper.committed(now);
        let granted = keeper
            .next(now)
            .expect("a look after a repair does not wait");
        let outcome = match granted.is_empty() {
            true => Outcome::Withheld,
            false => Outcome::Repaired,
        };
        keeper.passed(&BOTH.map(|family| (family, outcome)), now);
        if outcome == Outcome::Withheld {
            return (keeper, now);
        }
    }
}

#[test]
fn a_commit_is_looked_at_at_once_and_a_repair_does_not_delay_the_next() {
    let (mut keeper, mut now) = in_step();
    now += SECOND;
    for _ in 0..10 {
        now += MILLISECOND;
        keeper.committed(now);
        keeper.pass_alike(Outcome::Repaired, now);
    }
}

#[test]
fn a_neighbour_that_commits_all_the_time_costs_a_few_looks_a_second() {
    let (mut keeper, start) = in_step();
    let (mut now, mut looks) = (start, Vec::new());
    while now < start + 100 * SECOND {
        now += 10 * MILLISECOND;
        keeper.committed(now);
        if keeper.due().is_some_and(|due| due <= now) {
            keeper.pass_alike(Outcome::InStep, now);
            looks.push(now);
        }
    }
    assert!(looks.len() <= 4 * 100 + 6, "{} looks", looks.len());
    let longest = looks.windows(2).map(|two| two[1] - two[0]).max();
    assert!(longest <= Some(260 * MILLISECOND), "{longest:?}");
    now = keeper.due().unwrap();
    keeper.pass_alike(Outcome::InStep, now);
    now += SECOND;
    keeper.committed(now);
    assert_eq!(
        keeper.due(),
        Some(now),
        "after a quiet second it is looked at once"
    );
}

#[test]
fn commits_of_others_do_not_put_off_a_retry_nor_make_it_rarer() {
    let (mut keeper, start) = in_step();
    keeper.wants(BOTH.to_vec(), 60 * SECOND, start);
    keeper.pass_alike(Outcome::Failed, start);
    keeper.pass_alike(Outcome::Failed, start + SECOND / 10);
    let retry = start + SECOND / 10 + SECOND / 5;
    let mut now = start + SECOND / 10;
    for _ in 0..3 {
        now += 50 * MILLISECOND;
        keeper.committed(now);
        keeper.pass_alike(Outcome::Failed, now);
        assert_eq!(keeper.due(), Some(retry));
    }
    assert_eq!(keeper.pass_alike(Outcome::Failed, retry), 2 * SECOND / 5);
}

#[test]
fn commits_during_a_pass_are_told_again_after_it() {
    let (mut keeper, mut now) = in_step();
    now += SECOND;
    keeper.committed(now);
    assert!(keeper.next(now).is_some());
    keeper.committed(now);
    keeper.passed(&BOTH.map(|family| (family, Outcome::InStep)), now);
    assert_eq!(keeper.due(), Some(now + 60 * SECOND));
    keeper.committed(now);
    assert_eq!(keeper.due(), Some(now + 10 * MILLISECOND));
}

#[test]
fn a_table_that_is_changed_again_and_again_is_repaired_later_and_later_and_not_ready_meanwhile() {
    let (mut keeper, mut now) = out_of_budget();
    for seconds in [1, 2, 4, 8, 16, 30, 30] {
        assert!(keeper.is_withheld(Family::Ip, now));
        let due = keeper.due().unwrap();
        assert_eq!(due, now + seconds * SECOND);
        // Others commit meanwhile.
        keeper.committed(now + SECOND / 2);
        let look = keeper.pass(Outcome::Withheld, Outcome::Withheld, now + SECOND / 2);
        assert!(look.is_empty());
        assert_eq!(keeper.due(), Some(due));
        now = due;
        assert_eq!(keeper.pass(Outcome::Repaired, Outcome::Repaired, now), BOTH);
        keeper.committed(now);
        keeper.pass(Outcome::Withheld, Outcome::Withheld, now);
    }
    now += 30 * SECOND;
    assert_eq!(keeper.pass_alike(Outcome::Repaired, now), 60 * SECOND);
    let quiet = now + 5 * SECOND;
    assert!(keeper.is_withheld(Family::Ip, now) && !keeper.is_withheld(Family::Ip, quiet));
}

#[test]
fn another_configuration_is_applied_at_once_where_the_budget_is_empty_also_where_that_fails_at_first()
 {
    let (mut keeper, mut now) = out_of_budget();
    keeper.wants(BOTH.to_vec(), 60 * SECOND, now);
    assert_eq!(keeper.pass(Outcome::Failed, Outcome::Applied, now), BOTH);
    now += SECOND / 10;
    let granted = keeper.pass(Outcome::Applied, Outcome::InStep, now);
    assert!(granted.contains(&Family::Ip));
    assert_eq!(keeper.due(), Some(now + 60 * SECOND));
}

#[test]
fn another_configuration_wanted_during_a_pass_is_applied_where_the_budget_is_empty() {
    let (mut keeper, now) = out_of_budget();
    keeper.wants(BOTH.to_vec(), 60 * SECOND, now);
    assert!(keeper.next(now).is_some());
    keeper.wants(BOTH.to_vec(), 60 * SECOND, now);
    keeper.passed(&BOTH.map(|family| (family, Outcome::Applied)), now);
    assert_eq!(keeper.next(now), Some(BOTH.to_vec()));
}

#[test]
fn what_others_do_to_one_table_does_not_keep_the_other_from_being_repaired() {
    let (mut keeper, mut now) = in_step();
    for _ in 0..200 {
        now += MILLISECOND;
        keeper.committed(now);
        now = keeper.due().unwrap();
        let granted = keeper.next(now).unwrap();
        assert!(granted.contains(&Family::Ip6));
        let ip = match granted.contains(&Family::Ip) {
            true => Outcome::Repaired,
            false => Outcome::Withheld,
        };
        keeper.passed(&[(Family::Ip, ip), (Family::Ip6, Outcome::InStep)], now);
    }
    assert!(keeper.is_withheld(Family::Ip, now) && !keeper.is_withheld(Family::Ip6, now));
    keeper.committed(now);
    assert!(keeper.due() <= Some(now + SECOND / 4));
}
