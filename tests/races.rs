//! What others write between two steps of the daemon: each step is timed by what it asks of its worker.

#![allow(clippy::unwrap_used)] // in a test, what cannot be unwrapped is a failure

mod support;

use non_masquerade_daemon::config::{Flags, defaults};
use non_masquerade_daemon::kernel::difference::Difference;
use non_masquerade_daemon::policy::Policy;
use non_masquerade_daemon::ruleset::{ChosenNames, Ruleset, Tables, names};
use support::nft::{Nft, TABLE};
use support::programmed::Programmed;

const DAEMON: &str = env!("CARGO_BIN_EXE_non-masquerade-daemon");

fn tables() -> Tables {
    let chosen = ChosenNames {
        table: names::DEFAULT_TABLE.to_owned(),
        masq_chain: names::DEFAULT_MASQ_CHAIN.to_owned(),
    };
    Tables::new(&Policy::new(&defaults(&Flags::default())), &chosen)
}

fn ruleset() -> Ruleset {
    tables().ip
}

/// What is committed after the deletion is not to count as looked at.
#[test]
fn a_table_of_a_family_that_is_off_does_not_stay_where_it_comes_back_at_once() {
    let table = format!("add table ip6 {TABLE}");
    let deletion = r#"'{"delete":{"table"'"#;
    let mut programmed =
        Programmed::with_a_late_hand(DAEMON, deletion, &format!("nft {table}")).unwrap();
    Nft::host().apply(&programmed.namespace, &table).unwrap();
    for pass in programmed.sync_all(&tables()) {
        pass.result.unwrap();
    }
    assert_eq!(programmed.differences(&tables()).unwrap(), []);
}

#[test]
fn what_is_found_only_after_the_first_repair_is_reported_too() {
    let repairs = r#"'{"add":{"element"'"#;
    let hand = format!("nft add chain ip {TABLE} foreign");
    let mut programmed = Programmed::with_a_hand(DAEMON, false, repairs, &hand).unwrap();
    programmed.sync(&ruleset()).unwrap();
    let first = format!("delete element ip {TABLE} non-masquerade-cidrs {{ 10.0.0.0/8 }}");
    Nft::host().apply(&programmed.namespace, &first).unwrap();
    let differences = programmed.sync(&ruleset()).unwrap().differences;
    let foreign = Difference::Foreign("chain".to_owned(), "foreign".to_owned());
    assert_eq!(differences.len(), 2, "{differences:?}");
    assert_eq!(differences.get(1), Some(&foreign));
}

/// In the root of Debian 13, which only root can make.
mod needs_root {
    use non_masquerade_daemon::kernel::ownership::Protection;

    use super::*;

    /// What is declared by `type` ends older hosts' nft, and is no drift: it would stay so.
    #[test]
    fn a_refusal_of_a_moment_does_not_end_the_declaration_by_typeof() {
        // Away when the set is made, and back before the next request.
        let hand = format!(
            "nft delete table ip {TABLE}; \
             printf() {{ case $2 in *documents*) nft add table ip {TABLE} ;; esac; command printf \"$@\"; }}"
        );
        let declarations = r#"'{"add":{"set"'"#;
        let mut programmed = Programmed::with_a_hand(DAEMON, true, declarations, &hand).unwrap();
        let plain = format!("add table ip {TABLE}");
        Nft::host().apply(&programmed.namespace, &plain).unwrap();
        programmed.sync(&ruleset()).unwrap();
        let text = Nft::debian_13().list_table_text(&programmed.namespace, TABLE);
        let text = text.unwrap();
        assert!(text.contains("typeof ip daddr"), "{text}");
    }

    #[test]
    fn a_plain_table_that_is_made_just_before_the_claim_does_not_end_all_claims() {
        let hand = format!("nft add table ip {TABLE}");
        let claims = r#"'"owner"'"#;
        let mut programmed = Programmed::with_a_hand(DAEMON, true, claims, &hand).unwrap();
        let report = programmed.sync(&ruleset()).unwrap();
        assert_eq!(report.protection, Some(Protection::FoundPlain));
        let end = format!("delete table ip {TABLE}");
        Nft::host().apply(&programmed.namespace, &end).unwrap();
        let report = programmed.sync(&ruleset()).unwrap();
        assert_eq!(report.protection, Some(Protection::Owned));
    }
}
