//! Ranges that look like pods' and that no configured prefix covers: connections to them would be masqueraded.
//!
//! A guess: without the API server, a pod's route is known by the name of its interface only.

use std::net::IpAddr;

use ipnet::IpNet;

use super::finding::Finding;
use crate::commands::pods;
use crate::in_words;
use crate::kernel::routing::{self, Route};
use crate::policy::{FamilyPolicy, Policy};
use crate::ruleset::Family;

const CHECK: &str = "pod-ranges";
/// How many ranges are named.
const RANGES_NAMED: usize = 8;

/// `policy`: none where the configuration is bad.
pub(super) fn check(policy: Option<&Policy>) -> Finding {
    let Some(policy) = policy else {
        return Finding::unchecked(CHECK, "the configuration is bad", "mend the configuration");
    };
    match (routing::routes(Family::Ip), routing::routes(Family::Ip6)) {
        (Ok(ipv4), Ok(ipv6)) => finding(policy, &ipv4, &ipv6),
        (Err(error), _) | (_, Err(error)) => {
            Finding::unchecked(CHECK, error, "free memory or files")
        }
    }
}

fn finding(policy: &Policy, ipv4: &[Route], ipv6: &[Route]) -> Finding {
    let mut ranges = uncovered(&policy.ipv4, ipv4);
    if let Some(family) = &policy.ipv6 {
        ranges.extend(uncovered(family, ipv6));
    }
    if ranges.is_empty() {
        let said = "no traffic to what looks like pods is masqueraded for want of a configured prefix (a guess by interface names)";
        return Finding::ok(CHECK, said);
    }
    let ranges: Vec<String> = ranges
        .into_iter()
        .map(|(range, interface)| format!("{range} (by {interface})"))
        .collect();
    Finding::warning(
        CHECK,
        format!(
            "a guess by interface names: pods seem to be in {}, which no configured prefix covers, so that traffic to \
             them is masqueraded",
            in_words::first(&ranges, RANGES_NAMED, ", ")
        ),
        "add the cluster's pod CIDRs, which hold these ranges, to nonMasqueradeCIDRs (or to masqueradeCIDRs, if that is meant)",
    )
}

fn uncovered<'a>(family: &FamilyPolicy, routes: &'a [Route]) -> Vec<(IpNet, &'a str)> {
    if family.is_left_alone() {
        return Vec::new();
    }
    let ranges = pods::ranges(routes);
    let mut found: Vec<_> = ranges
        .filter(|(range, _)| !is_covered(family, *range))
        .collect();
    found.sort_unstable();
    found.dedup_by_key(|(range, _)| *range);
    found
}

/// Whether a configured prefix decides over each address of `range`, whatever it says: then it was thought of.
fn is_covered(family: &FamilyPolicy, range: IpNet) -> bool {
    let mut wanted = number(range.network());
    let last = number(range.broadcast());
    for interval in &family.destinations {
        if number(interval.first) > wanted {
            return false;
        }
        if number(interval.last) >= last {
            return true;
        }
        if number(interval.last) >= wanted {
            wanted = number(interval.last) + 1;
        }
    }
    false
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Outcome;
    use super::*;
    use crate::config::{Flags, defaults};

    fn routes(listed: &[(&str, &str)]) -> Vec<Route> {
        let route = |(destination, interface): &(&str, &str)| Route {
            destination: destination.parse().unwrap(),
            is_local: false,
            interface: (*interface).to_owned(),
            gateway: None,
        };
        listed.iter().map(route).collect()
    }

    fn found_in(policy: &Policy) -> Finding {
        let ipv4 = routes(&[
            ("0.0.0.0/0", "eth0"),
            ("192.0.2.0/24", "eth0"),
            ("10.244.1.0/24", "cni0"),
            ("100.64.1.0/24", "cni0"),
            ("100.65.0.3/32", "cali1"),
        ]);
        let ipv6 = routes(&[("fd00:9::/64", "cni0"), ("fe80::/64", "cni0")]);
        finding(policy, &ipv4, &ipv6)
    }

    fn policy(enable_ipv6: bool, more: &[&str]) -> Policy {
        policy_for(enable_ipv6, more, &[])
    }

    fn policy_for(enable_ipv6: bool, more: &[&str], sources: &[&str]) -> Policy {
        let mut config = defaults(&Flags {
            enable_ipv6,
            ..Flags::default()
        });
        let parsed = |cidrs: &[&str]| -> Vec<IpNet> {
            cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect()
        };
        config.non_masquerade_cidrs.extend(parsed(more));
        config.source_cidrs = parsed(sources);
        Policy::new(&config)
    }

    #[test]
    fn routes_towards_pods_that_no_prefix_covers_are_named() {
        let found = found_in(&policy(false, &[]));
        assert_eq!(found.result, Outcome::Warning);
        assert!(
            found
                .finding
                .contains("in 100.64.1.0/24 (by cni0), 100.65.0.3/32 (by cali1), which"),
            "{}",
            found.finding
        );
        let found = found_in(&policy(true, &[]));
        assert!(
            found.finding.contains(", fd00:9::/64 (by cni0), which"),
            "{}",
            found.finding
        );
    }

    #[test]
    fn a_family_with_no_source_is_left_alone_and_its_ranges_are_not_named() {
        for (sources, ipv4_is_named, ipv6_is_named) in [
            (["10.244.0.0/16"].as_slice(), true, false),
            (&["fd00::/8"], false, true),
            (&["10.244.0.0/16", "fd00::/8"], true, true),
        ] {
            let found = found_in(&policy_for(true, &[], sources)).finding;
            assert_eq!(found.contains("100.64.1.0/24"), ipv4_is_named, "{found}");
            assert_eq!(found.contains("fd00:9::/64"), ipv6_is_named, "{found}");
        }
    }

    #[test]
    fn a_range_may_be_covered_by_several_prefixes_together() {
        let halves = [
            "100.64.1.0/25",
            "100.64.1.128/25",
            "100.65.0.0/16",
            "fd00::/8",
        ];
        let found = found_in(&policy(true, &halves));
        assert_eq!(found.result, Outcome::Ok, "{}", found.finding);
        let with_a_gap = ["100.64.1.0/25", "100.64.1.192/26", "100.65.0.0/16"];
        let found = found_in(&policy(false, &with_a_gap));
        assert!(
            found.finding.contains("in 100.64.1.0/24 (by cni0), which"),
            "{}",
            found.finding
        );
    }
}
