//! Which address masqueraded traffic gets on each uplink, and whether that is the uplink's.

use super::finding::Finding;
use crate::commands::uplinks::{Taken, of_default_routes};
use crate::policy::Policy;
use crate::ruleset::Family;

const CHECK: &str = "uplinks";

/// `policy`: none where the configuration is bad.
pub(super) fn check(policy: Option<&Policy>) -> Vec<Finding> {
    let has_ipv6 = policy.is_some_and(|policy| policy.ipv6.is_some());
    let mut found = findings("IPv4", Family::Ip);
    if has_ipv6 {
        found.extend(findings("IPv6", Family::Ip6));
    }
    found
}

fn findings(family: &str, of: Family) -> Vec<Finding> {
    match of_default_routes(of) {
        Ok(uplinks) if uplinks.is_empty() => {
            vec![Finding::ok(
                CHECK,
                format!("there is no default route of {family}"),
            )]
        }
        Ok(uplinks) => uplinks.iter().map(|taken| finding(family, taken)).collect(),
        Err(error) => vec![Finding::unchecked(CHECK, error, "free memory or files")],
    }
}

fn finding(family: &str, taken: &Taken) -> Finding {
    let uplink = &taken.uplink;
    let said = format!("{family} by {uplink}: masqueraded traffic gets {taken}");
    match taken.are_own() {
        true => Finding::ok(CHECK, said),
        false => Finding::warning(CHECK, said, format!("ip address add ADDRESS dev {uplink}")),
    }
}
