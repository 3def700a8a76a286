//! Named objects that others make in the table are deleted one by one: the table, and what it has counted, stays.

use std::time::Duration;

use crate::DAEMON;
use crate::support::hand::{DELETES_OBJECT, Hand};
use crate::support::netns::{Namespace, succeed};
use crate::support::nft::{Nft, TABLE};
use crate::support::programmed::Programmed;
use crate::support::{unnameable, wait_until};
use non_masquerade_daemon::config::{Flags, defaults};
use non_masquerade_daemon::kernel::difference::Difference;
use non_masquerade_daemon::policy::Policy;
use non_masquerade_daemon::ruleset::{ChosenNames, Ruleset, Tables};

/// Kinds, as libnftables lists them, and what makes one.
const OBJECTS: [(&str, &str); 6] = [
    (
        "ct expectation",
        "{ protocol tcp; dport 9876; timeout 2m; size 12; l3proto ip; }",
    ),
    (
        "ct timeout",
        "{ protocol tcp; policy = { established: 100 }; }",
    ),
    ("synproxy", "{ mss 1460; wscale 7; }"),
    ("ct helper", "{ type \"ftp\" protocol tcp; }"),
    ("quota", "{ 10 mbytes }"),
    ("limit", "{ rate 10/second }"),
];

fn ruleset() -> Ruleset {
    Tables::new(
        &Policy::new(&defaults(&Flags::default())),
        &ChosenNames::default(),
    )
    .ip
}

/// When the worker, which has been killed, owns the table no longer.
fn nft(namespace: &Namespace, text: &str) {
    let text = text.replace("TABLE", TABLE);
    let mut applied = Ok(());
    let soon = wait_until(Duration::from_secs(5), || {
        applied = Nft::host().apply(namespace, &text);
        applied.is_ok()
    });
    soon.unwrap_or_else(|_| panic!("{applied:?}"));
}

/// With handles: what is made again has another one. Without those of rules, which each worker writes once more.
fn listed(namespace: &Namespace) -> String {
    let arguments = ["--handle", "list", "table", "ip", TABLE];
    let output = succeed(Nft::host().command(namespace).args(arguments)).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = |line: &str| match line.split_once(" # handle ") {
        Some((rule, _)) if line.starts_with("\t\t") => rule.to_owned(),
        _ => line.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// What is counted is gone with the table.
fn count(namespace: &Namespace) {
    nft(
        namespace,
        "flush chain ip TABLE TABLE
         delete counter ip TABLE masqueraded
         add counter ip TABLE masqueraded { packets 7 bytes 700 }",
    );
}

fn foreign_objects_are_deleted_and_the_table_stays(start: fn(Namespace) -> Programmed) {
    let wanted = ruleset();
    for (kind, properties) in OBJECTS {
        let namespace = Namespace::new().unwrap();
        // It ends with its worker, so that nobody owns the table and a foreign hand reaches it.
        let mut programmed = start(namespace.clone());
        programmed.sync(&wanted).unwrap();
        drop(programmed);
        count(&namespace);
        let mut programmed = start(namespace.clone());
        programmed.sync(&wanted).unwrap();
        let before = listed(&namespace);
        assert!(before.contains("packets 7 bytes 700"), "{before}");
        drop(programmed);
        nft(
            &namespace,
            &format!("add {kind} ip TABLE foreign {properties}"),
        );
        let mut programmed = start(namespace.clone());
        let differences = programmed.sync(&wanted).unwrap().differences;
        let foreign = Difference::Foreign(kind.to_owned(), "foreign".to_owned());
        assert_eq!(differences, [foreign]);
        assert_eq!(listed(&namespace), before, "{kind}");
    }
}

#[test]
fn a_foreign_object_of_each_kind_is_deleted_and_the_table_stays() {
    let start = |namespace| Programmed::within(namespace, DAEMON).unwrap();
    foreign_objects_are_deleted_and_the_table_stays(start);
}

/// JSON has no word for the one, and the other would be more than a name in the nft language.
#[test]
fn an_object_is_deleted_whatever_its_name() {
    let mut programmed = Programmed::new(DAEMON).unwrap();
    let wanted = ruleset();
    programmed.sync(&wanted).unwrap();
    nft(&programmed.namespace, "add table ip neighbour");
    let before = listed(&programmed.namespace);
    for object in ["timeout", "s; delete table ip neighbour", "\\\"", "\n", "ä"] {
        unnameable::plant(&programmed.namespace, TABLE, object).unwrap();
        let differences = programmed.sync(&wanted).unwrap().differences;
        let foreign = Difference::Foreign("synproxy".to_owned(), object.to_owned());
        assert_eq!(differences, [foreign]);
        assert_eq!(listed(&programmed.namespace), before, "{object}");
    }
    let neighbour = Nft::host().list_table_text(&programmed.namespace, "neighbour");
    neighbour.unwrap();
}

/// Someone's rule refers to it whenever it is to be deleted.
#[test]
fn what_cannot_be_deleted_is_named_and_does_not_keep_what_comes_after_it() {
    // Of quotas, counters and limits, the worker tries the counters first.
    let does = format!("nft insert rule ip {TABLE} {TABLE} counter name held");
    let hand = Hand::before(DELETES_OBJECT, &does).times(100);
    let mut programmed = Programmed::with_a_hand(DAEMON, hand).unwrap();
    let wanted = ruleset();
    programmed.sync(&wanted).unwrap();
    nft(
        &programmed.namespace,
        "add counter ip TABLE held
         add quota ip TABLE other { 10 mbytes }
         add limit ip TABLE another { rate 10/second }",
    );
    let error = programmed.sync(&wanted).unwrap_err().to_string();
    assert!(error.contains("foreign counter held"), "{error}");
    let left = listed(&programmed.namespace);
    assert!(left.contains("counter held"), "{left}");
    assert!(!left.contains("quota") && !left.contains("limit"), "{left}");
}

/// In the root of Debian 13, which only root can make.
mod needs_root {
    use super::*;

    #[test]
    fn a_foreign_object_of_each_kind_is_deleted_and_the_owned_table_stays() {
        let start = |namespace| Programmed::on_debian_13_within(namespace, DAEMON).unwrap();
        foreign_objects_are_deleted_and_the_table_stays(start);
    }

    /// libnftables before 1.1.0 does not list it.
    #[test]
    fn a_comment_that_others_give_a_chain_goes() {
        let start = |namespace| Programmed::on_debian_13_within(namespace, DAEMON).unwrap();
        let wanted = ruleset();
        for (chain, emptied, properties) in [
            (
                "postrouting",
                "",
                "type nat hook postrouting priority srcnat + 10;",
            ),
            (TABLE, "flush chain ip TABLE postrouting;", ""),
        ] {
            let namespace = Namespace::new().unwrap();
            let mut programmed = start(namespace.clone());
            programmed.sync(&wanted).unwrap();
            drop(programmed);
            let hand = format!(
                "{emptied} flush chain ip TABLE {chain}; delete chain ip TABLE {chain};
                 add chain ip TABLE {chain} {{ {properties} comment \"foreign\"; }}"
            );
            nft(&namespace, &hand);
            assert!(listed(&namespace).contains("foreign"));
            let mut programmed = start(namespace.clone());
            let differences = programmed.sync(&wanted).unwrap().differences;
            let wrong_kind = Difference::OfWrongKind("chain".to_owned(), chain.to_owned());
            assert!(differences.contains(&wrong_kind), "{differences:?}");
            assert!(!listed(&namespace).contains("foreign"));
        }
    }
}
