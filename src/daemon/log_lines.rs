//! What the daemon says, and what it has said already: a resync in step says nothing, an error that comes again
//! and again is said once.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::repetitions::Repetitions;
use crate::config_source::{LoadError, Origin};
use crate::kernel::SyncReport;
use crate::kernel::error::{KernelError, listed};
use crate::kernel::ownership::Protection;
use crate::policy::Policy;
use crate::policy::change::PolicyChange;
use crate::ruleset::{Family, Tables};

/// An owner that was killed together with its daemon ends within this time, and is not worth a line.
const OWNER_MAY_BE_ENDING: Duration = Duration::from_millis(100);

/// What was said last.
#[derive(Default)]
pub(super) struct LogLines {
    policy: Option<(Rc<Policy>, Duration)>,
    libnftables: Option<String>,
    origin: Option<Origin>,
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
    /// One of them was said.
    failure_is_said: bool,
    /// Since when another owns the table, or is ending.
    owned_since: Option<Instant>,
    protection: Option<Protection>,
    /// In what another daemon's table differs.
    other_daemon: Option<String>,
}

impl LogLines {
    pub(super) fn good_file(&mut self, origin: Origin, warnings: Vec<String>) {
        if self.bad_file.take().is_some() {
            info!("the configuration is good again");
        }
        self.comes_from(origin);
        if self.warnings != warnings {
            for warning in &warnings {
                warn!("{warning}");
            }
            self.warnings = warnings;
        }
    }

    /// That no file is there at the start is as likely meant as not; that none is any more may let another policy in.
    fn comes_from(&mut self, origin: Origin) {
        match (&self.origin, &origin) {
            (Some(before), now) if before == now => return,
            (Some(Origin::Files(_)), Origin::Defaults(_)) => warn!("{origin}"),
            _ => info!("{origin}"),
        }
        self.origin = Some(origin);
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

    /// One line for each policy that is not the one before, and what has changed in it; tells whether it is another.
    pub(super) fn policy(&mut self, policy: &Rc<Policy>, resync_interval: Duration) -> bool {
        let before = self.policy.replace((Rc::clone(policy), resync_interval));
        let Some((before, interval_before)) = before else {
            info!("policy: {policy}");
            return true;
        };
        if before == *policy && interval_before == resync_interval {
            return false;
        }
        let mut change = PolicyChange::between(&before, policy);
        if interval_before != resync_interval {
            let interval = format!("resyncInterval now {resync_interval:?}");
            change.words.push(interval);
        }
        let PolicyChange { added, removed, .. } = change;
        if change.words.is_empty() {
            info!(added, removed, "policy: {policy}");
        } else {
            info!(added, removed, change = %change, "policy: {change}; now: {policy}");
        }
        true
    }

    /// What the worker runs on, once it is known.
    pub(super) fn libnftables(&mut self, version: Option<&str>) {
        if let Some(version) = version
            && self.libnftables.as_deref() != Some(version)
        {
            info!(
                libnftables = version,
                "libnftables {version} programs the kernel"
            );
            self.libnftables = Some(version.to_owned());
        }
    }

    /// The counters could not be read for `/metrics`.
    pub(super) fn counting_failed(&mut self, failure: &KernelError) {
        let text = format!("the counters cannot be read: {failure}");
        if let Some(repeated) = self.failures.say(&text, Instant::now()) {
            warn!(repeated, "{text}");
        }
    }

    pub(super) fn worker_ended(&self, how: &str) {
        warn!("the worker {how} while it was idle; it is replaced");
    }

    /// `committers`: who else has committed since the last pass. Says whether a change by others was undone.
    pub(super) fn synced(
        &mut self,
        family: Family,
        tables: &Rc<Tables>,
        report: &SyncReport,
        committers: &str,
    ) -> bool {
        let lines = self.succeeded(family);
        let table = format!("table {}", family.name());
        let is_known = lines.applied.as_ref() == Some(tables);
        let is_repair = is_known && !report.differences.is_empty();
        let family = family.name();
        if is_repair {
            let by = if committers.is_empty() {
                "someone"
            } else {
                committers
            };
            let differences = listed(&report.differences);
            warn!(
                family,
                differences,
                changed_by = by,
                "{table}: repaired and read back ({differences}); changed by {by}"
            );
        } else if !is_known || report.adopted {
            // At the first time also that nothing was to be done: it says that the rules are in force.
            let differences = listed(&report.differences);
            info!(family, differences, "{table}: {report}");
        }
        if lines.protection != report.protection
            && let Some(protection) = report.protection
        {
            info!(family, "{table}: {protection}");
        }
        lines.protection = report.protection;
        lines.applied = Some(Rc::clone(tables));
        lines.other_daemon = None;
        is_repair
    }

    /// A look for what another daemon committed.
    pub(super) fn looked(&mut self, family: Family, report: &SyncReport, processes: &str) {
        let lines = self.succeeded(family);
        if report.differences.is_empty() {
            lines.other_daemon = None;
            return;
        }
        let (family, differences) = (family.name(), listed(&report.differences));
        if lines.other_daemon.as_ref() == Some(&differences) {
            return;
        }
        error!(
            family,
            differences,
            changed_by = processes,
            "table {family}: another daemon writes it: {processes} changed it ({differences}); end one of the two. \
             Until then it is repaired once per resync"
        );
        lines.other_daemon = Some(differences);
    }

    pub(super) fn failed(&mut self, family: Family, failure: &KernelError) {
        let lines = self.tables.entry(family).or_default();
        lines.failures_in_a_row = lines.failures_in_a_row.saturating_add(1);
        let text = if let KernelError::OwnedByAnother { is_ending, .. } = failure {
            lines.owned_since = lines.owned_since.filter(|_| !is_ending);
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
            None => return,
            Some(0) => error!(family = family.name(), "{text}"),
            Some(repeated) => error!(family = family.name(), repeated, "{text}"),
        }
        lines.failure_is_said = true;
    }

    fn succeeded(&mut self, family: Family) -> &mut TableLines {
        let lines = self.tables.entry(family).or_default();
        lines.owned_since = None;
        let failures = std::mem::take(&mut lines.failures_in_a_row);
        if std::mem::take(&mut lines.failure_is_said) {
            info!(
                family = family.name(),
                failures,
                "table {}: it can be read and written again",
                family.name()
            );
        }
        lines
    }
}
