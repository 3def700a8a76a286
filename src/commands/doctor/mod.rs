//! `doctor`: what is missing or in the way on this host, each with what mends it. It changes nothing.
//!
//! Each check has a file of its own, named after it; those of the kernel's tables read through [`kernel_checks`].

mod capability;
mod configuration;
mod connections;
mod daemons;
mod enforcement;
mod finding;
mod forwarding;
mod ip_masq_agent;
mod iptables_legacy;
mod ipvs;
mod kernel_checks;
mod other_nat;
mod other_tables;
mod pod_ranges;
mod readiness;
mod table;
mod uplinks;

use super::{ExitStatus, load, policy_here, print, print_json};
use crate::cli::{Options, OutputFormat};
use crate::commands::daemon_says::DaemonSays;
use crate::commands::daemons::running;
use crate::commands::legacy_nat::LegacyNat;
use crate::commands::terminal::Terminal;
use crate::ruleset::Family;
use finding::{Finding, Outcome};

/// Runs all checks; fails where one found a failure.
pub(super) fn doctor(options: &Options, format: OutputFormat) -> ExitStatus {
    let findings = examined(options);
    let printed = match format {
        OutputFormat::Text => print(&finding::text(&findings, Terminal::of_standard_output())),
        OutputFormat::Json => print_json(&findings),
    };
    match printed {
        ExitStatus::Done if has_failure(&findings) => ExitStatus::Failed,
        status => status,
    }
}

fn has_failure(findings: &[Finding]) -> bool {
    findings.iter().any(|f| f.result == Outcome::Failure)
}

fn examined(options: &Options) -> Vec<Finding> {
    let (capability, has_capability) = capability::check();
    let loaded = load(options);
    let policy = loaded
        .as_ref()
        .ok()
        .map(|loaded| policy_here(&loaded.config));
    let legacy = LegacyNat::read(&Family::ALL);
    let mut findings = vec![capability];
    findings.extend(configuration::findings(&loaded, &options.config));
    let (of_kernel, enforcement) =
        kernel_checks::findings(options, policy.as_ref(), &legacy, has_capability);
    findings.extend(of_kernel);
    // Without the capability no rules were compared.
    findings.extend(has_capability.then(|| readiness::finding(&DaemonSays::asked(options))));
    findings.push(iptables_legacy::finding(&legacy, enforcement));
    findings.push(ipvs::check(enforcement));
    let has_ipv6 = policy.as_ref().is_some_and(|policy| policy.ipv6.is_some());
    findings.extend(forwarding::check(has_ipv6));
    findings.push(pod_ranges::check(policy.as_ref()));
    findings.extend(uplinks::check(policy.as_ref()));
    if has_capability {
        findings.extend(connections::check(policy.as_ref()));
    }
    findings.push(daemons::finding(&running()));
    findings
}
