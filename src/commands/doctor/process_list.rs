//! Which daemons run in this network namespace: by their workers, which have a name of their own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::finding::Finding;
use crate::kernel::worker::WORKER_NAME;

const CHECK: &str = "daemons";

/// A daemon that has a worker.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Daemon {
    pub(super) process: u32,
    pub(super) name: String,
    /// It is in this network namespace; `None`: that cannot be seen.
    pub(super) is_here: Option<bool>,
}

/// The parents of all workers but this process's own.
pub(super) fn daemons() -> Vec<Daemon> {
    let own_namespace = fs::read_link("/proc/self/ns/net").ok();
    let mut found: Vec<Daemon> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| daemon_of_worker(&entry.path(), own_namespace.as_ref()))
        .filter(|daemon| daemon.process != std::process::id())
        .collect();
    found.sort();
    found.dedup_by_key(|daemon| daemon.process);
    found
}

fn daemon_of_worker(worker: &Path, own_namespace: Option<&PathBuf>) -> Option<Daemon> {
    let stat = fs::read_to_string(worker.join("stat")).ok()?;
    let process = parent_of_worker(&stat)?;
    let parent = PathBuf::from(format!("/proc/{process}"));
    let name = fs::read_to_string(parent.join("comm")).unwrap_or_default();
    let is_here = match fs::read_link(worker.join("ns/net")) {
        Ok(namespace) => Some(Some(&namespace) == own_namespace),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
        // It has ended.
        Err(_) => return None,
    };
    Some(Daemon {
        process,
        name: name.trim_end().to_owned(),
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

/// More than one is one too many.
pub(super) fn finding(daemons: &[Daemon]) -> Finding {
    let here: Vec<String> = daemons
        .iter()
        .filter(|daemon| daemon.is_here == Some(true))
        .map(|daemon| format!("{} (pid {})", daemon.name, daemon.process))
        .collect();
    let unclear = daemons.iter().filter(|daemon| daemon.is_here.is_none());
    match (here.as_slice(), unclear.count()) {
        ([], 0) => Finding::ok(CHECK, "no daemon is to be seen from here"),
        ([one], 0) => Finding::ok(CHECK, format!("one runs here: {one}")),
        ([] | [_], unclear) => Finding::unchecked(
            CHECK,
            format!(
                "{unclear} daemons of other users run, and whether in this network namespace cannot be seen"
            ),
            "run as root",
        ),
        (several, _) => Finding::failure(
            CHECK,
            format!(
                "{} run in this network namespace: {}",
                several.len(),
                several.join(", ")
            ),
            "stop all but one (Kubernetes: one DaemonSet; systemd: systemctl disable --now non-masquerade-daemon)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Outcome;
    use super::*;

    #[test]
    fn the_parent_of_a_worker_is_read_whatever_others_call_themselves() {
        assert_eq!(parent_of_worker("12 (nmd-nft-worker) S 7 12 7 0"), Some(7));
        assert_eq!(parent_of_worker("12 (x) (nmd-nft-worker) S 7 12"), None);
        assert_eq!(parent_of_worker("12 (bash) S 7 12 7 0"), None);
        assert_eq!(parent_of_worker(""), None);
    }

    #[test]
    fn a_second_daemon_in_this_namespace_is_a_failure() {
        let daemon = |process, is_here| Daemon {
            process,
            name: "non-masquerade-".to_owned(),
            is_here,
        };
        let here = Some(true);
        for (daemons, result) in [
            (vec![], Outcome::Ok),
            (vec![daemon(1, here), daemon(2, Some(false))], Outcome::Ok),
            (vec![daemon(1, here), daemon(2, None)], Outcome::Warning),
            (vec![daemon(1, here), daemon(2, here)], Outcome::Failure),
        ] {
            assert_eq!(finding(&daemons).result, result, "{daemons:?}");
        }
    }
}
