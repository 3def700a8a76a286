//! Who sends many flows or measures times has the machine to itself: it has few cores. cargo runs programs one after another,
//! so that only tests of one program have to wait for one another.

use std::sync::{Mutex, MutexGuard, PoisonError};

static TURN: Mutex<()> = Mutex::new(());

/// Waits until no other test has its turn.
pub fn one_at_a_time() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
