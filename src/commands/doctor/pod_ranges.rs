//! Ranges that look like pods' and that no configured prefix covers: connections to them would be masqueraded.
//!
//! A guess: without the API server, a pod's route is known by the name of its interface only.

use std::net::IpAddr;

use ipnet::IpNet;

use super::finding::Finding;
use crate::commands::pods;
use crate::commands::routes::{self, Route};
use crate::in_words;
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
    match (routes::read(Family::Ip), routes::read(Family::Ip6)) {
        (Ok(ipv4), Ok(ipv6)) => finding(policy, &ipv4, &ipv6),
        (Err(error), _) => Finding::unread(CHECK, routes::path(Family::Ip), &error),
        (_, Err(error)) => Finding::unread(CHECK, routes::path(Family::Ip6), &error),
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

    const IPV4: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
        eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
        eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
        cni0\t0001F40A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
        cni0\t00014064\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
        cali1\t03004164\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0\n\
        cali1\t04004164\t00000000\t0205\t0\t0\t0\tFFFFFFFF\t0\t0\t0\n";
    const IPV6: &str = "fd000009000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     cni0\n\
        fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000002 00000000 00000001     cni0\n\
        fd000009000000000000000000000001 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000002 00000000 80200001     cni0\n\
        ff000000000000000000000000000000 08 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     cni0\n";

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

    /// The routes are written in the byte order of x86 and most others.
    #[cfg(target_endian = "little")]
    #[test]
    fn routes_towards_pods_that_no_prefix_covers_are_named() {
        let found = finding(
            &policy(false, &[]),
            &routes::of_ipv4(IPV4),
            &routes::of_ipv6(IPV6),
        );
        assert_eq!(found.result, Outcome::Warning);
        assert!(
            found
                .finding
                .contains("in 100.64.1.0/24 (by cni0), 100.65.0.3/32 (by cali1), which"),
            "{}",
            found.finding
        );
        let found = finding(
            &policy(true, &[]),
            &routes::of_ipv4(IPV4),
            &routes::of_ipv6(IPV6),
        );
        assert!(
            found.finding.contains(", fd00:9::/64 (by cni0), which"),
            "{}",
            found.finding
        );
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn a_family_with_no_source_is_left_alone_and_its_ranges_are_not_named() {
        for (sources, ipv4_is_named, ipv6_is_named) in [
            (["10.244.0.0/16"].as_slice(), true, false),
            (&["fd00::/8"], false, true),
            (&["10.244.0.0/16", "fd00::/8"], true, true),
        ] {
            let found = finding(
                &policy_for(true, &[], sources),
                &routes::of_ipv4(IPV4),
                &routes::of_ipv6(IPV6),
            )
            .finding;
            assert_eq!(found.contains("100.64.1.0/24"), ipv4_is_named, "{found}");
            assert_eq!(found.contains("fd00:9::/64"), ipv6_is_named, "{found}");
        }
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn a_range_may_be_covered_by_several_prefixes_together() {
        let halves = [
            "100.64.1.0/25",
            "100.64.1.128/25",
            "100.65.0.0/16",
            "fd00::/8",
        ];
        let found = finding(
            &policy(true, &halves),
            &routes::of_ipv4(IPV4),
            &routes::of_ipv6(IPV6),
        );
        assert_eq!(found.result, Outcome::Ok, "{}", found.finding);
        let with_a_gap = ["100.64.1.0/25", "100.64.1.192/26", "100.65.0.0/16"];
        let found = finding(
            &policy(false, &with_a_gap),
            &routes::of_ipv4(IPV4),
            &routes::of_ipv6(IPV6),
        );
        assert!(
            found.finding.contains("in 100.64.1.0/24 (by cni0), which"),
            "{}",
            found.finding
        );
    }
}
