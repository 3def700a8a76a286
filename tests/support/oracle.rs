//! What a configuration file means, found out naively: every configured prefix is tried, the longest wins.
//!
//! Written apart from the daemon's own code on purpose.

use std::io;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::Deserialize;

use super::lab::is_routable;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct File {
    #[serde(rename = "nonMasqueradeCIDRs")]
    non_masquerade_cidrs: Option<Vec<String>>,
    #[serde(rename = "masqueradeCIDRs")]
    masquerade_cidrs: Vec<String>,
    masq_link_local: bool,
}

/// RFC 1918.
const DEFAULT_CIDRS: [&str; 3] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"];
/// RFC 3927.
const LINK_LOCAL: &str = "169.254.0.0/16";

/// The configured IPv4 prefixes, each with what happens to its destinations.
#[derive(Clone, Debug)]
pub struct Oracle {
    prefixes: Vec<(Ipv4Net, bool)>,
}

impl Oracle {
    /// Reads a configuration file. Listed prefixes stand before the link-local default, which loses to
    /// them at the same length.
    pub fn new(configuration: &str) -> io::Result<Self> {
        // A file of comments is YAML's null.
        let file: Option<File> = serde_yaml::from_str(configuration).map_err(io::Error::other)?;
        let file = file.unwrap_or_default();
        let exempt = file
            .non_masquerade_cidrs
            .unwrap_or_else(|| DEFAULT_CIDRS.map(str::to_owned).to_vec());
        let link_local = (!file.masq_link_local).then(|| LINK_LOCAL.to_owned());
        let listed = exempt.into_iter().map(|cidr| (cidr, false));
        let masqueraded = file.masquerade_cidrs.into_iter().map(|cidr| (cidr, true));
        let prefixes = listed
            .chain(masqueraded)
            .chain(link_local.map(|cidr| (cidr, false)))
            .filter(|(cidr, _)| !cidr.contains(':'))
            .map(|(cidr, masquerade)| Ok((cidr.parse().map_err(io::Error::other)?, masquerade)))
            .collect::<io::Result<_>>()?;
        Ok(Self { prefixes })
    }

    /// The longest prefix that contains the destination.
    pub fn deciding_prefix(&self, destination: Ipv4Addr) -> Option<Ipv4Net> {
        self.decision(destination).map(|(prefix, _)| prefix)
    }

    /// Whether traffic to the destination is masqueraded. Not asked for LOCAL addresses.
    pub fn masqueraded(&self, destination: Ipv4Addr) -> bool {
        self.decision(destination)
            .is_none_or(|(_, masquerade)| masquerade)
    }

    /// Of every prefix: the last address before it, its first, its last, the first after it. Without
    /// what cannot be routed, without repetition.
    pub fn edges(&self) -> Vec<Ipv4Addr> {
        let mut edges: Vec<Ipv4Addr> = self
            .prefixes
            .iter()
            .flat_map(|(prefix, _)| {
                let (first, last) = (prefix.network().to_bits(), prefix.broadcast().to_bits());
                [
                    first.checked_sub(1),
                    Some(first),
                    Some(last),
                    last.checked_add(1),
                ]
            })
            .flatten()
            .map(Ipv4Addr::from_bits)
            .filter(|address| is_routable(*address))
            .collect();
        edges.sort_unstable();
        edges.dedup();
        edges
    }

    fn decision(&self, destination: Ipv4Addr) -> Option<(Ipv4Net, bool)> {
        let mut best: Option<(Ipv4Net, bool)> = None;
        for (prefix, masquerade) in &self.prefixes {
            let longer = best.is_none_or(|(best, _)| prefix.prefix_len() > best.prefix_len());
            if prefix.contains(&destination) && longer {
                best = Some((*prefix, *masquerade));
            }
        }
        best
    }
}
