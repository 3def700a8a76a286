//! Which address the kernel's masquerading takes: what `doctor` and `explain` say, and what packets show.

use std::net::IpAddr;

use super::report::Report;
use crate::DAEMON;
use crate::support::daemon::TemporaryDirectory;
use crate::support::lab::{Family, Lab};
use crate::support::netns::{Namespace, succeed};
use crate::support::outcome::Outcome;
use crate::support::probe::{Probe, Protocol};

const BOTH_FAMILIES: &str = "enableIPv6: true\n";

/// Destinations that nothing exempts.
const PUBLIC: [(Family, &str); 2] = [(Family::V4, "1.1.1.1"), (Family::V6, "2606:4700::1")];

/// What `explain` says of the source that traffic to the destination gets.
fn explained(node: &Namespace, destination: &str) -> String {
    let mut command = node.command(DAEMON);
    command.args([
        "explain",
        "--enable-ipv6",
        "--config=/nonexistent",
        destination,
    ]);
    let explained = Outcome::of(&mut command);
    explained.assert_code(0);
    let lines = explained.output.lines();
    let said = lines.filter_map(|line| line.strip_prefix("  as           "));
    said.collect()
}

/// That packets get this source, and that it is said, with these words and this result.
#[track_caller]
fn assert_is_taken(lab: &Lab, family: Family, source: IpAddr, result: &str, words: &str) {
    let (_, destination) = PUBLIC.into_iter().find(|(of, _)| *of == family).unwrap();
    let probe = Probe::from_pod(lab).unwrap();
    let destination_address: IpAddr = destination.parse().unwrap();
    let seen = probe.seen_source(Protocol::Udp, destination_address);
    assert_eq!(seen.unwrap().ip(), source, "{family}");
    let told = format!("{source} of {words}");
    let by_uplink = format!("{family} by uplink0: ");
    let report = Report::on(&lab.node, BOTH_FAMILIES);
    report.must_have("uplinks", result, &[&by_uplink, &told]);
    assert_eq!(explained(&lab.node, destination), told);
}

/// With the tables of both families, by the default configuration.
fn lab_with_tables() -> Lab {
    let lab = Lab::new().unwrap();
    let mut once = lab.node.command(DAEMON);
    once.args([
        "run",
        "--once",
        "--enable-ipv6",
        "--config=/nonexistent/config",
    ]);
    succeed(&mut once).unwrap();
    lab
}

#[test]
fn the_address_that_is_told_is_the_one_that_packets_get() {
    let lab = lab_with_tables();
    for family in Family::BOTH {
        let uplink = lab.addresses_of(family).node_uplink;
        assert_is_taken(&lab, family, uplink, "ok", "uplink0");
    }
    // In the gateway's network, though it comes second.
    lab.node
        .ip("address add 198.18.0.1/24 dev uplink0")
        .unwrap();
    let near: IpAddr = "198.18.0.1".parse().unwrap();
    assert_is_taken(&lab, Family::V4, near, "ok", "uplink0");
    // Which is no matter of a route's hint.
    let hint = "route replace default via 198.18.0.254 dev uplink0 onlink src 192.0.2.1";
    lab.node.ip(hint).unwrap();
    assert_is_taken(&lab, Family::V4, near, "ok", "uplink0");

    for family in Family::BOTH {
        let own = lab.addresses_of(family);
        lab.node
            .ip(&format!(
                "-{} address flush dev uplink0 scope global",
                flag(family)
            ))
            .unwrap();
        let route = format!(
            "-{} route replace default via {} dev uplink0 onlink",
            flag(family),
            own.outside
        );
        lab.node.ip(&route).unwrap();
        let words = "pod0: uplink0, by which it leaves, has none of that family";
        assert_is_taken(&lab, family, own.pod_gateway, "warning", words);
    }
}

fn flag(family: Family) -> u8 {
    match family {
        Family::V4 => 4,
        Family::V6 => 6,
    }
}

#[test]
fn a_node_without_addresses_or_default_routes_is_told_as_that() {
    let namespace = Namespace::new().unwrap();
    let report = Report::on(&namespace, BOTH_FAMILIES);
    for family in Family::BOTH {
        let said = format!("there is no default route of {family}");
        report.must_have("uplinks", "ok", &[&said]);
    }
    assert_eq!(explained(&namespace, "1.1.1.1"), "");
    for words in [
        "link add up0 type bridge",
        "link set up0 up",
        "route add default dev up0",
    ] {
        namespace.ip(words).unwrap();
    }
    let report = Report::on(&namespace, "");
    report.must_have(
        "uplinks",
        "warning",
        &["what leaves by up0 is dropped", "ip address add"],
    );
}

/// Two uplinks that share the traffic: either may be the one.
fn node_with_two_uplinks() -> Namespace {
    let namespace = Namespace::new().unwrap();
    for (uplink, ipv4, ipv6) in [
        ("up0", "192.0.2.1/24", "2001:db8::1/64"),
        ("up1", "198.51.100.1/24", "2001:db8:1::1/64"),
    ] {
        for words in [
            format!("link add {uplink} type veth peer name far-{uplink}"),
            format!("link set far-{uplink} up"),
            format!("link set {uplink} up"),
            format!("address add {ipv4} dev {uplink}"),
            format!("address add {ipv6} dev {uplink} nodad"),
        ] {
            namespace.ip(&words).unwrap();
        }
    }
    for words in [
        "route add default nexthop via 192.0.2.254 dev up0 nexthop via 198.51.100.254 dev up1",
        "-6 route add default nexthop via 2001:db8::f dev up0 nexthop via 2001:db8:1::f dev up1",
    ] {
        namespace.ip(words).unwrap();
    }
    namespace
}

#[test]
fn each_next_hop_of_a_default_route_is_told() {
    let report = Report::on(&node_with_two_uplinks(), BOTH_FAMILIES);
    for told in [
        "IPv4 by up0: masqueraded traffic gets 192.0.2.1 of up0",
        "IPv4 by up1: masqueraded traffic gets 198.51.100.1 of up1",
        "IPv6 by up0: masqueraded traffic gets 2001:db8::1 of up0",
        "IPv6 by up1: masqueraded traffic gets 2001:db8:1::1 of up1",
    ] {
        report.must_have("uplinks", "ok", &[told]);
    }
}

#[test]
fn of_an_uplink_that_output_interfaces_does_not_name_it_is_told_that_it_is_left_alone() {
    let namespace = node_with_two_uplinks();
    let report = Report::on(&namespace, "outputInterfaces: [up1, bond0]\n");
    let uplinks = report.of_check("uplinks");
    let said = |said: &str| ("ok", format!("{said} -> "));
    assert_eq!(
        uplinks,
        [
            said("IPv4 by up0: left alone (outputInterfaces)"),
            said("IPv4 by up1: masqueraded traffic gets 198.51.100.1 of up1"),
        ]
    );
}

/// Then nothing is masqueraded, and all other checks find the node well.
#[test]
fn that_output_interfaces_names_no_uplink_of_a_family_is_warned_of() {
    let namespace = node_with_two_uplinks();
    // A name that `ip link` shows too, and that nftables does not know.
    namespace
        .ip("link property add dev up0 altname wan0")
        .unwrap();
    namespace.ip("-6 route delete default").unwrap();
    namespace
        .ip("-6 route add default via 2001:db8:1::f dev up1")
        .unwrap();
    let warning = |names: &str, family: &str, uplinks: &str| {
        [
            format!(
                "outputInterfaces: no default route of {family} on this machine leads by {names}, and what leaves by {uplinks} is left alone"
            ),
            format!(
                "name {uplinks} in outputInterfaces, unless that is to be left alone: a bond, bridge, VLAN or tunnel is named, not its port"
            ),
        ]
    };
    for (interfaces, expected) in [
        (
            "[far-up0, wan0]",
            vec![
                warning("far-up0, wan0", "IPv4", "up0, up1"),
                warning("far-up0, wan0", "IPv6", "up1"),
            ],
        ),
        ("[up0]", vec![warning("up0", "IPv6", "up1")]),
        ("[up*]", vec![]),
    ] {
        let configuration = format!("{BOTH_FAMILIES}outputInterfaces: {interfaces}\n");
        let report = Report::on(&namespace, &configuration);
        let mut warnings = report.of_check("uplinks");
        warnings.retain(|(result, _)| *result == "warning");
        let told = |[said, remedy]: &[String; 2]| ("warning", format!("{said} -> {remedy}"));
        assert_eq!(warnings, expected.iter().map(told).collect::<Vec<_>>());
        let checked = checked(&namespace, &configuration);
        let lines = checked
            .lines()
            .filter(|line| line.contains("outputInterfaces"));
        let told = |[said, remedy]: &[String; 2]| format!("warning: {said}; {remedy}");
        let expected: Vec<String> = expected.iter().map(told).collect();
        assert_eq!(lines.collect::<Vec<_>>(), expected);
    }
}

/// What `check` says on standard error.
fn checked(node: &Namespace, configuration: &str) -> String {
    let directory = TemporaryDirectory::new().unwrap();
    let file = directory.path().join("config");
    std::fs::write(&file, configuration).unwrap();
    let checked = Outcome::of(node.command(DAEMON).arg("check").arg(&file));
    checked.assert_code(0);
    checked.errors
}

/// As kube-vip's, which is not to be the source of what the node sends.
#[test]
fn a_deprecated_address_is_taken_only_where_there_is_no_other() {
    let lab = lab_with_tables();
    let own = lab.addresses_of(Family::V6).node_uplink;
    let virtual_address: IpAddr = "2606:4700::99".parse().unwrap();
    // It has more in common with the destination than the other one, rule 8 of RFC 6724.
    let add = format!(
        "address add {virtual_address}/128 dev uplink0 nodad preferred_lft 0 valid_lft forever"
    );
    lab.node.ip(&add).unwrap();
    assert_is_taken(&lab, Family::V6, own, "ok", "uplink0");
    lab.node
        .ip(&format!(
            "address change {own}/64 dev uplink0 preferred_lft 0"
        ))
        .unwrap();
    let report = Report::on(&lab.node, BOTH_FAMILIES);
    let both = format!("one of {own}, {virtual_address} of uplink0");
    let other_way = format!("one of {virtual_address}, {own} of uplink0");
    let told = explained(&lab.node, PUBLIC[1].1);
    assert!(told == both || told == other_way, "{told}");
    report.must_have("uplinks", "ok", &[&told]);
}
