//! Every feature is switched on and off at run time, in place: from each configuration to each other, in both families.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // in a test, what cannot be unwrapped is a failure

mod support;

use std::io::Write;
use std::process::Stdio;

use non_masquerade_daemon::config::{Config, Flags, PortRange, defaults};
use non_masquerade_daemon::kernel::difference::Difference;
use non_masquerade_daemon::kernel::ownership::Protection;
use non_masquerade_daemon::policy::Policy;
use non_masquerade_daemon::ruleset::json::{self, Form, TableFlags};
use non_masquerade_daemon::ruleset::{ChosenNames, Ruleset, Set, Tables, names};
use support::netlink::generation;
use support::netns::{Namespace, succeed};
use support::nft::{Nft, TABLE};
use support::programmed::Programmed;

const DAEMON: &str = env!("CARGO_BIN_EXE_non-masquerade-daemon");

type Change = fn(&mut Config);

/// What each does to the defaults.
const CONFIGURATIONS: [(&str, Change); 12] = [
    ("defaults", |_| {}),
    ("enforce", |config| config.enforce = true),
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
    }),
];

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

fn rulesets(change: Change) -> Vec<Ruleset> {
    let mut config = defaults(&Flags {
        enable_ipv6: true,
        ..Flags::default()
    });
    change(&mut config);
    let chosen = ChosenNames {
        table: names::DEFAULT_TABLE.to_owned(),
        masq_chain: names::DEFAULT_MASQ_CHAIN.to_owned(),
    };
    Tables::new(&Policy::new(&config), &chosen)
        .wanted()
        .cloned()
        .collect()
}

fn named(name: &str) -> Vec<Ruleset> {
    let found = CONFIGURATIONS.iter().find(|(other, _)| *other == name);
    rulesets(found.unwrap().1)
}

/// One for new sets, one for elements or rules, one for what goes when no rule names it any more. Where more than one
/// of what packets look up changes, stand-ins are made, looked up, out of use and gone: at most five.
fn transactions_expected(from: &Ruleset, to: &Ruleset) -> u32 {
    let is_new = |set: &&Set| !from.sets.iter().any(|other| other.name == set.name);
    let makes_sets = to.sets.iter().any(|set| is_new(&set));
    let old_sets = to.sets.iter().filter(|set| !is_new(set));
    let changed_sets = old_sets.filter(|set| !from.sets.contains(set)).count();
    let has_set = |name| to.sets.iter().any(|set| set.name == name);
    let has_chain = |name: &str| to.chains.iter().any(|chain| chain.name == name);
    let loses_chains = from.chains.iter().any(|chain| !has_chain(&chain.name));
    let changes_rules = to.chains.iter().any(|chain| !from.chains.contains(chain));
    let goes = loses_chains || from.sets.iter().any(|set| !has_set(set.name));
    if changed_sets + usize::from(changes_rules || loses_chains) > 1 {
        return 5;
    }
    u32::from(makes_sets) + u32::from(changed_sets > 0 || changes_rules) + u32::from(goes)
}

fn each_becomes_each_other(programmed: &mut Programmed) {
    for (from_name, from) in CONFIGURATIONS {
        for (to_name, to) in CONFIGURATIONS {
            for (from, to) in std::iter::zip(rulesets(from), rulesets(to)) {
                let case = format!("{}: {from_name} → {to_name}", from.family.name());
                programmed.sync(&from).unwrap();
                let before = generation(&programmed.namespace).unwrap();
                programmed.sync(&to).unwrap();
                let grown = generation(&programmed.namespace).unwrap() - before;
                assert_eq!(grown, transactions_expected(&from, &to), "{case}");
                let left = programmed.look(&to).unwrap().differences;
                assert_eq!(left, [], "{case}");
            }
        }
    }
}

#[test]
fn each_configuration_becomes_each_other_in_few_transactions_and_reads_back_as_meant() {
    each_becomes_each_other(&mut Programmed::new(DAEMON).unwrap());
}

#[test]
fn each_configuration_is_made_from_nothing_in_two_transactions_after_the_claim() {
    for (name, change) in CONFIGURATIONS {
        let mut programmed = Programmed::new(DAEMON).unwrap();
        let mut is_first = true;
        for ruleset in rulesets(change) {
            let before = generation(&programmed.namespace).unwrap();
            let report = programmed.sync(&ruleset).unwrap();
            let grown = generation(&programmed.namespace).unwrap() - before;
            // Where there can be no owner, that is known after the first.
            let claims = is_first || report.protection == Some(Protection::Owned);
            is_first = false;
            assert_eq!(grown, 2 + u32::from(claims), "{name}");
            assert_eq!(programmed.look(&ruleset).unwrap().differences, [], "{name}");
        }
    }
}

fn list(namespace: &Namespace, arguments: &str) -> String {
    let mut nft = Nft::host().command(namespace);
    let output = succeed(nft.args(arguments.split_whitespace())).unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn switching_enforce_leaves_the_other_chains_alone() {
    let mut programmed = Programmed::new(DAEMON).unwrap();
    let without = &named("defaults")[0];
    let with = &named("enforce")[0];
    programmed.sync(without).unwrap();
    // With handles: a rule that is written again has another one.
    let others = |programmed: &Programmed| {
        ["postrouting", TABLE].map(|chain| {
            let arguments = format!("--handle list chain ip {TABLE} {chain}");
            list(&programmed.namespace, &arguments)
        })
    };
    let before = others(&programmed);
    let on = programmed.sync(with).unwrap().differences;
    assert_eq!(on, [Difference::ChainMissing("enforce".to_owned())]);
    assert_eq!(others(&programmed), before);
    let off = programmed.sync(without).unwrap().differences;
    let foreign = Difference::Foreign("chain".to_owned(), "enforce".to_owned());
    assert_eq!(off, [foreign]);
    assert_eq!(others(&programmed), before);
}

fn table(namespace: &Namespace, family: &str) -> String {
    list(namespace, &format!("list table {family} {TABLE}"))
}

#[test]
fn a_set_of_the_wrong_kind_is_made_anew_whichever_it_is() {
    // A set that was made anew is listed after the other one.
    let lines = |text: String| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    for ruleset in named("everything") {
        let mut programmed = Programmed::new(DAEMON).unwrap();
        programmed.sync(&ruleset).unwrap();
        let family = ruleset.family.name();
        let expected = lines(table(&programmed.namespace, family));
        let address = if family == "ip" {
            "ipv4_addr"
        } else {
            "ipv6_addr"
        };
        for (set, wrong) in [
            // The source set counts nothing, the other one does.
            (
                names::SOURCE_SET,
                format!("type {address}; flags interval; counter;"),
            ),
            (names::SOURCE_SET, format!("type {address};")),
            (names::SOURCE_SET, "type mark; flags interval;".to_owned()),
            (
                names::EXEMPT_SET,
                format!("type {address}; flags interval;"),
            ),
        ] {
            let hand = format!(
                "flush table {family} {TABLE}
                 delete set {family} {TABLE} {set}
                 add set {family} {TABLE} {set} {{ {wrong} }}"
            );
            Nft::host().apply(&programmed.namespace, &hand).unwrap();
            let differences = programmed.sync(&ruleset).unwrap().differences;
            let wrong_kind = Difference::SetOfWrongKind(set.to_owned());
            assert!(
                differences.contains(&wrong_kind),
                "{set} {wrong}: {differences:?}"
            );
            let mended = lines(table(&programmed.namespace, family));
            assert_eq!(mended, expected, "{set} {wrong}");
        }
    }
}

/// As a daemon leaves it that is killed while it changes elements and rules together: with rules that look the stand-in up,
/// or not yet. The first case needs no other stand-in, since the elements that are to change are out of use.
#[test]
fn a_stand_in_that_was_left_behind_is_out_of_use_and_taken_away() {
    let mut programmed = Programmed::new(DAEMON).unwrap();
    let [left, wanted] = ["defaults", "everything"].map(|name| named(name).swap_remove(0));
    programmed.sync(&wanted).unwrap();
    let expected = table(&programmed.namespace, "ip");
    let set = "
        add set ip TABLE non-masquerade-cidrs.next { type ipv4_addr; flags interval; counter; }
        add element ip TABLE non-masquerade-cidrs.next { 192.0.2.0/24 }";
    let rules = "
        flush chain ip TABLE TABLE
        add rule ip TABLE TABLE ip daddr @non-masquerade-cidrs.next return
        add rule ip TABLE TABLE masquerade";
    for (hand, transactions) in [(format!("{set}{rules}"), 4), (set.to_owned(), 6)] {
        programmed.sync(&left).unwrap();
        let hand = hand.replace("TABLE", TABLE);
        Nft::host().apply(&programmed.namespace, &hand).unwrap();
        let before = generation(&programmed.namespace).unwrap();
        let stand_in = Difference::Foreign("set".to_owned(), names::EXEMPT_STAND_IN.to_owned());
        let differences = programmed.sync(&wanted).unwrap().differences;
        assert!(differences.contains(&stand_in), "{differences:?}");
        let grown = generation(&programmed.namespace).unwrap() - before;
        assert_eq!(grown, transactions, "{hand}");
        assert_eq!(programmed.look(&wanted).unwrap().differences, []);
        assert_eq!(table(&programmed.namespace, "ip"), expected);
    }
}

/// Maps and sets share their names.
#[test]
fn a_foreign_map_under_the_name_of_a_stand_in_is_taken_away_first() {
    let mut programmed = Programmed::new(DAEMON).unwrap();
    let [left, wanted] = ["defaults", "everything"].map(|name| named(name).swap_remove(0));
    programmed.sync(&wanted).unwrap();
    let expected = table(&programmed.namespace, "ip");
    let map = "
        add chain ip TABLE foreign
        add map ip TABLE non-masquerade-cidrs.next { type ipv4_addr : verdict; }
        add element ip TABLE non-masquerade-cidrs.next { 192.0.2.1 : jump foreign }";
    let rule = "\nadd rule ip TABLE TABLE ip daddr vmap @non-masquerade-cidrs.next";
    for hand in [map.to_owned(), format!("{map}{rule}")] {
        programmed.sync(&left).unwrap();
        let hand = hand.replace("TABLE", TABLE);
        Nft::host().apply(&programmed.namespace, &hand).unwrap();
        let map = Difference::Foreign("map".to_owned(), names::EXEMPT_STAND_IN.to_owned());
        let differences = programmed.sync(&wanted).unwrap().differences;
        assert!(differences.contains(&map), "{differences:?}");
        assert_eq!(table(&programmed.namespace, "ip"), expected);
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

	set non-masquerade-cidrs {
		type ipv6_addr
		flags interval
		counter
		elements = { fd00::/32 counter packets 0 bytes 0 comment "fd00::/8",
			     fd00:2::-fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff counter packets 0 bytes 0 comment "fd00::/8",
			     fe80::/10 counter packets 0 bytes 0 comment "link-local" }
	}

	set source-cidrs {
		type ipv6_addr
		flags interval
		elements = { fd00:2::/32 comment "fd00:2::/32" }
	}

	chain non-masquerade-daemon {
		ip6 daddr @non-masquerade-cidrs return comment "keep the source address"
		meta l4proto tcp numgen random mod 61744 < 28976 counter name "masqueraded" masquerade to :1024-29999 fully-random comment "masquerade to source ports of toPorts"
		meta l4proto tcp counter name "masqueraded" masquerade to :32768-65535 fully-random comment "masquerade to source ports of toPorts"
		meta l4proto udp numgen random mod 61744 < 28976 counter name "masqueraded" masquerade to :1024-29999 fully-random comment "masquerade to source ports of toPorts"
		meta l4proto udp counter name "masqueraded" masquerade to :32768-65535 fully-random comment "masquerade to source ports of toPorts"
		meta l4proto sctp numgen random mod 61744 < 28976 counter name "masqueraded" masquerade to :1024-29999 fully-random comment "masquerade to source ports of toPorts"
		meta l4proto sctp counter name "masqueraded" masquerade to :32768-65535 fully-random comment "masquerade to source ports of toPorts"
		counter name "masqueraded" masquerade fully-random comment "masquerade all other traffic (must be last in chain)"
	}

	chain postrouting {
		type nat hook postrouting priority srcnat + 10; policy accept;
		fib saddr type local return comment "leave the node's own traffic alone"
		fib daddr type != local ip6 saddr @source-cidrs jump non-masquerade-daemon comment "traffic of sourceCIDRs not bound for a LOCAL address"
	}

	chain enforce {
		type nat hook postrouting priority srcnat - 10; policy accept;
		fib saddr type local return comment "leave the node's own traffic alone"
		ct status dnat return comment "service traffic stays with who translated it"
		fib daddr type != local ip6 saddr @source-cidrs ip6 daddr @non-masquerade-cidrs snat to ip6 saddr comment "keep the source address, whatever other NAT rules say"
	}
}
"#;

/// `nft -j -f -` of what `render` prints gives the same tables.
#[test]
fn nft_takes_the_portable_document_of_both_families() {
    for (name, change) in CONFIGURATIONS {
        let rulesets = rulesets(change);
        let creation: Vec<_> = rulesets.iter().flat_map(Ruleset::creation).collect();
        let document = json::document(&creation, Form::Portable, TableFlags::Plain).unwrap();
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
        each_becomes_each_other(&mut Programmed::on_debian_13(DAEMON).unwrap());
    }
}
