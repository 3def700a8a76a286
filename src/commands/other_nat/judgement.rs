//! What a foreign rule means for the pods' traffic to exempt destinations, and what `enforce` would mean for it.

use std::net::IpAddr;

use ipnet::IpNet;

use super::limit::{Limit, Sense, Subject, Value};
use super::writers::{Role, Writer};
use super::{BaseChain, SourceNatRule};
use crate::commands::pods::{self, PodSources};
use crate::commands::uplinks::snat_address_of;
use crate::policy::Policy;
use crate::ruleset::Family;

/// Whose traffic is meant.
#[derive(Debug, Clone, Default)]
pub(in crate::commands) struct Traffic {
    /// From this address alone.
    pub(in crate::commands) source: Option<IpAddr>,
    /// To this address alone.
    pub(in crate::commands) destination: Option<IpAddr>,
    /// Where pods' traffic comes from.
    pub(in crate::commands) pods: PodSources,
    /// `masqNodeTraffic: false`
    pub(in crate::commands) spares_node: bool,
    /// The families of which `snatAddressCIDRs` chooses the address that masqueraded connections get.
    pub(in crate::commands) has_chosen_address: Vec<Family>,
}

/// A rule, and what it means.
#[derive(Debug, Clone)]
pub(in crate::commands) struct Judged<'a> {
    pub(in crate::commands) rule: &'a SourceNatRule,
    pub(in crate::commands) writer: Option<&'static Writer>,
    pub(in crate::commands) meaning: Meaning,
}

/// What a rule means for the pods' traffic to exempt destinations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::commands) enum Meaning {
    /// It sees none of it.
    Nothing,
    /// It translates only what is said, which is right. `enforce` leaves that alone.
    Right(&'static str),
    /// It translates the traffic of others than pods. `harm`: what `enforce` would do to that, as it is configured.
    OfOthers {
        what: &'static str,
        harm: Option<Harm>,
    },
    /// Whether it sees the pods' traffic is not known.
    Unclear(Doubt),
    /// It may masquerade it.
    Rival(WayOut),
}

/// Why it is not known whether a rule sees the pods' traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::commands) enum Doubt {
    /// It looks at sources, and where pods are is not known.
    Sources,
    /// The listing hides whether it sees that or all but that. `harm`: what `enforce` would do in the latter case.
    Hidden { harm: Option<Harm> },
}

/// Whose connections to exempt destinations `enforce` would let keep their source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::commands) enum Harm {
    /// The node's own, unless `masqNodeTraffic` is false.
    OfNodeTraffic,
    /// Those of hosts that the node forwards for, unless `sourceCIDRs` names others.
    OfForwardedTraffic,
}

/// How a rule that is in the way goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::commands) enum WayOut {
    /// By this setting of its writer.
    Setting(&'static str),
    /// With what an agent has left.
    Remains,
    /// By a command; nobody who writes it is known.
    Deletion,
}

impl Meaning {
    /// `enforce` may not be advised: it would or might harm someone.
    pub(in crate::commands) fn forbids_enforce(&self) -> bool {
        matches!(
            self,
            Self::Unclear(_) | Self::OfOthers { harm: Some(_), .. }
        )
    }

    /// The source address of the traffic may be decided here.
    pub(in crate::commands) fn may_decide(&self) -> bool {
        matches!(self, Self::Unclear(_) | Self::Rival(_))
    }
}

pub(super) fn judged<'a>(base: &'a BaseChain, traffic: &Traffic) -> Vec<Judged<'a>> {
    let judge = |rule: &'a SourceNatRule| {
        let writer = Writer::of(&base.chain.table, rule);
        let is_left = base.remains.iter().any(|remains| remains.hold(rule));
        let meaning = match writer {
            _ if traffic.misses(rule) => Meaning::Nothing,
            _ if is_left => Meaning::Rival(WayOut::Remains),
            Some(writer) => of_known(writer, rule, base, traffic),
            None => of_unknown(rule, traffic),
        };
        Judged {
            rule,
            writer,
            meaning,
        }
    };
    base.rules.iter().map(judge).collect()
}

fn of_known(
    writer: &'static Writer,
    rule: &SourceNatRule,
    base: &BaseChain,
    traffic: &Traffic,
) -> Meaning {
    match writer.role {
        Role::Wrong { setting } => Meaning::Rival(WayOut::Setting(setting)),
        Role::Right { what } => Meaning::Right(what),
        // The one source that is meant.
        Role::Needed { .. } if traffic.source.is_some() && rule.is_for_sources() => {
            Meaning::Rival(WayOut::Deletion)
        }
        Role::Needed { what, harm } => Meaning::OfOthers {
            what,
            harm: traffic.suffers(harm, rule),
        },
        Role::RightByMark { setting } => match writer.goes_by_its_mark(base) {
            true => Meaning::Right("only what it has marked (hairpin, NodePort, HostPort)"),
            false => Meaning::Rival(WayOut::Setting(setting)),
        },
    }
}

/// By what it is limited to.
fn of_unknown(rule: &SourceNatRule, traffic: &Traffic) -> Meaning {
    let mut meaning = Meaning::Rival(WayOut::Deletion);
    for limit in &rule.limits {
        let values = limit.values.as_slice();
        let harm = match (limit.subject, limit.sense) {
            (_, Sense::AllBut) => continue,
            (Subject::Translated, _) => {
                return Meaning::Right("only what was translated to another destination");
            }
            (Subject::Source, _) if is_host_to_itself(rule, values) => {
                return Meaning::Right("only what a host sends to itself");
            }
            // The one source that is meant.
            (Subject::Source, _) if traffic.source.is_some() => continue,
            (Subject::Source, _) => match traffic.pods.are_among(values) {
                Some(true) => continue,
                Some(false) => Harm::OfForwardedTraffic,
                None => {
                    meaning = Meaning::Unclear(Doubt::Sources);
                    continue;
                }
            },
            (Subject::Owner, _) => Harm::OfNodeTraffic,
            (Subject::Mark, _) => Harm::OfForwardedTraffic,
            (Subject::InputInterface, _) if values.iter().any(is_towards_pods) => continue,
            (Subject::InputInterface, _) => Harm::OfForwardedTraffic,
            _ => continue,
        };
        let harm = traffic.suffers(harm, rule);
        if limit.sense == Sense::Hidden {
            meaning = Meaning::Unclear(Doubt::Hidden { harm });
            continue;
        }
        return Meaning::OfOthers {
            what: OF_OTHERS,
            harm,
        };
    }
    meaning
}

/// What a rule of nobody known is for, if it is not for pods.
pub(in crate::commands) const OF_OTHERS: &str = "traffic of others than pods";

fn is_towards_pods(interface: &Value) -> bool {
    pods::is_towards_pods(&interface.to_string())
}

impl SourceNatRule {
    /// It names the sources that it is for.
    fn is_for_sources(&self) -> bool {
        let names_them =
            |limit: &Limit| limit.subject == Subject::Source && limit.sense == Sense::Only;
        self.limits.iter().any(names_them)
    }
}

fn is_host_to_itself(rule: &SourceNatRule, sources: &[Value]) -> bool {
    matches!(sources, [Value::Addresses(one, last)] if one == last) && is_only_to(rule, sources)
}

fn is_only_to(rule: &SourceNatRule, values: &[Value]) -> bool {
    let of_destination = |limit: &&Limit| limit.subject == Subject::Destination;
    let mut limits = rule.limits.iter().filter(of_destination);
    limits.any(|limit| limit.sense == Sense::Only && limit.values == values)
}

impl Traffic {
    /// All that pods send. `policy`: none where the configuration is bad.
    pub(in crate::commands) fn of_pods(policy: Option<&Policy>) -> Self {
        let has_chosen_address = |family: &Family| {
            let snat_address = policy.and_then(|policy| snat_address_of(policy, *family));
            snat_address.is_some_and(|address| address.chosen().is_some())
        };
        let families = Family::ALL.into_iter();
        Self {
            pods: PodSources::read(policy),
            spares_node: policy.is_some_and(|policy| !policy.masq_node_traffic),
            has_chosen_address: families.filter(has_chosen_address).collect(),
            ..Self::default()
        }
    }

    /// No packet of it matches the rule.
    fn misses(&self, rule: &SourceNatRule) -> bool {
        rule.limits.iter().any(|limit| {
            let address = match limit.subject {
                Subject::EmptySet => return true,
                Subject::Source => self.source,
                Subject::Destination => self.destination,
                _ => None,
            };
            let is_among = |address| limit.values.iter().any(|value| value.contains(address));
            address.is_some_and(|address| is_among(address) != (limit.sense == Sense::Only))
        })
    }

    /// Whether `enforce` harms the traffic that the rule is there for.
    fn suffers(&self, harm: Harm, rule: &SourceNatRule) -> Option<Harm> {
        let may_be_of_pods = |limit: &Limit| {
            limit.subject == Subject::Source
                && limit.sense == Sense::Only
                && self.pods.are_among(&limit.values) != Some(false)
        };
        let is_spared = match harm {
            Harm::OfNodeTraffic => self.spares_node,
            Harm::OfForwardedTraffic => {
                let are_configured = matches!(self.pods, PodSources::Configured(_));
                are_configured && !rule.limits.iter().any(may_be_of_pods)
            }
        };
        (!is_spared).then_some(harm)
    }
}

impl PodSources {
    /// Whether pods' traffic comes from one of these; `None`: not known.
    fn are_among(&self, sources: &[Value]) -> Option<bool> {
        let overlaps = |prefix: &IpNet| sources.iter().any(|source| source.overlaps(prefix));
        match self {
            Self::Configured(prefixes) | Self::Guessed(prefixes) => {
                Some(prefixes.iter().any(overlaps))
            }
            Self::Unknown => None,
        }
    }
}
