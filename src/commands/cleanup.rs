//! `cleanup`: the end of the daemon's tables.

use std::ffi::CStr;
use std::fmt::Write;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::prctl;

use super::holder::Holder;
use super::look::{FoundTable, Look};
use super::{ExitStatus, daemons, failed, print, require_net_admin};
use crate::cli::Options;
use crate::daemon::worker::WorkerError;
use crate::kernel::netlink::Commit;
use crate::kernel::notifications::Notifications;
use crate::kernel::owner;
use crate::kernel::serve::WORKER_NAME;

/// Waits before each further look. A running daemon puts a table back within milliseconds (design §5), but beside a
/// neighbour that commits all the time it looks only every 250 ms (`LONGEST_WAIT` of daemon/pace.rs), and each look takes
/// longer.
const LOOKS_AGAIN: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(400)];

/// How long a table may still be owned after its daemon was stopped: the worker ends a moment after the daemon, and the
/// kernel lets go of the table when it has closed the worker's socket.
const OWNER_ENDS_WITHIN: Duration = Duration::from_secs(1);

/// Between two looks at whether it still is.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// The name in ps(1) while it works; `TASK_COMM_LEN` leaves 15 bytes, prctl(2).
const OWN_NAME: &CStr = c"nmd-cleanup";

/// What became of the tables.
#[derive(Default)]
struct Removal {
    removed: Vec<FoundTable>,
    /// Why tables are left, one a line.
    failures: Vec<String>,
}

/// Removes the daemon's tables, and sees to it that they stay away.
pub(super) fn cleanup(options: &Options) -> ExitStatus {
    if let Err(status) = require_net_admin() {
        return status;
    }
    // Whoever hears of the commit, a daemon's log say, tells this name.
    let named = prctl::set_name(OWN_NAME);
    debug_assert!(
        named.is_ok(),
        "it fails for an invalid pointer only, prctl(2)"
    );
    let look = match Look::new() {
        Ok(look) => look,
        Err(error) => return failed(&format!("the kernel cannot be asked: {error}")),
    };
    let removal = match remove(&look, &options.table) {
        Ok(removal) => removal,
        Err(error) => return failed(&format!("the tables cannot be found: {error}")),
    };
    let mut text = String::new();
    for table in &removal.removed {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "removed {}", name(table));
    }
    if removal.removed.is_empty() && removal.failures.is_empty() {
        text.push_str("nothing to remove: there is no table of the daemon\n");
    }
    let printed = print(&text);
    if removal.failures.is_empty() {
        return printed;
    }
    failed(&removal.failures.join("\n"))
}

fn name(table: &FoundTable) -> String {
    format!(
        "table {} {}",
        table.family.name(),
        table.name.escape_debug()
    )
}

fn remove(look: &Look, chosen: &str) -> Result<Removal, WorkerError> {
    let mut removal = Removal::default();
    // Before the first change: who makes one afterwards is told.
    let notifications = look.notifications();
    let found = look.tables_of_a_daemon(chosen)?;
    let deadline = Instant::now() + OWNER_ENDS_WITHIN;
    for table in found {
        let table = once_let_go(look, table, deadline)?;
        if table.header.owner.is_some() {
            let (name, holder) = (name(&table), Holder::of(table.header));
            let owned = format!("{name} is owned by {holder}: stop it first");
            removal.failures.push(owned);
            continue;
        }
        match look.delete(&table) {
            Ok(()) => removal.removed.push(table),
            // Two at once: what counts is that it is gone.
            Err(_) if look.found(table.family, &table.name)?.is_none() => {
                removal.removed.push(table);
            }
            Err(error) => removal.failures.push(format!("{}: {error}", name(&table))),
        }
    }
    look_again(look, notifications.as_ref().ok(), &mut removal)?;
    if removal.failures.is_empty() && !removal.removed.is_empty() {
        let here = daemons::running().into_iter();
        let here = here.filter(|daemon| daemon.is_here == Some(true));
        removal
            .failures
            .extend(here.map(|daemon| still_runs(daemon.process_id)));
    }
    Ok(removal)
}

/// Whether what was removed stays away.
fn look_again(
    look: &Look,
    notifications: Option<&Notifications>,
    removal: &mut Removal,
) -> Result<(), WorkerError> {
    let mut commits = Vec::new();
    for wait in LOOKS_AGAIN {
        if removal.removed.is_empty() {
            break;
        }
        sleep(wait);
        let mut back = Vec::new();
        for table in std::mem::take(&mut removal.removed) {
            match look.found(table.family, &table.name)? {
                None => removal.removed.push(table),
                Some(table) => back.push(table),
            }
        }
        // After the look, or a table that has come between the two would be put down to whoever wrote before. The kernel
        // tells of a commit a moment after its table is there (`nf_tables_commit`, net/netfilter/nf_tables_api.c).
        sleep(LOOK_INTERVAL);
        commits.extend(notifications.into_iter().flat_map(all_of));
        let failures = back.iter().map(|table| put_back(table, &commits));
        removal.failures.extend(failures);
    }
    Ok(())
}

/// The table as it is found when its owner has let go of it, or will not. One that has gone meanwhile is as good as removed.
fn once_let_go(
    look: &Look,
    table: FoundTable,
    deadline: Instant,
) -> Result<FoundTable, WorkerError> {
    let mut table = table;
    while table.header.owner.is_some_and(owner::may_be_ending) && Instant::now() < deadline {
        sleep(LOOK_INTERVAL);
        match look.found(table.family, &table.name)? {
            Some(again) => table = again,
            None => table.header.owner = None,
        }
    }
    Ok(table)
}

fn all_of(notifications: &Notifications) -> Vec<Commit> {
    let mut commits = Vec::new();
    loop {
        let more = notifications.take().commits;
        if more.is_empty() {
            return commits;
        }
        commits.extend(more);
    }
}

/// One that has failed at something looks again half a minute later.
fn still_runs(process_id: u32) -> String {
    format!(
        "a daemon (pid {process_id}) runs in this network namespace and may put the tables back: stop it, then run cleanup again"
    )
}

fn put_back(table: &FoundTable, commits: &[Commit]) -> String {
    let owner = table.header.owner.and_then(owner::with_port);
    let who = match (owner, writer(commits)) {
        (Some(owner), _) => owner.to_string(),
        // The kernel tells the process id of the initial pid namespace.
        (None, Some(commit)) => format!(
            "{} (pid {} of the host)",
            commit.process_name.escape_debug(),
            commit.process_id
        ),
        (None, None) => "someone".to_owned(),
    };
    format!(
        "{} is back: {who} has put it there again; stop the daemon first",
        name(table)
    )
}

/// Who has written last: a daemon's worker, or else anyone but the command itself.
fn writer(commits: &[Commit]) -> Option<&Commit> {
    let is = |commit: &Commit, name: &CStr| commit.process_name.as_bytes() == name.to_bytes();
    let newest_first = || commits.iter().rev();
    let daemon = newest_first().find(|commit| is(commit, WORKER_NAME));
    daemon.or_else(|| newest_first().find(|commit| !is(commit, OWN_NAME)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_s_worker_is_named_rather_than_a_neighbour_and_never_the_own_commit() {
        let commit = |process_id, process_name: &str| Commit {
            generation: 1,
            process_id,
            process_name: process_name.to_owned(),
            port: 0,
        };
        let own = || commit(1, "nmd-cleanup");
        let named = |commits: &[Commit]| writer(commits).map(|commit| commit.process_id);
        let daemon = commit(2, "nmd-nft-worker");
        assert_eq!(named(&[own(), daemon, commit(3, "nft")]), Some(2));
        assert_eq!(named(&[own(), commit(3, "nft"), own()]), Some(3));
        assert_eq!(named(&[own()]), None);
        assert_eq!(named(&[]), None);
    }
}
