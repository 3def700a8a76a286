//! The one judgement: what the policy does with traffic, and whether a connection got that. `explain` asks before a packet is
//! sent, `connections` when the connection is there. By addresses alone: that an address was translated to itself, no bit of
//! conntrack tells.

use std::fmt;
use std::net::IpAddr;

use serde::Serialize;

use super::Policy;
use super::interfaces::Interfaces;
use super::prefix_table::{self, Entry};

/// What happens to traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It gets the node's address.
    Masqueraded,
    /// It keeps its source address.
    KeepsSource,
    /// The daemon's table does not look at it.
    LeftAlone,
}

/// Why traffic is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "what is displayed says it")]
pub enum Reason {
    Ipv6Off,
    NoSourceOfFamily,
    LocalDestination,
    NodeTraffic,
    SourceNotListed,
    OutputInterface,
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
            Self::OutputInterface => "by today's route it leaves by none of outputInterfaces",
        })
    }
}

/// Whether the two addresses of a packet are LOCAL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Locality {
    /// The node itself sends it.
    pub source: bool,
    /// It is bound for the node.
    pub destination: bool,
}

/// What the policy means for traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// What happens to it.
    pub verdict: Verdict,
    /// Why it is left alone.
    pub reason: Option<Reason>,
    /// The longest configured prefix that contains the destination, also where the traffic is left alone.
    pub decided_by: Option<Entry>,
    /// What belongs to no connection is dropped (`dropInvalid`), unless the node itself sends it.
    pub drops_invalid: bool,
}

/// What happens to traffic to `destination`, from `source` and by `interface` where these are given; addresses are of one
/// family.
#[must_use]
pub fn decide(
    policy: &Policy,
    source: Option<IpAddr>,
    destination: IpAddr,
    locality: Locality,
    interface: Option<&str>,
) -> Decision {
    let decided_by = policy.decision(destination);
    let reason = reason_to_leave_alone(policy, source, destination, locality, interface);
    let verdict = match (reason, decided_by.map(|entry| entry.origin.verdict())) {
        (Some(_), _) => Verdict::LeftAlone,
        (None, Some(prefix_table::Verdict::NonMasquerade)) => Verdict::KeepsSource,
        (None, Some(prefix_table::Verdict::Masquerade) | None) => Verdict::Masqueraded,
    };
    Decision {
        verdict,
        reason,
        decided_by,
        drops_invalid: policy.drop_invalid && verdict == Verdict::Masqueraded && !locality.source,
    }
}

fn reason_to_leave_alone(
    policy: &Policy,
    source: Option<IpAddr>,
    destination: IpAddr,
    locality: Locality,
    interface: Option<&str>,
) -> Option<Reason> {
    let Some(of_family) = policy.of_family(destination) else {
        return Some(Reason::Ipv6Off);
    };
    if of_family.is_left_alone() {
        Some(Reason::NoSourceOfFamily)
    } else if locality.destination {
        Some(Reason::LocalDestination)
    } else if locality.source && !policy.masq_node_traffic {
        Some(Reason::NodeTraffic)
    } else if source.is_some_and(|source| !of_family.sources.contain(source)) {
        Some(Reason::SourceNotListed)
    } else if interface.is_some_and(|interface| !policy.output_interfaces.contain(interface)) {
        Some(Reason::OutputInterface)
    } else {
        None
    }
}

/// A connection, as its first packet and its answers show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// Whom it comes from.
    pub source: IpAddr,
    /// Where it goes, after any translation.
    pub destination: IpAddr,
    /// It was sent to another address or port than it goes to.
    pub is_translated: bool,
    /// It is in a zone of its own, and no source NAT has looked at it there. Others (Open vSwitch, bridges) keep such an entry
    /// of a connection beside the one that the node's NAT has.
    pub is_beside: bool,
    /// The source that its destination sees.
    pub seen_source: IpAddr,
}

/// What an address is to the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressKind {
    /// One of its own (LOCAL).
    Local,
    /// Several hosts': broadcast, anycast or multicast.
    Shared,
    /// Another host's.
    Other,
}

/// What must be known of the node to judge its connections.
pub trait Node {
    /// What the address is to it.
    fn kind_of(&self, address: IpAddr) -> AddressKind;
    /// By which interface it sends today what comes from `source`; `None`: there is no route.
    fn interface_to(&self, source: IpAddr, destination: IpAddr) -> Option<String>;
}

/// What became of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "verdict", content = "reason", rename_all = "snake_case")]
pub enum Became {
    /// It kept its source address.
    Kept,
    /// It got another source address.
    Masqueraded,
    /// Its destination was changed, and its source is the Service's matter.
    Service,
    /// The policy does not look at it.
    NotLookedAt(Reason),
    /// An entry does not tell whether the policy looks at it.
    NotJudged(Unknown),
}

/// What an entry of conntrack does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unknown {
    /// Whether a packet to several hosts left the node at all: such packets also come to it.
    SharedDestination,
    /// By which interface it left: today's route leads by none of `outputInterfaces`.
    OutputInterface,
    /// What the node's NAT does with it, of which another entry tells.
    ZoneWithoutNat,
}

impl fmt::Display for Became {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kept => f.write_str("kept the source address"),
            Self::Masqueraded => f.write_str("masqueraded"),
            Self::Service => f.write_str("translated by a Service"),
            Self::NotLookedAt(reason) => write!(f, "not looked at: {reason}"),
            Self::NotJudged(Unknown::SharedDestination) => {
                f.write_str("not judged: to several hosts, the node among them or not")
            }
            Self::NotJudged(Unknown::OutputInterface) => {
                write!(f, "not judged: {}", Reason::OutputInterface)
            }
            Self::NotJudged(Unknown::ZoneWithoutNat) => {
                f.write_str("not judged: in a zone of conntrack where no source NAT has seen it")
            }
        }
    }
}

/// In what a connection contradicts the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Contradiction {
    /// It got another source address, though its destination is exempt.
    MasqueradedThoughExempt,
    /// It kept its source address, which is not the node's, though it is to be masqueraded.
    KeptThoughToBeMasqueraded,
    /// It is masqueraded with another address than the one that is chosen.
    OtherAddress,
}

impl Contradiction {
    /// All of them.
    pub const ALL: [Self; 3] = [
        Self::MasqueradedThoughExempt,
        Self::KeptThoughToBeMasqueraded,
        Self::OtherAddress,
    ];

    /// As a bare value, of the metrics and of JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::MasqueradedThoughExempt => "masqueraded_though_exempt",
            Self::KeptThoughToBeMasqueraded => "kept_though_to_be_masqueraded",
            Self::OtherAddress => "other_address",
        }
    }
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MasqueradedThoughExempt => "masqueraded though exempt",
            Self::KeptThoughToBeMasqueraded => "kept though to be masqueraded",
            Self::OtherAddress => "with another address than snatAddressCIDRs gives",
        })
    }
}

/// What is found of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    /// What became of it.
    pub became: Became,
    /// The longest configured prefix that contains its destination.
    pub decided_by: Option<Entry>,
    /// `None`: it is as the policy wants it, or nothing can be said.
    pub contradiction: Option<Contradiction>,
}

impl Judgement {
    /// Whether a change of policy has turned the connection, of which the policy before judged as `before`. It has where the
    /// connection contradicts the new policy and did not contradict the one before in the same way; and where it is masqueraded,
    /// as the one before wanted it, and the new one leaves such traffic alone.
    #[must_use]
    pub fn is_turned_from(&self, before: &Self) -> bool {
        let is_left_alone = matches!(
            self.became,
            Became::NotLookedAt(_) | Became::NotJudged(Unknown::OutputInterface)
        );
        match self.contradiction {
            Some(contradiction) => before.contradiction != Some(contradiction),
            None => {
                is_left_alone
                    && before.became == Became::Masqueraded
                    && before.contradiction.is_none()
            }
        }
    }
}

/// Judges a connection by the policy [on this node](Policy::on_node).
pub fn judge(policy: &Policy, connection: Connection, node: &impl Node) -> Judgement {
    let Connection {
        source,
        destination,
        seen_source,
        ..
    } = connection;
    let kind = node.kind_of(destination);
    let locality = Locality {
        source: node.kind_of(source) == AddressKind::Local,
        destination: kind == AddressKind::Local,
    };
    // Of the interface an entry does not tell.
    let decision = decide(policy, Some(source), destination, locality, None);
    let is_kept = seen_source == source;
    let became = match decision.reason {
        Some(reason) => Became::NotLookedAt(reason),
        None if connection.is_translated => Became::Service,
        None if connection.is_beside => Became::NotJudged(Unknown::ZoneWithoutNat),
        None if kind == AddressKind::Shared => Became::NotJudged(Unknown::SharedDestination),
        None if !may_leave_by(&policy.output_interfaces, source, destination, node) => {
            Became::NotJudged(Unknown::OutputInterface)
        }
        None if is_kept => Became::Kept,
        None => Became::Masqueraded,
    };
    // `None`: that of the outgoing interface, whichever it is.
    let chosen = policy.of_family(destination);
    let chosen = chosen.and_then(|of_family| of_family.snat_address.chosen());
    let is_judged = matches!(became, Became::Kept | Became::Masqueraded);
    // What a node sends from an address of its own has the node's address, whether it was translated to that or not.
    let has_no_address_of_the_node = is_kept && !locality.source;
    let contradiction = match decision.verdict {
        Verdict::KeepsSource if !is_kept => Some(Contradiction::MasqueradedThoughExempt),
        Verdict::Masqueraded if has_no_address_of_the_node => {
            Some(Contradiction::KeptThoughToBeMasqueraded)
        }
        Verdict::Masqueraded if chosen.is_some_and(|own| own.address != seen_source) => {
            Some(Contradiction::OtherAddress)
        }
        _ => None,
    };
    Judgement {
        became,
        decided_by: decision.decided_by,
        contradiction: contradiction.filter(|_| is_judged),
    }
}

/// By today's route: an entry of conntrack holds no interface.
fn may_leave_by(
    interfaces: &Interfaces,
    source: IpAddr,
    destination: IpAddr,
    node: &impl Node,
) -> bool {
    match interfaces {
        Interfaces::Any => true,
        only @ Interfaces::Only(_) => {
            let interface = node.interface_to(source, destination);
            interface.is_some_and(|interface| only.contain(&interface))
        }
    }
}

#[cfg(test)]
mod tests;
