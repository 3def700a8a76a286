//! What the kernel lacks is an error that says who names it. No kernel can be had here that lacks it, so a worker whose
//! libnftables refuses what needs it stands in its place.

use crate::DAEMON;
use crate::support::hand::Hand;
use crate::support::netlink::generation;
use crate::support::netns::{Namespace, succeed};
use crate::support::nft::Nft;
use crate::support::programmed::Programmed;
use non_masquerade_daemon::config::{Flags, defaults};
use non_masquerade_daemon::daemon::worker::WorkerError;
use non_masquerade_daemon::kernel::error::KernelError;
use non_masquerade_daemon::kernel::ownership::Protection;
use non_masquerade_daemon::policy::Policy;
use non_masquerade_daemon::ruleset::{ChosenNames, Ruleset, names};

fn ruleset() -> Ruleset {
    Ruleset::ipv4(
        &Policy::new(&defaults(&Flags::default())),
        &ChosenNames::default(),
    )
}

/// Why the table cannot be made where each document with these words in it is refused.
fn failure_where_is_refused(words: &str, reason: &str) -> KernelError {
    let hand = Hand::that_refuses(words, reason);
    let mut programmed = Programmed::with_a_hand(DAEMON, hand).unwrap();
    match programmed.sync(&ruleset()) {
        Err(WorkerError::Kernel(failure)) => failure,
        other => panic!("{words}: {other:?}"),
    }
}

/// The kernel before Linux 6.9 refuses the flags, and with them whatever stands in the same transaction; before 5.12 it
/// calls the table itself invalid. Where that is thousands of elements, libnftables 1.1.3 tells only that it could not read
/// the refusals.
#[test]
fn a_kernel_that_refuses_the_flags_of_a_table_is_asked_for_them_before_there_are_elements() {
    for reason in ["Operation not supported", "Invalid argument"] {
        has_a_table_without_flags_where_they_are_refused(reason);
    }
}

fn has_a_table_without_flags_where_they_are_refused(reason: &str) {
    let hand = Hand::that_refuses(r#""owner""#, reason);
    let mut programmed = Programmed::with_a_hand(DAEMON, hand).unwrap();
    let report = programmed.sync(&ruleset()).unwrap();
    assert_eq!(report.protection, Some(Protection::Unsupported));
    let table = Nft::host().list_table_text(&programmed.namespace, names::DEFAULT_TABLE);
    assert!(table.unwrap().contains("192.168.0.0/16"));
    let list = &mut programmed.namespace.command("nft");
    let left = succeed(list.args(["list", "tables"])).unwrap().stdout;
    let left = String::from_utf8(left).unwrap();
    assert!(!left.contains("probe"), "a dry run left {left}");
}

/// libnftables before 1.0.6 passes over the counter of a set without a word.
#[test]
fn sets_that_cannot_count_are_right_without_and_are_made_once() {
    // And a neighbour that commits each time, so that none of the worker's commits is known to be the only one.
    let neighbour = "nft 'add table ip neighbour; delete table ip neighbour'";
    let hand = Hand {
        drops: Some(r#""stmt":[{"counter":null}],"#),
        version: Some("1.0.5"),
        ..Hand::after(r#""set""#, neighbour).times(1_000)
    };
    let mut programmed = Programmed::with_a_hand(DAEMON, hand).unwrap();
    let report = programmed.sync(&ruleset()).unwrap();
    assert!(report.is_uncounted);
    let before = generation(&programmed.namespace).unwrap();
    let again = programmed.sync(&ruleset()).unwrap();
    assert_eq!(again.differences, []);
    assert!(again.is_uncounted);
    assert_eq!(generation(&programmed.namespace).unwrap(), before);
    // With one that does not, it is made anew.
    let namespace = programmed.namespace.clone();
    drop(programmed);
    let mut programmed = Programmed::within(namespace, DAEMON).unwrap();
    let report = programmed.sync(&ruleset()).unwrap();
    assert!(!report.is_uncounted);
}

/// Before 0.9.4 some sets cannot be made, and ports are not kept to: rules are listed as right that are not.
#[test]
fn a_libnftables_that_is_too_old_is_named_and_writes_nothing() {
    let namespace = Namespace::new().unwrap();
    let hand = Hand::that_says("0.9.3");
    let mut programmed = Programmed::with_a_hand_within(namespace.clone(), DAEMON, hand).unwrap();
    let before = generation(&namespace).unwrap();
    for _ in 0..2 {
        let failure = programmed.sync(&ruleset()).unwrap_err().to_string();
        assert!(
            failure.contains("libnftables 0.9.3 is too old"),
            "{failure}"
        );
        assert!(failure.contains("0.9.4 or later"), "{failure}");
    }
    assert_eq!(generation(&namespace).unwrap(), before);
    drop(programmed);
    let hand = Hand::that_says("0.9.4");
    let mut programmed = Programmed::with_a_hand_within(namespace, DAEMON, hand).unwrap();
    programmed.sync(&ruleset()).unwrap();
}

/// A pass asks nothing of the kernel but what it needs, and so cannot name what is missing.
#[test]
fn a_feature_that_is_missing_is_doctor_s_to_name() {
    const MISSING: &str = "No such file or directory";
    for words in [r#""fib""#, r#""masquerade":{"#, r#""prio""#] {
        let failure = failure_where_is_refused(words, MISSING);
        let said = failure.to_string();
        assert!(matches!(failure, KernelError::Refused { .. }), "{said}");
        assert!(said.contains(MISSING), "{said}");
        assert!(
            said.contains("`non-masquerade-daemon doctor` names it"),
            "{said}"
        );
    }
}

#[test]
fn a_refusal_for_another_reason_has_another_remedy_or_none() {
    for (words, reason, remedy) in [
        (r#""comment":"keep"#, "Invalid argument", ""),
        (
            r#""table":{"#,
            "Address family not supported by protocol",
            "",
        ),
        (r#""add""#, "Operation not permitted", "CAP_NET_ADMIN"),
        (r#""prio""#, "Message too long", "net.core.wmem_max"),
    ] {
        let failure = failure_where_is_refused(words, reason);
        let said = failure.to_string();
        assert!(matches!(failure, KernelError::Refused { .. }), "{said}");
        assert!(said.contains(reason) && said.contains(remedy), "{said}");
        assert!(!said.contains("doctor"), "{said}");
    }
}

/// libnftables ends its caller there. strace(1) refuses all sockets, as a kernel without nfnetlink refuses some.
#[test]
fn a_kernel_without_nfnetlink_lacks_nf_tables() {
    const LACKING: &str = "this kernel lacks nf_tables (CONFIG_NF_TABLES)";
    let namespace = Namespace::new().unwrap();
    let said_by = |words: &[&str]| {
        let mut strace = namespace.command("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null"]);
        strace.args(["-e", "inject=socket:error=EPROTONOSUPPORT", DAEMON]);
        let output = strace.args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8(said).unwrap()
    };
    for words in [&["run", "--once"][..], &["status"], &["cleanup"]] {
        let said = said_by(words);
        assert!(said.contains(LACKING), "{said}");
        assert!(!said.contains("the worker"), "{said}");
    }
    let report = said_by(&["doctor"]);
    let failure = "failure  kernel-features: the kernel lacks nf_tables (CONFIG_NF_TABLES)";
    assert!(report.contains(failure), "{report}");
}

/// A table in which nothing is hooked does nothing.
#[test]
fn rules_that_are_refused_leave_no_part_of_them() {
    let hand = Hand::that_refuses(r#""fib""#, "No such file or directory");
    let mut programmed = Programmed::with_a_hand(DAEMON, hand).unwrap();
    programmed.sync(&ruleset()).unwrap_err();
    let table = Nft::host().list_table_text(&programmed.namespace, names::DEFAULT_TABLE);
    let table = table.unwrap();
    assert!(!table.contains("chain"), "{table}");
}
