//! Who sends many flows or measures times has the machine to itself: it has few cores.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Waits until no other test of this program has the turn. cargo runs programs one after another.
pub fn one_at_a_time() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
