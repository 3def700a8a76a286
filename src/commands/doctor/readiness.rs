//! What the daemon says of itself: it compares the bytes of rules, where this program has a listing.

use super::finding::Finding;
use crate::commands::daemon_says::DaemonSays;

const CHECK: &str = "readiness";

pub(super) fn finding(said: &DaemonSays) -> Finding {
    match said {
        DaemonSays::NotReady(_) => {
            Finding::failure(CHECK, said.to_string(), "mend what the daemon says")
        }
        DaemonSays::Ready | DaemonSays::Nothing => Finding::ok(CHECK, said.to_string()),
    }
}
