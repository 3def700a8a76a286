//! `doctor`: what is missing or in the way on this host, each with what mends it. It changes nothing.
//!
//! Each check is a pure function from what was read to findings; [`kernel_checks`] and [`host`] read.

mod beside;
mod configuration;
mod daemons;
mod enforcement;
mod finding;
mod host;
mod kernel_checks;
mod legacy;
mod pod_ranges;
mod privilege;
mod rivals;
mod table;
mod writers;

use super::{ExitStatus, load, print};
use crate::cli::{Options, OutputFormat};
use crate::commands::daemon_says::DaemonSays;
use crate::commands::legacy_nat::LegacyNat;
use crate::policy::Policy;
use crate::ruleset::Tables;
use finding::{Finding, Outcome};

/// Runs all checks; fails where one found a failure.
pub(super) fn doctor(options: &Options, format: OutputFormat) -> ExitStatus {
    let findings = examined(options);
    let told = match format {
        OutputFormat::Text => Ok(finding::text(&findings)),
        OutputFormat::Json => {
            serde_json::to_string_pretty(&findings).map(|array| format!("{array}\n"))
        }
    };
    let told = match told {
        Ok(told) => told,
        Err(error) => {
            tracing::error!("the findings cannot be written as JSON: {error}");
            return ExitStatus::Failed;
        }
    };
    match print(&told) {
        ExitStatus::Done if has_failure(&findings) => ExitStatus::Failed,
        status => status,
    }
}

fn has_failure(findings: &[Finding]) -> bool {
    findings.iter().any(|f| f.result == Outcome::Failure)
}

fn examined(options: &Options) -> Vec<Finding> {
    let (capability, has_capability) = privilege::check();
    let loaded = load(options);
    let policy = loaded
        .as_ref()
        .ok()
        .map(|loaded| Policy::new(&loaded.config));
    let names = options.chosen_names();
    let tables = policy.as_ref().map(|policy| Tables::new(policy, &names));
    let enforces = policy.as_ref().is_some_and(|policy| policy.enforce);
    let enforcement = host::enforcement(enforces);
    let legacy = LegacyNat::read();
    let mut findings = vec![capability];
    findings.extend(configuration::findings(&loaded, &options.config));
    findings.extend(kernel_checks::findings(
        options,
        tables.as_ref(),
        enforcement,
        &legacy,
        has_capability,
    ));
    // Without the capability no rules were compared.
    findings.extend(has_capability.then(|| daemons::readiness(&DaemonSays::asked(options))));
    findings.extend(host::findings(policy.as_ref(), enforcement, &legacy));
    findings
}
