//! What the log says of a table's repairs, so that someone who changes it again and again does not fill the disk: the first
//! few at once, then at most one line each 15 s that sums up, and after a quiet minute the first few again.

use std::fmt;
use std::time::{Duration, Instant};

use super::ledger::processes;
use crate::kernel::netlink::Commit;

/// How many repairs are said at once.
const SAID_AT_ONCE: u32 = 5;
/// After those the next line comes so long after the last one.
const LINE_AGAIN: Duration = Duration::from_secs(15);
/// After so long without a repair the first few are said at once again.
const QUIET: Duration = Duration::from_secs(60);
/// How many commits are kept to be named.
const MOST_KEPT: usize = 64;

/// One line of the log: a repair, or what repairs were not said one by one.
#[derive(Debug, Default)]
pub(super) struct RepairLine {
    /// How many repairs it tells of.
    pub(super) repairs: u32,
    /// The time since the line before.
    time: Duration,
    /// In what the table differed the last time.
    pub(super) differences: String,
    commits: Vec<Commit>,
}

impl RepairLine {
    /// The processes that have committed before the repairs.
    pub(super) fn changed_by(&self) -> String {
        processes(&self.commits)
    }
}

impl fmt::Display for RepairLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (differences, by) = (&self.differences, self.changed_by());
        match self.repairs {
            1 => write!(f, "repaired and read back ({differences}); changed by {by}"),
            more => {
                let seconds = self.time.as_secs().max(1);
                write!(
                    f,
                    "repaired and read back {more} more times in the last {seconds} s; changed by {by}; last: {differences}"
                )
            }
        }
    }
}

/// What was said, and what is still to be said.
#[derive(Debug, Default)]
pub(super) struct RepairLines {
    /// How many were said since the last quiet minute.
    said: u32,
    last_line: Option<Instant>,
    last_repair: Option<Instant>,
    unsaid: Option<RepairLine>,
}

impl RepairLines {
    /// A change by others was undone, before which these had committed: [`Self::next`] may have to say it at once.
    pub(super) fn repaired(&mut self, differences: String, commits: &[Commit], now: Instant) {
        let before = self.last_repair.replace(now);
        if before.is_none_or(|before| now.duration_since(before) >= QUIET) {
            self.said = 0;
        }
        let unsaid = self.unsaid.get_or_insert_default();
        unsaid.repairs = unsaid.repairs.saturating_add(1);
        unsaid.differences = differences;
        unsaid.commits.extend_from_slice(commits);
        let too_many = unsaid.commits.len().saturating_sub(MOST_KEPT);
        unsaid.commits.drain(..too_many);
    }

    /// When [`Self::next`] has something to say: what was summed up is said also where there are no more repairs.
    pub(super) fn due(&self) -> Option<Instant> {
        self.unsaid.as_ref()?;
        match self.last_line {
            Some(last_line) if self.said >= SAID_AT_ONCE => last_line.checked_add(LINE_AGAIN),
            _ => self.last_repair,
        }
    }

    /// What is to be said now.
    pub(super) fn next(&mut self, now: Instant) -> Option<RepairLine> {
        self.due().filter(|due| *due <= now)?;
        self.said = self.said.saturating_add(1);
        let before = self.last_line.replace(now).unwrap_or(now);
        let mut line = self.unsaid.take()?;
        line.time = now.duration_since(before);
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(process_id: u32) -> Commit {
        Commit {
            generation: process_id,
            process_id,
            process_name: "nft".to_owned(),
            port: process_id,
        }
    }

    /// What is said of repairs at these milliseconds, and when.
    fn said(repairs: impl IntoIterator<Item = u64>) -> Vec<(u128, String)> {
        let (mut lines, start) = (RepairLines::default(), Instant::now());
        let mut said = Vec::new();
        let mut say_until = |lines: &mut RepairLines, until: Option<Instant>| {
            let is_now = |due: &Instant| until.is_none_or(|now| *due <= now);
            while let Some(due) = lines.due().filter(is_now) {
                if let Some(line) = lines.next(due) {
                    said.push(((due - start).as_millis(), line.to_string()));
                }
            }
        };
        for (number, milliseconds) in (0..).zip(repairs) {
            let now = start + Duration::from_millis(milliseconds);
            say_until(&mut lines, Some(now));
            let commits = [commit(number + 1)];
            lines.repaired(format!("x{number}"), &commits, now);
            say_until(&mut lines, Some(now));
        }
        say_until(&mut lines, None);
        said
    }

    #[test]
    fn the_first_repairs_are_said_at_once() {
        let lines = said([0, 1, 2000]);
        let first = "repaired and read back (x0); changed by nft (pid 1)";
        assert_eq!(lines[0], (0, first.to_owned()));
        assert_eq!((lines[1].0, lines[2].0, lines.len()), (1, 2000, 3));
    }

    #[test]
    fn repairs_that_come_again_and_again_are_summed_up_also_after_the_last() {
        let lines = said((0..1000).map(|number| number * 10));
        assert_eq!(lines.len(), 6);
        let sum = "repaired and read back 995 more times in the last 15 s; \
                   changed by nft (pid 1000), nft (pid 999), nft (pid 998) and 61 more; last: x999";
        assert_eq!(lines[5], (15_040, sum.to_owned()));
    }

    #[test]
    fn a_repair_long_after_the_last_line_is_said_at_once() {
        let lines = said((0..20).map(|number| number * 20_000));
        assert_eq!(lines.len(), 20);
        assert!(lines.iter().all(|(_, line)| line.contains("read back (x")));
    }

    #[test]
    fn after_a_quiet_minute_the_first_few_are_said_at_once_again() {
        let lines = said((0..10).chain(60_009..60_019));
        let times: Vec<u128> = lines.iter().map(|(time, _)| *time).collect();
        let again = [60_009, 60_010, 60_011, 60_012, 60_013, 75_013];
        assert_eq!(times, [&[0, 1, 2, 3, 4, 15_004][..], &again].concat());
    }

    /// As the budget lets it: 100 repairs in the first second, then rarer ones, for an hour.
    #[test]
    fn an_opponent_that_never_stops_costs_four_lines_a_minute() {
        let lines = said((0..36_000).map(|number| number * 100));
        assert!(lines.len() <= 5 + 4 * 60, "{} lines", lines.len());
    }
}
