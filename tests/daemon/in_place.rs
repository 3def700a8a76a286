//! Every feature is switched on and off at run time, in place: from each configuration to each other, in both families.

use std::io::Write;
use std::process::Stdio;

use crate::DAEMON;
use crate::support::foreign_hands::{exempt_set, set_in_use};
use crate::support::netlink::generation;
use crate::support::netns::{Namespace, succeed};
use crate::support::nft::{Nft, TABLE};
use crate::support::programmed::Programmed;
use non_masquerade_daemon::config::{Config, Flags, PortRange, defaults};
use non_masquerade_daemon::kernel::difference::Difference;
use non_masquerade_daemon::policy::Policy;
use non_masquerade_daemon::policy::node_address::NodeAddress;
use non_masquerade_daemon::ruleset::json::{self, Form};
use non_masquerade_daemon::ruleset::{
    AddressField, ChosenNames, Family, Ruleset, SetNames, Tables, names,
};

type Change = fn(&mut Config);

/// What each does to the defaults.
const CONFIGURATIONS: [(&str, Change); 16] = [
    ("defaults", |_| {}),
    ("enforce", |config| config.enforce = true),
    ("drop invalid", |config| config.drop_invalid = true),
    ("interfaces", interfaces),
    ("own address", own_address),
    ("own address, ports, not random", |config| {
        own_address(config);
        ports(config);
        config.random_fully = false;
    }),
    ("sources", sources),
    ("sources of IPv6 only", |config| {
        config.source_cidrs = vec!["fd00:2::/32".parse().unwrap()];
    }),
    ("no node traffic", |config| config.masq_node_traffic = false),
    ("ports", ports),
    ("one port, not random", |config| {
        config.random_fully = false;
        config.to_ports = vec![PortRange {
            first: 5000,
            last: 5000,
        }];
    }),
    ("not random", |config| config.random_fully = false),
    ("ports, not random", |config| {
        ports(config);
        config.random_fully = false;
    }),
    ("masqueraded inside of exempt", exempt_and_masqueraded),
    ("nothing exempt", |config| {
        config.non_masquerade_cidrs.clear();
        config.masq_link_local = true;
        config.masq_link_local_ipv6 = true;
        config.enforce = true;
    }),
    ("everything", |config| {
        exempt_and_masqueraded(config);
        sources(config);
        ports(config);
        config.masq_node_traffic = false;
        config.enforce = true;
        config.drop_invalid = true;
        interfaces(config);
        own_address(config);
    }),
];

fn own_address(config: &mut Config) {
    let cidrs = ["192.0.2.0/24", "2001:db8::/64"];
    config.snat_address_cidrs = cidrs.map(|cidr| cidr.parse().unwrap()).into();
}

/// The node's addresses.
fn addresses() -> [NodeAddress; 2] {
    ["192.0.2.1", "2001:db8::1"].map(|address| NodeAddress {
        address: address.parse().unwrap(),
        interface: "eth0".to_owned(),
        kind: None,
        is_usable: true,
        is_secondary: false,
        is_single: false,
        since: 0,
    })
}

fn interfaces(config: &mut Config) {
    config.output_interfaces = ["eth*", "wg0"].map(str::to_owned).into();
}

fn sources(config: &mut Config) {
    let cidrs = ["10.4.0.0/14", "10.16.0.0/12", "fd00:2::/32"];
    config.source_cidrs = cidrs.map(|cidr| cidr.parse().unwrap()).into();
}

fn ports(config: &mut Config) {
    let ranges = [(1024, 29999), (32768, 65535)];
    config.to_ports = ranges.map(|(first, last)| PortRange { first, last }).into();
}

fn exempt_and_masqueraded(config: &mut Config) {
    let exempt = ["10.0.0.0/8", "10.1.2.0/24", "fd00::/8"];
    config.non_masquerade_cidrs = exempt.map(|cidr| cidr.parse().unwrap()).into();
    let masqueraded = ["10.1.0.0/16", "169.254.169.254/32", "fd00:1::/32"];
    config.masquerade_cidrs = masqueraded.map(|cidr| cidr.parse().unwrap()).into();
}

/// Of both families.
fn rulesets(change: Change) -> [Ruleset; 2] {
    let mut config = defaults(&Flags {
        enable_ipv6: true,
        ..Flags::default()
    });
    change(&mut config);
    let policy = Policy::new(&config).on_node(&addresses());
    let tables = Tables::new(&policy, &ChosenNames::default());
    [tables.ip, tables.ip6.unwrap()]
}

fn named(name: &str) -> [Ruleset; 2] {
    let found = CONFIGURATIONS.iter().find(|(other, _)| *other == name);
    rulesets(found.unwrap().1)
}

/// One for the next sets, one for the rules, one for each set that is looked up no longer, and one for a chain that goes.
fn transactions_expected(from: &Ruleset, to: &Ruleset) -> u32 {
    if from == to {
        return 0;
    }
    let makes_sets = to.sets.iter().any(|set| !from.sets.contains(set));
    let sets_that_go = from.sets.iter().filter(|set| !to.sets.contains(set));
    let has_chain = |name: &str| to.chains.iter().any(|chain| chain.name == name);
    let chains_that_go = from.chains.iter().filter(|chain| !has_chain(&chain.name));
    let counters_that_go = from
        .counters
        .iter()
        .filter(|name| !to.counters.contains(name));
    let goes = sets_that_go.count() + chains_that_go.count() + counters_that_go.count();
    1 + u32::from(makes_sets) + u32::try_from(goes).unwrap()
}

/// What nft lists of the table: each chain, set and counter, in the order of their texts, with the sets as they are called
/// at first. Which of two sets was made first is no part of the policy.
fn blocks(programmed: &Programmed, family: &str) -> Vec<String> {
    let mut text = table(&programmed.namespace, family);
    for name in [names::EXEMPT_SET, names::SOURCE_SET] {
        text = text.replace(&names::numbered(name, 2), &names::numbered(name, 1));
    }
    let inside = text
        .lines()
        .filter(|line| line.is_empty() || line.starts_with("\t\t") || line.ends_with('{'));
    let inside: Vec<&str> = inside.skip(1).collect();
    let mut blocks: Vec<String> = inside.join("\n").split("\n\n").map(str::to_owned).collect();
    blocks.sort();
    blocks
}

fn each_becomes_each_other(start: fn() -> Programmed) {
    let expected = CONFIGURATIONS.map(|(_, change)| {
        let mut programmed = start();
        rulesets(change).map(|ruleset| {
            programmed.sync(&ruleset).unwrap();
            blocks(&programmed, ruleset.family.name())
        })
    });
    let mut programmed = start();
    for (from_name, from) in CONFIGURATIONS {
        for ((to_name, to), expected) in std::iter::zip(CONFIGURATIONS, &expected) {
            let pairs = std::iter::zip(rulesets(from), rulesets(to));
            for ((from, to), expected) in std::iter::zip(pairs, expected) {
                let family = from.family.name();
                let case = format!("{family}: {from_name} → {to_name}");
                programmed.sync(&from).unwrap();
                let before = generation(&programmed.namespace).unwrap();
                programmed.sync(&to).unwrap();
                let grown = generation(&programmed.namespace).unwrap() - before;
                assert_eq!(grown, transactions_expected(&from, &to), "{case}");
                let left = programmed.look(&to).unwrap();
                assert_eq!(
                    (left.differences, left.is_withheld),
                    (vec![], false),
                    "{case}"
                );
                assert_eq!(blocks(&programmed, family), *expected, "{case}");
            }
        }
    }
}

#[test]
fn each_configuration_becomes_each_other_in_few_transactions_and_reads_back_as_meant() {
    each_becomes_each_other(|| Programmed::new(DAEMON).unwrap());
}

/// The table, the sets, the rules that look them up.
#[test]
fn each_configuration_is_made_from_nothing_in_three_transactions() {
    for (name, change) in CONFIGURATIONS {
        let mut programmed = Programmed::new(DAEMON).unwrap();
        for ruleset in rulesets(change) {
            let before = generation(&programmed.namespace).unwrap();
            programmed.sync(&ruleset).unwrap();
            let grown = generation(&programmed.namespace).unwrap() - before;
            let sets = u32::from(!ruleset.sets.is_empty());
            assert_eq!(grown, 2 + sets, "{name}");
            let left = programmed.look(&ruleset).unwrap();
            assert_eq!(
                (left.differences, left.is_withheld),
                (vec![], false),
                "{name}"
            );
        }
    }
}

fn list(namespace: &Namespace, arguments: &str) -> String {
    let mut nft = Nft::host().command(namespace);
    let output = succeed(nft.args(arguments.split_whitespace())).unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The set is looked up by the rules that are written again, and its counters go on.
#[test]
fn switching_enforce_keeps_the_set_and_the_counter() {
    let mut programmed = Programmed::new(DAEMON).unwrap();
    let [without, _] = named("defaults");
    let [with, _] = named("enforce");
    programmed.sync(&without).unwrap();
    // With handles: what is made again has another one.
    let kept = |programmed: &Programmed| {
        let listed = list(
            &programmed.namespace,
            &format!("--handle list table ip {TABLE}"),
        );
        let heads = listed
            .lines()
            .filter(|line| line.ends_with(|c: char| c.is_ascii_digit()));
        let kept = heads.filter(|line| line.starts_with("\tset") || line.starts_with("\tcounter"));
        let mut kept: Vec<String> = kept.map(str::to_owned).collect();
        kept.sort();
        kept
    };
    let before = kept(&programmed);
    assert_eq!(before.len(), 2, "{before:?}");
    let on = programmed.sync(&with).unwrap().differences;
    assert!(
        on.contains(&Difference::Missing(
            "chain".to_owned(),
            "enforce".to_owned()
        )),
        "{on:?}"
    );
    assert_eq!(kept(&programmed), before);
    let off = programmed.sync(&without).unwrap().differences;
    let foreign = Difference::Foreign("chain".to_owned(), "enforce".to_owned());
    assert!(off.contains(&foreign), "{off:?}");
    assert_eq!(kept(&programmed), before);
}

fn table(namespace: &Namespace, family: &str) -> String {
    list(namespace, &format!("list table {family} {TABLE}"))
}

#[test]
fn a_set_of_the_wrong_kind_is_replaced_whichever_it_is() {
    for ruleset in named("everything") {
        let mut programmed = Programmed::new(DAEMON).unwrap();
        programmed.sync(&ruleset).unwrap();
        let family = ruleset.family.name();
        let expected = blocks(&programmed, family);
        let address = match ruleset.family {
            Family::Ip => "ipv4_addr",
            Family::Ip6 => "ipv6_addr",
        };
        use AddressField::{Destination, Source};
        for (field, wrong) in [
            // The source set counts nothing, the other one does.
            (Source, format!("type {address}; flags interval; counter;")),
            (Source, format!("type {address};")),
            (Source, "type mark; flags interval;".to_owned()),
            (Destination, format!("type {address}; flags interval;")),
        ] {
            let set = set_in_use(&programmed.namespace, ruleset.family, field).unwrap();
            let hand = format!(
                "flush table {family} {TABLE}
                 delete set {family} {TABLE} {set}
                 add set {family} {TABLE} {set} {{ {wrong} }}"
            );
            Nft::host().apply(&programmed.namespace, &hand).unwrap();
            let differences = programmed.sync(&ruleset).unwrap().differences;
            let wrong_kind = Difference::OfWrongKind("set".to_owned(), set.clone());
            assert!(
                differences.contains(&wrong_kind),
                "{set} {wrong}: {differences:?}"
            );
            let mended = blocks(&programmed, family);
            assert_eq!(mended, expected, "{set} {wrong}");
        }
    }
}

/// As a daemon leaves it that is killed in the middle of a change: with rules that look the next set up, or not yet.
#[test]
fn a_set_that_was_left_behind_is_taken_away_or_put_to_use() {
    let mut programmed = Programmed::new(DAEMON).unwrap();
    let [wanted, _] = named("everything");
    programmed.sync(&wanted).unwrap();
    let expected = blocks(&programmed, "ip");
    // What it has, and what it lacks.
    let set = "
        add set ip TABLE NEXT { type ipv4_addr; flags interval; counter; }
        add element ip TABLE NEXT { 192.0.2.0/24 }";
    let rules = "
        flush chain ip TABLE TABLE
        add rule ip TABLE TABLE ip daddr @NEXT return
        add rule ip TABLE TABLE masquerade";
    for hand in [set.to_owned(), format!("{set}{rules}")] {
        let in_use = exempt_set(&programmed.namespace).unwrap();
        let numbers = [1, 2].map(|number| names::numbered(names::EXEMPT_SET, number));
        let next = numbers.iter().find(|name| **name != in_use).unwrap();
        let hand = hand.replace("TABLE", TABLE).replace("NEXT", next);
        Nft::host().apply(&programmed.namespace, &hand).unwrap();
        let differences = programmed.sync(&wanted).unwrap().differences;
        assert!(!differences.is_empty());
        assert_eq!(blocks(&programmed, "ip"), expected, "{hand}");
    }
}

/// The first edition's sets have no number, or `.next` behind their names. Packets meet them until the rules move over.
#[test]
fn the_sets_of_the_first_edition_are_taken_over() {
    let mut programmed = Programmed::new(DAEMON).unwrap();
    let [wanted, _] = named("defaults");
    programmed.sync(&wanted).unwrap();
    let expected = blocks(&programmed, "ip");
    for (set, comment) in [
        ("non-masquerade-cidrs", " comment \"10.0.0.0/8\""),
        ("non-masquerade-cidrs", ""),
        ("non-masquerade-cidrs.next", " comment \"10.0.0.0/8\""),
    ] {
        let hand = format!(
            "delete table ip TABLE
             add table ip TABLE
             add counter ip TABLE masqueraded {{ packets 0 bytes 0 }}
             add set ip TABLE {set} {{ type ipv4_addr; flags interval; counter; }}
             add element ip TABLE {set} {{ 10.0.0.0/8{comment} }}
             add chain ip TABLE TABLE
             add rule ip TABLE TABLE ip daddr @{set} return
             add rule ip TABLE TABLE counter name masqueraded masquerade fully-random
             add chain ip TABLE postrouting {{ type nat hook postrouting priority srcnat + 10; }}
             add rule ip TABLE postrouting fib daddr type != local jump TABLE"
        );
        let hand = hand.replace("TABLE", TABLE);
        Nft::host().apply(&programmed.namespace, &hand).unwrap();
        let before = Nft::host()
            .table_handle(&programmed.namespace, TABLE)
            .unwrap();
        programmed.sync(&wanted).unwrap();
        assert_eq!(blocks(&programmed, "ip"), expected, "{set}");
        // The table is the same one.
        let after = Nft::host()
            .table_handle(&programmed.namespace, TABLE)
            .unwrap();
        assert_eq!(after, before, "{set}");
    }
}

/// Maps and sets share their names.
#[test]
fn a_foreign_map_under_the_name_of_the_next_set_is_taken_away() {
    let mut programmed = Programmed::new(DAEMON).unwrap();
    let [[left, _], [wanted, _]] = ["defaults", "everything"].map(named);
    programmed.sync(&wanted).unwrap();
    let expected = blocks(&programmed, "ip");
    let map = "
        add chain ip TABLE foreign
        add map ip TABLE NEXT { type ipv4_addr : verdict; }
        add element ip TABLE NEXT { 192.0.2.1 : jump foreign }";
    let rule = "\nadd rule ip TABLE TABLE ip daddr vmap @NEXT";
    for hand in [map.to_owned(), format!("{map}{rule}")] {
        programmed.sync(&left).unwrap();
        let in_use = exempt_set(&programmed.namespace).unwrap();
        let numbers = [1, 2].map(|number| names::numbered(names::EXEMPT_SET, number));
        let next = numbers.iter().find(|name| **name != in_use).unwrap();
        let hand = hand.replace("TABLE", TABLE).replace("NEXT", next);
        Nft::host().apply(&programmed.namespace, &hand).unwrap();
        let map = Difference::Foreign("map".to_owned(), next.clone());
        let differences = programmed.sync(&wanted).unwrap().differences;
        assert!(differences.contains(&map), "{differences:?}");
        let found = blocks(&programmed, "ip");
        let found = found
            .iter()
            .map(|block| block.replace("-cidrs-3", "-cidrs-1"));
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }
}

#[test]
fn the_table_with_everything_is_the_documented_one() {
    let mut programmed = Programmed::new(DAEMON).unwrap();
    programmed.sync(&named("everything")[1]).unwrap();
    let listed = table(&programmed.namespace, "ip6");
    // Older libnftables' JSON knows no typeof.
    let listed = listed
        .replace("typeof ip6 daddr", "type ipv6_addr")
        .replace("typeof ip6 saddr", "type ipv6_addr");
    assert_eq!(listed, EVERYTHING);
}

const EVERYTHING: &str = r#"table ip6 non-masquerade-daemon {
	counter masqueraded {
		packets 0 bytes 0
	}

	counter dropped-invalid {
		packets 0 bytes 0
	}

	set non-masquerade-cidrs-1 {
		type ipv6_addr
		flags interval
		counter
		elements = { fd00::/32 counter packets 0 bytes 0 comment "fd00::/8",
			     fd00:2::-fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff counter packets 0 bytes 0 comment "fd00::/8",
			     fe80::/10 counter packets 0 bytes 0 comment "link-local" }
	}

	set source-cidrs-1 {
		type ipv6_addr
		flags interval
		elements = { fd00:2::/32 }
	}

	chain non-masquerade-daemon {
		ip6 daddr @non-masquerade-cidrs-1 return comment "keep the source address"
		fib daddr type multicast meta l4proto udp numgen random mod 61744 < 28976 counter name "masqueraded" masquerade to :1024-29999 fully-random comment "to several hosts: with the interface's address"
		fib daddr type multicast meta l4proto udp counter name "masqueraded" masquerade to :32768-65535 fully-random comment "to several hosts: with the interface's address"
		fib daddr type multicast counter name "masqueraded" masquerade fully-random comment "to several hosts: with the interface's address"
		meta l4proto tcp numgen random mod 61744 < 28976 counter name "masqueraded" snat to [2001:db8::1]:1024-29999 fully-random comment "masquerade to source ports of toPorts"
		meta l4proto tcp counter name "masqueraded" snat to [2001:db8::1]:32768-65535 fully-random comment "masquerade to source ports of toPorts"
		meta l4proto udp numgen random mod 61744 < 28976 counter name "masqueraded" snat to [2001:db8::1]:1024-29999 fully-random comment "masquerade to source ports of toPorts"
		meta l4proto udp counter name "masqueraded" snat to [2001:db8::1]:32768-65535 fully-random comment "masquerade to source ports of toPorts"
		meta l4proto sctp numgen random mod 61744 < 28976 counter name "masqueraded" snat to [2001:db8::1]:1024-29999 fully-random comment "masquerade to source ports of toPorts"
		meta l4proto sctp counter name "masqueraded" snat to [2001:db8::1]:32768-65535 fully-random comment "masquerade to source ports of toPorts"
		counter name "masqueraded" snat to 2001:db8::1 fully-random comment "masquerade all other traffic (must be last in chain)"
	}

	chain postrouting {
		type nat hook postrouting priority srcnat + 10; policy accept;
		fib saddr type local return comment "leave the node's own traffic alone"
		oifname "eth*" fib daddr type != local ip6 saddr @source-cidrs-1 jump non-masquerade-daemon comment "traffic of sourceCIDRs not bound for a LOCAL address"
		oifname "wg0" fib daddr type != local ip6 saddr @source-cidrs-1 jump non-masquerade-daemon comment "traffic of sourceCIDRs not bound for a LOCAL address"
	}

	chain enforce {
		type nat hook postrouting priority srcnat - 10; policy accept;
		fib saddr type local return comment "leave the node's own traffic alone"
		ct status dnat return comment "service traffic stays with who translated it"
		oifname "eth*" fib daddr type != local ip6 saddr @source-cidrs-1 ip6 daddr @non-masquerade-cidrs-1 snat to ip6 saddr comment "keep the source address, whatever other NAT rules say"
		oifname "wg0" fib daddr type != local ip6 saddr @source-cidrs-1 ip6 daddr @non-masquerade-cidrs-1 snat to ip6 saddr comment "keep the source address, whatever other NAT rules say"
	}

	chain drop-invalid {
		type filter hook postrouting priority srcnat + 10; policy accept;
		ct state != invalid accept comment "conntrack translates it where it has to"
		fib saddr type local accept comment "leave the node's own traffic alone"
		oifname "eth*" fib daddr type != local ip6 saddr @source-cidrs-1 ip6 daddr != @non-masquerade-cidrs-1 counter name "dropped-invalid" drop comment "conntrack cannot translate it: it would leave with the pod's address"
		oifname "wg0" fib daddr type != local ip6 saddr @source-cidrs-1 ip6 daddr != @non-masquerade-cidrs-1 counter name "dropped-invalid" drop comment "conntrack cannot translate it: it would leave with the pod's address"
	}
}
"#;

/// `nft -j -f -` of what `render` prints gives the same tables.
#[test]
fn nft_takes_the_portable_document_of_both_families() {
    for (name, change) in CONFIGURATIONS {
        let rulesets = rulesets(change);
        let set_names = SetNames::first();
        let creation: Vec<_> = rulesets
            .iter()
            .flat_map(|ruleset| ruleset.creation(&set_names))
            .collect();
        let document = json::document(&creation, Form::Portable).unwrap();
        let namespace = Namespace::new().unwrap();
        let mut nft = namespace
            .command("nft")
            .args(["-j", "-f", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = nft.stdin.take().unwrap();
        input.write_all(document.as_bytes()).unwrap();
        drop(input);
        assert!(nft.wait().unwrap().success(), "{name}");
        let mut programmed = Programmed::new(DAEMON).unwrap();
        for ruleset in &rulesets {
            programmed.sync(ruleset).unwrap();
        }
        let listed = |namespace| {
            let text = list(namespace, "list ruleset");
            // What the portable form does not say.
            text.replace("typeof ip saddr", "type ipv4_addr")
                .replace("typeof ip daddr", "type ipv4_addr")
                .replace("typeof ip6 saddr", "type ipv6_addr")
                .replace("typeof ip6 daddr", "type ipv6_addr")
        };
        assert_eq!(listed(&namespace), listed(&programmed.namespace), "{name}");
    }
}

/// In the root of Debian 13, which only root can make; there is no /etc/protocols in it.
mod needs_root {
    use super::*;

    #[test]
    fn each_configuration_becomes_each_other_with_the_libnftables_of_debian_13() {
        each_becomes_each_other(|| Programmed::on_debian_13(DAEMON).unwrap());
    }
}
