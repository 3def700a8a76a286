//! The table as the kernel has it: applied, read back, changed in place, mended.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // in a test, what cannot be unwrapped is a failure

mod support;

use std::path::PathBuf;
use std::time::Duration;

use non_masquerade_daemon::config::Config;
use non_masquerade_daemon::kernel::difference::Difference;
use non_masquerade_daemon::kernel::error::KernelError;
use non_masquerade_daemon::kernel::ownership::TableOwner;
use non_masquerade_daemon::kernel::{Kernel, SyncReport};
use non_masquerade_daemon::policy::Policy;
use non_masquerade_daemon::ruleset::{ChosenNames, Ruleset, names};

use support::foreign_hands::foreign_hands;
use support::netlink::generation;
use support::netns::Namespace;
use support::nft::{Nft, TABLE};

const DAEMON: &str = env!("CARGO_BIN_EXE_non-masquerade-daemon");

fn ruleset(cidrs: &[&str]) -> Ruleset {
    let config = Config {
        non_masquerade_cidrs: cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect(),
        non_masquerade_cidrs_are_default: false,
        masquerade_cidrs: Vec::new(),
        source_cidrs: Vec::new(),
        masq_node_traffic: true,
        masq_link_local: true,
        masq_link_local_ipv6: true,
        enable_ipv6: false,
        random_fully: true,
        to_ports: Vec::new(),
        enforce: false,
        resync_interval: Duration::from_secs(60),
    };
    let names = ChosenNames {
        table: names::DEFAULT_TABLE.to_owned(),
        masq_chain: names::DEFAULT_MASQ_CHAIN.to_owned(),
    };
    Ruleset::ipv4(&Policy::new(&config), &names)
}

fn try_sync(namespace: &Namespace, ruleset: &Ruleset) -> Result<SyncReport, KernelError> {
    namespace.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(Kernel::new(PathBuf::from(DAEMON), TableOwner::Auto).sync(ruleset))
    })
}

fn sync(namespace: &Namespace, ruleset: &Ruleset) -> Vec<Difference> {
    try_sync(namespace, ruleset).unwrap().differences
}

/// The set as nft lists it: value and comment of each element.
fn elements(namespace: &Namespace) -> Vec<(String, String)> {
    let elements = Nft::host()
        .elements(namespace, TABLE, names::EXEMPT_SET)
        .unwrap();
    let shown = |element: &support::nft::Element| {
        (
            element.value.to_string(),
            element.comment.clone().unwrap_or_default(),
        )
    };
    elements.iter().map(shown).collect()
}

fn prefix(address: &str, length: u8) -> String {
    format!(r#"{{"prefix":{{"addr":"{address}","len":{length}}}}}"#)
}

fn nft(namespace: &Namespace, text: &str) {
    Nft::host().apply(namespace, text).unwrap();
}

#[test]
fn the_first_sync_makes_the_table_and_the_next_writes_nothing() {
    let namespace = Namespace::new().unwrap();
    let wanted = ruleset(&["10.0.0.0/8"]);
    assert_eq!(sync(&namespace, &wanted), [Difference::TableMissing]);
    let before = generation(&namespace).unwrap();
    assert_eq!(sync(&namespace, &wanted), []);
    assert_eq!(
        generation(&namespace).unwrap(),
        before,
        "a sync in step wrote something"
    );
}

#[test]
fn a_change_takes_one_transaction_and_keeps_the_counters_of_what_stays() {
    let namespace = Namespace::new().unwrap();
    sync(&namespace, &ruleset(&["10.0.0.0/8", "192.0.2.0/24"]));
    nft(
        &namespace,
        "delete element ip non-masquerade-daemon non-masquerade-cidrs { 10.0.0.0/8 }
         add element ip non-masquerade-daemon non-masquerade-cidrs { 10.0.0.0/8 counter packets 7 bytes 700 comment \"10.0.0.0/8\" }",
    );
    let before = generation(&namespace).unwrap();
    let differences = sync(&namespace, &ruleset(&["10.0.0.0/8", "198.51.100.0/24"]));
    assert_eq!(differences.len(), 2, "{differences:?}");
    assert_eq!(generation(&namespace).unwrap(), before + 1);
    let elements = Nft::host()
        .elements(&namespace, TABLE, names::EXEMPT_SET)
        .unwrap();
    let packets: Vec<u64> = elements.iter().map(|element| element.packets).collect();
    assert_eq!(packets, [7, 0], "{elements:?}");
}

#[test]
fn the_named_counter_survives_a_change_of_rules() {
    let namespace = Namespace::new().unwrap();
    let mut wanted = ruleset(&["10.0.0.0/8"]);
    sync(&namespace, &wanted);
    nft(
        &namespace,
        "flush chain ip non-masquerade-daemon non-masquerade-daemon
         delete counter ip non-masquerade-daemon masqueraded
         add counter ip non-masquerade-daemon masqueraded { packets 7 bytes 700 }",
    );
    wanted.chains[0].rules[1].comment = "another comment";
    let mended = sync(&namespace, &wanted);
    assert_eq!(mended, [Difference::RulesDiffer(TABLE.to_owned())]);
    let text = Nft::host().list_table_text(&namespace, TABLE).unwrap();
    assert!(text.contains("packets 7 bytes 700"), "{text}");
}

#[test]
fn a_refused_transaction_changes_nothing_and_says_why() {
    let namespace = Namespace::new().unwrap();
    sync(&namespace, &ruleset(&["10.0.0.0/8"]));
    let before = generation(&namespace).unwrap();
    let mut overlapping = ruleset(&["10.0.0.0/8", "192.0.2.0/24"]);
    let mut inside = overlapping.sets[0].elements[1].clone();
    inside.last = inside.first;
    overlapping.sets[0].elements.push(inside);
    let error = try_sync(&namespace, &overlapping).unwrap_err();
    assert!(matches!(error, KernelError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("interval"), "{error}");
    assert_eq!(generation(&namespace).unwrap(), before);
    assert_eq!(elements(&namespace).len(), 1);
}

/// CIDRs, and value and comment of each element that nft lists then.
type Case<'a> = (&'a [&'a str], Vec<(String, &'a str)>);

#[test]
fn every_kind_of_list_reaches_the_kernel_as_meant() {
    let cases: [Case<'_>; 7] = [
        (&[], vec![]),
        (&["0.0.0.0/0"], vec![(prefix("0.0.0.0", 0), "0.0.0.0/0")]),
        (
            &["192.0.2.1/32"],
            vec![("\"192.0.2.1\"".to_owned(), "192.0.2.1/32")],
        ),
        (
            &["255.255.255.255/32"],
            vec![("\"255.255.255.255\"".to_owned(), "255.255.255.255/32")],
        ),
        (
            &["10.128.0.0/9", "10.0.0.0/9"],
            vec![
                (prefix("10.0.0.0", 9), "10.0.0.0/9"),
                (prefix("10.128.0.0", 9), "10.128.0.0/9"),
            ],
        ),
        (
            &["10.0.0.0/8", "10.0.0.0/8"],
            vec![(prefix("10.0.0.0", 8), "10.0.0.0/8")],
        ),
        (
            &["10.1.0.0/16", "10.0.0.0/8", "0.0.0.0/0"],
            vec![
                (
                    r#"{"range":["0.0.0.0","9.255.255.255"]}"#.to_owned(),
                    "0.0.0.0/0",
                ),
                (prefix("10.0.0.0", 16), "10.0.0.0/8"),
                (prefix("10.1.0.0", 16), "10.1.0.0/16"),
                (
                    r#"{"range":["10.2.0.0","10.255.255.255"]}"#.to_owned(),
                    "10.0.0.0/8",
                ),
                (
                    r#"{"range":["11.0.0.0","255.255.255.255"]}"#.to_owned(),
                    "0.0.0.0/0",
                ),
            ],
        ),
    ];
    let namespace = Namespace::new().unwrap();
    for (cidrs, expected) in &cases {
        sync(&namespace, &ruleset(cidrs));
        let expected: Vec<(String, String)> = expected
            .iter()
            .map(|(value, comment)| (value.clone(), (*comment).to_owned()))
            .collect();
        assert_eq!(elements(&namespace), expected, "{cidrs:?}");
        assert_eq!(
            sync(&namespace, &ruleset(cidrs)),
            [],
            "{cidrs:?} read back differs"
        );
    }
    // And from each to each, in place.
    for (from, _) in &cases {
        for (to, _) in &cases {
            sync(&namespace, &ruleset(from));
            sync(&namespace, &ruleset(to));
            assert_eq!(sync(&namespace, &ruleset(to)), [], "{from:?} → {to:?}");
        }
    }
}

#[test]
fn whatever_a_foreign_hand_does_is_mended() {
    let wanted = ruleset(&["10.0.0.0/8", "192.0.2.0/24"]);
    let pristine = Namespace::new().unwrap();
    sync(&pristine, &wanted);
    let expected = Nft::host().list_table_text(&pristine, TABLE).unwrap();
    for hand in foreign_hands() {
        let namespace = Namespace::new().unwrap();
        sync(&namespace, &wanted);
        nft(&namespace, &hand);
        let differences = sync(&namespace, &wanted);
        assert!(!differences.is_empty(), "not seen: {hand}");
        let mended = Nft::host().list_table_text(&namespace, TABLE).unwrap();
        assert_eq!(mended, expected, "{hand}: {differences:?}");
    }
}

/// No transaction can both wake a table and make a base chain in it: EINVAL.
#[test]
fn a_dormant_table_with_a_wrong_base_chain_is_mended() {
    let namespace = Namespace::new().unwrap();
    let wanted = ruleset(&["10.0.0.0/8"]);
    sync(&namespace, &wanted);
    let expected = Nft::host().list_table_text(&namespace, TABLE).unwrap();
    nft(
        &namespace,
        "flush chain ip non-masquerade-daemon postrouting
         delete chain ip non-masquerade-daemon postrouting
         add chain ip non-masquerade-daemon postrouting { type nat hook postrouting priority 5; }",
    );
    nft(
        &namespace,
        "add table ip non-masquerade-daemon { flags dormant; }",
    );
    sync(&namespace, &wanted);
    assert_eq!(
        Nft::host().list_table_text(&namespace, TABLE).unwrap(),
        expected
    );
}

#[test]
fn other_tables_are_never_touched() {
    let namespace = Namespace::new().unwrap();
    nft(
        &namespace,
        "add table ip foreign
         add chain ip foreign c { type nat hook postrouting priority 90; }
         add rule ip foreign c ip daddr 192.0.2.0/24 masquerade",
    );
    let before = Nft::host().list_table_text(&namespace, "foreign").unwrap();
    sync(&namespace, &ruleset(&["10.0.0.0/8"]));
    nft(&namespace, "delete table ip non-masquerade-daemon");
    sync(&namespace, &ruleset(&["10.0.0.0/9"]));
    assert_eq!(
        Nft::host().list_table_text(&namespace, "foreign").unwrap(),
        before
    );
}

/// A user namespace cannot raise the netlink send buffer, so that batches of this size fail there.
mod needs_root {
    use super::*;

    #[test]
    fn ten_thousand_cidrs_are_applied_and_changed_in_place() {
        let namespace = Namespace::new().unwrap();
        let cidrs: Vec<String> = (0..10_000)
            .map(|n| format!("10.{}.{}.0/25", n / 256, n % 256))
            .collect();
        let mut listed: Vec<&str> = cidrs.iter().map(String::as_str).collect();
        sync(&namespace, &ruleset(&listed));
        assert_eq!(elements(&namespace).len(), 10_000);
        listed.truncate(9_000);
        listed.push("192.0.2.0/24");
        let before = generation(&namespace).unwrap();
        sync(&namespace, &ruleset(&listed));
        assert_eq!(generation(&namespace).unwrap(), before + 1);
        assert_eq!(elements(&namespace).len(), 9_001);
        assert_eq!(sync(&namespace, &ruleset(&listed)), []);
    }
}
