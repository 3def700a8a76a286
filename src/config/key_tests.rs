//! What each key of one file means, and what is refused of it.

use super::tests::{bad, good, warnings};
use super::*;

fn written(cidrs: &[IpNet]) -> Vec<String> {
    cidrs.iter().map(ToString::to_string).collect()
}

fn with_flags(text: &str, flags: &Flags) -> Config {
    judge("f", text.as_bytes(), flags)
        .unwrap_or_else(|errors| panic!("{text}: {errors}"))
        .config
}

#[test]
fn all_keys_are_taken_from_yaml_and_json() {
    let yaml = "nonMasqueradeCIDRs: [10.0.0.0/8, fd00::/8]\nmasqueradeCIDRs: [10.1.0.0/16, fd00::/16]\n\
                sourceCIDRs: [10.244.0.0/16, 'fd01::/64']\noutputInterfaces: [eth0, wg*, '*']\nsnatAddressCIDRs: [192.0.2.0/24, '2001:db8::/64', 10.0.0.0/8]\nmasqNodeTraffic: false\nmasqLinkLocal: true\n\
                masqLinkLocalIPv6: true\nenableIPv6: true\nrandomFully: false\n\
                toPorts: 32768-65535,1024-29999\nenforce: true\ndropInvalid: true\nexistingConnections: follow\ncidrLimit: 3\nresyncInterval: 1m\n";
    let json = "{\"existingConnections\": \"follow\", \"enforce\": true, \"dropInvalid\": true, \"outputInterfaces\": [\"eth0\", \"wg*\", \"*\"], \"toPorts\": \"1024-29999,32768-65535\", \"randomFully\": false, \"enableIPv6\": true,\
                \"masqLinkLocalIPv6\": true, \"masqLinkLocal\": true, \"masqNodeTraffic\": false, \
                \"snatAddressCIDRs\": [\"192.0.2.0/24\", \"2001:db8::/64\", \"10.0.0.0/8\"], \"sourceCIDRs\": [\"10.244.0.0/16\", \"fd01::/64\"], \"masqueradeCIDRs\": [\"10.1.0.0/16\", \"fd00::/16\"],\
                \"nonMasqueradeCIDRs\": [\"10.0.0.0/8\", \"fd00::/8\"], \"cidrLimit\": 3, \"resyncInterval\": \"60s\"}";
    assert_eq!(good(yaml), good(json));
    let Judged {
        config, warnings, ..
    } = good(yaml);
    assert_eq!(warnings, []);
    assert_eq!(
        written(&config.non_masquerade_cidrs),
        ["10.0.0.0/8", "fd00::/8"]
    );
    assert_eq!(
        written(&config.masquerade_cidrs),
        ["10.1.0.0/16", "fd00::/16"]
    );
    assert_eq!(
        written(&config.source_cidrs),
        ["10.244.0.0/16", "fd01::/64"]
    );
    // In the order of the file: the first one decides.
    assert_eq!(
        written(&config.snat_address_cidrs),
        ["192.0.2.0/24", "2001:db8::/64", "10.0.0.0/8"]
    );
    assert!(!config.masq_node_traffic && config.masq_link_local && config.masq_link_local_ipv6);
    assert!(config.enable_ipv6 && !config.random_fully && config.enforce);
    assert!(config.drop_invalid);
    assert_eq!(config.existing_connections.name(), "follow");
    assert_eq!(config.output_interfaces, ["eth0", "wg*", "*"]);
    let ports: Vec<String> = config.to_ports.iter().map(ToString::to_string).collect();
    assert_eq!(ports, ["1024-29999", "32768-65535"]);
    assert_eq!(config.resync_interval, Duration::from_secs(60));
}

#[test]
fn a_file_replaces_what_the_flags_say() {
    let flags = Flags {
        enable_ipv6: true,
        random_fully: false,
        to_ports: port_range::parse_port_ranges("1024-2048").unwrap(),
        resync_interval: Duration::from_secs(30),
        ..Flags::default()
    };
    let config = with_flags(
        "enableIPv6: false\nrandomFully: true\ntoPorts: \"5000\"\nresyncInterval: 90s\n",
        &flags,
    );
    assert!(!config.enable_ipv6 && config.random_fully);
    assert_eq!(config.resync_interval, Duration::from_secs(90));
    assert_eq!(
        config.to_ports,
        port_range::parse_port_ranges("5000").unwrap()
    );
    assert_eq!(with_flags("toPorts: ''", &flags).to_ports, []);
    let unsaid = "toPorts:\nenableIPv6: ~\nrandomFully: null\nresyncInterval: null\n";
    let unsaid = with_flags(unsaid, &flags);
    assert_eq!(unsaid, with_flags("", &flags));
    assert_eq!(unsaid.resync_interval, flags.resync_interval);
    assert_eq!(unsaid.to_ports, flags.to_ports);
}

#[test]
fn new_keys_match_ignoring_case_and_take_yaml_1_1_booleans() {
    let text = "ENABLEIPV6: on\nMasqNodeTraffic: No\nrandomfully: n\nEnForce: YES\ndropinvalid: y\noutputinterfaces: []\n\
                nonMasqueradeCIDRs: [fd00::/8]\nmasqueradecidrs: []\nsourcecidrs: []\ntoports: 1024-29999";
    let config = good(text).config;
    assert!(config.enable_ipv6 && config.enforce);
    assert!(!config.masq_node_traffic && !config.random_fully);
    assert_eq!(warnings(text).len(), 14, "{:#?}", warnings(text));
}

#[test]
fn lists_may_be_empty_and_hold_what_repeats_and_overlaps() {
    for key in [
        "nonMasqueradeCIDRs",
        "masqueradeCIDRs",
        "sourceCIDRs",
        "snatAddressCIDRs",
    ] {
        good(&format!("{key}: []"));
        good(&format!(
            "{key}: [192.0.2.0/24, 192.0.2.0/24, 192.0.0.0/16, 0.0.0.0/0]"
        ));
    }
}

#[test]
fn link_local_prefixes_may_be_listed() {
    let config = good("enableIPv6: true\nnonMasqueradeCIDRs: [169.254.0.0/16, fe80::/10]").config;
    assert_eq!(config.non_masquerade_cidrs.len(), 2);
    let config =
        good("enableIPv6: true\nmasqueradeCIDRs: [169.254.0.0/16, fe80::/10, 169.254.169.254/32]")
            .config;
    assert_eq!(config.masquerade_cidrs.len(), 3);
}

#[test]
fn ipv6_may_be_turned_on_behind_the_lists_or_by_the_flag() {
    let text = "masqueradeCIDRs: [fd00:1::/32]\nnonMasqueradeCIDRs: [fd00::/8]\nsourceCIDRs:\n- ::/0\n- 0.0.0.0/0\n";
    good(&format!("{text}enableIPv6: true"));
    let flags = Flags {
        enable_ipv6: true,
        ..Flags::default()
    };
    assert!(with_flags(text, &flags).enable_ipv6);
    let off = judge("f", format!("{text}enableIPv6: false").as_bytes(), &flags);
    assert_eq!(off.unwrap_err().errors.len(), 3);
}

#[test]
fn the_default_list_that_masquerade_cidrs_meet_is_that_of_the_flags() {
    let flags = Flags {
        nomasq_all_reserved_ranges: true,
        ..Flags::default()
    };
    good("masqueradeCIDRs: [100.64.0.0/10]");
    let text = b"masqueradeCIDRs: [100.64.0.0/10]";
    let errors = judge("f", text, &flags).unwrap_err().to_string();
    assert!(errors.contains("the default list of"), "{errors}");
}

#[test]
fn a_list_that_is_no_list_is_not_the_default_list() {
    let said = bad("nonMasqueradeCIDRs: x\nmasqueradeCIDRs: [10.0.0.0/8]");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn integers_in_the_forms_of_go_s_reader_are_taken_with_a_warning() {
    for (text, limit) in [("64.0", 64), ("1_000", 1_000), ("0100", 64)] {
        let text = format!("\ncidrLimit: {text}");
        let warnings = warnings(&text);
        assert_eq!(warnings.len(), 1);
        let remedy = format!("not the documented form of an integer; write {limit}");
        assert!(warnings[0].ends_with(&remedy), "{warnings:?}");
        assert!(warnings[0].starts_with("f:2: cidrLimit: "), "{warnings:?}");
        let many = "10.0.0.0/8,".repeat(limit);
        good(&format!("{text}\nsourceCIDRs: [{many}]"));
        let one_more = bad(format!("{text}\nsourceCIDRs: [{many} 10.0.0.0/8]"));
        assert!(
            one_more.contains(&format!("which is {limit};")),
            "{one_more}"
        );
    }
    assert!(bad("cidrLimit: '1_000'").contains("without quotes"));
}

#[test]
fn ipv6_without_an_exempt_prefix_is_warned_of() {
    let said = "nonMasqueradeCIDRs: IPv6 is on and no IPv6 CIDR of pods is listed, so that all IPv6 traffic between pods is \
                masqueraded; add the IPv6 CIDRs of pods and nodes";
    for text in [
        "enableIPv6: true",
        "enableIPv6: true\nnonMasqueradeCIDRs: [10.0.0.0/8]",
        "enableIPv6: true\nsourceCIDRs: ['::/0', '0.0.0.0/0']",
        "enableIPv6: true\nmasqueradeCIDRs: [fd00::/8]",
        "enableIPv6: true\nnonMasqueradeCIDRs: ['ff00::/8', 'fe80::/10']",
    ] {
        assert_eq!(warnings(text), [said], "{text}");
    }
    let flags = Flags {
        enable_ipv6: true,
        ..Flags::default()
    };
    let without_a_file = judge_together(&[], &flags).unwrap();
    assert_eq!(without_a_file.config, defaults(&flags));
    assert_eq!(without_a_file.warnings.len(), 1);
    assert_eq!(
        warnings("enableIPv6: true\nnonMasqueradeCIDRs: [fd00::/8]"),
        [""; 0]
    );
    assert_eq!(warnings("nonMasqueradeCIDRs: [10.0.0.0/8]"), [""; 0]);
}

#[test]
fn a_family_without_a_source_is_warned_of() {
    let ipv4 = "sourceCIDRs: no IPv4 CIDR is among the sources, so that all IPv4 traffic is left alone; \
                add one, or remove the key for any source";
    let ipv6 = "sourceCIDRs: no IPv6 CIDR is among the sources, so that all IPv6 traffic is left alone; \
                add one, or turn IPv6 off if that is meant";
    for (text, said) in [
        ("enableIPv6: true\nsourceCIDRs: [10.0.0.0/8]", vec![ipv6]),
        (
            "enableIPv6: true\nnonMasqueradeCIDRs: [fd00::/8]\nsourceCIDRs: [fd00::/8]",
            vec![ipv4],
        ),
        ("sourceCIDRs: [10.0.0.0/8]", vec![]),
        ("sourceCIDRs: []", vec![]),
    ] {
        assert_eq!(warnings(text), said, "{text}");
    }
}

#[test]
fn prefixes_in_both_lists_are_all_found_and_a_thousand_shown() {
    let list: Vec<String> = (0..3_000)
        .map(|n| format!("10.{}.{}.0/24", n / 256, n % 256))
        .collect();
    let (list, reversed) = (
        list.join(","),
        list.iter().rev().cloned().collect::<Vec<_>>().join(","),
    );
    let said = bad(format!(
        "masqueradeCIDRs: [{reversed}]\nnonMasqueradeCIDRs: [{list}]"
    ));
    assert_eq!(said.lines().count(), 1_001);
    assert!(said.ends_with("… and 2000 more errors"), "{said}");
    assert!(said.starts_with("f:1: masqueradeCIDRs: \"10.11.183.0/24\": nonMasqueradeCIDRs holds the same prefix on line 2;"), "{said:.200}");
}
