//! How much can be sent to the kernel at once. Root of a user namespace only cannot raise that: the host's sysctl
//! net.core.wmem_max says it then.

use std::io;

/// More CIDRs than this outgrow it then, whoever writes them. Some outgrow it with fewer.
pub(crate) const MOST_CIDRS_WITHOUT_ROOT: usize = 1_000;
/// What is said of what was not done because of it.
pub(crate) const LEFT_OUT: &str =
    "left out: outgrows the netlink send buffer, which only root can raise";

/// Nothing if it was too long (EMSGSIZE).
pub(crate) fn unless_too_long<T>(done: io::Result<T>) -> io::Result<Option<T>> {
    match done {
        Err(error) if error.to_string().contains("Message too long") => Ok(None),
        done => done.map(Some),
    }
}
