//! What is likely not meant in a configuration that holds.

use ipnet::IpNet;

use super::finding::Advice;
use super::keys::{NON_MASQUERADE_CIDRS, OUTPUT_INTERFACES, SOURCE_CIDRS, TO_PORTS};
use super::{Config, Finding, PortRange};
use crate::in_words;

/// Kubernetes' default range of NodePorts (`--service-node-port-range`).
const NODE_PORTS: PortRange = PortRange {
    first: 30_000,
    last: 32_767,
};

/// The ports of VXLAN: RFC 7348, section 5; and Linux's older default.
const VXLAN_PORTS: [u16; 2] = [4_789, 8_472];

/// Fewer ports than a node has connections to one address and port of a busy destination.
const FEW_PORTS: usize = 1_000;

/// Without `toPorts` a connection gets a port of VXLAN once in 32,000 times. From so many ports for each such one up, it is much
/// the same.
const PORTS_FOR_EACH_VXLAN_PORT: usize = 10_000;

/// How many names of interfaces are warned of.
const MOST_NAMES: usize = 4;

/// Warnings about what all files and flags say together.
pub(super) fn oversights(config: &Config) -> Vec<Finding> {
    let is_ipv4 = |cidr: &IpNet| matches!(cidr, IpNet::V4(_));
    let is_ipv6 = |cidr: &IpNet| matches!(cidr, IpNet::V6(_));
    let is_left_alone = |is_of_family: fn(&IpNet) -> bool| {
        !config.source_cidrs.is_empty() && !config.source_cidrs.iter().any(is_of_family)
    };
    let ipv6_is_left_alone = config.enable_ipv6 && is_left_alone(is_ipv6);
    let mut warnings = Vec::new();
    if is_left_alone(is_ipv4) {
        warnings.push(left_alone("IPv4", "remove the key for any source"));
    }
    if ipv6_is_left_alone {
        warnings.push(left_alone("IPv6", "turn IPv6 off if that is meant"));
    }
    let exempts_ipv6 = config.non_masquerade_cidrs.iter().any(may_be_of_pods);
    if config.enable_ipv6 && !exempts_ipv6 && !ipv6_is_left_alone {
        warnings.push(warning(
            NON_MASQUERADE_CIDRS,
            "IPv6 is on and no IPv6 CIDR of pods is listed, so that all IPv6 traffic between pods is masqueraded".into(),
            "add the IPv6 CIDRs of pods and nodes".into(),
        ));
    }
    warnings.extend(of_ports(&config.to_ports));
    warnings.extend(of_interfaces(&config.output_interfaces));
    warnings
}

/// Whether an IPv6 CIDR is one that pods can have addresses of: ff00::/8 and fe80::/10 are listed for other reasons.
fn may_be_of_pods(cidr: &IpNet) -> bool {
    match cidr {
        IpNet::V4(_) => false,
        IpNet::V6(cidr) => !cidr.addr().is_multicast() && !cidr.addr().is_unicast_link_local(),
    }
}

/// Names as other programs write them, which the kernel would allow: iptables' `vlan+`, and `eth0.100@eth0` of ip(8).
fn of_interfaces(names: &[String]) -> Vec<Finding> {
    let of = |name: &String| {
        let (reason, meant) = match (name.strip_suffix('+'), name.split_once('@')) {
            (Some(start), _) => (
                "a + stands for itself, and is no wildcard",
                format!("{start}*"),
            ),
            (None, Some((name, _))) => (
                "what ip(8) shows behind @ is no part of a name",
                name.into(),
            ),
            (None, None) => return None,
        };
        let reason = format!("\"{name}\": {reason}");
        let remedy = format!("write {meant}, unless the interface is called {name}");
        Some(warning(OUTPUT_INTERFACES, reason, remedy))
    };
    names.iter().filter_map(of).take(MOST_NAMES).collect()
}

/// What is likely not meant by the source ports of masqueraded connections. That they are also those which the node's own sockets take
/// (32768-60999) is no harm: conntrack knows the node's connections as well, and two never get the same tuple.
fn of_ports(ranges: &[PortRange]) -> Vec<Finding> {
    let mut warnings = Vec::new();
    let holds = |port: u16| {
        ranges
            .iter()
            .any(|range| (range.first..=range.last).contains(&port))
    };
    let count = ranges
        .iter()
        .map(|range| 1 + usize::from(range.last - range.first))
        .sum();
    if (1..FEW_PORTS).contains(&count) {
        warnings.push(warning(
            TO_PORTS,
            format!(
                "only {}, so that no more connections to one address and port of a destination are masqueraded at a time: others are dropped",
                if count == 1 { "1 port".into() } else { format!("{count} ports") }
            ),
            "write ranges of some thousand ports, such as 1024-29999,32768-65535".into(),
        ));
    }
    let overlaps =
        |range: &&PortRange| range.first <= NODE_PORTS.last && NODE_PORTS.first <= range.last;
    if let Some(range) = ranges.iter().find(overlaps) {
        warnings.push(warning(
            TO_PORTS,
            format!(
                "{range} holds NodePorts ({NODE_PORTS}): a proxy in eBPF or IPVS takes answers to such a port for a Service's"
            ),
            "leave them out, as 1024-29999,32768-65535 does".into(),
        ));
    }
    let vxlan: Vec<u16> = VXLAN_PORTS
        .into_iter()
        .filter(|port| holds(*port))
        .collect();
    if !vxlan.is_empty() && count < vxlan.len() * PORTS_FOR_EACH_VXLAN_PORT {
        let ports = in_words::all(&vxlan, " and ");
        warnings.push(warning(
            TO_PORTS,
            format!(
                "VXLAN's {ports} among only {count} ports: CNIs do not track what comes in there, so that answers over UDP are lost"
            ),
            format!("leave {ports} out, or write more ports"),
        ));
    }
    warnings
}

fn left_alone(family: &str, otherwise: &str) -> Finding {
    warning(
        SOURCE_CIDRS,
        format!(
            "no {family} CIDR is among the sources, so that all {family} traffic is left alone"
        ),
        format!("add one, or {otherwise}"),
    )
}

fn warning(key: &str, reason: String, remedy: String) -> Finding {
    Advice::new(reason, remedy).about(key.to_owned(), None)
}
