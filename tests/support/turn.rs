//! Who sends many flows or measures times has the machine to itself: it has few cores. cargo runs programs one after another,
//! so that only tests of one program have to wait for one another.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static TURN: RwLock<()> = RwLock::new(());

/// Waits until no other test has a turn.
pub fn one_at_a_time() -> RwLockWriteGuard<'static, ()> {
    TURN.write().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until no test has the machine to itself: for what disturbs such a test, and minds none of its own kind.
pub fn beside_its_like() -> RwLockReadGuard<'static, ()> {
    TURN.read().unwrap_or_else(PoisonError::into_inner)
}
