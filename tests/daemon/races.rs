//! What others write between two steps of a pass: a hand inside of the worker acts at exactly that moment.

use crate::DAEMON;
use crate::support::foreign_hands::exempt_set;
use crate::support::hand::{DELETES_SET, DELETES_TABLE, Hand};
use crate::support::netlink::generation;
use crate::support::nft::{Nft, TABLE};
use crate::support::programmed::Programmed;
use ipnet::IpNet;
use nix::sys::socket::SockFlag;
use non_masquerade_daemon::config::{Config, Flags, defaults};
use non_masquerade_daemon::kernel::difference::Difference;
use non_masquerade_daemon::kernel::netlink::{Commit, Netlink, commit_of, is_after};
use non_masquerade_daemon::kernel::observed::ObservedRule;
use non_masquerade_daemon::kernel::pass::TableReport;
use non_masquerade_daemon::policy::Policy;
use non_masquerade_daemon::ruleset::{ChosenNames, Family, Ruleset, Tables};

/// In the document that declares the next set, in that which writes the rules, and in that which claims the table.
const DECLARATION: &str = r#""set":{"#;
const RULES: &str = r#""rule":{"#;
const CLAIM: &str = r#""owner""#;

fn tables_of(config: &Config) -> Tables {
    Tables::new(&Policy::new(config), &ChosenNames::default())
}

fn tables() -> Tables {
    tables_of(&defaults(&Flags::default()))
}

fn ruleset() -> Ruleset {
    tables().ip
}

/// With one more exempt CIDR.
fn longer_list() -> Ruleset {
    let mut config = defaults(&Flags::default());
    let more: IpNet = "192.0.2.0/24".parse().unwrap();
    config.non_masquerade_cidrs.push(more);
    tables_of(&config).ip
}

/// The table as nft lists it, with the set in use as it is called at first.
fn listed(programmed: &Programmed) -> String {
    let text = Nft::host().list_table_text(&programmed.namespace, TABLE);
    let set = exempt_set(&programmed.namespace).unwrap();
    text.unwrap().replace(&set, "non-masquerade-cidrs-1")
}

fn undisturbed(ruleset: &Ruleset) -> String {
    let mut programmed = Programmed::new(DAEMON).unwrap();
    programmed.sync(ruleset).unwrap();
    listed(&programmed)
}

fn assert_is_right(programmed: &mut Programmed, wanted: &Ruleset) {
    let (found, expected) = (listed(programmed), undisturbed(wanted));
    assert_eq!(found, expected);
    // The other namespace is not the one that the worker starts in any more.
    programmed.namespace.enter().unwrap();
    let before = generation(&programmed.namespace).unwrap();
    assert_eq!(programmed.sync(wanted).unwrap().differences, []);
    let after = generation(&programmed.namespace).unwrap();
    assert_eq!(after, before, "it was not at rest");
}

/// A change of the list, in which something happens.
fn change_with(hand: Hand<'_>) -> (Programmed, TableReport) {
    // The hand is there for the first document of its kind: the table is another worker's work.
    let mut earlier = Programmed::new(DAEMON).unwrap();
    earlier.sync(&ruleset()).unwrap();
    let namespace = earlier.namespace.clone();
    drop(earlier);
    let mut programmed = Programmed::with_a_hand_within(namespace, DAEMON, hand).unwrap();
    let report = programmed.sync(&longer_list()).unwrap();
    (programmed, report)
}

/// The commits of others after the last look of a pass at the table that was looked at first: the daemon looks again for
/// those alone.
fn passes_with_news(programmed: &mut Programmed, tables: &Tables) -> Vec<Commit> {
    const NFTABLES_GROUP: u32 = 1 << 6;
    programmed.namespace.enter().unwrap();
    let notifications = Netlink::open(NFTABLES_GROUP, SockFlag::SOCK_NONBLOCK).unwrap();
    let report = programmed.sync_all(tables).unwrap();
    let reports = report.tables.iter().flat_map(|pass| &pass.result);
    let looked_at = reports.map(|report| report.generation).min().unwrap();
    let mut news = Vec::new();
    let mut buffer = [0; 65536];
    while let Ok(message) = notifications.receive(&mut buffer) {
        let commit = commit_of(message);
        news.extend(commit.filter(|commit| {
            is_after(commit.generation, looked_at) && Some(commit.port) != report.port
        }));
    }
    news
}

/// What is committed after the deletion is not to count as looked at.
#[test]
fn a_table_of_a_family_that_is_off_does_not_stay_where_it_comes_back_at_once() {
    let table = format!("add table ip6 {TABLE}");
    let does = format!("nft {table}");
    let hand = Hand::after(DELETES_TABLE, &does);
    let mut programmed = Programmed::with_a_hand(DAEMON, hand).unwrap();
    Nft::host().apply(&programmed.namespace, &table).unwrap();
    let news = passes_with_news(&mut programmed, &tables());
    let differences = programmed.differences(&tables()).unwrap();
    assert_eq!(differences, [Difference::TableUnwanted]);
    assert!(!news.is_empty());
    programmed.sync_all(&tables()).unwrap();
    assert_eq!(programmed.differences(&tables()).unwrap(), []);
}

/// A declaration of thousands of elements takes a tenth of a second, of which the other family's table knows nothing.
#[test]
fn what_others_do_to_one_table_during_a_step_of_the_other_does_not_count_as_the_worker_s_own() {
    let mut config = defaults(&Flags::default());
    config.enable_ipv6 = true;
    let tables = tables_of(&config);
    let does = format!("nft flush chain ip {TABLE} {TABLE}");
    for at in [
        r#""family":"ip6","flags":["interval"]"#,
        r#""chain":{"family":"ip6""#,
        r#""family":"ip6","name":"non-masquerade-daemon""#,
    ] {
        for hand in [Hand::before(at, &does), Hand::after(at, &does)] {
            let mut programmed = Programmed::with_a_hand(DAEMON, hand).unwrap();
            let news = passes_with_news(&mut programmed, &tables);
            assert!(!news.is_empty(), "{hand:?}");
            let report = programmed.sync_all(&tables).unwrap();
            let first = report.tables.first().unwrap();
            let differences = &first.result.as_ref().unwrap().differences;
            assert_eq!(*differences, [Difference::RulesDiffer(TABLE.to_owned())]);
        }
    }
}

#[test]
fn what_the_worker_alone_commits_leads_to_no_other_look() {
    let mut config = defaults(&Flags::default());
    config.enable_ipv6 = true;
    let mut programmed = Programmed::new(DAEMON).unwrap();
    for tables in [tables_of(&config), tables()] {
        let news = passes_with_news(&mut programmed, &tables);
        assert!(news.is_empty(), "{news:?}");
    }
}

#[test]
fn what_is_found_only_after_the_first_repair_is_reported_too() {
    let does = format!("nft add chain ip {TABLE} foreign");
    let (mut programmed, report) = change_with(Hand::before(DECLARATION, &does));
    let foreign = Difference::Foreign("chain".to_owned(), "foreign".to_owned());
    let differences = report.differences;
    assert_eq!(differences.len(), 2, "{differences:?}");
    assert_eq!(differences.get(1), Some(&foreign));
    assert_is_right(&mut programmed, &longer_list());
}

#[test]
fn what_others_do_between_two_steps_of_a_change_is_undone() {
    let next = "non-masquerade-cidrs-2";
    let hands = [
        format!("add chain ip {TABLE} foreign"),
        format!("insert rule ip {TABLE} {TABLE} accept"),
        format!("add element ip {TABLE} non-masquerade-cidrs-1 {{ 8.8.8.0/24 }}"),
        format!("flush chain ip {TABLE} {TABLE}"),
        format!("add table ip {TABLE} {{ flags dormant; }}"),
        format!("delete table ip {TABLE}"),
    ];
    let on_the_next_set = [
        format!("delete set ip {TABLE} {next}"),
        format!("flush set ip {TABLE} {next}"),
        format!("add element ip {TABLE} {next} {{ 8.8.8.0/24 }}"),
        format!("insert rule ip {TABLE} {TABLE} ip daddr @{next} accept"),
    ];
    let steps: [fn(&str) -> Hand<'_>; 5] = [
        |does| Hand::before(DECLARATION, does),
        |does| Hand::after(DECLARATION, does),
        |does| Hand::before(RULES, does),
        |does| Hand::after(RULES, does),
        |does| Hand::before(DELETES_SET, does),
    ];
    for (step, hand) in steps.iter().enumerate() {
        let of_next = on_the_next_set.iter().filter(|text| match step {
            // It is not there yet; and then a rule looks it up.
            0 => false,
            3 | 4 => !text.starts_with("delete"),
            _ => true,
        });
        for text in hands.iter().chain(of_next) {
            let does = format!("nft '{text}'");
            let (mut programmed, _) = change_with(hand(&does));
            println!("step {step}: {text}");
            assert_is_right(&mut programmed, &longer_list());
        }
    }
}

/// What stands under the name of the next set is no part of the policy, and a rule of others may hold it by then.
#[test]
fn a_set_that_appears_under_the_name_of_the_next_one_is_replaced() {
    let next = "non-masquerade-cidrs-2";
    for (properties, rule) in [
        ("{ type ipv4_addr; flags interval; counter; }", "accept"),
        ("{ type ipv4_addr; }", "accept"),
        ("{ type ipv4_addr; }", ""),
    ] {
        let mut does = format!("nft 'add set ip {TABLE} {next} {properties}'");
        if !rule.is_empty() {
            does += &format!("; nft 'insert rule ip {TABLE} {TABLE} ip daddr @{next} {rule}'");
        }
        let (mut programmed, _) = change_with(Hand::before(DECLARATION, &does));
        assert_is_right(&mut programmed, &longer_list());
    }
}

/// Bytes that were read while others committed too need not be those that were written: a second write tells.
#[test]
fn a_commit_of_others_between_the_rules_and_their_reading_costs_one_more_write() {
    let does = "nft add table ip neighbour";
    let (mut programmed, report) = change_with(Hand::after(RULES, does));
    assert_eq!(report.differences.len(), 1, "{:?}", report.differences);
    assert_is_right(&mut programmed, &longer_list());
    // The declaration, the rules, the neighbour's, the deletion, and the rules once more.
    let mut alone = Programmed::new(DAEMON).unwrap();
    alone.sync(&ruleset()).unwrap();
    let started = generation(&alone.namespace).unwrap();
    let after = generation(&programmed.namespace).unwrap();
    assert_eq!(after, started + 5);
}

/// Whoever commits at every write is a busy neighbour, not a reason to rewrite without end.
#[test]
fn a_neighbour_that_commits_after_each_write_costs_one_more_write_too() {
    let does = "nft 'add table ip neighbour; delete table ip neighbour'";
    let hand = Hand::after(RULES, does).times(100);
    let (mut programmed, report) = change_with(hand);
    assert_eq!(report.differences.len(), 1, "{:?}", report.differences);
    assert_is_right(&mut programmed, &longer_list());
}

/// The table is never deleted for it: there would be no policy at all for a moment.
#[test]
fn whoever_changes_the_table_after_each_write_is_told_and_the_table_stays() {
    let does = format!("nft insert rule ip {TABLE} {TABLE} accept");
    let mut programmed = Programmed::new(DAEMON).unwrap();
    programmed.sync(&ruleset()).unwrap();
    let namespace = programmed.namespace.clone();
    drop(programmed);
    let handle = || Nft::host().table_handle(&namespace, TABLE).unwrap();
    let before = handle();
    let hand = Hand::after(RULES, &does).times(3);
    let mut programmed = Programmed::with_a_hand_within(namespace.clone(), DAEMON, hand).unwrap();
    let error = programmed.sync(&longer_list()).unwrap_err().to_string();
    let told =
        format!("after 3 rounds the kernel's table still differs: chain {TABLE} has other rules");
    assert_eq!(error, told);
    programmed.sync(&longer_list()).unwrap();
    assert_is_right(&mut programmed, &longer_list());
    assert_eq!(handle(), before);
}

/// Of a module that it lacks the kernel says the same.
#[test]
fn a_set_that_is_deleted_before_the_rules_look_it_up_is_told_as_gone() {
    let does = format!("nft delete set ip {TABLE} non-masquerade-cidrs-2");
    let mut programmed = Programmed::new(DAEMON).unwrap();
    programmed.sync(&ruleset()).unwrap();
    let namespace = programmed.namespace.clone();
    drop(programmed);
    let hand = Hand::before(RULES, &does).times(3);
    let mut programmed = Programmed::with_a_hand_within(namespace, DAEMON, hand).unwrap();
    let error = programmed.sync(&longer_list()).unwrap_err().to_string();
    let told = format!(
        "changing table ip {TABLE}: set non-masquerade-cidrs-2 is gone: another program has deleted it meanwhile"
    );
    assert_eq!(error, told);
    programmed.sync(&longer_list()).unwrap();
    assert_is_right(&mut programmed, &longer_list());
}

/// It matches nothing, and exempt traffic would be masqueraded.
#[test]
fn a_rule_that_is_replaced_by_one_that_is_listed_alike_before_it_is_read_is_undone() {
    let alike = r#"
        rule=$(nft -a list chain ip TABLE TABLE | grep 'comment "keep the source address"')
        nft "replace rule ip TABLE TABLE handle ${rule##* } meta protocol ip6 ip daddr @non-masquerade-cidrs-2 return \
            comment \"keep the source address\""
        nft list table ip TABLE > DIRECTORY/listed"#;
    let directory = crate::support::daemon::TemporaryDirectory::new().unwrap();
    let path = directory.path().to_string_lossy().into_owned();
    let does = alike.replace("TABLE", TABLE).replace("DIRECTORY", &path);
    let (mut programmed, _) = change_with(Hand::after(RULES, &does));
    let right = undisturbed_rules(&longer_list());
    programmed.namespace.enter().unwrap();
    let found = programmed.observe(&longer_list()).unwrap().unwrap();
    assert_eq!(found.rules, right);
    assert_is_right(&mut programmed, &longer_list());
    // The hand did what is meant: nft shows no difference.
    let seen = std::fs::read_to_string(directory.path().join("listed")).unwrap();
    assert!(
        seen.contains("\t\tip daddr @non-masquerade-cidrs-2 return"),
        "{seen}"
    );
    assert!(!seen.contains("meta protocol"), "{seen}");
}

/// Those of a table whose list was changed once, as the sets' names are.
fn undisturbed_rules(wanted: &Ruleset) -> Vec<ObservedRule> {
    let mut programmed = Programmed::new(DAEMON).unwrap();
    programmed.sync(&ruleset()).unwrap();
    programmed.sync(wanted).unwrap();
    assert_eq!(
        exempt_set(&programmed.namespace).unwrap(),
        "non-masquerade-cidrs-2"
    );
    programmed.observe(wanted).unwrap().unwrap().rules
}

/// In the root of Debian 13, which only root can make.
/// Taken for the answer to the next request, it would put all that follow out of step, too.
#[test]
fn an_answer_that_is_lost_costs_one_pass() {
    let mut failures = 0;
    for answer in 1..=20 {
        let hand = Hand::that_loses(answer);
        let mut programmed = Programmed::with_a_hand(DAEMON, hand).unwrap();
        failures += usize::from(programmed.sync(&ruleset()).is_err());
        programmed.sync(&ruleset()).unwrap();
        assert_is_right(&mut programmed, &ruleset());
    }
    assert!(failures >= 10, "{failures}");
}

mod needs_root {
    use non_masquerade_daemon::kernel::ownership::Protection;

    use super::*;

    /// What is declared by `type` ends older hosts' nft, and is no drift: it would stay so.
    #[test]
    fn a_refusal_of_a_moment_does_not_end_the_declaration_by_typeof() {
        // Away when the set is made.
        let does = format!("nft delete table ip {TABLE}");
        let hand = Hand::before(DECLARATION, &does);
        let mut programmed = Programmed::with_a_hand_on_debian_13(DAEMON, hand).unwrap();
        let plain = format!("add table ip {TABLE}");
        Nft::host().apply(&programmed.namespace, &plain).unwrap();
        programmed.sync(&ruleset()).unwrap();
        let text = Nft::debian_13().list_table_text(&programmed.namespace, TABLE);
        let text = text.unwrap();
        assert!(text.contains("typeof ip daddr"), "{text}");
    }

    /// The next socket owns nothing yet.
    #[test]
    fn where_libnftables_lost_its_answers_the_table_is_claimed_again_in_the_same_pass() {
        let hand = Hand::that_refuses(DECLARATION, "No buffer space available").times(1);
        let mut programmed = Programmed::with_a_hand_on_debian_13(DAEMON, hand).unwrap();
        let report = programmed.sync_all(&tables()).unwrap();
        let table = programmed.observe(&ruleset()).unwrap().unwrap();
        assert!(table.header.owner.is_some());
        assert_eq!(table.header.owner, report.port);
        let result = report.tables.first().unwrap().result.as_ref().unwrap();
        assert_eq!(result.protection, Some(Protection::Owned));
    }

    /// As by a kernel without tables of IPv6.
    #[test]
    fn what_refuses_a_family_with_flags_and_without_does_not_end_the_other_s_claims() {
        let hand = Hand::that_refuses(r#""family":"ip6""#, "Operation not supported");
        let mut programmed = Programmed::with_a_hand_on_debian_13(DAEMON, hand).unwrap();
        let of_ipv6 = Ruleset {
            family: Family::Ip6,
            ..ruleset()
        };
        programmed.sync(&of_ipv6).unwrap_err();
        let report = programmed.sync(&ruleset()).unwrap();
        assert_eq!(report.protection, Some(Protection::Owned));
    }

    #[test]
    fn a_plain_table_that_is_made_just_before_the_claim_does_not_end_all_claims() {
        let does = format!("nft add table ip {TABLE}");
        let hand = Hand::before(CLAIM, &does);
        let mut programmed = Programmed::with_a_hand_on_debian_13(DAEMON, hand).unwrap();
        let report = programmed.sync(&ruleset()).unwrap();
        assert_eq!(report.protection, Some(Protection::FoundPlain));
        let end = format!("delete table ip {TABLE}");
        Nft::host().apply(&programmed.namespace, &end).unwrap();
        let report = programmed.sync(&ruleset()).unwrap();
        assert_eq!(report.protection, Some(Protection::Owned));
    }
}
