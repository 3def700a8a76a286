//! The chains and their rules. The nft text stands above what builds it; in the table `ip6` it says `ip6` for `ip`.

use super::names;
use super::{AddressField, Chain, Hook, Rule, Statement};
use crate::config::PortRange;
use crate::policy::{Policy, Sources};

/// Protocols whose source ports `toPorts` chooses: TCP, UDP and SCTP, by their numbers (IANA, "Protocol Numbers"). By
/// number, because libnftables reads names from /etc/protocols, which an image need not have.
const PROTOCOLS_WITH_PORTS: [u8; 3] = [6, 17, 132];

/// All chains of the table, each after those that it jumps to.
pub(super) fn chains(sources: &Sources, policy: &Policy, masq_chain: &str) -> Vec<Chain> {
    let mut chains = vec![
        masquerading(policy, masq_chain),
        postrouting(sources, policy, masq_chain),
    ];
    if policy.enforce {
        chains.push(enforce(sources, policy));
    }
    chains
}

/// ```text
/// chain non-masquerade-daemon {
///     ip daddr @non-masquerade-cidrs return comment "keep the source address"
///     …                                                                       # with toPorts: see below
///     counter name "masqueraded" masquerade fully-random comment "masquerade all other traffic (must be last in chain)"
/// }
/// ```
fn masquerading(policy: &Policy, name: &str) -> Chain {
    let keeps = Rule {
        statements: vec![destination_is_exempt(), Statement::Return],
        comment: "keep the source address",
    };
    let to_ports = PROTOCOLS_WITH_PORTS
        .iter()
        .flat_map(|&protocol| to_ports(protocol, policy));
    let masquerades = Rule {
        statements: masquerade(policy, None).into(),
        comment: "masquerade all other traffic (must be last in chain)",
    };
    Chain {
        name: name.to_owned(),
        hook: None,
        rules: [keeps]
            .into_iter()
            .chain(to_ports)
            .chain([masquerades])
            .collect(),
    }
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
fn to_ports(protocol: u8, policy: &Policy) -> impl Iterator<Item = Rule> {
    let ranges = policy.to_ports.as_slice();
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
                .chain(masquerade(policy, Some(range)))
                .collect(),
            comment: "masquerade to source ports of toPorts",
        }
    })
}

fn size(range: PortRange) -> u32 {
    u32::from(range.last.saturating_sub(range.first)) + 1
}

/// ```text
/// counter name "masqueraded" masquerade [to :FIRST-LAST] [fully-random]
/// ```
fn masquerade(policy: &Policy, to_ports: Option<PortRange>) -> [Statement; 2] {
    [
        // The counter first: `masquerade` ends the rule.
        Statement::Counter(names::MASQUERADED_COUNTER),
        Statement::Masquerade {
            to_ports,
            fully_random: policy.random_fully,
        },
    ]
}

/// ```text
/// chain postrouting {
///     type nat hook postrouting priority srcnat + 10; policy accept;
///     fib saddr type local return comment "leave the node's own traffic alone"    # with masqNodeTraffic: false
///     fib daddr type != local jump non-masquerade-daemon comment "all traffic not bound for a LOCAL address"
/// }
/// ```
///
/// With `sourceCIDRs` the last rule is
///
/// ```text
/// fib daddr type != local ip saddr @source-cidrs jump non-masquerade-daemon comment "traffic of sourceCIDRs not bound for a LOCAL address"
/// ```
fn postrouting(sources: &Sources, policy: &Policy, masq_chain: &str) -> Chain {
    let jump = Rule {
        statements: looked_at(sources)
            .chain([Statement::Jump(masq_chain.to_owned())])
            .collect(),
        comment: match sources {
            Sources::Any => "all traffic not bound for a LOCAL address",
            Sources::Only(_) => "traffic of sourceCIDRs not bound for a LOCAL address",
        },
    };
    Chain {
        name: names::POSTROUTING_CHAIN.to_owned(),
        hook: Some(Hook {
            priority: names::POSTROUTING_PRIORITY,
        }),
        rules: leave_node_traffic(policy)
            .into_iter()
            .chain([jump])
            .collect(),
    }
}

/// ```text
/// chain enforce {
///     type nat hook postrouting priority srcnat - 10; policy accept;
///     fib saddr type local return comment "leave the node's own traffic alone"    # with masqNodeTraffic: false
///     ct status dnat return comment "service traffic stays with who translated it"
///     fib daddr type != local ip daddr @non-masquerade-cidrs snat to ip saddr comment "keep the source address, whatever other NAT rules say"
/// }
/// ```
///
/// With `sourceCIDRs` the last rule begins `fib daddr type != local ip saddr @source-cidrs …`.
fn enforce(sources: &Sources, policy: &Policy) -> Chain {
    let leave_services = Rule {
        statements: vec![Statement::DestinationTranslated, Statement::Return],
        comment: "service traffic stays with who translated it",
    };
    let pin = Rule {
        statements: looked_at(sources)
            .chain([destination_is_exempt(), Statement::SnatToOwnSource])
            .collect(),
        comment: "keep the source address, whatever other NAT rules say",
    };
    Chain {
        name: names::ENFORCE_CHAIN.to_owned(),
        hook: Some(Hook {
            priority: names::ENFORCE_PRIORITY,
        }),
        rules: leave_node_traffic(policy)
            .into_iter()
            .chain([leave_services, pin])
            .collect(),
    }
}

fn leave_node_traffic(policy: &Policy) -> Option<Rule> {
    (!policy.masq_node_traffic).then(|| Rule {
        statements: vec![Statement::SourceLocal, Statement::Return],
        comment: "leave the node's own traffic alone",
    })
}

/// ```text
/// fib daddr type != local [ip saddr @source-cidrs]
/// ```
fn looked_at(sources: &Sources) -> impl Iterator<Item = Statement> {
    let is_source = match sources {
        Sources::Any => None,
        Sources::Only(_) => Some(Statement::AddressIn(
            AddressField::Source,
            names::SOURCE_SET,
        )),
    };
    [Statement::DestinationNotLocal]
        .into_iter()
        .chain(is_source)
}

/// ```text
/// ip daddr @non-masquerade-cidrs
/// ```
fn destination_is_exempt() -> Statement {
    Statement::AddressIn(AddressField::Destination, names::EXEMPT_SET)
}
