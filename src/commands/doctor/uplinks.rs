//! Which address masqueraded traffic gets on each uplink, and whether that is the uplink's.

use super::finding::Finding;
use crate::commands::routes;
use crate::commands::uplinks::{Address, Uplink, addresses, taken, uplinks};
use crate::policy::Policy;
use crate::ruleset::Family;

const CHECK: &str = "uplinks";

/// `policy`: none where the configuration is bad.
pub(super) fn check(policy: Option<&Policy>) -> Vec<Finding> {
    let addresses = match addresses() {
        Ok(addresses) => addresses,
        Err(error) => {
            let said = format!("the node's addresses cannot be listed: {error}");
            return vec![Finding::unchecked(CHECK, said, "free memory or files")];
        }
    };
    let has_ipv6 = policy.is_some_and(|policy| policy.ipv6.is_some());
    let families = Family::ALL
        .into_iter()
        .filter(|family| *family == Family::Ip || has_ipv6);
    let of_family = |family| match uplinks(family) {
        Ok(uplinks) => findings(family, &uplinks, &addresses),
        Err(error) => vec![Finding::unread(CHECK, routes::path(family), &error)],
    };
    families.flat_map(of_family).collect()
}

fn findings(family: Family, uplinks: &[Uplink], addresses: &[Address]) -> Vec<Finding> {
    let name = match family {
        Family::Ip => "IPv4",
        Family::Ip6 => "IPv6",
    };
    if uplinks.is_empty() {
        return vec![Finding::ok(
            CHECK,
            format!("there is no default route of {name}"),
        )];
    }
    let finding = |uplink: &Uplink| {
        let taken = taken(family, uplink, addresses);
        let said = format!(
            "{name} by {}: masqueraded traffic gets {taken}",
            uplink.interface
        );
        match taken.are_own() {
            true => Finding::ok(CHECK, said),
            false => Finding::warning(
                CHECK,
                said,
                format!("ip address add ADDRESS dev {}", uplink.interface),
            ),
        }
    };
    uplinks.iter().map(finding).collect()
}
