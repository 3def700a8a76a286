//! What the daemon says, and what it has said already: a resync in step says nothing, an error that comes again
//! and again is said once.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::repetitions::Repetitions;
use crate::config_source::LoadError;
use crate::kernel::SyncReport;
use crate::kernel::error::{KernelError, listed};
use crate::kernel::ownership::Protection;
use crate::ruleset::{Family, Tables};

/// An owner that was killed together with its daemon ends within this time, and is not worth a line.
const OWNER_MAY_BE_ENDING: Duration = Duration::from_millis(100);

/// What was said last.
#[derive(Default)]
pub(super) struct LogLines {
    policy: Option<Rc<str>>,
    warnings: Vec<String>,
    bad_file: Option<String>,
    failures: Repetitions,
    tables: HashMap<Family, TableLines>,
}

/// What was said last of one table.
#[derive(Default)]
struct TableLines {
    /// What the kernel had after the last sync.
    applied: Option<Rc<Tables>>,
    failures_in_a_row: u32,
    /// Since when another owns the table.
    owned_since: Option<Instant>,
    protection: Option<Protection>,
    other_daemon: Option<String>,
}

impl LogLines {
    pub(super) fn good_file(&mut self, warnings: Vec<String>) {
        if self.bad_file.take().is_some() {
            info!("the configuration is good again");
        }
        if self.warnings != warnings {
            for warning in &warnings {
                warn!("{warning}");
            }
            self.warnings = warnings;
        }
    }

    pub(super) fn bad_file(&mut self, error: &LoadError) {
        let text = error.to_string();
        if self.bad_file.as_ref() == Some(&text) {
            return;
        }
        for line in text.lines() {
            error!("{line}");
        }
        if self.policy.is_none() {
            error!("the configuration is bad: nothing is changed until it is good");
        } else {
            error!("the configuration is bad: the last good one stays in force");
        }
        self.bad_file = Some(text);
    }

    pub(super) fn policy(&mut self, policy: &Rc<str>) {
        if self.policy.as_ref() != Some(policy) {
            info!("policy: {policy}");
            self.policy = Some(Rc::clone(policy));
        }
    }

    pub(super) fn worker_ended(&self, how: &str) {
        warn!("the worker {how} while it was idle; it is replaced");
    }

    /// `committers`: who else has committed since the last pass.
    pub(super) fn synced(
        &mut self,
        family: Family,
        tables: &Rc<Tables>,
        report: &SyncReport,
        committers: &str,
    ) {
        let lines = self.succeeded(family);
        let table = format!("table {}", family.name());
        let is_repair = lines.applied.as_ref() == Some(tables);
        if is_repair && !report.differences.is_empty() {
            let by = if committers.is_empty() {
                "someone"
            } else {
                committers
            };
            warn!(
                "{table}: repaired and read back ({}); changed by {by}",
                listed(&report.differences)
            );
        } else if !is_repair || report.adopted {
            // At the first time also that nothing was to be done: it says that the rules are in force.
            info!("{table}: {report}");
        }
        if lines.protection != report.protection
            && let Some(protection) = report.protection
        {
            info!("{table}: {protection}");
        }
        lines.protection = report.protection;
        lines.applied = Some(Rc::clone(tables));
        lines.other_daemon = None;
    }

    /// A look for what another daemon committed.
    pub(super) fn looked(&mut self, family: Family, report: &SyncReport, processes: &str) {
        let lines = self.succeeded(family);
        let is_said = lines.other_daemon.as_deref() == Some(processes);
        if report.differences.is_empty() || is_said {
            return;
        }
        error!(
            "table {}: another daemon writes it: {processes} changed it ({}); end one of the two. Until then it is \
             repaired once per resync",
            family.name(),
            listed(&report.differences)
        );
        lines.other_daemon = Some(processes.to_owned());
    }

    pub(super) fn failed(&mut self, family: Family, failure: &KernelError) {
        let lines = self.tables.entry(family).or_default();
        lines.failures_in_a_row = lines.failures_in_a_row.saturating_add(1);
        let text = if matches!(failure, KernelError::OwnedByAnother { .. }) {
            let since = *lines.owned_since.get_or_insert_with(Instant::now);
            if since.elapsed() < OWNER_MAY_BE_ENDING {
                return;
            }
            // It says itself how it goes on.
            format!("table {}: {failure}", family.name())
        } else {
            lines.owned_since = None;
            format!(
                "table {}: {failure}; retried until it succeeds",
                family.name()
            )
        };
        match self.failures.say(&text, Instant::now()) {
            None => {}
            Some(0) => error!("{text}"),
            Some(repeated) => error!(repeated, "{text}"),
        }
    }

    fn succeeded(&mut self, family: Family) -> &mut TableLines {
        let lines = self.tables.entry(family).or_default();
        lines.owned_since = None;
        match std::mem::take(&mut lines.failures_in_a_row) {
            0 => {}
            failures => info!(
                failures,
                "table {}: it can be read and written again",
                family.name()
            ),
        }
        lines
    }
}
