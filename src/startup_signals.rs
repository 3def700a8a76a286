//! Signals that come before anybody can handle them wait.
//!
//! Their default action would end a daemon that has just been started: a SIGHUP of an eager supervisor with a failure, a
//! SIGTERM without exit code 0; and as process 1 of a pid namespace both would be lost (pid_namespaces(7)).

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};

/// Signals that the daemon handles, and SIGCHLD, which it needs to see its worker end.
const HANDLED: [Signal; 4] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGCHLD,
];

/// Keeps the handled signals pending.
pub fn hold() {
    change(SigmaskHow::SIG_BLOCK);
}

/// Lets them through: their handlers are there, or their default action is what is wanted. A mask that was inherited from
/// the parent ends here too.
pub fn release() {
    change(SigmaskHow::SIG_UNBLOCK);
}

fn change(how: SigmaskHow) {
    let signals: SigSet = HANDLED.into_iter().collect();
    // Fails only for another `how` (EINVAL, sigprocmask(2)).
    let _ = sigprocmask(how, Some(&signals), None);
}
