//! The checks of what /proc says; they need hardly any privilege.

use std::io;

use super::enforcement::Enforcement;
use super::finding::Finding;
use super::{beside, daemons, legacy, pod_ranges};
use crate::commands::daemons::running;
use crate::commands::legacy_nat::LegacyNat;
use crate::commands::proc::content;
use crate::policy::Policy;

/// The services that IPVS balances in this network namespace.
const IP_VS: &str = "/proc/net/ip_vs";

/// `is_on`: as the configuration has it.
pub(super) fn enforcement(is_on: bool) -> Enforcement {
    let services = content(IP_VS).ok();
    Enforcement::new(is_on, services.as_deref().map(beside::ipvs_services))
}

pub(super) fn findings(
    policy: Option<&Policy>,
    enforcement: Enforcement,
    legacy_nat: &LegacyNat,
) -> Vec<Finding> {
    let mut found = vec![legacy::finding(legacy_nat, enforcement), ipvs(enforcement)];
    let has_ipv6 = policy.is_some_and(|policy| policy.ipv6.is_some());
    found.extend(forwarding(has_ipv6));
    found.push(pod_ranges(policy));
    found.push(daemons::finding(&running()));
    found
}

fn unread(check: &'static str, path: &str, error: &io::Error) -> Finding {
    Finding::unchecked(
        check,
        format!("{path} cannot be read: {error}"),
        "run as root, with /proc mounted",
    )
}

fn ipvs(enforcement: Enforcement) -> Finding {
    match content(IP_VS) {
        Ok(services) => beside::ipvs(&services, enforcement),
        Err(error) => unread("ipvs", IP_VS, &error),
    }
}

fn forwarding(has_ipv6: bool) -> Vec<Finding> {
    const IPV4: &str = "/proc/sys/net/ipv4/ip_forward";
    const IPV6: &str = "/proc/sys/net/ipv6/conf/all/forwarding";
    let ipv6 = if has_ipv6 {
        content(IPV6).map(Some)
    } else {
        Ok(None)
    };
    match (content(IPV4), ipv6) {
        (Ok(ipv4), Ok(ipv6)) => beside::forwarding(&ipv4, ipv6.as_deref()),
        (Err(error), _) => vec![unread("forwarding", IPV4, &error)],
        (_, Err(error)) => vec![unread("forwarding", IPV6, &error)],
    }
}

fn pod_ranges(policy: Option<&Policy>) -> Finding {
    const CHECK: &str = "pod-ranges";
    const IPV4: &str = "/proc/net/route";
    const IPV6: &str = "/proc/net/ipv6_route";
    let Some(policy) = policy else {
        return Finding::unchecked(CHECK, "the configuration is bad", "mend the configuration");
    };
    match (content(IPV4), content(IPV6)) {
        (Ok(ipv4), Ok(ipv6)) => pod_ranges::finding(policy, &ipv4, &ipv6),
        (Err(error), _) => unread(CHECK, IPV4, &error),
        (_, Err(error)) => unread(CHECK, IPV6, &error),
    }
}
