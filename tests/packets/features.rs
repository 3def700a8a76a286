//! What each key of the configuration file and each flag does to packets, in both families.

use std::time::Duration;

use crate::DAEMON;
use crate::support::daemon::Daemon;
use crate::support::judged::Judged;
use crate::support::lab::{Family, Lab};
use crate::support::nft::{Nft, Session, TABLE};
use crate::support::wait_until;

/// Generous: only a test that fails waits so long.
const LIMIT: Duration = Duration::from_secs(5);

/// Both families, with prefixes of several kinds.
const DUAL_STACK: &str = "
enableIPv6: true
nonMasqueradeCIDRs: [10.0.0.0/8, 192.168.0.0/16, 'fd00::/8', '2001:db8:1::/48', '2001:db8:2::7/128']
";

fn start(configuration: &str, arguments: &[&str]) -> Judged {
    Judged::start(DAEMON, configuration, arguments).unwrap()
}

#[track_caller]
fn assert_packets_follow(configuration: &str, arguments: &[&str]) {
    let judged = start(configuration, arguments);
    judged.assert_follows(configuration);
    judged.assert_node_reaches_itself_unchanged();
}

/// The table of a family, or nothing.
fn table(judged: &Judged, family: Family) -> Option<String> {
    let text = Nft::host().list_table_text_of(family, &judged.lab.node, TABLE);
    text.ok()
}

#[test]
fn exceptions_nest_in_exemptions_three_levels_deep() {
    assert_packets_follow(
        "
enableIPv6: true
nonMasqueradeCIDRs: [10.0.0.0/8, 10.1.2.0/24, 10.1.2.128/25, 'fd00::/8', 'fd00:1:2::/48', 'fd00:1:2:8000::/49']
masqueradeCIDRs: [10.1.0.0/16, 10.1.2.7/32, 'fd00:1::/32', 'fd00:1:2::7/128']
",
        &[],
    );
}

#[test]
fn an_exception_at_either_end_of_an_exemption_leaves_its_middle() {
    assert_packets_follow(
        "
enableIPv6: true
nonMasqueradeCIDRs: [10.0.0.0/8, 'fd00::/8']
masqueradeCIDRs: [10.0.0.0/16, 10.255.255.255/32, 'fd00::/16', 'fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128']
",
        &[],
    );
}

#[test]
fn cloud_metadata_is_masqueraded_and_the_rest_of_link_local_is_not() {
    assert_packets_follow("masqueradeCIDRs: [169.254.169.254/32]\n", &[]);
}

#[test]
fn everything_is_exempt_but_one_network() {
    assert_packets_follow(
        "
enableIPv6: true
nonMasqueradeCIDRs: [0.0.0.0/0, '::/0']
masqueradeCIDRs: [198.51.100.0/24, '2001:db8:8000::/33']
",
        &[],
    );
}

#[test]
fn an_exemption_within_link_local_that_is_masqueraded() {
    assert_packets_follow(
        "masqLinkLocal: true\nnonMasqueradeCIDRs: [169.254.20.0/24]\n",
        &[],
    );
}

#[test]
fn all_reserved_ranges_are_exempt_with_the_flag() {
    assert_packets_follow("", &["--nomasq-all-reserved-ranges"]);
}

#[test]
fn exceptions_hold_against_all_reserved_ranges_too() {
    assert_packets_follow(
        "masqueradeCIDRs: [100.64.0.0/11, 240.1.0.0/16]\n",
        &["--nomasq-all-reserved-ranges"],
    );
}

#[test]
fn a_chain_of_another_name_does_the_same() {
    let judged = start(DUAL_STACK, &["--masq-chain", "IP-MASQ-AGENT"]);
    judged.assert_follows(DUAL_STACK);
    for family in Family::BOTH {
        let text = table(&judged, family).unwrap();
        assert!(text.contains("chain IP-MASQ-AGENT"), "{text}");
    }
}

#[test]
fn ipv6_follows_the_file_that_enables_it() {
    assert_packets_follow(DUAL_STACK, &[]);
}

#[test]
fn ipv6_follows_the_file_where_the_flag_enables_it() {
    assert_packets_follow("nonMasqueradeCIDRs: ['fd00::/8']\n", &["--enable-ipv6"]);
}

#[test]
fn without_any_exempt_ipv6_prefix_all_ipv6_is_masqueraded() {
    assert_packets_follow("", &["--enable-ipv6"]);
}

#[test]
fn the_file_may_leave_ipv6_alone_where_the_flag_enables_it() {
    let configuration = "enableIPv6: false\n";
    let judged = start(configuration, &["--enable-ipv6"]);
    judged.assert_follows(configuration);
    assert_eq!(table(&judged, Family::V6), None);
}

#[test]
fn ipv6_can_be_switched_off_and_on_at_run_time() {
    let judged = start(DUAL_STACK, &[]);
    judged.assert_follows(DUAL_STACK);
    for _ in 0..2 {
        let without = "nonMasqueradeCIDRs: [10.0.0.0/8, 192.168.0.0/16]\n";
        judged.change(without).unwrap();
        judged.assert_comes_to_follow(without);
        wait_until(LIMIT, || table(&judged, Family::V6).is_none()).unwrap();
        judged.change(DUAL_STACK).unwrap();
        judged.assert_comes_to_follow(DUAL_STACK);
    }
}

/// No packet can show it: link-local destinations are not routed.
#[test]
fn link_local_destinations_of_ipv6_are_exempt_unless_the_file_says_otherwise() {
    let judged = start(DUAL_STACK, &[]);
    let exempts = || table(&judged, Family::V6).is_some_and(|text| text.contains("fe80::/10"));
    assert!(exempts());
    let masqueraded = format!("{DUAL_STACK}masqLinkLocalIPv6: true\n");
    judged.change(&masqueraded).unwrap();
    wait_until(LIMIT, || !exempts()).unwrap();
    judged.assert_follows(&masqueraded);
}

/// An `nft` that owns the daemon's table of this family, which it holds empty.
fn own_table(lab: &Lab, family: Family) -> Session {
    let mut owner = Nft::host().session(&lab.node).unwrap();
    let add = format!("add table {} {TABLE} {{ flags owner; }}", family.nft());
    owner.say(&add).unwrap();
    wait_until(LIMIT, || {
        let text = Nft::host().list_table_text_of(family, &lab.node, TABLE);
        text.is_ok_and(|text| text.contains("owner"))
    })
    .unwrap();
    owner
}

/// While another owns the table of one family, the other family follows each file; then both do.
fn assert_family_is_held_up_alone(held_up: Family, other: Family) {
    let lab = Lab::new().unwrap();
    let owner = own_table(&lab, held_up);
    let mut daemon = Daemon::start(DAEMON, &lab.node, DUAL_STACK, &["--enable-ipv6"]).unwrap();
    daemon.wait_for_table_of(other, LIMIT).unwrap();
    let judged = Judged::of(daemon, lab, &["--enable-ipv6"]);
    for configuration in [DUAL_STACK, "nonMasqueradeCIDRs: []\n", DUAL_STACK] {
        judged.change(configuration).unwrap();
        judged.assert_family_comes_to_follow(configuration, &[other]);
    }
    let text = table(&judged, held_up).unwrap();
    assert!(!text.contains("chain"), "{text}");
    // `nft -i` ends with its input, and its table with it.
    owner.end().unwrap();
    judged.assert_comes_to_follow(DUAL_STACK);
}

#[test]
fn an_ipv6_table_of_another_owner_holds_up_ipv6_alone() {
    assert_family_is_held_up_alone(Family::V6, Family::V4);
}

#[test]
fn an_ipv4_table_of_another_owner_holds_up_ipv4_alone() {
    assert_family_is_held_up_alone(Family::V4, Family::V6);
}

/// In the root of Debian 13, which only root can make.
mod needs_root {
    use super::*;

    #[test]
    fn every_key_at_once_is_followed_with_the_libnftables_of_debian_13() {
        let configuration = format!(
            "{DUAL_STACK}
masqueradeCIDRs: [10.1.0.0/16, 'fd00:1::/32', 169.254.169.254/32]
sourceCIDRs: [10.244.0.0/16, 192.0.2.1/32, 'fd00:10:244::/48', '2001:db8::/64']
masqNodeTraffic: false
toPorts: 50000-50999,60000-62999
randomFully: false
enforce: true
"
        );
        let judged = Judged::start_on_debian_13(DAEMON, DUAL_STACK).unwrap();
        judged.assert_follows(DUAL_STACK);
        judged.change(&configuration).unwrap();
        judged.assert_comes_to_follow(&configuration);
        judged.assert_node_reaches_itself_unchanged();
        judged.change(DUAL_STACK).unwrap();
        judged.assert_comes_to_follow(DUAL_STACK);
    }
}
