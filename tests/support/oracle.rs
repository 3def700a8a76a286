//! What a configuration file means, found out naively: every configured prefix is tried, the longest wins.
//!
//! Written apart from the daemon's own code on purpose.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::Deserialize;

use super::lab::{Family, Lab, is_routable};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    #[serde(rename = "nonMasqueradeCIDRs")]
    non_masquerade_cidrs: Option<Vec<String>>,
    #[serde(rename = "masqueradeCIDRs")]
    masquerade_cidrs: Vec<String>,
    #[serde(rename = "sourceCIDRs")]
    source_cidrs: Vec<String>,
    output_interfaces: Vec<String>,
    #[serde(rename = "snatAddressCIDRs")]
    snat_address_cidrs: Vec<String>,
    drop_invalid: bool,
    masq_node_traffic: bool,
    masq_link_local: bool,
    #[serde(rename = "masqLinkLocalIPv6")]
    masq_link_local_ipv6: bool,
    #[serde(rename = "enableIPv6")]
    enable_ipv6: Option<bool>,
}

impl Default for File {
    fn default() -> Self {
        Self {
            non_masquerade_cidrs: None,
            masquerade_cidrs: Vec::new(),
            source_cidrs: Vec::new(),
            output_interfaces: Vec::new(),
            snat_address_cidrs: Vec::new(),
            drop_invalid: false,
            masq_node_traffic: true,
            masq_link_local: false,
            masq_link_local_ipv6: false,
            enable_ipv6: None,
        }
    }
}

/// RFC 1918.
const DEFAULT_CIDRS: &[&str] = &["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"];
/// What ip-masq-agent exempts with the flag of this name.
const ALL_RESERVED: &[&str] = &[
    "10.0.0.0/8",
    "100.64.0.0/10",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "240.0.0.0/4",
];
/// RFC 3927, RFC 4291.
const LINK_LOCAL: &str = "169.254.0.0/16";
const LINK_LOCAL_IPV6: &str = "fe80::/10";

/// A configuration, and what the daemon was started with.
#[derive(Clone, Debug)]
pub struct Oracle {
    /// Each with whether its destinations are masqueraded.
    prefixes: Vec<(IpNet, bool)>,
    source_cidrs: Vec<IpNet>,
    output_interfaces: Vec<String>,
    snat_address_cidrs: Vec<IpNet>,
    drop_invalid: bool,
    masq_node_traffic: bool,
    ipv6: bool,
}

impl Oracle {
    /// Reads a configuration file, for a daemon without arguments.
    pub fn new(configuration: &str) -> io::Result<Self> {
        Self::with_arguments(configuration, &[])
    }

    /// Reads a configuration file, for a daemon with these arguments. Listed prefixes stand before the
    /// link-local defaults, which lose to them at the same length.
    pub fn with_arguments(configuration: &str, arguments: &[&str]) -> io::Result<Self> {
        // A file of comments is YAML's null.
        let file: Option<File> = serde_yaml::from_str(configuration).map_err(io::Error::other)?;
        let file = file.unwrap_or_default();
        let default_cidrs = if arguments.contains(&"--nomasq-all-reserved-ranges") {
            ALL_RESERVED
        } else {
            DEFAULT_CIDRS
        };
        let exempt = match &file.non_masquerade_cidrs {
            Some(listed) => parsed(listed)?,
            None => parsed(default_cidrs)?,
        };
        let mut prefixes: Vec<(IpNet, bool)> =
            exempt.into_iter().map(|cidr| (cidr, false)).collect();
        let masqueraded = parsed(&file.masquerade_cidrs)?;
        prefixes.extend(masqueraded.into_iter().map(|cidr| (cidr, true)));
        for (masqueraded, cidr) in [
            (file.masq_link_local, LINK_LOCAL),
            (file.masq_link_local_ipv6, LINK_LOCAL_IPV6),
        ] {
            let exempt = parsed(&[cidr])?.into_iter().filter(|_| !masqueraded);
            prefixes.extend(exempt.map(|cidr| (cidr, false)));
        }
        Ok(Self {
            prefixes,
            source_cidrs: parsed(&file.source_cidrs)?,
            output_interfaces: file.output_interfaces,
            snat_address_cidrs: parsed(&file.snat_address_cidrs)?,
            drop_invalid: file.drop_invalid,
            masq_node_traffic: file.masq_node_traffic,
            ipv6: file
                .enable_ipv6
                .unwrap_or(arguments.contains(&"--enable-ipv6")),
        })
    }

    /// Whether the family is looked at. IPv6 is left alone unless it is enabled.
    pub fn programs(&self, family: Family) -> bool {
        family == Family::V4 || self.ipv6
    }

    /// The longest prefix that contains the destination.
    pub fn deciding_prefix(&self, destination: impl Into<IpAddr>) -> Option<IpNet> {
        self.decision(destination.into()).map(|(prefix, _)| prefix)
    }

    /// Whether traffic of the pod to the destination is masqueraded, as far as the destination decides.
    /// Not asked for LOCAL addresses.
    pub fn masqueraded(&self, destination: impl Into<IpAddr>) -> bool {
        let destination = destination.into();
        self.programs(Family::of(destination))
            && self
                .decision(destination)
                .is_none_or(|(_, masquerade)| masquerade)
    }

    /// The source that a receiver sees of what is sent through the node, or by it, from this address.
    pub fn expected_source(&self, lab: &Lab, from: IpAddr, destination: IpAddr) -> IpAddr {
        let spared = lab.is_local(from) && !self.masq_node_traffic;
        if spared || !self.would_masquerade(lab, from, destination) {
            return from;
        }
        let own = lab.addresses_of(Family::of(destination));
        // The node has these two, in this order.
        let all = [own.pod_gateway, own.node_uplink];
        let within = |cidr: &IpNet| all.into_iter().find(|address| cidr.contains(address));
        let chosen = self.snat_address_cidrs.iter().find_map(within);
        chosen.unwrap_or(match lab.is_pod(destination) {
            true => own.pod_gateway,
            false => own.node_uplink,
        })
    }

    /// Whether a packet that belongs to no connection is dropped.
    pub fn drops_invalid(&self, lab: &Lab, from: IpAddr, destination: IpAddr) -> bool {
        self.drop_invalid && !lab.is_local(from) && self.would_masquerade(lab, from, destination)
    }

    fn would_masquerade(&self, lab: &Lab, from: IpAddr, destination: IpAddr) -> bool {
        let leaves_by = match lab.is_pod(destination) {
            true => "pod0",
            false => "uplink0",
        };
        let is_of_the_name = |name: &String| match name.strip_suffix('*') {
            Some(beginning) => leaves_by.starts_with(beginning),
            None => name == leaves_by,
        };
        let names = &self.output_interfaces;
        let sources = &self.source_cidrs;
        (names.is_empty() || names.iter().any(is_of_the_name))
            && (sources.is_empty() || sources.iter().any(|cidr| cidr.contains(&from)))
            && !lab.is_local(destination)
            && self.masqueraded(destination)
    }

    /// Of every prefix: the last address before it, its first, its last, the first after it. Without
    /// what cannot be routed, without repetition.
    pub fn edges(&self) -> Vec<IpAddr> {
        let mut edges: Vec<IpAddr> = self
            .prefixes
            .iter()
            .flat_map(|(prefix, _)| edges_of(*prefix))
            .filter(|address| is_routable(*address))
            .collect();
        edges.sort_unstable();
        edges.dedup();
        edges
    }

    fn decision(&self, destination: IpAddr) -> Option<(IpNet, bool)> {
        let mut best: Option<(IpNet, bool)> = None;
        for (prefix, masquerade) in &self.prefixes {
            let longer = best.is_none_or(|(best, _)| prefix.prefix_len() > best.prefix_len());
            if prefix.contains(&destination) && longer {
                best = Some((*prefix, *masquerade));
            }
        }
        best
    }
}

fn parsed(cidrs: &[impl AsRef<str>]) -> io::Result<Vec<IpNet>> {
    let parse = |cidr: &str| cidr.parse().map_err(io::Error::other);
    cidrs.iter().map(|cidr| parse(cidr.as_ref())).collect()
}

fn edges_of(prefix: IpNet) -> Vec<IpAddr> {
    let (first, last) = (prefix.network(), prefix.broadcast());
    [before(first), Some(first), Some(last), after(last)]
        .into_iter()
        .flatten()
        .collect()
}

fn before(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => Some(Ipv4Addr::from_bits(v4.to_bits().checked_sub(1)?).into()),
        IpAddr::V6(v6) => Some(Ipv6Addr::from_bits(v6.to_bits().checked_sub(1)?).into()),
    }
}

fn after(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => Some(Ipv4Addr::from_bits(v4.to_bits().checked_add(1)?).into()),
        IpAddr::V6(v6) => Some(Ipv6Addr::from_bits(v6.to_bits().checked_add(1)?).into()),
    }
}
