//! One of the kernel's tables: what the last pass has left, what was said of it in the log, and what `/readyz` says.
//!
//! A resync that finds all in step says nothing, and an error that comes again and again is said once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::budget::Outcome;
use super::connections::ConnectionCounts;
use super::ledger::processes;
use super::repair_lines::RepairLines;
use super::repetitions::Repetitions;
use crate::kernel::error::{KernelError, listed};
use crate::kernel::netlink::Commit;
use crate::kernel::ownership::Protection;
use crate::kernel::pass::{TablePass, TableReport};
use crate::ruleset::{Family, Tables};

/// An owner that was killed together with its daemon ends within this time, and is not worth a line.
const OWNER_MAY_BE_ENDING: Duration = Duration::from_millis(100);

const UNCOUNTED: &str =
    "connections to exempt destinations are not counted, which takes libnftables 1.0.6";

/// The state between two passes.
#[derive(Debug)]
pub(super) struct TableState {
    pub(super) family: Family,
    /// What was wanted when a pass left the table right the last time. What differs from that, others have changed.
    applied: Option<Arc<Tables>>,
    /// Why the last pass has not left the table right; `None`: it has.
    failure: Option<String>,
    /// Who changed it the last time that it was repaired, or differed.
    changed_by: String,
    /// Since when another owns it, or is ending.
    owned_since: Option<Instant>,
    protection: Option<Protection>,
    is_uncounted: bool,
    repairs: RepairLines,
    errors: Repetitions,
    is_said_to_be_contested: bool,
    pub(super) connections: ConnectionCounts,
}

impl TableState {
    /// `counts_per_cidr`: `--metrics-per-cidr`
    pub(super) fn new(family: Family, counts_per_cidr: bool) -> Self {
        Self {
            family,
            applied: None,
            failure: None,
            changed_by: String::new(),
            owned_since: None,
            protection: None,
            is_uncounted: false,
            repairs: RepairLines::default(),
            errors: Repetitions::default(),
            is_said_to_be_contested: false,
            connections: ConnectionCounts::new(counts_per_cidr),
        }
    }

    /// The table was not looked at, for none is wanted and none is there.
    pub(super) fn note_absence(&mut self) {
        self.failure = None;
    }

    /// There is no telling what became of the table.
    pub(super) fn failed(&mut self, why: String) {
        self.failure = Some(why);
    }

    /// A pass that was to make the kernel's tables those of `tables` has ended. `committers` have committed since the one
    /// before; it has not taken into account what the `suspects` have.
    pub(super) fn passed(
        &mut self,
        tables: &Arc<Tables>,
        pass: &TablePass,
        committers: &[Commit],
        suspects: Option<&str>,
    ) -> Outcome {
        let outcome = self.outcome(tables, &pass.result);
        if matches!(outcome, Outcome::Repaired | Outcome::Withheld) && !committers.is_empty() {
            self.changed_by = processes(committers);
        }
        self.connections.passed(pass);
        self.failure = match &pass.result {
            Ok(report) if report.is_withheld => {
                let (contest, differences) = (self.contest(), listed(&report.differences));
                Some(format!("{contest}. Its next repair waits ({differences})"))
            }
            Ok(report) => {
                self.say_success(outcome, report, committers);
                self.applied = Some(Arc::clone(tables));
                None
            }
            Err(error) => {
                self.say_error(error);
                Some(match suspects {
                    None => error.to_string(),
                    Some(who) => format!("{error}; others have committed meanwhile: {who}"),
                })
            }
        };
        outcome
    }

    fn outcome(&self, tables: &Arc<Tables>, result: &Result<TableReport, KernelError>) -> Outcome {
        match result {
            Ok(report) if report.is_withheld => Outcome::Withheld,
            Ok(report) if report.differences.is_empty() && self.has_had(tables) => Outcome::InStep,
            Ok(_) if self.has_had(tables) => Outcome::Repaired,
            Ok(_) => Outcome::Applied,
            Err(KernelError::OwnedByAnother { is_ending, .. }) => Outcome::Owned {
                is_ending: *is_ending,
            },
            Err(_) => Outcome::Failed,
        }
    }

    fn has_had(&self, tables: &Arc<Tables>) -> bool {
        self.applied.as_ref() == Some(tables)
    }

    /// Whether the kernel's table is that of `desired`; `None`: there is to be none, and none is known of.
    pub(super) fn is_in_step(&self, desired: &Arc<Tables>) -> Option<bool> {
        let is_wanted = desired.of(self.family).is_some();
        let is_right = self.failure.is_none();
        (is_wanted || !is_right).then(|| is_right && self.has_had(desired))
    }

    /// Why the daemon is not ready, in one line; `None`: not for this table's sake. `is_contested`: its repairs have had to wait.
    pub(super) fn reason(&self, desired: &Arc<Tables>, is_contested: bool) -> Option<String> {
        let why = match &self.failure {
            Some(failure) => failure.clone(),
            None if self.is_in_step(desired) == Some(false) => "not applied yet".to_owned(),
            None if is_contested => self.contest(),
            None => return None,
        };
        // What others have named may hold anything.
        let line = why.replace(['\n', '\r'], " ");
        Some(format!("table {}: {line}", self.family.name()))
    }

    fn contest(&self) -> String {
        let who = &self.changed_by;
        format!("others change it again and again: {who}; stop them")
    }

    /// To be told after each pass: says when repairs have to wait, and when that is over.
    pub(super) fn say_whether_it_is_contested(&mut self, is_contested: bool) {
        let (family, changed_by) = (self.family.name(), &self.changed_by);
        match (self.is_said_to_be_contested, is_contested) {
            (false, true) => error!(
                family,
                changed_by,
                "table {family}: {}. Its repairs wait for 1 s, then for up to 30 s",
                self.contest()
            ),
            (true, false) => info!(family, "table {family}: it is left alone again"),
            _ => {}
        }
        self.is_said_to_be_contested = is_contested;
    }

    /// When [`Self::say_what_is_due`] has something to say.
    pub(super) fn due(&self) -> Option<Instant> {
        self.repairs.due()
    }

    /// Says of repairs what was not said one by one.
    pub(super) fn say_what_is_due(&mut self, now: Instant) {
        let family = self.family.name();
        if let Some(line) = self.repairs.next(now) {
            let (differences, changed_by) = (&line.differences, line.changed_by());
            let repairs = line.repairs;
            warn!(
                family,
                differences, changed_by, repairs, "table {family}: {line}"
            );
        }
    }

    fn say_success(&mut self, outcome: Outcome, report: &TableReport, committers: &[Commit]) {
        let family = self.family.name();
        self.owned_since = None;
        if self.errors.succeeded() {
            info!(family, "table {family}: it can be read and written again");
        }
        let differences = listed(&report.differences);
        if outcome == Outcome::Repaired {
            let now = Instant::now();
            self.repairs.repaired(differences, committers, now);
            self.say_what_is_due(now);
        } else if outcome == Outcome::Applied || report.is_adopted {
            // At the first time also that nothing was to be done: it says that the rules are in force.
            info!(family, differences, "table {family}: {report}");
        }
        if self.protection != report.protection
            && let Some(protection) = report.protection
        {
            info!(family, "table {family}: {protection}");
        }
        self.protection = report.protection;
        if report.is_uncounted && !self.is_uncounted {
            info!(family, "table {family}: {UNCOUNTED}");
        }
        self.is_uncounted = report.is_uncounted;
    }

    fn say_error(&mut self, error: &KernelError) {
        let family = self.family.name();
        let text = if let KernelError::OwnedByAnother { is_ending, .. } = error {
            self.owned_since = self.owned_since.filter(|_| !is_ending);
            let since = *self.owned_since.get_or_insert_with(Instant::now);
            if since.elapsed() < OWNER_MAY_BE_ENDING {
                return;
            }
            // It says itself how it goes on.
            format!("table {family}: {error}")
        } else {
            self.owned_since = None;
            format!("table {family}: {error}; retried until it succeeds")
        };
        if let Some(repeated) = self.errors.say(&text, Instant::now()) {
            let repeated = (repeated > 0).then_some(repeated);
            error!(family, repeated, "{text}");
        }
    }
}

#[cfg(test)]
mod tests;
