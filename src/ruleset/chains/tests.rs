//! What holds for the chains of every configuration.

use super::*;
use crate::config::{Config, Flags, defaults};
use crate::policy::node_address::NodeAddress;

fn config() -> Config {
    defaults(&Flags {
        enable_ipv6: true,
        ..Flags::default()
    })
}

fn ranges(of: &[(u16, u16)]) -> Vec<PortRange> {
    of.iter()
        .map(|&(first, last)| PortRange { first, last })
        .collect()
}

/// Each configuration that makes a chain look different.
fn every_shape() -> impl Iterator<Item = Config> {
    (0..64_u8).map(|bits| {
        let has = |bit: u8| bits & 1 << bit != 0;
        let mut config = config();
        config.masq_node_traffic = !has(0);
        config.enforce = has(1);
        if has(2) {
            config.source_cidrs = vec!["10.0.0.0/8".parse().unwrap()];
        }
        if has(3) {
            config.to_ports = ranges(&[(1, 2), (5, 5)]);
        }
        config.drop_invalid = has(4);
        if has(5) {
            config.output_interfaces = vec!["eth*".to_owned(), "wg0".to_owned()];
        }
        config
    })
}

fn chains_of(config: &Config) -> Vec<Chain> {
    let policy = Policy::new(config);
    chains(&policy.ipv4, &policy, "masq")
}

fn own(address: &str) -> NodeAddress {
    NodeAddress {
        address: address.parse().unwrap(),
        interface: "eth0".to_owned(),
        kind: None,
        is_usable: true,
        is_secondary: false,
        is_single: false,
        since: 0,
    }
}

/// What goes to several hosts apart: see the next test.
#[test]
fn a_chosen_address_takes_the_place_of_masquerading_in_every_other_rule() {
    let own = own("192.0.2.1");
    for mut config in every_shape() {
        let without = chains_of(&config);
        config.snat_address_cidrs = vec!["192.0.2.0/24".parse().unwrap()];
        assert_eq!(chains_of(&config), without);
        let policy = Policy::new(&config).on_node(std::slice::from_ref(&own));
        let mut with = chains(&policy.ipv4, &policy, "masq");
        with[0].rules.retain(|rule| !is_to_several_hosts(rule));
        let rules = with.iter_mut().flat_map(|chain| &mut chain.rules);
        let mut snats = 0;
        for statement in rules.flat_map(|rule| &mut rule.statements) {
            if let Statement::Snat {
                address,
                to_ports,
                fully_random,
            } = statement
            {
                assert_eq!(*address, own.address);
                snats += 1;
                *statement = Statement::Masquerade {
                    to_ports: *to_ports,
                    fully_random: *fully_random,
                };
            }
        }
        assert_eq!(with, without);
        assert_eq!(
            snats,
            1 + config.to_ports.len() * PROTOCOLS_WITH_PORTS.len()
        );
        let ipv6 = policy.ipv6.as_ref().unwrap();
        assert_eq!(chains(ipv6, &policy, "masq")[0], without[0]);
    }
}

fn is_to_several_hosts(rule: &Rule) -> bool {
    matches!(
        rule.statements.first(),
        Some(Statement::DestinationMulticast | Statement::DestinationBroadcast)
    )
}

/// Of the protocols with ports, UDP alone.
#[test]
fn what_goes_to_several_hosts_is_masqueraded_as_without_a_chosen_address() {
    use Statement::{DestinationBroadcast, DestinationMulticast, Protocol};
    for mut config in every_shape() {
        let of_others = |rule: &Rule| matches!(rule.statements[0], Protocol(of) if of != UDP);
        let mut without = chains_of(&config).swap_remove(0).rules.split_off(1);
        without.retain(|rule| !of_others(rule));
        let cidrs = ["192.0.2.0/24", "2001:db8::/64"];
        config.snat_address_cidrs = cidrs.map(|cidr| cidr.parse().unwrap()).into();
        let policy = Policy::new(&config).on_node(&[own("192.0.2.1"), own("2001:db8::1")]);
        for (of_family, destinations) in [
            (
                &policy.ipv4,
                vec![DestinationMulticast, DestinationBroadcast],
            ),
            (policy.ipv6.as_ref().unwrap(), vec![DestinationMulticast]),
        ] {
            let expected = destinations.iter().flat_map(|to| {
                let narrowed = |rule: &Rule| [std::slice::from_ref(to), &rule.statements].concat();
                without.iter().map(narrowed)
            });
            let rules = chains(of_family, &policy, "masq").swap_remove(0).rules;
            let rules = rules.iter().skip(1);
            let found = rules.take_while(|rule| is_to_several_hosts(rule));
            assert!(found.map(|rule| rule.statements.clone()).eq(expected));
        }
    }
}

#[test]
fn every_comment_is_short_enough() {
    for config in every_shape() {
        for rule in chains_of(&config).iter().flat_map(|chain| &chain.rules) {
            assert!(rule.comment.len() <= names::MAX_COMMENT_BYTES, "{rule:?}");
        }
    }
}

#[test]
fn every_base_chain_looks_at_the_same_traffic() {
    for config in every_shape() {
        let interfaces = &config.output_interfaces;
        let source =
            (!config.source_cidrs.is_empty()).then_some(Statement::AddressIn(AddressField::Source));
        let expected: Vec<Statement> = [Statement::DestinationNotLocal]
            .into_iter()
            .chain(source)
            .collect();
        let chains = chains_of(&config);
        let base = chains.iter().filter(|chain| chain.hook.is_some());
        for chain in base.clone() {
            let leaves_node_traffic = chain.rules.iter().any(|rule| {
                rule.statements.first() == Some(&Statement::SourceLocal)
                    && rule.statements.len() == 2
            });
            let is_nat = chain.hook.unwrap().chain_type == ChainType::Nat;
            assert_eq!(
                leaves_node_traffic,
                !(is_nat && config.masq_node_traffic),
                "{chain:?}"
            );
            let looking = chain.rules.iter().rev().take(interfaces.len().max(1)).rev();
            for (number, rule) in looking.enumerate() {
                let by = interfaces
                    .get(number)
                    .cloned()
                    .map(Statement::OutputInterface);
                let matched: Vec<Statement> = by.into_iter().chain(expected.clone()).collect();
                assert_eq!(rule.statements[..matched.len()], matched, "{chain:?}");
                let next = &rule.statements[matched.len()];
                assert_ne!(
                    *next,
                    Statement::AddressIn(AddressField::Source),
                    "{chain:?}"
                );
            }
        }
        let expected = 1 + usize::from(config.enforce) + usize::from(config.drop_invalid);
        assert_eq!(base.count(), expected);
    }
}

/// How many of the 2³² random numbers the kernel takes for less: `reciprocal_scale(number, out_of) < fewer_than`,
/// which is `number * out_of / 2³²`, rounded down (`nft_ng_random_gen`, net/netfilter/nft_numgen.c).
fn matching_numbers(out_of: u32, fewer_than: u32) -> u64 {
    (u64::from(fewer_than) << 32).div_ceil(u64::from(out_of))
}

/// The likelihood of each range for one protocol, as its rules have it one after the other.
fn likelihoods(ranges: &[PortRange], protocol: u8) -> Vec<(PortRange, f64)> {
    let mut config = config();
    config.to_ports = ranges.to_vec();
    let masquerading = chains_of(&config).swap_remove(0);
    let mut remaining = 1.0;
    let mut likelihoods = Vec::new();
    for rule in &masquerading.rules {
        let [Statement::Protocol(of), others @ ..] = rule.statements.as_slice() else {
            continue;
        };
        if *of != protocol {
            continue;
        }
        let (chance, others) = match others {
            [Statement::Chance { out_of, fewer_than }, others @ ..] => {
                let matching = matching_numbers(*out_of, *fewer_than);
                (matching as f64 / 2_f64.powi(32), others)
            }
            others => (1.0, others),
        };
        let [_, Statement::Masquerade { to_ports, .. }] = others else {
            panic!("{rule:?}");
        };
        likelihoods.push((to_ports.unwrap(), remaining * chance));
        remaining *= 1.0 - chance;
    }
    assert!(remaining == 0.0, "no rule for {remaining}");
    likelihoods
}

#[test]
fn each_port_of_to_ports_is_as_likely_as_any_other() {
    let lists = [
        ranges(&[(1024, 29999), (32768, 65535)]),
        ranges(&[(5000, 5000)]),
        ranges(&[(1, 65535)]),
        ranges(&[(1, 1), (2, 65535)]),
        ranges(&[(2, 65535), (1, 1)]),
        (0..300)
            .map(|n| PortRange {
                first: 1 + n * 200,
                last: 1 + n * 200 + n % 7 * 20,
            })
            .collect(),
    ];
    for list in lists {
        let ports: u32 = list.iter().copied().map(size).sum();
        for protocol in PROTOCOLS_WITH_PORTS {
            let likelihoods = likelihoods(&list, protocol);
            assert_eq!(
                likelihoods
                    .iter()
                    .map(|(range, _)| *range)
                    .collect::<Vec<_>>(),
                list
            );
            for (range, likelihood) in likelihoods {
                let expected = f64::from(size(range)) / f64::from(ports);
                // Each rule before it may be off by one of the 2³² numbers.
                let tolerance = (list.len() as f64 + 1.0) / 2_f64.powi(32);
                assert!(
                    (likelihood - expected).abs() <= tolerance,
                    "{range:?} of {list:?}: {likelihood} for {expected}"
                );
            }
        }
    }
}

#[test]
fn the_kernel_s_arithmetic_is_what_the_likelihoods_are_taken_from() {
    for (out_of, fewer_than) in [(61744, 28976), (2, 1), (65535, 65534), (3, 2)] {
        let scaled = |number: u64| (number * u64::from(out_of)) >> 32;
        let matching = matching_numbers(out_of, fewer_than);
        assert!(scaled(matching - 1) < u64::from(fewer_than));
        assert!(scaled(matching) >= u64::from(fewer_than));
    }
}
