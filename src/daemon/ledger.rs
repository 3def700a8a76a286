//! Which commits of others the daemon has not looked at yet, and whose they are.

use std::collections::VecDeque;
use std::fmt::Write;

use crate::kernel::netlink::{Commit, is_after};
use crate::kernel::notifications::Arrived;
use crate::kernel::pass::TablePass;

/// How many commits are kept to be named.
const MOST_KEPT: usize = 64;
/// How many processes a message names.
const PROCESSES_NAMED: usize = 3;

/// The commits of others since the last pass over the tables.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// The last generation that a pass has taken into account.
    covered: Option<u32>,
    /// Still to be looked at.
    news: VecDeque<Commit>,
    /// They were there when a pass failed. The retry is due anyway; it is to name them.
    put_off: VecDeque<Commit>,
    /// The netlink port id that the daemon's own worker commits on.
    own_port: Option<u32>,
    some_were_lost: bool,
}

impl Ledger {
    /// A pass tells which port the worker commits on, before what it has committed is noted.
    pub(super) fn own_port_is(&mut self, port: Option<u32>) {
        self.own_port = port;
    }

    /// Notes what has arrived, less what has been looked at and what the daemon itself has committed.
    pub(super) fn note(&mut self, arrived: Arrived) {
        self.some_were_lost |= arrived.some_were_lost;
        for commit in arrived.commits {
            if self.is_to_come(commit.generation) && Some(commit.port) != self.own_port {
                keep(&mut self.news, commit);
            }
        }
    }

    /// A pass begins. What notifications were lost so far were of commits that it will see; what is lost from now on may
    /// be of others.
    pub(super) fn pass_begins(&mut self) {
        self.some_were_lost = false;
    }

    /// A pass has ended. It has taken into account all commits up to the generation `covered`, or could look at no table.
    /// Gives the commits of others that it was the first to cover.
    pub(super) fn passed(&mut self, covered: Option<u32>) -> Vec<Commit> {
        if covered.is_none() {
            for commit in std::mem::take(&mut self.news) {
                keep(&mut self.put_off, commit);
            }
            return Vec::new();
        }
        self.covered = covered;
        let noted = self.put_off.drain(..).chain(self.news.drain(..));
        let noted: Vec<Commit> = noted.collect();
        let (later, covered): (Vec<_>, Vec<_>) = noted
            .into_iter()
            .partition(|commit| self.is_to_come(commit.generation));
        self.news = later.into();
        covered
    }

    /// Who has committed what no pass has taken into account yet; empty: nobody.
    pub(super) fn suspects(&self) -> Option<String> {
        let commits: Vec<Commit> = self.put_off.iter().chain(&self.news).cloned().collect();
        (!commits.is_empty()).then(|| processes(&commits))
    }

    /// Whether there is something to look at.
    pub(super) fn is_behind(&self) -> bool {
        self.some_were_lost || !self.news.is_empty()
    }

    /// No pass has taken it into account yet.
    fn is_to_come(&self, generation: u32) -> bool {
        self.covered
            .is_none_or(|covered| is_after(generation, covered))
    }
}

/// Up to which generation all tables have been looked at that could be; `None`: none could.
pub(super) fn covered(passes: &[TablePass]) -> Option<u32> {
    let reports = passes.iter().filter_map(|pass| pass.result.as_ref().ok());
    let generations = reports.map(|report| report.generation);
    generations.reduce(|one, other| if is_after(one, other) { other } else { one })
}

/// Puts `new` last; of too many, the first goes.
fn keep(kept: &mut VecDeque<Commit>, new: Commit) {
    if kept.len() == MOST_KEPT {
        kept.pop_front();
    }
    kept.push_back(new);
}

/// The processes of `commits`, each once, the last first: `nft (pid 4711)`. Without a commit that is known: `someone`.
pub(super) fn processes(commits: &[Commit]) -> String {
    let mut processes: Vec<(&str, u32)> = Vec::new();
    for commit in commits.iter().rev() {
        let process = (commit.process_name.as_str(), commit.process_id);
        if !processes.contains(&process) {
            processes.push(process);
        }
    }
    let mut text = String::new();
    for (index, (name, id)) in processes.iter().take(PROCESSES_NAMED).enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        // Writing to a String cannot fail. The name is anyone's to choose: control characters are escaped.
        let _ = write!(text, "{separator}{} (pid {id})", name.escape_debug());
    }
    match processes.len().saturating_sub(PROCESSES_NAMED) {
        0 if processes.is_empty() => text.push_str("someone"),
        0 => {}
        more => {
            let _ = write!(text, " and {more} more");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN_PORT: u32 = 7;

    fn commit(generation: u32, name: &str) -> Commit {
        Commit {
            generation,
            process_id: generation,
            process_name: name.to_owned(),
            port: 4711,
        }
    }

    fn own_commit(generation: u32) -> Commit {
        Commit {
            port: OWN_PORT,
            ..commit(generation, "nmd-nft-worker")
        }
    }

    fn arrived(commits: &[Commit]) -> Arrived {
        Arrived {
            commits: commits.to_vec(),
            some_were_lost: false,
        }
    }

    fn lost() -> Arrived {
        Arrived {
            some_were_lost: true,
            ..Arrived::default()
        }
    }

    #[test]
    fn what_a_pass_has_covered_is_not_looked_at_again() {
        let mut ledger = Ledger::default();
        ledger.note(arrived(&[commit(1, "nft"), commit(3, "nft")]));
        assert!(ledger.is_behind());
        assert_eq!(ledger.passed(Some(2)), [commit(1, "nft")]);
        assert!(ledger.is_behind());
        assert_eq!(ledger.passed(Some(3)), [commit(3, "nft")]);
        ledger.note(arrived(&[commit(3, "nft"), commit(2, "nft")]));
        assert!(
            !ledger.is_behind(),
            "notifications may arrive after the pass"
        );
    }

    #[test]
    fn own_commits_are_known_by_their_port_beside_those_of_others() {
        let mut ledger = Ledger::default();
        ledger.own_port_is(Some(OWN_PORT));
        ledger.note(arrived(&[own_commit(1), commit(2, "nft"), own_commit(3)]));
        assert_eq!(ledger.passed(Some(1)), []);
        assert!(ledger.is_behind(), "between two of the pass's own");
        assert_eq!(ledger.passed(Some(3)), [commit(2, "nft")]);
        ledger.note(arrived(&[own_commit(4)]));
        assert!(!ledger.is_behind(), "the second table was repaired");
        let of_another = commit(5, "nmd-nft-worker");
        ledger.note(arrived(std::slice::from_ref(&of_another)));
        assert!(
            ledger.is_behind(),
            "another daemon's worker has the same name"
        );
        assert_eq!(ledger.passed(Some(5)), [of_another]);
    }

    #[test]
    fn lost_notifications_mean_a_look() {
        let mut ledger = Ledger::default();
        ledger.passed(Some(1));
        ledger.note(lost());
        assert!(ledger.is_behind());
        ledger.pass_begins();
        assert!(!ledger.is_behind());
        ledger.note(lost());
        ledger.passed(Some(1));
        assert!(ledger.is_behind(), "it may have been of a later commit");
    }

    /// It is looked at with the retry, whose report names who did it.
    #[test]
    fn what_a_failed_pass_was_for_is_put_off_and_not_forgotten() {
        let mut ledger = Ledger::default();
        ledger.passed(Some(1));
        ledger.note(arrived(&[commit(2, "nft")]));
        assert!(ledger.passed(None).is_empty());
        assert!(!ledger.is_behind());
        ledger.note(arrived(&[commit(3, "b")]));
        assert!(ledger.is_behind());
        assert_eq!(ledger.passed(Some(3)), [commit(2, "nft"), commit(3, "b")]);
        assert!(!ledger.is_behind());
    }

    #[test]
    fn what_is_kept_has_a_bound() {
        let mut ledger = Ledger::default();
        for generation in 1..200 {
            ledger.note(arrived(&[commit(generation, "nft")]));
        }
        ledger.passed(None);
        for generation in 200..400 {
            ledger.note(arrived(&[commit(generation, "nft")]));
        }
        ledger.passed(None);
        assert_eq!(ledger.passed(Some(400)).len(), MOST_KEPT);
    }

    #[test]
    fn generations_wrap_around() {
        let mut ledger = Ledger::default();
        ledger.passed(Some(u32::MAX));
        ledger.note(arrived(&[commit(u32::MAX - 1, "nft"), commit(1, "nft")]));
        assert_eq!(ledger.passed(Some(1)), [commit(1, "nft")]);
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
        let text = "d (pid 4), c (pid 3), a (pid 1) and 1 more";
        assert_eq!(processes(&commits), text);
        assert_eq!(processes(&commits[1..2]), "b\\n (pid 2)");
        assert_eq!(processes(&[]), "someone");
    }
}
