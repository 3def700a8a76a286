//! Which address masqueraded traffic gets on each uplink, and whether that is the uplink's.

use super::finding::Finding;
use crate::commands::uplinks::{self, Taken, of_default_routes, snat_address_of};
use crate::config;
use crate::policy::Policy;
use crate::policy::node_address::SnatAddress;
use crate::ruleset::Family;

const CHECK: &str = "uplinks";

/// `policy`: none where the configuration is bad.
pub(super) fn check(policy: Option<&Policy>) -> Vec<Finding> {
    let Some(policy) = policy else {
        return findings("IPv4", Family::Ip, None);
    };
    let families = uplinks::families(policy);
    let found = families.flat_map(|(name, family)| findings(name, family, Some(policy)));
    let warnings = policy.warnings();
    found.chain(warnings.into_iter().map(warned)).collect()
}

fn findings(name: &str, family: Family, policy: Option<&Policy>) -> Vec<Finding> {
    let snat_address = policy.and_then(|policy| snat_address_of(policy, family));
    let chosen = snat_address.and_then(SnatAddress::chosen);
    let ways = match of_default_routes(family, chosen) {
        Ok(ways) => ways,
        Err(error) => return vec![Finding::unchecked(CHECK, error, "free memory or files")],
    };
    if ways.is_empty() {
        let said = format!("there is no default route of {name}");
        return vec![Finding::ok(CHECK, said)];
    }
    if let Some(warning) = policy.and_then(|policy| uplinks::warning(policy, name, &ways)) {
        return vec![warned(warning)];
    }
    let is_left_alone = |taken: &Taken| {
        policy.is_some_and(|policy| !policy.output_interfaces.contain(&taken.uplink))
    };
    let found = ways.iter().map(|taken| match is_left_alone(taken) {
        true => Finding::ok(
            CHECK,
            format!("{name} by {}: left alone (outputInterfaces)", taken.uplink),
        ),
        false => finding(name, taken),
    });
    found.collect()
}

fn warned(warning: config::Finding) -> Finding {
    Finding::warning(CHECK, warning.without_remedy(), warning.remedy)
}

fn finding(family: &str, taken: &Taken) -> Finding {
    let uplink = &taken.uplink;
    let said = format!("{family} by {uplink}: masqueraded traffic gets {taken}");
    match taken.are_as_meant() {
        true => Finding::ok(CHECK, said),
        false => Finding::warning(CHECK, said, format!("ip address add ADDRESS dev {uplink}")),
    }
}
