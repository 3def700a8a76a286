//! Which commits the daemon has not looked at yet, and whose they are.

use std::fmt::Write;

use super::contest::Committers;
use crate::kernel::netlink::{Commit, is_after};
use crate::kernel::notifications::Arrived;
use crate::kernel::tables::TablePass;
use crate::kernel::worker::WORKER_NAME;

/// How many commits are kept to be named.
const MOST_KEPT: usize = 64;
/// How many of their processes a message names.
const PROCESSES_NAMED: usize = 3;

/// The commits since the last look.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// The last generation that a look has taken into account.
    covered: Option<u32>,
    commits: Vec<Commit>,
    /// The last so many of them are still to be looked at; those before were at a pass that failed, and are kept to be
    /// named by the next one.
    news: usize,
    some_were_lost: bool,
}

impl Ledger {
    /// Notes what has arrived, less what has been looked at: the daemon's own commits, say.
    pub(super) fn note(&mut self, arrived: Arrived) {
        self.some_were_lost |= arrived.some_were_lost;
        for commit in arrived.commits {
            let covered = self.covered;
            if covered.is_some_and(|covered| !is_after(commit.generation, covered)) {
                continue;
            }
            if self.commits.len() == MOST_KEPT {
                self.commits.remove(0);
            }
            self.commits.push(commit);
            self.news = (self.news + 1).min(MOST_KEPT);
        }
    }

    /// A look begins. What notifications were lost so far were of commits that it will see; what is lost from now on may
    /// be of others.
    pub(super) fn look_begins(&mut self) {
        self.some_were_lost = false;
    }

    /// A look has ended. Gives the commits that it was the first to take into account, less what the daemon itself
    /// committed meanwhile.
    pub(super) fn passed(&mut self, passes: &[TablePass]) -> Vec<Commit> {
        let Some(generation) = oldest_generation(passes) else {
            self.put_off();
            return Vec::new();
        };
        let covered = self.cover(generation);
        if passes.iter().any(|pass| pass.result.is_err()) {
            self.forget_workers();
        }
        covered
    }

    /// A look has taken into account all commits up to `generation`.
    fn cover(&mut self, generation: u32) -> Vec<Commit> {
        self.covered = Some(generation);
        let (later, mut covered): (Vec<_>, Vec<_>) = std::mem::take(&mut self.commits)
            .into_iter()
            .partition(|commit| is_after(commit.generation, generation));
        self.news = self.news.min(later.len());
        self.commits = later;
        covered.retain(|commit| !is_by_a_worker(commit));
        covered
    }

    /// A look has failed at one of the tables at least. What a worker has committed is taken for what this daemon did
    /// before that, for nothing tells.
    fn forget_workers(&mut self) {
        let (before, news) = self.split();
        let news = news.iter().filter(|commit| !is_by_a_worker(commit));
        let kept = news.cloned().collect::<Vec<_>>();
        let commits = [before, &kept].concat();
        (self.commits, self.news) = (commits, kept.len());
    }

    /// A look has failed at all tables. The retry, which is due anyway, looks at what has been committed by now, and names
    /// who did it.
    fn put_off(&mut self) {
        self.forget_workers();
        self.news = 0;
    }

    /// What was at a pass that failed, and what is still to be looked at.
    fn split(&self) -> (&[Commit], &[Commit]) {
        let old = self.commits.len().saturating_sub(self.news);
        self.commits.split_at_checked(old).unwrap_or_default()
    }

    /// Whether there is something to look at.
    #[must_use]
    pub(super) fn is_behind(&self) -> bool {
        self.some_were_lost || self.news > 0
    }

    /// Who has committed what there is to look at. This daemon's own commits are covered when it has made them.
    #[must_use]
    pub(super) fn committers(&self) -> Committers {
        let (_, news) = self.split();
        let by_workers = news.iter().filter(|commit| is_by_a_worker(commit)).count();
        if by_workers == 0 || self.some_were_lost {
            Committers::Others
        } else if by_workers == news.len() {
            Committers::AnotherDaemon
        } else {
            Committers::Both
        }
    }

    /// The processes of what there is to look at, and of what failed looks were for.
    #[must_use]
    pub(super) fn processes(&self) -> String {
        processes(&self.commits)
    }
}

/// Up to which generation all tables have been looked at that could be; `None`: none could.
fn oldest_generation(passes: &[TablePass]) -> Option<u32> {
    let reports = passes.iter().filter_map(|pass| pass.result.as_ref().ok());
    let generations = reports.map(|report| report.generation);
    generations.reduce(|one, other| if is_after(one, other) { other } else { one })
}

/// The processes of `commits`, each once: `nft (pid 4711)`.
#[must_use]
pub(super) fn processes(commits: &[Commit]) -> String {
    let mut processes: Vec<(&str, u32)> = commits
        .iter()
        .map(|commit| (commit.process_name.as_str(), commit.process_id))
        .collect();
    processes.reverse();
    let mut named = Vec::new();
    processes.retain(|process| {
        let is_first = !named.contains(process);
        named.push(*process);
        is_first
    });
    let mut text = String::new();
    for (index, (name, id)) in processes.iter().take(PROCESSES_NAMED).enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        // Writing to a String cannot fail. The name is anyone's to choose: control characters are escaped.
        let _ = write!(text, "{separator}{} (pid {id})", name.escape_debug());
    }
    match processes.len().saturating_sub(PROCESSES_NAMED) {
        0 => {}
        more => {
            let _ = write!(text, " and {more} more");
        }
    }
    text
}

fn is_by_a_worker(commit: &Commit) -> bool {
    commit.process_name.as_bytes() == WORKER_NAME.to_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(generation: u32, name: &str) -> Commit {
        Commit {
            generation,
            process_id: generation,
            process_name: name.to_owned(),
        }
    }

    fn arrived(commits: &[Commit]) -> Arrived {
        Arrived {
            commits: commits.to_vec(),
            some_were_lost: false,
        }
    }

    #[test]
    fn what_a_look_has_covered_is_not_looked_at_again() {
        let mut ledger = Ledger::default();
        ledger.note(arrived(&[
            commit(1, "nft"),
            commit(2, "nmd-nft-worker"),
            commit(3, "nft"),
        ]));
        assert!(ledger.is_behind() && ledger.committers() == Committers::Both);
        assert_eq!(ledger.cover(2), [commit(1, "nft")]);
        assert!(ledger.is_behind());
        assert_eq!(ledger.cover(3), [commit(3, "nft")]);
        ledger.note(arrived(&[commit(3, "nft"), commit(2, "nft")]));
        assert!(
            !ledger.is_behind(),
            "notifications may arrive after the look"
        );
    }

    #[test]
    fn lost_notifications_mean_a_look() {
        let mut ledger = Ledger::default();
        ledger.cover(1);
        ledger.note(Arrived {
            some_were_lost: true,
            ..Arrived::default()
        });
        assert!(ledger.is_behind() && ledger.committers() == Committers::Others);
        ledger.look_begins();
        assert!(!ledger.is_behind());
        ledger.note(Arrived {
            some_were_lost: true,
            ..Arrived::default()
        });
        ledger.cover(1);
        assert!(ledger.is_behind(), "it may have been of a later commit");
    }

    /// It is looked at with the retry, whose report names who did it.
    #[test]
    fn what_a_failed_look_was_for_is_put_off_and_not_forgotten() {
        let mut ledger = Ledger::default();
        ledger.cover(1);
        ledger.note(arrived(&[commit(2, "nft"), commit(3, "nmd-nft-worker")]));
        ledger.put_off();
        assert!(!ledger.is_behind() && ledger.committers() == Committers::Others);
        ledger.note(arrived(&[commit(4, "nmd-nft-worker")]));
        assert!(ledger.is_behind() && ledger.committers() == Committers::AnotherDaemon);
        assert_eq!(ledger.cover(4), [commit(2, "nft")]);
        assert!(!ledger.is_behind());
    }

    #[test]
    fn where_one_table_fails_only_others_commits_after_the_other_table_s_look_are_news() {
        let mut ledger = Ledger::default();
        ledger.note(arrived(&[
            commit(1, "nft"),
            commit(2, "nmd-nft-worker"),
            commit(3, "b"),
        ]));
        assert_eq!(ledger.cover(1), [commit(1, "nft")]);
        ledger.forget_workers();
        assert!(ledger.is_behind() && ledger.committers() == Committers::Others);
        assert_eq!(ledger.cover(3), [commit(3, "b")]);
        for generation in 4..200 {
            ledger.note(arrived(&[commit(generation, "nft")]));
        }
        ledger.put_off();
        assert!(!ledger.is_behind());
        assert_eq!(ledger.cover(200).len(), MOST_KEPT);
    }

    #[test]
    fn a_worker_s_commit_that_is_not_covered_is_another_daemon_s() {
        let mut ledger = Ledger::default();
        ledger.cover(1);
        ledger.note(arrived(&[commit(2, "nmd-nft-worker")]));
        assert_eq!(ledger.committers(), Committers::AnotherDaemon);
        assert_eq!(ledger.processes(), "nmd-nft-worker (pid 2)");
        ledger.note(arrived(&[commit(3, "nft")]));
        assert_eq!(ledger.committers(), Committers::Both);
    }

    #[test]
    fn generations_wrap_around() {
        let mut ledger = Ledger::default();
        ledger.cover(u32::MAX);
        ledger.note(arrived(&[commit(u32::MAX - 1, "nft"), commit(1, "nft")]));
        assert_eq!(ledger.cover(1), [commit(1, "nft")]);
    }

    #[test]
    fn a_message_names_each_process_once_the_last_first() {
        let commits = [
            commit(1, "a"),
            commit(2, "b\n"),
            commit(1, "a"),
            commit(3, "c"),
            commit(4, "d"),
        ];
        assert_eq!(
            processes(&commits),
            "d (pid 4), c (pid 3), a (pid 1) and 1 more"
        );
        assert_eq!(processes(&commits[1..2]), "b\\n (pid 2)");
    }
}
