//! What the configuration means for one destination.

use std::fmt;
use std::net::IpAddr;

use serde::Serialize;

use crate::in_words;
use crate::policy::interfaces::Interfaces;
use crate::policy::prefix_table::{self, Entry};
use crate::policy::{FamilyPolicy, Policy, Sources};

/// What happens to traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Masqueraded,
    KeepsSource,
    /// The daemon's table does not look at it.
    LeftAlone,
}

/// Why traffic is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reason {
    Ipv6Off,
    NoSourceOfFamily,
    LocalDestination,
    NodeTraffic,
    SourceNotListed,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Masqueraded => "masqueraded",
            Self::KeepsSource => "keeps its source address",
            Self::LeftAlone => "left alone",
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv6Off => "IPv6 is off (enableIPv6: false)",
            Self::NoSourceOfFamily => "sourceCIDRs names no source of this family",
            Self::LocalDestination => "a LOCAL address, one of this host's own",
            Self::NodeTraffic => "the node itself sends it (masqNodeTraffic: false)",
            Self::SourceNotListed => "the source is in none of sourceCIDRs",
        })
    }
}

/// Whether the two addresses of a packet are LOCAL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Locality {
    pub(super) source: bool,
    pub(super) destination: bool,
}

/// What the configuration means for a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) verdict: Verdict,
    pub(super) reason: Option<Reason>,
    /// The longest configured prefix that contains the destination, also where the traffic is left alone.
    pub(super) decided_by: Option<Entry>,
    /// What else must hold, of the interface, and where no source is given; in words.
    pub(super) conditions: Vec<String>,
}

/// What happens to traffic to `destination`, from `source` where that is given; both are of one family.
pub(super) fn decide(
    policy: &Policy,
    source: Option<IpAddr>,
    destination: IpAddr,
    locality: Locality,
) -> Decision {
    let decided_by = policy.decision(destination);
    let reason = reason_to_leave_alone(policy, source, destination, locality);
    let verdict = match (reason, decided_by.map(|entry| entry.origin.verdict())) {
        (Some(_), _) => Verdict::LeftAlone,
        (None, Some(prefix_table::Verdict::NonMasquerade)) => Verdict::KeepsSource,
        (None, Some(prefix_table::Verdict::Masquerade) | None) => Verdict::Masqueraded,
    };
    let conditions = match reason {
        Some(_) => Vec::new(),
        None => conditions(policy, source, destination),
    };
    Decision {
        verdict,
        reason,
        decided_by,
        conditions,
    }
}

fn reason_to_leave_alone(
    policy: &Policy,
    source: Option<IpAddr>,
    destination: IpAddr,
    locality: Locality,
) -> Option<Reason> {
    let Some(of_family) = of_family(policy, destination) else {
        return Some(Reason::Ipv6Off);
    };
    let is_listed = |source: IpAddr| match &of_family.sources {
        Sources::Any => true,
        Sources::Only(sources) => sources.iter().any(|listed| listed.contains(&source)),
    };
    if of_family.is_left_alone() {
        Some(Reason::NoSourceOfFamily)
    } else if locality.destination {
        Some(Reason::LocalDestination)
    } else if locality.source && !policy.masq_node_traffic {
        Some(Reason::NodeTraffic)
    } else if source.is_some_and(|source| !is_listed(source)) {
        Some(Reason::SourceNotListed)
    } else {
        None
    }
}

fn conditions(policy: &Policy, source: Option<IpAddr>, destination: IpAddr) -> Vec<String> {
    let interfaces = match &policy.output_interfaces {
        Interfaces::Any => None,
        Interfaces::Only(names) => Some(format!(
            "by {} (outputInterfaces); what leaves by others is left alone",
            in_words::all(names, ", ")
        )),
    };
    if source.is_some() {
        return interfaces.into_iter().collect();
    }
    let sources = match of_family(policy, destination).map(|family| &family.sources) {
        Some(Sources::Only(sources)) => Some(format!(
            "from {} (sourceCIDRs); from other sources it is left alone",
            in_words::all(sources, ", ")
        )),
        _ => None,
    };
    let node = "not sent by the node itself (masqNodeTraffic: false); that is left alone";
    let node = (!policy.masq_node_traffic).then(|| node.to_owned());
    interfaces.into_iter().chain(sources).chain(node).collect()
}

/// What the policy says of the destination's family; `None`: the family is off.
pub(super) fn of_family(policy: &Policy, destination: IpAddr) -> Option<&FamilyPolicy> {
    match destination {
        IpAddr::V4(_) => Some(&policy.ipv4),
        IpAddr::V6(_) => policy.ipv6.as_ref(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn decided(config: &Config, source: Option<&str>, to: &str, locality: Locality) -> Decision {
        let source = source.map(|source| source.parse().unwrap());
        decide(&Policy::new(config), source, to.parse().unwrap(), locality)
    }

    #[test]
    fn each_reason_to_leave_traffic_alone_is_told() {
        let nowhere = Locality::default();
        let mut config = Config::default();
        let reason = |config: &Config, source, to, locality| {
            let decision = decided(config, source, to, locality);
            assert_eq!(
                decision.reason.is_some(),
                decision.verdict == Verdict::LeftAlone
            );
            decision.reason
        };
        let off = reason(&config, None, "fd00::1", nowhere);
        assert_eq!(off, Some(Reason::Ipv6Off));
        let to_local = Locality {
            destination: true,
            ..nowhere
        };
        let local = reason(&config, None, "10.0.0.1", to_local);
        assert_eq!(local, Some(Reason::LocalDestination));
        let from_local = Locality {
            source: true,
            ..nowhere
        };
        let node = reason(&config, Some("192.0.2.1"), "1.1.1.1", from_local);
        assert_eq!(node, None);
        config.masq_node_traffic = false;
        let node = reason(&config, Some("192.0.2.1"), "1.1.1.1", from_local);
        assert_eq!(node, Some(Reason::NodeTraffic));
        config.enable_ipv6 = true;
        config.source_cidrs = vec!["10.244.0.0/16".parse().unwrap()];
        let other = reason(&config, Some("10.245.0.1"), "1.1.1.1", nowhere);
        assert_eq!(other, Some(Reason::SourceNotListed));
        let listed = reason(&config, Some("10.244.0.1"), "1.1.1.1", nowhere);
        assert_eq!(listed, None);
        let none = reason(&config, None, "fd00::1", nowhere);
        assert_eq!(none, Some(Reason::NoSourceOfFamily));
    }

    #[test]
    fn without_a_source_its_conditions_are_named() {
        let mut config = Config::default();
        let conditions = |config: &Config, source| {
            let decision = decided(config, source, "1.1.1.1", Locality::default());
            decision.conditions.join("\n")
        };
        assert_eq!(conditions(&config, None), "");
        config.masq_node_traffic = false;
        config.source_cidrs = vec!["10.244.0.0/16".parse().unwrap()];
        assert_eq!(
            conditions(&config, None),
            "from 10.244.0.0/16 (sourceCIDRs); from other sources it is left alone\n\
             not sent by the node itself (masqNodeTraffic: false); that is left alone"
        );
        assert_eq!(conditions(&config, Some("10.244.0.1")), "");
        config.output_interfaces = vec!["eth*".to_owned()];
        assert_eq!(
            conditions(&config, Some("10.244.0.1")),
            "by eth* (outputInterfaces); what leaves by others is left alone"
        );
    }
}
