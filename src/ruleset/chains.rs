//! The chains and their rules. The nft text stands above what builds it; in the table `ip6` it says `ip6` for `ip`.

use std::borrow::Cow;
use std::net::IpAddr;

use super::names;
use super::{AddressField, Chain, ChainType, Hook, Rule, Statement};
use crate::config::PortRange;
use crate::policy::interfaces::Interfaces;
use crate::policy::{FamilyPolicy, Policy, Sources};

/// Protocols whose source ports `toPorts` chooses: TCP, UDP and SCTP, by their numbers (IANA, "Protocol Numbers"). By
/// number, because libnftables reads names from /etc/protocols, which an image need not have.
const PROTOCOLS_WITH_PORTS: [u8; 3] = [6, UDP, 132];
const UDP: u8 = 17;

/// All chains of the table, each after those that it jumps to.
pub(super) fn chains(of_family: &FamilyPolicy, policy: &Policy, masq_chain: &str) -> Vec<Chain> {
    let looked_at = looked_at(&of_family.sources, &policy.output_interfaces);
    let chosen = of_family.snat_address.chosen();
    let masquerading = Masquerading {
        address: chosen.map(|own| own.address),
        policy,
    };
    let mut chains = vec![
        masquerading.chain(masq_chain),
        postrouting(&looked_at, policy, masq_chain),
    ];
    if policy.enforce {
        chains.push(enforce(&looked_at, policy));
    }
    if policy.drop_invalid {
        chains.push(drop_invalid(&looked_at));
    }
    chains
}

/// The named counters of these chains.
pub(super) fn counters(policy: &Policy) -> Vec<Cow<'static, str>> {
    let dropped = policy
        .drop_invalid
        .then_some(names::DROPPED_INVALID_COUNTER);
    let counters = [names::MASQUERADED_COUNTER].into_iter().chain(dropped);
    counters.map(Cow::Borrowed).collect()
}

/// What becomes of connections to destinations that are not exempt.
struct Masquerading<'a> {
    /// The node's own address that they get; `None`: that of the interface by which they leave.
    address: Option<IpAddr>,
    policy: &'a Policy,
}

impl Masquerading<'_> {
    /// ```text
    /// chain non-masquerade-daemon {
    ///     ip daddr @non-masquerade-cidrs-1 return comment "keep the source address"
    ///     …                                                                       # with snatAddressCIDRs, toPorts: see below
    ///     counter name "masqueraded" masquerade fully-random comment "masquerade all other traffic (must be last in chain)"
    /// }
    /// ```
    fn chain(&self, name: &str) -> Chain {
        let keeps = Rule {
            statements: vec![destination_is_exempt(), Statement::Return],
            comment: "keep the source address".into(),
        };
        Chain {
            name: name.to_owned(),
            hook: None,
            rules: [keeps]
                .into_iter()
                .chain(self.to_several_hosts())
                .chain(self.rules(&PROTOCOLS_WITH_PORTS))
                .collect(),
        }
    }

    /// With `snatAddressCIDRs`, what goes to several hosts gets the interface's address all the same, as without the key:
    ///
    /// ```text
    /// fib daddr type multicast counter name "masqueraded" masquerade fully-random comment "to several hosts: with the interface's address"
    /// fib daddr type broadcast counter name "masqueraded" masquerade fully-random comment "to several hosts: with the interface's address"    # IPv4
    /// ```
    ///
    /// The node itself sends it: OSPF, VRRP, DHCPv6 and other protocols of a link, on which its neighbours know it by that
    /// address. With `toPorts`, rules for UDP stand before each: no other protocol with ports goes to several hosts.
    fn to_several_hosts(&self) -> Vec<Rule> {
        let destinations = match self.address {
            None => vec![],
            Some(IpAddr::V4(_)) => vec![
                Statement::DestinationMulticast,
                Statement::DestinationBroadcast,
            ],
            Some(IpAddr::V6(_)) => vec![Statement::DestinationMulticast],
        };
        let by_interface = Self {
            address: None,
            ..*self
        };
        let rules_to = |destination: Statement| {
            by_interface.rules(&[UDP]).map(move |rule| Rule {
                statements: [vec![destination.clone()], rule.statements].concat(),
                comment: "to several hosts: with the interface's address".into(),
            })
        };
        destinations.into_iter().flat_map(rules_to).collect()
    }

    /// Those of `toPorts` for these protocols, and the last one for all other traffic.
    fn rules(&self, protocols: &[u8]) -> impl Iterator<Item = Rule> {
        let to_ports = protocols
            .iter()
            .flat_map(|&protocol| self.to_ports(protocol));
        let masquerades = Rule {
            statements: self.masquerade(None).into(),
            comment: "masquerade all other traffic (must be last in chain)".into(),
        };
        to_ports.chain([masquerades])
    }

    /// With `toPorts: 1024-29999,32768-65535`, of 28,976 and 32,768 ports:
    ///
    /// ```text
    /// meta l4proto tcp numgen random mod 61744 < 28976 counter name "masqueraded" masquerade to :1024-29999 fully-random comment "masquerade to source ports of toPorts"
    /// meta l4proto tcp counter name "masqueraded" masquerade to :32768-65535 fully-random comment "masquerade to source ports of toPorts"
    /// ```
    ///
    /// Each range takes its share of what the ranges before it have left, so that each port is as likely as any other. A
    /// rule for each range, and no map of the random number: an anonymous interval map is not there yet for the first packets
    /// after its transaction (design §6).
    fn to_ports(&self, protocol: u8) -> impl Iterator<Item = Rule> {
        let ranges = self.policy.to_ports.as_slice();
        ranges.iter().enumerate().map(move |(index, &range)| {
            let remaining = ranges.iter().skip(index).copied();
            let out_of = remaining.map(size).fold(0, u32::saturating_add);
            let fewer_than = size(range);
            // The last range takes what is left.
            let chance = (fewer_than < out_of).then_some(Statement::Chance { out_of, fewer_than });
            Rule {
                statements: [Statement::Protocol(protocol)]
                    .into_iter()
                    .chain(chance)
                    .chain(self.masquerade(Some(range)))
                    .collect(),
                comment: "masquerade to source ports of toPorts".into(),
            }
        })
    }

    /// ```text
    /// counter name "masqueraded" masquerade [to :FIRST-LAST] [fully-random]
    /// counter name "masqueraded" snat to 192.0.2.1[:FIRST-LAST] [fully-random]    # with snatAddressCIDRs
    /// ```
    fn masquerade(&self, to_ports: Option<PortRange>) -> [Statement; 2] {
        let fully_random = self.policy.random_fully;
        [
            // The counter first: what comes behind it ends the rule.
            Statement::Counter(names::MASQUERADED_COUNTER.into()),
            match self.address {
                None => Statement::Masquerade {
                    to_ports,
                    fully_random,
                },
                Some(address) => Statement::Snat {
                    address,
                    to_ports,
                    fully_random,
                },
            },
        ]
    }
}

fn size(range: PortRange) -> u32 {
    u32::from(range.last.saturating_sub(range.first)) + 1
}

/// ```text
/// chain postrouting {
///     type nat hook postrouting priority srcnat + 10; policy accept;
///     fib saddr type local return comment "leave the node's own traffic alone"    # with masqNodeTraffic: false
///     fib daddr type != local jump non-masquerade-daemon comment "all traffic not bound for a LOCAL address"
/// }
/// ```
///
/// With `sourceCIDRs` and `outputInterfaces` there is, for each interface,
///
/// ```text
/// oifname "eth*" fib daddr type != local ip saddr @source-cidrs-1 jump non-masquerade-daemon comment "traffic of sourceCIDRs not bound for a LOCAL address"
/// ```
fn postrouting(looked_at: &LookedAt, policy: &Policy, masq_chain: &str) -> Chain {
    let jumps = looked_at.rules(
        [Statement::Jump(masq_chain.to_owned())],
        match looked_at.sources_are_listed {
            false => "all traffic not bound for a LOCAL address",
            true => "traffic of sourceCIDRs not bound for a LOCAL address",
        },
    );
    Chain {
        name: names::POSTROUTING_CHAIN.to_owned(),
        hook: Some(Hook {
            chain_type: ChainType::Nat,
            priority: names::POSTROUTING_PRIORITY,
        }),
        rules: leave_node_traffic(policy)
            .into_iter()
            .chain(jumps)
            .collect(),
    }
}

/// ```text
/// chain enforce {
///     type nat hook postrouting priority srcnat - 10; policy accept;
///     fib saddr type local return comment "leave the node's own traffic alone"    # with masqNodeTraffic: false
///     ct status dnat return comment "service traffic stays with who translated it"
///     fib daddr type != local ip daddr @non-masquerade-cidrs-1 snat to ip saddr comment "keep the source address, whatever other NAT rules say"
/// }
/// ```
///
/// The last rule is narrowed as that of `postrouting` is.
fn enforce(looked_at: &LookedAt, policy: &Policy) -> Chain {
    let leave_services = Rule {
        statements: vec![Statement::DestinationTranslated, Statement::Return],
        comment: "service traffic stays with who translated it".into(),
    };
    let pins = looked_at.rules(
        [destination_is_exempt(), Statement::SnatToOwnSource],
        "keep the source address, whatever other NAT rules say",
    );
    Chain {
        name: names::ENFORCE_CHAIN.to_owned(),
        hook: Some(Hook {
            chain_type: ChainType::Nat,
            priority: names::ENFORCE_PRIORITY,
        }),
        rules: leave_node_traffic(policy)
            .into_iter()
            .chain([leave_services])
            .chain(pins)
            .collect(),
    }
}

/// ```text
/// chain drop-invalid {
///     type filter hook postrouting priority srcnat + 10; policy accept;
///     ct state != invalid accept comment "conntrack translates it where it has to"
///     fib saddr type local accept comment "leave the node's own traffic alone"
///     fib daddr type != local ip daddr != @non-masquerade-cidrs-1 counter name "dropped-invalid" drop comment "conntrack cannot translate it: it would leave with the pod's address"
/// }
/// ```
///
/// NAT never sees such a packet: a RST or FIN whose entry has gone, a SYN,ACK of nobody. The last rule is narrowed as that of
/// `postrouting` is.
fn drop_invalid(looked_at: &LookedAt) -> Chain {
    let accept = |matches, comment: &'static str| Rule {
        statements: vec![matches, Statement::Accept],
        comment: comment.into(),
    };
    let drops = looked_at.rules(
        [
            Statement::AddressNotIn(AddressField::Destination),
            Statement::Counter(names::DROPPED_INVALID_COUNTER.into()),
            Statement::Drop,
        ],
        "conntrack cannot translate it: it would leave with the pod's address",
    );
    Chain {
        name: names::DROP_INVALID_CHAIN.to_owned(),
        hook: Some(Hook {
            chain_type: ChainType::Filter,
            priority: names::POSTROUTING_PRIORITY,
        }),
        rules: [
            accept(
                Statement::ValidForConntrack,
                "conntrack translates it where it has to",
            ),
            accept(Statement::SourceLocal, NODE_TRAFFIC),
        ]
        .into_iter()
        .chain(drops)
        .collect(),
    }
}

const NODE_TRAFFIC: &str = "leave the node's own traffic alone";

fn leave_node_traffic(policy: &Policy) -> Option<Rule> {
    (!policy.masq_node_traffic).then(|| Rule {
        statements: vec![Statement::SourceLocal, Statement::Return],
        comment: NODE_TRAFFIC.into(),
    })
}

/// Which traffic every base chain looks at.
struct LookedAt {
    /// What to match, once for each interface.
    matches: Vec<Vec<Statement>>,
    sources_are_listed: bool,
}

/// ```text
/// [oifname "eth*"] fib daddr type != local [ip saddr @source-cidrs-1]
/// ```
///
/// A rule for each interface: in one set nft refuses `eth*` beside `eth0` as conflicting intervals.
fn looked_at(sources: &Sources, interfaces: &Interfaces) -> LookedAt {
    let sources_are_listed = matches!(sources, Sources::Only(_));
    let source = sources_are_listed.then_some(Statement::AddressIn(AddressField::Source));
    let of_any: Vec<Statement> = [Statement::DestinationNotLocal]
        .into_iter()
        .chain(source)
        .collect();
    let matches = match interfaces {
        Interfaces::Any => vec![of_any],
        Interfaces::Only(names) => names
            .iter()
            .map(|name| {
                let leaves_by = Statement::OutputInterface(name.clone());
                [leaves_by].into_iter().chain(of_any.clone()).collect()
            })
            .collect(),
    };
    LookedAt {
        matches,
        sources_are_listed,
    }
}

impl LookedAt {
    /// Rules that do this with it.
    fn rules<const LENGTH: usize>(
        &self,
        then: [Statement; LENGTH],
        comment: &'static str,
    ) -> Vec<Rule> {
        let rule = |matches: &Vec<Statement>| Rule {
            statements: [matches.as_slice(), &then].concat(),
            comment: comment.into(),
        };
        self.matches.iter().map(rule).collect()
    }
}

/// ```text
/// ip daddr @non-masquerade-cidrs-1
/// ```
fn destination_is_exempt() -> Statement {
    Statement::AddressIn(AddressField::Destination)
}

#[cfg(test)]
mod tests;
