//! `explain`: verdicts, the lines they stand on, what the kernel says of them, and who else may decide.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;

use crate::DAEMON;
use crate::support::daemon::TemporaryDirectory;
use crate::support::netns::{Namespace, succeed};
use crate::support::nft::{Nft, TABLE};
use crate::support::oracle::Oracle;
use crate::support::outcome::{AS_IN_THE_POD, Outcome, as_ordinary_user, without_net_admin, words};
use crate::support::poison;
use ipnet::IpNet;
use proptest::prelude::*;
use serde_json::{Value, json};

const CONFIGURATION: &str = "\
# Two lists.
nonMasqueradeCIDRs:
- 10.0.0.0/8
- 192.168.0.0/16
masqueradeCIDRs: [10.7.0.0/16,
  10.8.0.0/16]
";

/// A namespace and a configuration file.
struct Host {
    namespace: Namespace,
    directory: TemporaryDirectory,
}

impl Host {
    fn new(configuration: &str) -> Self {
        let host = Self {
            namespace: Namespace::new().unwrap(),
            directory: TemporaryDirectory::new().unwrap(),
        };
        fs::write(host.config(), configuration).unwrap();
        host
    }

    fn config(&self) -> PathBuf {
        self.directory.path().join("config")
    }

    fn with_config(&self, mut command: Command, arguments: &str) -> Outcome {
        command.env("NON_MASQUERADE_DAEMON_CONFIG", self.config());
        Outcome::of(&mut words(command, arguments))
    }

    fn daemon(&self, arguments: &str) -> Outcome {
        self.with_config(self.namespace.command(DAEMON), arguments)
    }

    fn apply(&self) -> &Self {
        self.daemon("run --once").assert_code(0);
        self
    }

    fn nft(&self, text: &str) {
        Nft::host().apply(&self.namespace, text).unwrap();
    }

    /// The only answer of `explain --format json`.
    fn answer(&self, arguments: &str) -> Value {
        let explained = self.daemon(&format!("explain --format json {arguments}"));
        explained.assert_code(0);
        explained.json()["destinations"][0].take()
    }

    /// What is said of the kernel.
    fn kernel(&self, arguments: &str) -> Value {
        self.answer(arguments)["kernel"].take()
    }
}

#[test]
fn without_privilege_the_policy_is_explained_with_files_and_lines() {
    let host = Host::new(CONFIGURATION);
    let unprivileged = without_net_admin(&host.namespace, DAEMON);
    let explained = host.with_config(
        unprivileged,
        "explain 10.1.2.3 10.8.1.1 1.1.1.1 169.254.0.1 127.0.0.1 fd00::1",
    );
    explained.assert_code(0);
    assert_eq!(explained.errors, "");
    let config = host.config();
    let config = config.display();
    let kernel = "  kernel       not looked at: CAP_NET_ADMIN is missing, run as root to compare\n";
    assert_eq!(
        explained.output,
        format!(
            "10.1.2.3\n  verdict      keeps its source address\n  decided by   10.0.0.0/8 of nonMasqueradeCIDRs ({config}:3)\n{kernel}\n\
             10.8.1.1\n  verdict      masqueraded\n  decided by   10.8.0.0/16 of masqueradeCIDRs ({config}:6)\n{kernel}\n\
             1.1.1.1\n  verdict      masqueraded\n  decided by   no configured CIDR: what none contains is masqueraded\n{kernel}\n\
             169.254.0.1\n  verdict      keeps its source address\n  decided by   169.254.0.0/16, exempt by default (link-local)\n{kernel}\n\
             127.0.0.1\n  verdict      left alone: a LOCAL address, one of this host's own\n{kernel}\n\
             fd00::1\n  verdict      left alone: IPv6 is off (enableIPv6: false)\n{kernel}"
        )
    );
}

#[test]
fn the_default_list_is_named_where_no_file_gives_one() {
    let host = Host::new("masqLinkLocal: true\n");
    let decided = host.answer("172.16.0.1")["decided_by"].take();
    assert_eq!(
        decided,
        json!({"cidr": "172.16.0.0/12", "list": "nonMasqueradeCIDRs", "is_default": true, "place": null})
    );
    let told = host.daemon("explain 172.16.0.1").output;
    assert!(
        told.contains("172.16.0.0/12 of the default list of nonMasqueradeCIDRs\n"),
        "{told}"
    );
}

#[test]
fn json_names_the_file_the_line_and_the_item() {
    let host = Host::new(CONFIGURATION);
    let config = host.config();
    assert_eq!(
        host.answer("192.168.1.1")["decided_by"],
        json!({"cidr": "192.168.0.0/16", "list": "nonMasqueradeCIDRs", "is_default": false,
               "place": {"file": config.to_str().unwrap(), "line": 4, "item": 1}})
    );
}

#[test]
fn each_reason_to_leave_traffic_alone_is_told_for_its_source() {
    let host = Host::new(
        "sourceCIDRs: [10.244.0.0/16, 192.0.2.0/24]\nmasqNodeTraffic: false\nenableIPv6: true\n",
    );
    host.namespace
        .ip("address add 192.0.2.1/32 dev lo")
        .unwrap();
    let reason = |arguments: &str| {
        let answer = host.answer(arguments);
        let is_left_alone = answer["verdict"] == "left_alone";
        assert_eq!(is_left_alone, !answer["reason"].is_null(), "{answer}");
        answer["reason"].clone()
    };
    assert_eq!(reason("1.1.1.1"), Value::Null);
    assert_eq!(reason("--from 10.244.0.1 1.1.1.1"), Value::Null);
    assert_eq!(reason("--from 10.245.0.1 1.1.1.1"), "source_not_listed");
    assert_eq!(reason("--from 192.0.2.1 1.1.1.1"), "node_traffic");
    assert_eq!(reason("--from 192.0.2.2 1.1.1.1"), Value::Null);
    assert_eq!(reason("--from 10.244.0.1 192.0.2.1"), "local_destination");
    assert_eq!(reason("fd00::1"), "no_source_of_family");
    let conditions = host.answer("1.1.1.1")["conditions"].take();
    assert_eq!(
        conditions,
        json!([
            "from 10.244.0.0/16, 192.0.2.0/24 (sourceCIDRs); from other sources it is left alone",
            "not sent by the node itself (masqNodeTraffic: false); that is left alone"
        ])
    );
    let conditions = host.answer("--from 10.244.0.1 1.1.1.1")["conditions"].take();
    assert_eq!(conditions, json!([]));
}

/// The chain `drop-invalid` accepts what has a LOCAL source, whatever `masqNodeTraffic` says.
#[test]
fn that_invalid_packets_are_dropped_is_told_of_what_is_forwarded_to_be_masqueraded() {
    let host = Host::new("dropInvalid: true\nsourceCIDRs: [10.244.0.0/16, 192.0.2.0/24]\n");
    host.namespace
        .ip("address add 192.0.2.1/32 dev lo")
        .unwrap();
    for (arguments, is_dropped) in [
        ("1.1.1.1", true),
        ("--from 10.244.0.1 1.1.1.1", true),
        ("--from 192.0.2.2 1.1.1.1", true),
        // The node's own, an exempt destination, a LOCAL one, and a source that is not listed.
        ("--from 192.0.2.1 1.1.1.1", false),
        ("--from 10.244.0.1 10.1.2.3", false),
        ("--from 10.244.0.1 192.0.2.1", false),
        ("--from 10.245.0.1 1.1.1.1", false),
    ] {
        let answer = host.answer(arguments);
        assert_eq!(answer["invalid_is_dropped"], is_dropped, "{answer}");
        let told = host.daemon(&format!("explain {arguments}")).output;
        let line = "  invalid      forwarded packets that belong to no connection are dropped (dropInvalid: true)\n";
        assert_eq!(told.contains(line), is_dropped, "{told}");
    }
    fs::write(host.config(), "").unwrap();
    assert_eq!(host.answer("1.1.1.1")["invalid_is_dropped"], false);
}

#[test]
fn what_the_kernel_has_agrees_until_someone_changes_it() {
    let host = Host::new(CONFIGURATION);
    let missing = host.kernel("10.1.2.3");
    assert_eq!(
        (&missing["table"], &missing["agrees"]),
        (&json!("missing"), &json!(false))
    );
    host.apply();
    let agrees = host.kernel("10.1.2.3");
    assert_eq!(
        agrees["element"],
        json!({"first": "10.0.0.0", "last": "10.6.255.255", "comment": "10.0.0.0/8", "connections": 0})
    );
    assert_eq!(agrees["agrees"], true, "{agrees}");
    let none = host.kernel("10.7.0.1");
    assert_eq!(
        (&none["element"], &none["agrees"]),
        (&Value::Null, &json!(true))
    );
    let set = Nft::host().exempt_set(&host.namespace).unwrap();
    host.nft(&format!(
        "delete element ip {TABLE} {set} {{ 192.168.0.0/16 }}"
    ));
    assert_eq!(host.kernel("192.168.1.1")["agrees"], false);
    assert_eq!(host.kernel("10.1.2.3")["agrees"], true);
    let told = host.daemon("explain 192.168.1.1").output;
    assert!(
        told.contains("disagrees: no element keeps the source address;"),
        "{told}"
    );
    host.nft(&format!("insert rule ip {TABLE} {TABLE} accept"));
    let disagreements = host.kernel("10.1.2.3")["disagreements"].take();
    assert_eq!(
        disagreements,
        json!([format!("chain {TABLE} has other rules")])
    );
    host.nft(&format!("delete table ip {TABLE}"));
    let told = host.daemon("explain 10.1.2.3").output;
    assert!(
        told.contains(&format!(
            "disagrees: there is no table ip {TABLE}; is the daemon running?"
        )),
        "{told}"
    );
}

#[test]
fn both_families_are_compared_and_a_source_is_looked_up_too() {
    let host = Host::new(
        "enableIPv6: true\nnonMasqueradeCIDRs: ['fd00::/8', 10.0.0.0/8]\nsourceCIDRs: ['fd00:1::/32', 10.244.0.0/16]\n",
    );
    host.apply();
    let ipv6 = host.kernel("--from fd00:1::1 fd00:2::1");
    assert_eq!(ipv6["agrees"], true, "{ipv6}");
    let whole = json!({"first": "fd00::", "last": "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "comment": null,
                       "connections": 0});
    assert_eq!(ipv6["element"], whole);
    host.nft(&format!(
        "delete element ip6 {TABLE} source-cidrs-1 {{ fd00:1::/32 }}"
    ));
    let without = host.kernel("--from fd00:1::1 fd00:2::1");
    assert_eq!(
        without["disagreements"],
        json!(["set source-cidrs lacks the source"])
    );
    fs::write(host.config(), "").unwrap();
    let off = host.kernel("fd00:2::1");
    assert_eq!(
        off["disagreements"],
        json!(["there is a table, although IPv6 is off"])
    );
}

#[test]
fn other_nat_chains_that_may_decide_are_named_with_when_they_run() {
    let host = Host::new(CONFIGURATION);
    host.apply();
    for (table, chain, priority) in [
        ("ip nat", "POSTROUTING", 100),
        ("inet late", "after", 120),
        ("inet same", "same", 110),
        ("ip6 other-family", "c", 90),
    ] {
        host.nft(&format!(
            "add table {table}; add chain {table} {chain} {{ type nat hook postrouting priority {priority}; }}; \
             add rule {table} {chain} masquerade"
        ));
    }
    for family in ["ip", "inet"] {
        host.nft(&format!(
            "add table {family} asleep {{ flags dormant; }}; \
             add chain {family} asleep c {{ type nat hook postrouting priority 90; }}; \
             add rule {family} asleep c masquerade"
        ));
    }
    host.nft("add table ip idle; add chain ip idle c { type nat hook postrouting priority 90; }");
    host.nft("add chain ip nat OUTPUT { type nat hook output priority 100; }");
    host.nft("add table ip f; add chain ip f c { type filter hook postrouting priority 0; }");
    let named = |destination: &str| -> Vec<String> {
        let chains = host.answer(destination)["other_chains"].take();
        let told = |c: &Value| {
            format!(
                "{} {} {} {} {}",
                c["family"], c["table"], c["chain"], c["priority"], c["runs"]
            )
        };
        chains
            .as_array()
            .unwrap()
            .iter()
            .map(|c| told(c).replace('"', ""))
            .collect()
    };
    let before = [
        "ip nat POSTROUTING 100 before",
        "inet same same 110 before_or_after",
    ];
    assert_eq!(named("1.1.1.1"), before);
    // What falls through, later chains may masquerade.
    assert_eq!(
        named("10.1.2.3"),
        [before[0], before[1], "inet late after 120 after"]
    );
    assert_eq!(named("fd00::1")[0], "ip6 other-family c 90 before");
    let told = host.daemon("explain 10.1.2.3").output;
    assert!(
        told.contains(
            "table ip nat, chain POSTROUTING, priority 100 (before ours) may decide otherwise: chain POSTROUTING rule 1\n"
        ),
        "{told}"
    );
    fs::write(host.config(), format!("{CONFIGURATION}enforce: true\n")).unwrap();
    host.apply();
    assert_eq!(
        named("10.1.2.3"),
        [
            "ip nat POSTROUTING 100 after",
            "inet same same 110 after",
            "inet late after 120 after"
        ]
    );
    assert_eq!(named("1.1.1.1"), before);
    let told = host.daemon("explain 10.1.2.3").output;
    assert!(
        told.contains(
            "table ip nat, chain POSTROUTING, priority 100 (after ours) may decide otherwise for what was translated to \
             another destination (Services): chain POSTROUTING rule 1\n"
        ),
        "{told}"
    );
}

/// The name of an interface by which nothing leaves is easily written: a port's instead of its bridge's.
#[test]
fn what_leaves_by_none_of_output_interfaces_today_is_left_alone() {
    let host = Host::new("outputInterfaces: [bond0, up1]\ndropInvalid: true\n");
    for words in [
        "link add up0 up type bridge",
        "link add up1 up type bridge",
        "address add 192.0.2.1/24 dev up0",
        "address add 198.51.100.1/24 dev up1",
        "route add default via 192.0.2.254",
    ] {
        host.namespace.ip(words).unwrap();
    }
    for destination in ["--from 10.244.1.2 1.1.1.1", "1.1.1.1", "10.1.2.3"] {
        let answer = host.answer(destination);
        assert_eq!(answer["verdict"], "left_alone", "{answer}");
        assert_eq!(answer["reason"], "output_interface");
        assert_eq!(answer["masqueraded_as"], Value::Null);
        assert_eq!(answer["invalid_is_dropped"], false);
    }
    let told = host.daemon("explain --from 10.244.1.2 1.1.1.1").output;
    let said = "1.1.1.1\n  verdict      left alone: by today's route it leaves by none of outputInterfaces\n  if           \
                by up0, as today's route leads; what leaves by bond0, up1 (outputInterfaces) is looked at\n  kernel";
    assert!(told.starts_with(said), "{told}");
    let by_up1 = host.answer("198.51.100.7");
    assert_eq!(by_up1["verdict"], "masqueraded", "{by_up1}");
    assert_eq!(by_up1["masqueraded_as"]["uplink"], "up1");
    // Where there is no way, nobody knows by which interface it would leave.
    host.namespace.ip("route delete default").unwrap();
    let nowhere = host.answer("1.1.1.1");
    assert_eq!(nowhere["verdict"], "masqueraded", "{nowhere}");
    let condition = "by bond0, up1 (outputInterfaces); what leaves by others is left alone";
    assert_eq!(nowhere["conditions"], json!([condition]));
}

/// As the VPC CNI of AWS has it for the pods of further network interfaces, and nodes with several uplinks.
#[test]
fn a_way_that_is_chosen_by_the_source_is_the_one_that_counts() {
    let host = Host::new("enableIPv6: true\noutputInterfaces: [eth0]\n");
    for words in [
        "link add eth0 up type bridge",
        "link add eth1 up type bridge",
        "link add cni0 up type bridge",
        "address add 192.0.2.1/24 dev eth0",
        "address add 203.0.113.1/24 dev eth1",
        "address add 10.244.1.1/24 dev cni0",
        "route add default via 192.0.2.254",
        "route add default via 203.0.113.254 table 100",
        "rule add from 10.244.1.2 iif cni0 table 100",
        "rule add from 203.0.113.1 table 100",
        "address add 2001:db8:1::1/64 dev eth0 nodad",
        "address add 2001:db8:2::1/64 dev eth1 nodad",
        "address add fd00:10:244:1::1/64 dev cni0 nodad",
        "-6 route add default via 2001:db8:1::2",
        "-6 route add default via 2001:db8:2::2 table 100",
        "-6 rule add from fd00:10:244:1::2 iif cni0 table 100",
    ] {
        host.namespace.ip(words).unwrap();
    }
    for forwarding in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        host.namespace.sysctl(forwarding, "1").unwrap();
    }
    for (arguments, interface) in [
        ("198.51.100.1", "eth0"),
        ("--from 10.244.1.2 198.51.100.1", "eth1"),
        ("--from 10.244.1.3 198.51.100.1", "eth0"),
        ("--from 203.0.113.1 198.51.100.1", "eth1"),
        ("--from fd00:10:244:1::2 2001:db8:9::1", "eth1"),
        ("--from fd00:10:244:1::3 2001:db8:9::1", "eth0"),
    ] {
        let answer = host.answer(arguments);
        let is_left_alone = answer["verdict"] == "left_alone";
        assert_eq!(is_left_alone, interface == "eth1", "{arguments}: {answer}");
    }
    // Where nothing is forwarded, the way of the node itself counts.
    host.namespace.sysctl("net/ipv4/ip_forward", "0").unwrap();
    let answer = host.answer("--from 10.244.1.2 198.51.100.1");
    assert_eq!(answer["verdict"], "masqueraded", "{answer}");
}

/// As `doctor` judges them, for these addresses.
#[test]
fn other_nat_chains_are_judged_by_what_their_rules_are_limited_to() {
    let host = Host::new(CONFIGURATION);
    host.apply();
    host.nft(
        "table ip vpn { chain c { type nat hook postrouting priority 90; ip daddr 10.5.0.0/16 return; ip saddr 10.88.0.0/16 masquerade; }; }
         table ip marked { chain c { type nat hook postrouting priority 91; meta mark 7 masquerade; }; }
         table ip io.systemd.nat { set s { type ipv4_addr; }; chain c { type nat hook postrouting priority 92; ip saddr @s masquerade; }; }",
    );
    let chains = |arguments: &str| {
        let chains = host.answer(arguments)["other_chains"].take();
        let chains = chains.as_array().unwrap().iter();
        let told = |chain: &Value| (chain["table"].clone(), chain["is_rival"].clone());
        chains.map(told).collect::<Vec<(Value, Value)>>()
    };
    let vpn = (json!("vpn"), json!(true));
    let marked = (json!("marked"), json!(false));
    let both = [vpn, marked.clone()];
    assert_eq!(chains("10.1.2.3"), both);
    assert_eq!(chains("--from 10.88.0.9 10.1.2.3"), both);
    for arguments in [
        "--from 10.244.1.2 10.1.2.3",
        "10.5.0.1",
        "--from 10.88.0.9 10.5.0.1",
    ] {
        assert_eq!(
            chains(arguments),
            std::slice::from_ref(&marked),
            "{arguments}"
        );
    }
    let rules = host.answer("10.1.2.3")["other_chains"][0]["rules"].take();
    let limited = "chain c rule 2 (only from 10.88.0.0/16, not to 10.5.0.0/16)";
    assert_eq!(rules, json!([limited]));
    let told = host.daemon("explain 10.1.2.3").output;
    for said in [
        format!("table ip vpn, chain c, priority 90 (before ours) may decide otherwise: {limited}\n"),
        "table ip marked, chain c, priority 91 (before ours) decides over other traffic: chain c rule 1 (only packets with mark 0x7)\n".to_owned(),
    ] {
        assert!(told.contains(&said), "{told}");
    }
}

/// libnftables lists a chain that a rule has in itself as text.
#[test]
fn what_masquerades_in_a_rule_s_own_chain_may_decide() {
    let host = Host::new(CONFIGURATION);
    host.apply();
    host.nft(
        "table ip vpn { chain other { masquerade; }; chain c { type nat hook postrouting priority 90; \
         oifname \"eth0\" jump { masquerade; }; }; };
         table ip far { chain other { masquerade; }; chain c { type nat hook postrouting priority 91; \
         goto { tcp dport 80 jump other; }; }; };
         table ip limited { chain c { type nat hook postrouting priority 92; quota over 10 mbytes accept; masquerade; }; };",
    );
    let chains = host.answer("10.1.2.3")["other_chains"].take();
    let chains = chains.as_array().unwrap().iter();
    let are_rivals = chains.map(|chain| (&chain["table"], &chain["is_rival"]));
    let yes = json!(true);
    let [vpn, far, limited] = [json!("vpn"), json!("far"), json!("limited")];
    let expected = [(&vpn, &yes), (&far, &yes), (&limited, &yes)];
    assert_eq!(are_rivals.collect::<Vec<_>>(), expected);
}

/// Of the traffic of pods it is not one; of the source that is asked for it is.
#[test]
fn a_rule_that_another_needs_for_its_sources_decides_over_these() {
    let host = Host::new(CONFIGURATION);
    host.apply();
    host.nft(
        "table inet netavark { chain POSTROUTING { type nat hook postrouting priority 100; \
         ip saddr 10.88.0.0/16 masquerade; }; }",
    );
    let chains = |arguments: &str| host.answer(arguments)["other_chains"].take();
    assert_eq!(chains("10.1.2.3")[0]["is_rival"], false);
    assert_eq!(chains("--from 10.88.0.5 10.1.2.3")[0]["is_rival"], true);
    assert_eq!(chains("--from 10.244.0.5 10.1.2.3"), json!([]));
}

/// What cannot be read may decide.
#[test]
fn a_chain_whose_rules_cannot_be_listed_is_named_with_the_reason() {
    let host = Host::new(CONFIGURATION);
    host.nft("table ip poisoned { chain p { type nat hook postrouting priority 100; }; }");
    poison::plant_in(&host.namespace, "poisoned").unwrap();
    let chain = host.answer("10.1.2.3")["other_chains"][0].take();
    assert_eq!(
        (&chain["table"], &chain["is_rival"]),
        (&json!("poisoned"), &json!(true))
    );
    let error = chain["error"].as_str().unwrap_or_default();
    assert!(error.contains("SIGSEGV"), "{chain}");
    let told = host.daemon("explain 10.1.2.3").output;
    assert!(
        told.contains("may decide otherwise: its rules cannot be listed: "),
        "{told}"
    );
}

/// Its rules no listing of nftables shows.
#[test]
fn the_nat_table_of_iptables_legacy_may_decide_too_in_its_family() {
    let host = Host::new(&format!("{CONFIGURATION}enableIPv6: true\n"));
    host.apply();
    host.nft(
        "add table inet last; add chain inet last c { type nat hook postrouting priority 120; }; \
         add rule inet last c masquerade",
    );
    let named = |destination: &str| {
        let chains = host.answer(destination)["other_chains"].take();
        let chains = chains.as_array().unwrap().iter();
        chains
            .map(|chain| chain["listed_by"].as_str().unwrap().to_owned())
            .collect::<Vec<String>>()
    };
    assert_eq!(named("10.1.2.3"), ["nft"]);
    for (program, destination) in [
        ("iptables-legacy", "10.1.2.3"),
        ("ip6tables-legacy", "fe80::1"),
    ] {
        let mut masquerade = host.namespace.command(program);
        let rule = "--wait -t nat -A POSTROUTING -j MASQUERADE";
        succeed(masquerade.args(rule.split(' '))).unwrap();
        assert_eq!(named(destination), [program, "nft"]);
        let told = host.daemon(&format!("explain {destination}")).output;
        let line = format!(
            "table nat of {program}, chain POSTROUTING, priority 100 (before ours) may decide otherwise: see {program} -t nat -S\n"
        );
        assert!(told.contains(&line), "{told}");
    }
    fs::write(host.config(), format!("{CONFIGURATION}enforce: true\n")).unwrap();
    let told = host.daemon("explain 10.1.2.3").output;
    assert!(
        told.contains("(after ours) may decide otherwise for what"),
        "{told}"
    );
}

/// The list of the kernel's is root's.
#[test]
fn whether_iptables_legacy_has_rules_is_not_known_where_nobody_but_root_may_see_it() {
    let host = Host::new(CONFIGURATION);
    host.apply();
    let line = "other NAT    cannot be listed: rules of iptables-legacy: /proc/net/ip_tables_names cannot be read: Permission denied";
    // The list that is there is IPv4's.
    for (destination, is_said) in [("10.1.2.3", true), ("fe80::1", false)] {
        let mut command = host.namespace.command("unshare");
        let script = format!("{AS_IN_THE_POD}\nexec \"$@\"");
        command.args(["--mount", "sh", "-ceu", &script, "sh", DAEMON]);
        let explained = host.with_config(command, &format!("explain {destination}"));
        explained.assert_code(0);
        assert_eq!(
            explained.output.contains(line),
            is_said,
            "{}",
            explained.output
        );
    }
}

#[test]
fn nonsense_ends_with_exit_code_2_and_what_to_write() {
    let host = Host::new(CONFIGURATION);
    for (arguments, said) in [
        ("explain", "DESTINATION"),
        ("explain example.org", "names are not resolved"),
        ("explain 10.0.0.0/8", "a CIDR, not an address"),
        ("explain ::ffff:10.0.0.1", "write 10.0.0.1"),
        ("explain --from pod 10.0.0.1", "names are not resolved"),
        (
            "explain --format yaml 10.0.0.1",
            "possible values: text, json",
        ),
    ] {
        let wrong = host.daemon(arguments);
        wrong.assert_code(2);
        assert!(wrong.errors.contains(said), "{arguments}: {}", wrong.errors);
    }
}

#[test]
fn a_source_of_another_family_is_told_where_it_is_one_and_the_rest_is_explained() {
    let host = Host::new(CONFIGURATION);
    let explained = host.daemon("explain --from 10.244.0.1 10.1.2.3 fd00::1");
    explained.assert_code(2);
    assert!(
        explained
            .output
            .contains("verdict      keeps its source address")
    );
    assert!(
        explained
            .output
            .contains("no packet goes from 10.244.0.1 to fd00::1: give --from"),
        "{}",
        explained.output
    );
}

#[test]
fn a_bad_configuration_is_not_explained() {
    let host = Host::new("nonMasqueradeCIDRs: [10.0.0.1/8]\n");
    let bad = host.daemon("explain 10.1.2.3");
    bad.assert_code(3);
    assert_eq!(bad.output, "");
    assert!(bad.errors.contains("config:1: "), "{}", bad.errors);
}

/// libnftables 1.0.6 dies of writing beside such a set; chains and the own table are listed all the same.
#[test]
fn a_foreign_set_that_kills_libnftables_hinders_no_explanation() {
    let host = Host::new(CONFIGURATION);
    host.apply();
    poison::plant(&host.namespace).unwrap();
    let answer = host.answer("10.1.2.3");
    assert_eq!(answer["verdict"], "keeps_source");
    assert_eq!(answer["kernel"]["agrees"], true, "{answer}");
}

/// Prefixes of both families, some nested, each in one list only.
fn lists() -> impl Strategy<Value = Vec<(IpNet, bool)>> {
    let v4 = (any::<u32>(), 0_u8..=32).prop_map(|(bits, length)| {
        // Few first octets, so that prefixes nest.
        let bits = bits & 0x03ff_ffff | 0x0800_0000;
        IpNet::new(std::net::Ipv4Addr::from_bits(bits).into(), length)
    });
    let v6 = (any::<u128>(), 8_u8..=128).prop_map(|(bits, length)| {
        let bits = bits >> 14 | 0xfd << 120;
        IpNet::new(std::net::Ipv6Addr::from_bits(bits).into(), length)
    });
    let prefix = prop_oneof![v4, v6].prop_map(|prefix| prefix.unwrap().trunc());
    let lists = prop::collection::btree_map(prefix, any::<bool>(), 1..12);
    lists.prop_map(|lists| lists.into_iter().collect())
}

fn configuration(lists: &[(IpNet, bool)], masq_link_local: bool) -> String {
    let listed = |masqueraded: bool| {
        let of_list = lists.iter().filter(|(_, is)| *is == masqueraded);
        let texts: Vec<String> = of_list.map(|(prefix, _)| format!("'{prefix}'")).collect();
        texts.join(", ")
    };
    format!(
        "enableIPv6: true\nmasqLinkLocal: {masq_link_local}\nnonMasqueradeCIDRs: [{}]\nmasqueradeCIDRs: [{}]\n",
        listed(false),
        listed(true)
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn verdicts_and_deciding_prefixes_are_those_of_the_oracle(lists in lists(), masq_link_local: bool) {
        let text = configuration(&lists, masq_link_local);
        let host = Host::new(&text);
        let oracle = Oracle::new(&text).unwrap();
        let edges: Vec<IpAddr> = oracle.edges();
        let arguments: Vec<String> = edges.iter().map(ToString::to_string).collect();
        let arguments = format!("explain --format json 1.1.1.1 {}", arguments.join(" "));
        let explained = host.with_config(without_net_admin(&host.namespace, DAEMON), &arguments);
        prop_assert_eq!(explained.code, 0, "{}", explained.errors);
        let answers = explained.json();
        let answers = answers["destinations"].as_array().unwrap();
        prop_assert_eq!(answers.len(), edges.len() + 1);
        for answer in answers {
            let destination: IpAddr = answer["destination"].as_str().unwrap().parse().unwrap();
            let expected = if oracle.masqueraded(destination) { "masqueraded" } else { "keeps_source" };
            prop_assert_eq!(&answer["verdict"], expected, "{}\n{}", answer, &text);
            let deciding = oracle.deciding_prefix(destination).map(|prefix| prefix.to_string());
            prop_assert_eq!(answer["decided_by"]["cidr"].as_str(), deciding.as_deref(), "{}", answer);
        }
    }
}

mod needs_root {
    use super::*;

    /// Needs another user than the one who runs the test.
    #[test]
    fn an_ordinary_user_may_check_render_and_explain() {
        let host = Host::new(CONFIGURATION);
        host.apply();
        succeed(Command::new("chmod").arg("a+r").arg(host.config())).unwrap();
        let copy = host.directory.path().join("daemon");
        let copy = copy.to_str().unwrap();
        for (arguments, said) in [
            ("check", "10.7.0.0/16     is masqueraded"),
            ("render", "\"10.0.0.0\""),
            ("explain 10.1.2.3", "keeps its source address"),
        ] {
            let user = as_ordinary_user(&host.namespace, DAEMON, copy).unwrap();
            let outcome = host.with_config(user, arguments);
            outcome.assert_code(0);
            assert!(
                outcome.output.contains(said),
                "{arguments}: {}",
                outcome.output
            );
        }
        for arguments in ["status", "cleanup", "run --once"] {
            let user = as_ordinary_user(&host.namespace, DAEMON, copy).unwrap();
            let refused = host.with_config(user, arguments);
            refused.assert_code(4);
            assert!(
                refused.errors.contains("CAP_NET_ADMIN is missing"),
                "{}",
                refused.errors
            );
        }
    }
}
