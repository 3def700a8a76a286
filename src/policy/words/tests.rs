use super::*;
use crate::config::{Config, PortRange};
use crate::policy::node_address::NodeAddress;

fn line(change: impl FnOnce(&mut Config)) -> String {
    let mut config = Config::default();
    change(&mut config);
    Policy::new(&config).to_string()
}

#[test]
fn the_defaults() {
    assert_eq!(
        line(|_| {}),
        "keep the source address to 10.0.0.0/8, 169.254.0.0/16 (link-local), 172.16.0.0/12, \
         192.168.0.0/16; masquerade all other traffic; traffic bound for a LOCAL address is left alone; other NAT \
         rules that come first may masquerade what is to keep its source address (enforce: false); source ports of \
         what is masqueraded: fully random"
    );
}

#[test]
fn every_list_and_option_is_said() {
    let said = line(|config| {
        config.enable_ipv6 = true;
        config.non_masquerade_cidrs = vec!["10.0.0.0/8".parse().unwrap()];
        config.masquerade_cidrs = vec!["10.1.0.0/16".parse().unwrap()];
        config.source_cidrs = vec![
            "10.2.0.0/16".parse().unwrap(),
            "fd00:2::/32".parse().unwrap(),
        ];
        config.masq_node_traffic = false;
        config.masq_link_local = true;
        config.enforce = true;
        config.to_ports = vec![PortRange {
            first: 1024,
            last: 29999,
        }];
    });
    assert_eq!(
        said,
        "IPv4: from 10.2.0.0/16 only, keep the source address to 10.0.0.0/8 but not to 10.1.0.0/16; IPv6: from \
         fd00:2::/32 only, keep the source address to fe80::/10 (link-local); masquerade all other traffic; traffic \
         bound for a LOCAL address is left alone; what the node itself sends is left alone (masqNodeTraffic: false); \
         with enforce: true, what keeps its source address keeps it whatever other NAT rules say, but for what was \
         translated to another destination (Services); source ports of what is masqueraded: fully random; of TCP, \
         UDP and SCTP within 1024-29999 (toPorts)"
    );
}

#[test]
fn a_family_that_is_left_alone_is_said_to_be() {
    let said = line(|config| {
        config.enable_ipv6 = true;
        config.source_cidrs = vec!["10.0.0.0/8".parse().unwrap()];
    });
    assert!(
        said.contains("IPv6: left alone, sourceCIDRs names no source of this family;"),
        "{said}"
    );
}

#[test]
fn an_empty_list_is_no_destination() {
    let said = line(|config| {
        config.non_masquerade_cidrs.clear();
        config.masq_link_local = true;
    });
    let words = "keep the source address to no destination; masquerade all other traffic; ";
    assert!(said.starts_with(words), "{said}");
}

#[test]
fn the_line_is_bounded_however_long_the_lists_are() {
    let said = line(|config| {
        let cidrs =
            |net: u32| (0..5_000_u32).map(move |n| format!("{net}.{}.{}.0/24", n / 256, n % 256));
        let parsed = |net| cidrs(net).map(|cidr| cidr.parse().unwrap()).collect();
        config.non_masquerade_cidrs = parsed(10);
        config.masquerade_cidrs = parsed(11);
        config.source_cidrs = parsed(12);
        config.to_ports = (1..5_000)
            .map(|first| PortRange { first, last: first })
            .collect();
    });
    assert_eq!(said.matches(" more").count(), 4, "{said}");
    assert!(said.len() < 2_000, "{} bytes", said.len());
}

fn change(of: impl FnOnce(&mut Config)) -> PolicyChange {
    let before = Config::default();
    let mut after = before.clone();
    of(&mut after);
    PolicyChange::between(&Policy::new(&before), &Policy::new(&after))
}

#[test]
fn added_and_removed_cidrs_are_counted_by_kind() {
    let change = change(|config| {
        let listed = ["10.0.0.0/8", "192.0.2.0/24", "198.51.100.0/24"];
        config.non_masquerade_cidrs = listed.map(|cidr| cidr.parse().unwrap()).into();
        config.masquerade_cidrs = vec!["10.1.0.0/16".parse().unwrap()];
    });
    assert_eq!(
        change.to_string(),
        "+2 −2 exempt CIDRs, +1 −0 masqueraded CIDRs"
    );
    assert_eq!((change.added, change.removed), (3, 2));
}

#[test]
fn each_option_that_changed_is_named_with_its_new_value() {
    let change = change(|config| {
        config.enable_ipv6 = true;
        config.masq_node_traffic = false;
        config.random_fully = false;
        config.enforce = true;
        config.source_cidrs = vec!["10.2.0.0/16".parse().unwrap()];
        config.to_ports = vec![PortRange {
            first: 1024,
            last: 29999,
        }];
    });
    assert_eq!(
        change.to_string(),
        "+1 −0 IPv4 source CIDRs, +1 −0 IPv6 exempt CIDRs, enableIPv6 now true, masqNodeTraffic now false, \
         randomFully now false, enforce now true, toPorts now 1024-29999"
    );
}

#[test]
fn nothing_is_said_of_two_alike() {
    assert_eq!(change(|_| {}), PolicyChange::default());
}

#[test]
fn the_defaults_are_told_in_full() {
    assert_eq!(
        Policy::new(&Config::default()).at_length(),
        "IPv4 traffic, by the longest prefix that contains its destination:\n\
         \x20 10.0.0.0/8      keeps its source address\n\
         \x20 169.254.0.0/16  keeps its source address (link-local, RFC 3927; masqLinkLocal: false)\n\
         \x20 172.16.0.0/12   keeps its source address\n\
         \x20 192.168.0.0/16  keeps its source address\n\
         \x20 any other       is masqueraded\n\
         \n\
         IPv6 traffic is left alone (enableIPv6: false).\n\
         \n\
         Traffic bound for a LOCAL address is left alone.\n\
         Other NAT rules that come first may masquerade what is to keep its source address (enforce: false).\n\
         Source ports of what is masqueraded: fully random.\n"
    );
}

#[test]
fn every_key_shows_in_what_is_told() {
    let config = Config {
        enable_ipv6: true,
        non_masquerade_cidrs: ["10.0.0.0/8", "fd00::/8"]
            .map(|c| c.parse().unwrap())
            .into(),
        non_masquerade_cidrs_are_default: false,
        masquerade_cidrs: ["10.1.0.0/16", "fd00:1::/32"]
            .map(|c| c.parse().unwrap())
            .into(),
        source_cidrs: ["10.2.0.0/16", "10.4.0.0/16", "fd00:2::/32"]
            .map(|c| c.parse().unwrap())
            .into(),
        masq_node_traffic: false,
        masq_link_local: true,
        random_fully: false,
        enforce: true,
        to_ports: [(1024, 29999), (40000, 40000)]
            .map(|(first, last)| PortRange { first, last })
            .into(),
        ..Config::default()
    };
    assert_eq!(
        Policy::new(&config).at_length(),
        "IPv4 traffic from 10.2.0.0/16, 10.4.0.0/16 (other sources are left alone), by the longest prefix that contains its destination:\n\
         \x20 10.0.0.0/8   keeps its source address\n\
         \x20 10.1.0.0/16  is masqueraded\n\
         \x20 any other    is masqueraded\n\
         \n\
         IPv6 traffic from fd00:2::/32 (other sources are left alone), by the longest prefix that contains its destination:\n\
         \x20 fd00::/8     keeps its source address\n\
         \x20 fd00:1::/32  is masqueraded\n\
         \x20 fe80::/10    keeps its source address (link-local, RFC 4291; masqLinkLocalIPv6: false)\n\
         \x20 any other    is masqueraded\n\
         \n\
         Traffic bound for a LOCAL address is left alone.\n\
         What the node itself sends is left alone (masqNodeTraffic: false).\n\
         With enforce: true, what keeps its source address keeps it whatever other NAT rules say, but for what was translated to another destination (Services).\n\
         Source ports of what is masqueraded: kept where possible; of TCP, UDP and SCTP within 1024-29999, 40000 (toPorts).\n"
    );
}

#[test]
fn a_family_without_a_source_is_said_to_be_left_alone() {
    let config = Config {
        enable_ipv6: true,
        source_cidrs: vec!["10.0.0.0/8".parse().unwrap()],
        ..Config::default()
    };
    let told = Policy::new(&config).at_length();
    assert!(
        told.contains("\nIPv6 traffic is left alone: sourceCIDRs names no IPv6 source.\n"),
        "{told}"
    );
}

#[test]
fn the_address_of_this_machine_is_said_of_each_family_that_asks_for_one() {
    let config = Config {
        enable_ipv6: true,
        snat_address_cidrs: vec!["192.0.2.0/24".parse().unwrap()],
        ..Config::default()
    };
    let own = NodeAddress {
        address: "192.0.2.1".parse().unwrap(),
        interface: "eth1".to_owned(),
        kind: None,
        is_usable: true,
        is_secondary: false,
        is_single: false,
        since: 0,
    };
    let nowhere = Policy::new(&config);
    let here = nowhere.clone().on_node(&[own]);
    assert_eq!(
        here.snat_addresses_in_words(),
        [
            "On this machine, IPv4 traffic that is masqueraded gets 192.0.2.1 of eth1 (snatAddressCIDRs)."
        ]
    );
    for (policy, gets) in [
        (&here, "192.0.2.1 of eth1"),
        (&nowhere, "that of the interface by which it leaves"),
    ] {
        let line = policy.to_string();
        let words = format!(" 192.168.0.0/16, what is masqueraded gets {gets}; IPv6: ");
        assert!(line.contains(&words), "{line}");
        let words = format!(
            "is masqueraded\nOn this machine, IPv4 traffic that is masqueraded gets {gets} (snatAddressCIDRs).\n\nIPv6"
        );
        assert!(
            policy.at_length().contains(&words),
            "{}",
            policy.at_length()
        );
    }
    assert_eq!(
        PolicyChange::between(&nowhere, &here).to_string(),
        "IPv4 snatAddressCIDRs now 192.0.2.1 of eth1"
    );
}
