//! Which address masqueraded traffic gets on each uplink, and whether that is the uplink's.

use super::finding::Finding;
use crate::commands::uplinks::{Taken, of_default_routes, snat_address_of};
use crate::policy::Policy;
use crate::policy::node_address::SnatAddress;
use crate::ruleset::Family;

const CHECK: &str = "uplinks";

/// `policy`: none where the configuration is bad.
pub(super) fn check(policy: Option<&Policy>) -> Vec<Finding> {
    let has_ipv6 = policy.is_some_and(|policy| policy.ipv6.is_some());
    let mut found = findings("IPv4", Family::Ip, policy);
    if has_ipv6 {
        found.extend(findings("IPv6", Family::Ip6, policy));
    }
    let warnings = policy.iter().flat_map(|policy| policy.warnings());
    found.extend(
        warnings.map(|warning| Finding::warning(CHECK, warning.without_remedy(), warning.remedy)),
    );
    found
}

fn findings(name: &str, family: Family, policy: Option<&Policy>) -> Vec<Finding> {
    let snat_address = policy.and_then(|policy| snat_address_of(policy, family));
    let chosen = snat_address.and_then(SnatAddress::chosen);
    match of_default_routes(family, chosen) {
        Ok(uplinks) if uplinks.is_empty() => {
            vec![Finding::ok(
                CHECK,
                format!("there is no default route of {name}"),
            )]
        }
        Ok(uplinks) => uplinks.iter().map(|taken| finding(name, taken)).collect(),
        Err(error) => vec![Finding::unchecked(CHECK, error, "free memory or files")],
    }
}

fn finding(family: &str, taken: &Taken) -> Finding {
    let uplink = &taken.uplink;
    let said = format!("{family} by {uplink}: masqueraded traffic gets {taken}");
    match taken.are_as_meant() {
        true => Finding::ok(CHECK, said),
        false => Finding::warning(CHECK, said, format!("ip address add ADDRESS dev {uplink}")),
    }
}
