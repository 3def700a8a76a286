//! Processes that the daemon inherits. In a pod it is process 1, so what a killed command leaves behind becomes its child;
//! nobody else waits for that, and each one that is not waited for counts against the pod's limit of processes for ever.

use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use nix::unistd::Pid;

/// Waits for all children that have ended but the worker, whose exit status [`super::worker`] wants: so each is only looked
/// at first. One that ended after the worker is seen when that has been waited for.
pub(super) fn reap(worker: Option<Pid>) {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    while let Ok(ended) = waitid(Id::All, look)
        && let Some(process) = ended.pid().filter(|process| Some(*process) != worker)
        && waitpid(process, Some(WaitPidFlag::WNOHANG)).is_ok()
    {}
}
