//! What the daemon says, and what it has said already: a resync in step says nothing, an error that comes again
//! and again is said once.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::ledger::processes;
use super::repetitions::Repetitions;
use crate::config_source::LoadError;
use crate::kernel::SyncReport;
use crate::kernel::error::{KernelError, listed};
use crate::kernel::netlink::Commit;
use crate::kernel::ownership::Protection;
use crate::ruleset::Ruleset;

/// An owner that was killed together with its daemon ends within this time, and is not worth a line.
const OWNER_MAY_BE_ENDING: Duration = Duration::from_millis(100);

/// What was said last.
#[derive(Default)]
pub(super) struct LogLines {
    policy: Option<Rc<str>>,
    warnings: Vec<String>,
    bad_file: Option<String>,
    /// What the kernel had after the last sync.
    applied: Option<Rc<Ruleset>>,
    failures: Repetitions,
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

    /// There is no file to be bad. Whether the defaults hold is not decided yet: it may come back.
    pub(super) fn no_file(&mut self) {
        self.bad_file = None;
        self.warnings.clear();
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

    /// `committers`: who else has committed since the last pass.
    pub(super) fn synced(
        &mut self,
        ruleset: Rc<Ruleset>,
        report: &SyncReport,
        committers: &[Commit],
    ) {
        self.succeeded();
        let is_repair = self.applied.as_ref() == Some(&ruleset);
        if is_repair && !report.differences.is_empty() {
            let by = match processes(committers) {
                unknown if unknown.is_empty() => "someone".to_owned(),
                processes => processes,
            };
            warn!(
                "repaired and read back ({}); changed by {by}",
                listed(&report.differences)
            );
        } else if !is_repair || report.adopted {
            // At the first time also that nothing was to be done: it says that the rules are in force.
            info!("{report}");
        }
        if self.protection.replace(report.protection) != Some(report.protection) {
            info!("{}", report.protection);
        }
        self.applied = Some(ruleset);
        self.other_daemon = None;
    }

    /// A look for what another daemon committed.
    pub(super) fn looked(&mut self, report: &SyncReport, processes: String) {
        self.succeeded();
        if report.differences.is_empty() || self.other_daemon.as_ref() == Some(&processes) {
            return;
        }
        error!(
            "another daemon writes this table: {processes} changed it ({}); end one of the two. Until then it is \
             repaired once per resync",
            listed(&report.differences)
        );
        self.other_daemon = Some(processes);
    }

    pub(super) fn worker_ended(&self, how: &str) {
        warn!("the worker {how} while it was idle; it is replaced");
    }

    pub(super) fn failed(&mut self, failure: &KernelError) {
        if matches!(failure, KernelError::OwnedByAnother { .. }) {
            let since = *self.owned_since.get_or_insert_with(Instant::now);
            if since.elapsed() < OWNER_MAY_BE_ENDING {
                return;
            }
        } else {
            self.owned_since = None;
        }
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        let text = match failure {
            // It says itself how it goes on.
            KernelError::OwnedByAnother { .. } => failure.to_string(),
            _ => format!("{failure}; retried until it succeeds"),
        };
        match self.failures.say(&text, Instant::now()) {
            None => {}
            Some(0) => error!("{text}"),
            Some(repeated) => error!(repeated, "{text}"),
        }
    }

    fn succeeded(&mut self) {
        self.owned_since = None;
        match std::mem::take(&mut self.failures_in_a_row) {
            0 => {}
            failures => info!(failures, "the kernel can be read and written again"),
        }
    }
}
