//! What the daemon says, and what it has said already: a resync in step says nothing, an error that comes again
//! and again is said once.

use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::repair_lines::RepairLines;
use super::repetitions::Repetitions;
use super::worker::WorkerError;
use crate::config_source::{LoadError, Origin};
use crate::kernel::error::{KernelError, listed};
use crate::kernel::netlink::Commit;
use crate::kernel::ownership::Protection;
use crate::kernel::pass::TableReport;
use crate::policy::Policy;
use crate::policy::words::PolicyChange;
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
    repairs: RepairLines,
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
    /// That its repairs have to wait.
    is_said_to_be_contested: bool,
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

    /// What the worker runs on.
    pub(super) fn libnftables(&mut self, version: &str) {
        if self.libnftables.as_deref() != Some(version) {
            info!(
                libnftables = version,
                "libnftables {version} programs the kernel"
            );
            self.libnftables = Some(version.to_owned());
        }
    }

    /// The counters could not be read for `/metrics`.
    pub(super) fn counting_failed(&mut self, failure: &io::Error) {
        let text = format!("the counters cannot be read: {failure}");
        if let Some(repeated) = self.failures.say(&text, Instant::now()) {
            warn!(repeated, "{text}");
        }
    }

    pub(super) fn worker_ended(&self, how: &str) {
        warn!("the worker {how} while it was idle; it is replaced");
    }

    /// Whether the kernel has had `tables` before, so that what differed others have changed.
    pub(super) fn is_known(&self, family: Family, tables: &Rc<Tables>) -> bool {
        let lines = self.tables.get(&family);
        lines.is_some_and(|lines| lines.applied.as_ref() == Some(tables))
    }

    /// The table is right now. `committers`: who else has committed since the last pass.
    pub(super) fn passed(
        &mut self,
        family: Family,
        tables: &Rc<Tables>,
        report: &TableReport,
        committers: &[Commit],
    ) {
        let is_known = self.is_known(family, tables);
        self.succeeded(family);
        let table = format!("table {}", family.name());
        if is_known && !report.differences.is_empty() {
            let differences = listed(&report.differences);
            let now = Instant::now();
            self.repairs.repaired(family, differences, committers, now);
            self.say_what_is_due(now);
        } else if !is_known || report.is_adopted {
            // At the first time also that nothing was to be done: it says that the rules are in force.
            let (family, differences) = (family.name(), listed(&report.differences));
            info!(family, differences, "{table}: {report}");
        }
        let lines = self.tables.entry(family).or_default();
        if lines.protection != report.protection
            && let Some(protection) = report.protection
        {
            info!(family = family.name(), "{table}: {protection}");
        }
        lines.protection = report.protection;
        lines.applied = Some(Rc::clone(tables));
    }

    /// Whether others change the table again and again, so that its repairs have to wait.
    pub(super) fn contested(&mut self, family: Family, by: Option<&str>) {
        let lines = self.tables.entry(family).or_default();
        match by {
            Some(who) if !lines.is_said_to_be_contested => error!(
                family = family.name(),
                changed_by = who,
                "table {}: others change it again and again: {who}; stop them. Its repairs wait for 1 s, then for up to 30 s",
                family.name()
            ),
            None if lines.is_said_to_be_contested => {
                info!(
                    family = family.name(),
                    "table {}: it is left alone again",
                    family.name()
                );
            }
            _ => {}
        }
        lines.is_said_to_be_contested = by.is_some();
    }

    /// When [`Self::say_what_is_due`] has something to say.
    pub(super) fn due(&self) -> Option<Instant> {
        self.repairs.due()
    }

    /// Says of repairs what was not said one by one.
    pub(super) fn say_what_is_due(&mut self, now: Instant) {
        for line in self.repairs.say(now) {
            let (family, differences) = (line.family.name(), &line.differences);
            let (changed_by, repairs) = (line.changed_by(), line.repairs);
            warn!(family, differences, changed_by, repairs, "{line}");
        }
    }

    /// The worker gave no answer.
    pub(super) fn worker_failed(&mut self, failure: &WorkerError) {
        let text = format!("{failure}; retried until it succeeds");
        if let Some(repeated) = self.failures.say(&text, Instant::now()) {
            error!(repeated, "{text}");
        }
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

    fn succeeded(&mut self, family: Family) {
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
    }
}
