//! Ranges that look like pods' and that no configured prefix covers: connections to them would be masqueraded.
//!
//! A guess: without the API server, a pod's route is known by the name of its interface only.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::finding::Finding;
use crate::in_words;
use crate::policy::{FamilyPolicy, Policy};

const CHECK: &str = "pod-ranges";

/// Names that CNI plugins give to bridges, tunnels and the nodes' ends of veth pairs: bridge and ptp, flannel, Calico,
/// Cilium, Weave, kube-router, Azure CNI, Amazon VPC CNI, GKE.
const INTERFACES_TOWARDS_PODS: [&str; 13] = [
    "cni",
    "veth",
    "flannel",
    "cali",
    "vxlan.calico",
    "tunl",
    "lxc",
    "cilium",
    "weave",
    "kube-bridge",
    "azv",
    "eni",
    "gke",
];
/// How many ranges are named.
const RANGES_NAMED: usize = 8;

/// `RTF_UP`, `RTF_REJECT`, linux/route.h; `RTF_LOCAL`, linux/ipv6_route.h.
const RTF_UP: u32 = 0x0001;
const RTF_REJECT: u32 = 0x0200;
const RTF_LOCAL: u32 = 0x8000_0000;

/// What to say of the routes of `ipv4` (/proc/net/route) and `ipv6` (/proc/net/ipv6_route).
pub(super) fn finding(policy: &Policy, ipv4: &str, ipv6: &str) -> Finding {
    let mut ranges = uncovered(&policy.ipv4, ipv4.lines().skip(1).filter_map(ipv4_route));
    if let Some(family) = &policy.ipv6 {
        ranges.extend(uncovered(family, ipv6.lines().filter_map(ipv6_route)));
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

fn uncovered(
    family: &FamilyPolicy,
    routes: impl Iterator<Item = (IpNet, String)>,
) -> Vec<(IpNet, String)> {
    if family.is_left_alone() {
        return Vec::new();
    }
    let mut found: Vec<(IpNet, String)> = routes
        .filter(|(range, interface)| {
            let mut names = INTERFACES_TOWARDS_PODS.iter();
            names.any(|name| interface.starts_with(name)) && !is_covered(family, *range)
        })
        .collect();
    found.sort();
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

/// `Iface Destination Gateway Flags RefCnt Use Metric Mask …`; addresses are hexadecimal, in the host's byte order.
fn ipv4_route(line: &str) -> Option<(IpNet, String)> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [interface, destination, _, flags, _, _, _, mask, ..] = fields.as_slice() else {
        return None;
    };
    let flags = u32::from_str_radix(flags, 16).ok()?;
    if flags & RTF_UP == 0 || flags & RTF_REJECT != 0 {
        return None;
    }
    let address = |hexadecimal: &str| {
        let bytes = u32::from_str_radix(hexadecimal, 16).ok()?.to_ne_bytes();
        Some(Ipv4Addr::from(bytes))
    };
    let range = Ipv4Net::with_netmask(address(destination)?, address(mask)?).ok()?;
    let is_pods_perhaps = range.prefix_len() > 0 && !range.network().is_link_local();
    is_pods_perhaps.then(|| (range.into(), (*interface).to_owned()))
}

/// `destination length source length gateway metric references use flags interface`, all numbers hexadecimal.
fn ipv6_route(line: &str) -> Option<(IpNet, String)> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [destination, length, _, _, _, _, _, _, flags, interface] = fields.as_slice() else {
        return None;
    };
    let flags = u32::from_str_radix(flags, 16).ok()?;
    if flags & RTF_UP == 0 || flags & (RTF_REJECT | RTF_LOCAL) != 0 {
        return None;
    }
    let address = Ipv6Addr::from_bits(u128::from_str_radix(destination, 16).ok()?);
    let range = Ipv6Net::new(address, u8::from_str_radix(length, 16).ok()?).ok()?;
    let is_pods_perhaps =
        range.prefix_len() > 0 && !address.is_multicast() && !address.is_unicast_link_local();
    is_pods_perhaps.then(|| (range.into(), (*interface).to_owned()))
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
        let found = finding(&policy(false, &[]), IPV4, IPV6);
        assert_eq!(found.result, Outcome::Warning);
        assert!(
            found
                .finding
                .contains("in 100.64.1.0/24 (by cni0), 100.65.0.3/32 (by cali1), which"),
            "{}",
            found.finding
        );
        let found = finding(&policy(true, &[]), IPV4, IPV6);
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
            let found = finding(&policy_for(true, &[], sources), IPV4, IPV6).finding;
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
        let found = finding(&policy(true, &halves), IPV4, IPV6);
        assert_eq!(found.result, Outcome::Ok, "{}", found.finding);
        let with_a_gap = ["100.64.1.0/25", "100.64.1.192/26", "100.65.0.0/16"];
        let found = finding(&policy(false, &with_a_gap), IPV4, IPV6);
        assert!(
            found.finding.contains("in 100.64.1.0/24 (by cni0), which"),
            "{}",
            found.finding
        );
    }
}
