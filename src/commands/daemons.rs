//! Which daemons run: by their workers, which have a name of their own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::kernel::serve::WORKER_NAME;

/// A daemon that has a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Daemon {
    /// The worker's parent, in this pid namespace.
    pub process_id: u32,
    /// It is in this network namespace; `None`: that cannot be seen.
    pub is_here: Option<bool>,
}

/// The parents of all workers that are to be seen from this pid namespace.
#[must_use]
pub(super) fn running() -> Vec<Daemon> {
    let own_namespace = fs::read_link("/proc/self/ns/net").ok();
    let mut found: Vec<Daemon> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| daemon_of_worker(&entry.path(), own_namespace.as_ref()))
        .collect();
    found.sort_unstable();
    found.dedup_by_key(|daemon| daemon.process_id);
    found
}

fn daemon_of_worker(worker: &Path, own_namespace: Option<&PathBuf>) -> Option<Daemon> {
    let stat = fs::read_to_string(worker.join("stat")).ok()?;
    let process_id = parent_of_worker(&stat)?;
    let is_here = match fs::read_link(worker.join("ns/net")) {
        Ok(namespace) => Some(Some(&namespace) == own_namespace),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
        // It has ended.
        Err(_) => return None,
    };
    Some(Daemon {
        process_id,
        is_here,
    })
}

/// proc_pid_stat(5): `pid (comm) state ppid …`
fn parent_of_worker(stat: &str) -> Option<u32> {
    let (before, after) = stat.rsplit_once(')')?;
    let (_, name) = before.split_once('(')?;
    if name != WORKER_NAME.to_str().ok()? {
        return None;
    }
    after.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_of_a_worker_is_read_whatever_others_call_themselves() {
        assert_eq!(parent_of_worker("12 (nmd-nft-worker) S 7 12 7 0"), Some(7));
        assert_eq!(parent_of_worker("12 (x) (nmd-nft-worker) S 7 12"), None);
        assert_eq!(parent_of_worker("12 (bash) S 7 12 7 0"), None);
        assert_eq!(parent_of_worker(""), None);
    }
}
