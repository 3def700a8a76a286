//! Keeper and ledger in a small world with a clock of its own: whatever happens in whatever order, soon after the last of it
//! the kernel has what is wanted, and then there is quiet.

use proptest::prelude::*;

use self::world::{Happening, World};
use super::*;

mod table;
mod world;

use Happening::*;

/// A wait for an owner or for a worker, a look that had to wait, and some passes.
const SOON: Duration = Duration::from_secs(2);

fn family() -> impl Strategy<Value = Family> {
    prop_oneof![Just(Family::Ip), Just(Family::Ip6)]
}

fn milliseconds(most: u64) -> impl Strategy<Value = Duration> {
    (0..most).prop_map(Duration::from_millis)
}

fn what_is_mended_soon() -> impl Strategy<Value = Happening> {
    prop_oneof![
        3 => Just(AnotherConfiguration),
        3 => (family(), prop::option::of(0..2_u8)).prop_map(|(family, its)| AnotherAddress(family, its)),
        4 => prop::option::of(family()).prop_map(Commit),
        1 => milliseconds(200_000).prop_map(|time| Neighbour(time, SECOND / 10)),
        1 => milliseconds(10_000).prop_map(|time| Neighbour(time, SECOND / 200)),
        1 => prop::option::of(family()).prop_map(NotificationsAreLost),
        2 => (family(), prop::option::of(any::<bool>())).prop_map(|(family, is)| Owned(family, is)),
        2 => Just(WorkerEnds),
    ]
}

fn failures() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (family(), any::<bool>()).prop_map(|(family, is)| Failing(family, is)),
        1 => Just(WorkerHangs),
        1 => Just(WorkerIsGone),
    ]
}

fn opponents() -> impl Strategy<Value = Happening> {
    let reaction = prop_oneof![3 => milliseconds(20), 1 => milliseconds(3_000)];
    (family(), milliseconds(60_000), reaction)
        .prop_map(|(family, time, reaction)| Opponent(family, time, reaction))
}

/// With each kind that takes longer, and without; few, of which none hides what another one lacks, and many.
fn happenings() -> impl Strategy<Value = Vec<(Happening, Duration)>> {
    let with_failures = || prop_oneof![5 => what_is_mended_soon(), 1 => failures()];
    let with_opponents = || prop_oneof![6 => with_failures(), 1 => opponents()];
    let all = prop_oneof![6 => with_opponents(), 1 => family().prop_map(UnseenCommit)];
    let (few, many) = (1..8_usize, 1..30_usize);
    prop_oneof![
        prop::collection::vec((what_is_mended_soon(), pause()), few.clone()),
        prop::collection::vec((with_failures(), pause()), few),
        prop::collection::vec((with_opponents(), pause()), many.clone()),
        prop::collection::vec((all, pause()), many),
    ]
}

/// Many things at once, some a while apart, and some beyond the next resync.
fn pause() -> impl Strategy<Value = Duration> {
    prop_oneof![6 => milliseconds(30), 3 => milliseconds(1_500), 1 => milliseconds(70_000)]
}

fn resync_interval() -> impl Strategy<Value = Duration> {
    prop_oneof![
        4 => Just(60 * SECOND),
        1 => Just(3600 * SECOND),
        1 => Just(SECOND / 5),
        1 => Just(Duration::MAX),
    ]
}

/// The longest that it may take once all hindrances are gone; `None`: for ever.
fn agreement_takes(happenings: &[(Happening, Duration)], resync: Duration) -> Option<Duration> {
    let any = |is: fn(&Happening) -> bool| happenings.iter().any(|(happening, _)| is(happening));
    let waits_for_resync = any(|it| matches!(it, UnseenCommit(_)));
    let waits_for_retry = any(|it| matches!(it, Failing(_, true) | WorkerHangs));
    let waits_for_repair = any(|it| matches!(it, Opponent(..)));
    // The retry may find that the repair has to wait, too.
    let waits = u32::from(waits_for_retry) + u32::from(waits_for_repair);
    let wait = waits * LAST_RETRY + SOON;
    match waits_for_resync {
        true => resync.checked_add(wait),
        false => Some(wait),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn whatever_happens_the_kernel_has_what_is_wanted_soon_after_and_then_there_is_quiet(
        happenings in happenings(),
        pass_step in prop_oneof![milliseconds(3), milliseconds(40)],
        lateness in prop_oneof![Just(Duration::ZERO), milliseconds(20)],
        resync in resync_interval(),
    ) {
        let mut world = World::new(pass_step, lateness, resync);
        for (happening, pause) in happenings.clone() {
            world.happens(happening);
            world.time_passes(pause);
        }
        world.all_hindrances_end();
        let Some(time) = agreement_takes(&happenings, resync) else {
            return Ok(());
        };
        world.time_passes(time);
        prop_assert_eq!(world.what_differs(), Vec::new());
        world.time_passes(10 * SECOND);
        for family in BOTH {
            prop_assert!(!world.keeper.is_withheld(family, world.now));
        }
        // One pass per resync interval, and nothing else.
        let before = world.passes;
        world.time_passes(resync.min(3600 * SECOND) * 10);
        let most = if resync < Duration::MAX { 10 } else { 0 };
        prop_assert!(world.passes - before <= most, "{} passes", world.passes - before);
    }
}
