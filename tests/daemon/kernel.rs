//! The table as the kernel has it: applied, read back, changed in place, mended.

use non_masquerade_daemon::config::Config;
use non_masquerade_daemon::daemon::worker::WorkerError;
use non_masquerade_daemon::kernel::difference::Difference;
use non_masquerade_daemon::kernel::error::KernelError;
use non_masquerade_daemon::kernel::observed::ObservedElement;
use non_masquerade_daemon::policy::Policy;
use non_masquerade_daemon::ruleset::{ChosenNames, Ruleset, Tables};

use crate::DAEMON;
use crate::support::foreign_hands::{exempt_set, foreign_hands};
use crate::support::netlink::generation;
use crate::support::netns::Namespace;
use crate::support::nft::{Nft, TABLE};
use crate::support::programmed::Programmed;

fn ruleset(cidrs: &[&str]) -> Ruleset {
    let config = Config {
        non_masquerade_cidrs: cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect(),
        non_masquerade_cidrs_are_default: false,
        masq_link_local: true,
        masq_link_local_ipv6: true,
        ..Config::default()
    };
    Ruleset::ipv4(&Policy::new(&config), &ChosenNames::default())
}

fn sync(programmed: &mut Programmed, ruleset: &Ruleset) -> Vec<Difference> {
    programmed.sync(ruleset).unwrap().differences
}

/// The set as nft lists it: value and comment of each element.
fn elements(programmed: &Programmed) -> Vec<(String, String)> {
    let set = exempt_set(&programmed.namespace).unwrap();
    let elements = Nft::host().elements(&programmed.namespace, TABLE, &set);
    let shown = |element: &crate::support::nft::Element| {
        (
            element.value.to_string(),
            element.comment.clone().unwrap_or_default(),
        )
    };
    elements.unwrap().iter().map(shown).collect()
}

/// The table as nft lists it, with the set in use as it is called at first.
fn table(programmed: &Programmed) -> String {
    let text = Nft::host().list_table_text(&programmed.namespace, TABLE);
    text.unwrap()
        .replace("non-masquerade-cidrs-2", "non-masquerade-cidrs-1")
}

fn prefix(address: &str, length: u8) -> String {
    format!(r#"{{"prefix":{{"addr":"{address}","len":{length}}}}}"#)
}

fn nft(namespace: &Namespace, text: &str) {
    Nft::host().apply(namespace, text).unwrap();
}

#[test]
fn the_first_sync_makes_the_table_and_the_next_writes_nothing() {
    let mut programmed = Programmed::new(DAEMON).unwrap();
    let wanted = ruleset(&["10.0.0.0/8"]);
    let made = sync(&mut programmed, &wanted);
    assert_eq!(made, [Difference::TableMissing]);
    let before = generation(&programmed.namespace).unwrap();
    let report = programmed.sync(&wanted).unwrap();
    assert_eq!(
        (report.differences, report.rules_were_unknown),
        (vec![], false)
    );
    let after = generation(&programmed.namespace).unwrap();
    assert_eq!(after, before, "a sync in step wrote something");
}

/// Rules may be listed as ours and match differently: those of an earlier worker are written once more, and nothing else.
#[test]
fn what_another_worker_has_left_is_written_once_in_one_transaction() {
    let wanted = ruleset(&["10.0.0.0/8"]);
    let namespace = Namespace::new().unwrap();
    let mut first = Programmed::within(namespace.clone(), DAEMON).unwrap();
    sync(&mut first, &wanted);
    let left = table(&first);
    drop(first);
    let mut next = Programmed::within(namespace, DAEMON).unwrap();
    let before = generation(&next.namespace).unwrap();
    let report = next.sync(&wanted).unwrap();
    assert_eq!(
        (report.differences, report.rules_were_unknown),
        (vec![], true)
    );
    assert_eq!(generation(&next.namespace).unwrap(), before + 1);
    assert_eq!(table(&next), left);
    programmed_writes_nothing(&mut next, &wanted);
}

fn programmed_writes_nothing(programmed: &mut Programmed, wanted: &Ruleset) {
    let before = generation(&programmed.namespace).unwrap();
    assert_eq!(sync(programmed, wanted), []);
    assert_eq!(generation(&programmed.namespace).unwrap(), before);
}

/// `meta protocol ip6 ip daddr @set return` is listed without its first match, which is never true in an `ip` table: exempt
/// traffic would be masqueraded.
#[test]
fn a_rule_that_is_listed_as_ours_and_matches_nothing_is_undone_by_whoever_sees_it_first() {
    let wanted = ruleset(&["10.0.0.0/8"]);
    for is_seen_by_another_worker in [false, true] {
        let mut programmed = Programmed::new(DAEMON).unwrap();
        sync(&mut programmed, &wanted);
        let right = programmed.observe(&wanted).unwrap().unwrap().rules;
        let listed = table(&programmed);
        nft(&programmed.namespace, &alike(&programmed));
        assert_eq!(table(&programmed), listed, "it is not listed alike");
        let now = programmed.observe(&wanted).unwrap().unwrap().rules;
        assert_ne!(now, right);
        if is_seen_by_another_worker {
            let namespace = programmed.namespace.clone();
            drop(programmed);
            programmed = Programmed::within(namespace, DAEMON).unwrap();
        }
        programmed.sync(&wanted).unwrap();
        let now = programmed.observe(&wanted).unwrap().unwrap().rules;
        assert_eq!(now, right);
        programmed_writes_nothing(&mut programmed, &wanted);
    }
}

/// Replaces the rule that keeps the source address by one that is listed alike.
fn alike(programmed: &Programmed) -> String {
    let set = exempt_set(&programmed.namespace).unwrap();
    let handle = Nft::host()
        .list_table_json(&programmed.namespace, TABLE)
        .unwrap()
        .iter()
        .find(|object| object["rule"]["comment"] == "keep the source address")
        .map(|object| object["rule"]["handle"].clone());
    let handle = handle.unwrap();
    format!(
        "replace rule ip {TABLE} {TABLE} handle {handle} meta protocol ip6 ip daddr @{set} return comment \"keep the source address\""
    )
}

/// The next set, the rules, the last set: packets meet the old list or the new one.
#[test]
fn a_change_of_the_list_takes_three_transactions_and_tells_what_the_last_set_has_counted() {
    let mut programmed = Programmed::new(DAEMON).unwrap();
    sync(&mut programmed, &ruleset(&["10.0.0.0/8", "192.0.2.0/24"]));
    nft(
        &programmed.namespace,
        "delete element ip non-masquerade-daemon non-masquerade-cidrs-1 { 10.0.0.0/8 }
         add element ip non-masquerade-daemon non-masquerade-cidrs-1 { 10.0.0.0/8 counter packets 7 bytes 700 }",
    );
    let before = generation(&programmed.namespace).unwrap();
    let tables = Tables {
        ip: ruleset(&["10.0.0.0/8", "198.51.100.0/24"]),
        ip6: None,
    };
    let report = programmed.sync_all(&tables).unwrap();
    let pass = report.tables.first().unwrap();
    let differences = &pass.result.as_ref().unwrap().differences;
    assert_eq!(differences.len(), 2, "{differences:?}");
    let after = generation(&programmed.namespace).unwrap();
    assert_eq!(after, before + 3);
    let counted = ObservedElement {
        first: "10.0.0.0".parse().unwrap(),
        last: "10.255.255.255".parse().unwrap(),
        comment: None,
        connections: Some(7),
    };
    assert_eq!(pass.counted, [counted]);
    assert_eq!(
        exempt_set(&programmed.namespace).unwrap(),
        "non-masquerade-cidrs-2"
    );
    let again = programmed.sync_all(&tables).unwrap();
    assert_eq!(again.tables.first().unwrap().counted, [], "told twice");
}

#[test]
fn the_named_counter_survives_a_change_of_rules() {
    let mut programmed = Programmed::new(DAEMON).unwrap();
    let mut wanted = ruleset(&["10.0.0.0/8"]);
    sync(&mut programmed, &wanted);
    nft(
        &programmed.namespace,
        "flush chain ip non-masquerade-daemon non-masquerade-daemon
         delete counter ip non-masquerade-daemon masqueraded
         add counter ip non-masquerade-daemon masqueraded { packets 7 bytes 700 }",
    );
    wanted.chains[0].rules[1].comment = "another comment".into();
    let mended = sync(&mut programmed, &wanted);
    assert!(mended.contains(&Difference::RulesDiffer(TABLE.to_owned())));
    let text = table(&programmed);
    assert!(text.contains("packets 7 bytes 700"), "{text}");
}

#[test]
fn a_refused_transaction_changes_nothing_and_says_why() {
    let mut programmed = Programmed::new(DAEMON).unwrap();
    let right = ruleset(&["10.0.0.0/8"]);
    sync(&mut programmed, &right);
    let before = generation(&programmed.namespace).unwrap();
    let mut overlapping = ruleset(&["10.0.0.0/8", "192.0.2.0/24"]);
    let mut inside = overlapping.sets[0].elements[1].clone();
    inside.last = inside.first;
    overlapping.sets[0].elements.push(inside);
    let error = programmed.sync(&overlapping).unwrap_err();
    assert!(
        matches!(error, WorkerError::Kernel(KernelError::Refused { .. })),
        "{error}"
    );
    assert!(error.to_string().contains("interval"), "{error}");
    assert_eq!(generation(&programmed.namespace).unwrap(), before);
    assert_eq!(elements(&programmed).len(), 1);
}

/// CIDRs, and value and comment of each element that nft lists then.
type Case<'a> = (&'a [&'a str], Vec<(String, &'a str)>);

#[test]
fn every_kind_of_list_reaches_the_kernel_as_meant() {
    let cases: [Case<'_>; 7] = [
        (&[], vec![]),
        (&["0.0.0.0/0"], vec![(prefix("0.0.0.0", 0), "")]),
        (&["192.0.2.1/32"], vec![("\"192.0.2.1\"".to_owned(), "")]),
        (
            &["255.255.255.255/32"],
            vec![("\"255.255.255.255\"".to_owned(), "")],
        ),
        (
            &["10.128.0.0/9", "10.0.0.0/9"],
            vec![(prefix("10.0.0.0", 9), ""), (prefix("10.128.0.0", 9), "")],
        ),
        (
            &["10.0.0.0/8", "10.0.0.0/8"],
            vec![(prefix("10.0.0.0", 8), "")],
        ),
        (
            &["10.1.0.0/16", "10.0.0.0/8", "0.0.0.0/0"],
            vec![
                (
                    r#"{"range":["0.0.0.0","9.255.255.255"]}"#.to_owned(),
                    "0.0.0.0/0",
                ),
                (prefix("10.0.0.0", 16), "10.0.0.0/8"),
                (prefix("10.1.0.0", 16), ""),
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
    let mut programmed = Programmed::new(DAEMON).unwrap();
    for (cidrs, expected) in &cases {
        let wanted = ruleset(cidrs);
        sync(&mut programmed, &wanted);
        let expected: Vec<(String, String)> = expected
            .iter()
            .map(|(value, comment)| (value.clone(), (*comment).to_owned()))
            .collect();
        assert_eq!(elements(&programmed), expected, "{cidrs:?}");
        let again = sync(&mut programmed, &wanted);
        assert_eq!(again, [], "{cidrs:?} read back differs");
    }
    // And from each to each, in place.
    for (from, _) in &cases {
        for (to, _) in &cases {
            sync(&mut programmed, &ruleset(from));
            sync(&mut programmed, &ruleset(to));
            let again = sync(&mut programmed, &ruleset(to));
            assert_eq!(again, [], "{from:?} → {to:?}");
        }
    }
}

#[test]
fn whatever_a_foreign_hand_does_is_mended() {
    let wanted = ruleset(&["10.0.0.0/8", "192.0.2.0/24"]);
    let mut pristine = Programmed::new(DAEMON).unwrap();
    sync(&mut pristine, &wanted);
    let expected = table(&pristine);
    for hand in foreign_hands() {
        let mut programmed = Programmed::new(DAEMON).unwrap();
        sync(&mut programmed, &wanted);
        nft(&programmed.namespace, &hand);
        let differences = sync(&mut programmed, &wanted);
        assert!(!differences.is_empty(), "not seen: {hand}");
        assert_eq!(table(&programmed), expected, "{hand}: {differences:?}");
        programmed_writes_nothing(&mut programmed, &wanted);
    }
}

/// No transaction can both wake a table and make a base chain in it: EINVAL.
#[test]
fn a_dormant_table_with_a_wrong_base_chain_is_mended() {
    let mut programmed = Programmed::new(DAEMON).unwrap();
    let wanted = ruleset(&["10.0.0.0/8"]);
    sync(&mut programmed, &wanted);
    let expected = table(&programmed);
    nft(
        &programmed.namespace,
        "flush chain ip non-masquerade-daemon postrouting
         delete chain ip non-masquerade-daemon postrouting
         add chain ip non-masquerade-daemon postrouting { type nat hook postrouting priority 5; }",
    );
    nft(
        &programmed.namespace,
        "add table ip non-masquerade-daemon { flags dormant; }",
    );
    sync(&mut programmed, &wanted);
    assert_eq!(table(&programmed), expected);
}

#[test]
fn other_tables_are_never_touched() {
    let mut programmed = Programmed::new(DAEMON).unwrap();
    let namespace = programmed.namespace.clone();
    nft(
        &namespace,
        "add table ip foreign
         add chain ip foreign c { type nat hook postrouting priority 90; }
         add rule ip foreign c ip daddr 192.0.2.0/24 masquerade",
    );
    let before = Nft::host().list_table_text(&namespace, "foreign").unwrap();
    sync(&mut programmed, &ruleset(&["10.0.0.0/8"]));
    nft(&namespace, "delete table ip non-masquerade-daemon");
    sync(&mut programmed, &ruleset(&["10.0.0.0/9"]));
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
        let mut programmed = Programmed::new(DAEMON).unwrap();
        let cidrs: Vec<String> = (0..10_000)
            .map(|n| format!("10.{}.{}.0/25", n / 256, n % 256))
            .collect();
        let mut listed: Vec<&str> = cidrs.iter().map(String::as_str).collect();
        sync(&mut programmed, &ruleset(&listed));
        assert_eq!(elements(&programmed).len(), 10_000);
        listed.truncate(9_000);
        listed.push("192.0.2.0/24");
        let wanted = ruleset(&listed);
        let before = generation(&programmed.namespace).unwrap();
        sync(&mut programmed, &wanted);
        assert_eq!(generation(&programmed.namespace).unwrap(), before + 3);
        assert_eq!(elements(&programmed).len(), 9_001);
        assert_eq!(sync(&mut programmed, &wanted), []);
    }
}
