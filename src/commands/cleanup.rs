//! `cleanup`: the end of the daemon's tables.

use std::ffi::CStr;
use std::fmt::Write;
use std::io;
use std::time::Duration;

use tokio::time::sleep;

use super::run::require_net_admin;
use super::{ExitStatus, ask_kernel, failed, print};
use crate::cli::Options;
use crate::kernel::Kernel;
use crate::kernel::error::KernelError;
use crate::kernel::netlink::Commit;
use crate::kernel::notifications::Notifications;
use crate::kernel::owner;
use crate::kernel::removal::FoundTable;
use crate::kernel::worker::{COMMAND_WORKER_NAME, WORKER_NAME};

/// A running daemon puts a table back within milliseconds; see design §5.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

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
    let removal = match ask_kernel(async |kernel| remove(kernel, &options.table).await) {
        Ok(Ok(removal)) => removal,
        Ok(Err(error)) => return failed(&format!("the tables cannot be found: {error}")),
        Err(error) => return failed(&format!("the kernel cannot be asked: {error}")),
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

async fn remove(kernel: &mut Kernel, chosen: &str) -> Result<Removal, KernelError> {
    let mut removal = Removal::default();
    // Before the first change: who makes one afterwards is told.
    let notifications = Notifications::subscribe();
    for table in kernel.tables_of_a_daemon(chosen).await? {
        if let Some(port) = table.header.owner {
            removal.failures.push(owned(&table, port));
            continue;
        }
        match kernel.delete(&table).await {
            Ok(()) => removal.removed.push(table),
            // Two at once: what counts is that it is gone.
            Err(_) if kernel.found(table.family, &table.name)?.is_none() => {
                removal.removed.push(table);
            }
            Err(error) => removal.failures.push(refused(&table, &error)),
        }
    }
    if removal.removed.is_empty() {
        return Ok(removal);
    }
    sleep(LOOK_AGAIN).await;
    let commits = notifications.map(|socket| socket.take().commits);
    for table in std::mem::take(&mut removal.removed) {
        match kernel.found(table.family, &table.name)? {
            None => removal.removed.push(table),
            Some(back) => removal.failures.push(put_back(&back, &commits)),
        }
    }
    Ok(removal)
}

fn owned(table: &FoundTable, port: u32) -> String {
    match owner::with_port(port) {
        Some(process) if process.is_a_worker() => format!(
            "{} is owned by a running daemon, whose worker is {process}: stop it first",
            name(table)
        ),
        Some(process) => format!("{} is owned by {process}: stop it first", name(table)),
        None => format!(
            "{} is owned by a process that is not to be seen from here (netlink port {port}): stop the daemon first",
            name(table)
        ),
    }
}

fn refused(table: &FoundTable, error: &KernelError) -> String {
    let family = table.family.name();
    format!(
        "{} cannot be removed: {error}; try `nft delete table {family} {}` with the host's nft",
        name(table),
        table.name.escape_debug()
    )
}

fn put_back(table: &FoundTable, commits: &io::Result<Vec<Commit>>) -> String {
    let owner = table.header.owner.and_then(owner::with_port);
    let who = match (owner, commits) {
        (Some(owner), _) => owner.to_string(),
        (None, Ok(commits)) => writer(commits).map_or_else(
            || "someone".to_owned(),
            // The kernel tells the process id of the initial pid namespace.
            |commit| {
                format!(
                    "{} (pid {} of the host)",
                    commit.process_name.escape_debug(),
                    commit.process_id
                )
            },
        ),
        (None, Err(_)) => "someone".to_owned(),
    };
    format!(
        "{} is back: {who} has put it there again; stop the daemon first",
        name(table)
    )
}

/// Who has written last: a daemon's worker, or else anyone but the command's own.
fn writer(commits: &[Commit]) -> Option<&Commit> {
    let is = |commit: &Commit, name: &CStr| commit.process_name.as_bytes() == name.to_bytes();
    let newest_first = || commits.iter().rev();
    let daemon = newest_first().find(|commit| is(commit, WORKER_NAME));
    daemon.or_else(|| newest_first().find(|commit| !is(commit, COMMAND_WORKER_NAME)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_s_worker_is_named_rather_than_a_neighbour_and_never_the_own_one() {
        let commit = |process_id, process_name: &str| Commit {
            generation: 1,
            process_id,
            process_name: process_name.to_owned(),
        };
        let own = || commit(1, "nmd-nft-command");
        let named = |commits: &[Commit]| writer(commits).map(|commit| commit.process_id);
        let daemon = commit(2, "nmd-nft-worker");
        assert_eq!(named(&[own(), daemon, commit(3, "nft")]), Some(2));
        assert_eq!(named(&[own(), commit(3, "nft"), own()]), Some(3));
        assert_eq!(named(&[own()]), None);
        assert_eq!(named(&[]), None);
    }
}
