//! Listings as libnftables 1.0.6 and 1.1.3 print them, shortened.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use serde_json::json;

use super::*;

const IPTABLES: &str = r#"{"nftables": [{"metainfo": {"version": "1.0.6", "json_schema_version": 1}},
    {"table": {"family": "ip", "name": "nat", "handle": 1}},
    {"chain": {"family": "ip", "table": "nat", "name": "KUBE-POSTROUTING", "handle": 2}},
    {"chain": {"family": "ip", "table": "nat", "name": "UNUSED", "handle": 3}},
    {"chain": {"family": "ip", "table": "nat", "name": "POSTROUTING", "handle": 10, "type": "nat", "hook": "postrouting", "prio": 100, "policy": "accept"}},
    {"rule": {"family": "ip", "table": "nat", "chain": "KUBE-POSTROUTING", "handle": 6, "expr": [{"match": {"op": "!=", "left": {"&": [{"meta": {"key": "mark"}}, 16384]}, "right": 16384}}, {"counter": {"packets": 0, "bytes": 0}}, {"return": null}]}},
    {"rule": {"family": "ip", "table": "nat", "chain": "KUBE-POSTROUTING", "handle": 7, "expr": [{"xt": {"type": "target", "name": "MARK"}}]}},
    {"rule": {"family": "ip", "table": "nat", "chain": "KUBE-POSTROUTING", "handle": 8, "expr": [{"xt": {"type": "target", "name": "MASQUERADE"}}]}},
    {"rule": {"family": "ip", "table": "nat", "chain": "UNUSED", "handle": 9, "expr": [{"xt": {"type": "target", "name": "MASQUERADE"}}]}},
    {"rule": {"family": "ip", "table": "nat", "chain": "POSTROUTING", "handle": 11, "expr": [{"jump": {"target": "KUBE-POSTROUTING"}}]}},
    {"rule": {"family": "ip", "table": "nat", "chain": "POSTROUTING", "handle": 13, "expr": [{"xt": {"type": "match", "name": "addrtype"}}, {"xt": {"type": "target", "name": "SNAT"}}]}}]}"#;

const NATIVE: &str = r#"{"nftables": [
    {"map": {"family": "inet", "name": "v", "table": "c", "type": "ipv4_addr", "map": "verdict", "elem": [["192.0.2.1", {"goto": {"target": "by-map"}}]]}},
    {"set": {"family": "inet", "name": "s", "table": "c", "type": "ipv4_addr", "elem": [1, 2]}},
    {"rule": {"chain": "by-map", "handle": 5, "expr": [{"masquerade": null}]}},
    {"rule": {"chain": "in-place", "handle": 6, "expr": [{"snat": {"addr": "192.0.2.9"}}]}},
    {"rule": {"chain": "nowhere", "handle": 7, "expr": [{"masquerade": {"flags": "fully-random"}}]}},
    {"rule": {"chain": "p", "handle": 8, "expr": [{"vmap": {"key": {}, "data": "@v"}}]}},
    {"rule": {"chain": "p", "handle": 9, "expr": [{"vmap": {"key": {}, "data": {"set": [["192.0.2.2", {"jump": {"target": "in-place"}}]]}}}]}}]}"#;

#[test]
fn chains_are_read_with_the_version() {
    let read: ChainListing = serde_json::from_str(IPTABLES).unwrap();
    assert_eq!(read.version.as_deref(), Some("1.0.6"));
    let regular = read.regular_chains.iter().map(|chain| chain.name.as_str());
    assert_eq!(regular.collect::<Vec<_>>(), ["KUBE-POSTROUTING", "UNUSED"]);
    let [postrouting] = read.nat_chains.try_into().unwrap();
    assert_eq!(
        (postrouting.name.as_str(), postrouting.priority),
        ("POSTROUTING", 100)
    );
}

#[test]
fn only_nat_chains_on_postrouting_translate_sources_in_the_order_in_which_they_run() {
    let chain = |family: &str, name: &str, kind: &str, hook: &str, prio: i64| {
        json!({"chain": {"family": family, "table": "t", "name": name, "handle": 1, "type": kind, "hook": hook,
                         "prio": prio, "policy": "accept"}})
    };
    let listing = json!({"nftables": [
        chain("inet", "late", "nat", "postrouting", 110),
        chain("ip", "early", "nat", "postrouting", -5),
        chain("ip", "output", "nat", "output", 1),
        chain("ip", "mangling", "filter", "postrouting", 1),
        {"chain": {"family": "ip", "table": "t", "name": "regular", "handle": 1}},
        {"unheard of": {}},
    ]});
    let read: ChainListing = serde_json::from_value(listing).unwrap();
    let [early, late] = read.nat_chains.try_into().unwrap();
    assert_eq!((early.name.as_str(), late.name.as_str()), ("early", "late"));
    assert!(late.sees(Family::Ip) && late.sees(Family::Ip6));
    assert!(early.sees(Family::Ip) && !early.sees(Family::Ip6));
}

/// Each rule with what it is limited to.
fn told(listing: &str, base_chain: &str) -> Vec<String> {
    let table: NatTable = serde_json::from_str(listing).unwrap();
    let found = table.source_nat_rules(base_chain);
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn rules_of_iptables_nft_are_found_by_their_targets_where_a_packet_can_come_to_them() {
    let told = told(IPTABLES, "POSTROUTING");
    let expected = [
        "chain KUBE-POSTROUTING rule 3 (only packets with mark 0x4000/0x4000)",
        "chain POSTROUTING rule 2",
    ];
    assert_eq!(told, expected);
    let table: NatTable = serde_json::from_str(IPTABLES).unwrap();
    let found = table.source_nat_rules("POSTROUTING");
    let found: Vec<_> = found
        .iter()
        .map(|rule| (rule.handle, rule.masquerades))
        .collect();
    assert_eq!(found, [(8, true), (13, false)]);
}

fn matched(op: &str, left: Value, right: Value) -> Value {
    json!({"match": {"op": op, "left": left, "right": right}})
}

fn meta(key: &str) -> Value {
    json!({"meta": {"key": key}})
}

fn source() -> Value {
    json!({"payload": {"protocol": "ip", "field": "saddr"}})
}

/// What is told of a rule with this statement, beside an empty set and one that is not.
#[track_caller]
fn assert_limit(statement: &Value, limit: &str) {
    let listing = json!({"nftables": [
        {"set": {"name": "empty", "type": "ipv4_addr"}},
        {"set": {"name": "full", "type": "ipv6_addr", "elem": [{"prefix": {"addr": "fd00::", "len": 8}}]}},
        {"rule": {"chain": "p", "expr": [statement, {"masquerade": null}]}}]});
    let expected = match limit {
        "" => "chain p rule 1".to_owned(),
        limit => format!("chain p rule 1 ({limit})"),
    };
    assert_eq!(told(&listing.to_string(), "p"), [expected], "{statement}");
}

#[test]
fn limits_to_sources_are_read_from_what_is_listed() {
    let prefix = || json!({"prefix": {"addr": "10.88.0.0", "len": 16}});
    let element =
        json!({"elem": {"val": {"prefix": {"addr": "10.1.0.0", "len": 16}}, "comment": "x"}});
    let several = json!({"set": [{"range": ["10.0.0.1", "10.0.0.9"]}, element]});
    for (op, right, limit) in [
        ("==", prefix(), "only from 10.88.0.0/16"),
        ("!=", prefix(), "not from 10.88.0.0/16"),
        ("==", several, "only from 10.0.0.1-10.0.0.9, 10.1.0.0/16"),
        ("==", json!("@empty"), "only what is in an empty set, empty"),
        // All of them match.
        ("!=", json!("@empty"), ""),
        ("==", json!("@gone"), ""),
        ("==", json!("@full"), "only from fd00::/8"),
        ("<", json!("10.0.0.1"), ""),
        ("==", json!({"set": [1, {"strange": []}]}), ""),
    ] {
        assert_limit(&matched(op, source(), right), limit);
    }
}

/// Whether a packet without a mark matches is what counts.
#[test]
fn limits_to_marks_are_read_from_what_is_listed() {
    let mark = || meta("mark");
    let masked = || json!({"&": [meta("mark"), 4]});
    let of_connection = json!({"ct": {"key": "mark"}});
    for (op, left, right, limit) in [
        (
            "!=",
            mark(),
            json!(0),
            "only packets with mark other than 0",
        ),
        (
            "==",
            mark(),
            json!({"set": [1, 2]}),
            "only packets with mark 0x1, 0x2",
        ),
        ("!=", mark(), json!(1), "not packets with mark 0x1"),
        ("==", masked(), json!(4), "only packets with mark 0x4/0x4"),
        ("==", masked(), json!(0), "not packets with mark 0x4"),
        (
            "==",
            of_connection,
            json!(3),
            "only packets with mark of the connection 0x3",
        ),
    ] {
        assert_limit(&matched(op, left, right), limit);
    }
}

#[test]
fn other_limits_are_read_from_what_is_listed() {
    const OF_NODE: &str = "only what processes of the node send";
    let status = || json!({"ct": {"key": "status"}});
    let by_name = |name: &str| json!({"xt": {"type": "match", "name": name}});
    let interfaces = json!({"set": ["a", "b*"]});
    for (statement, limit) in [
        (
            matched("in", status(), json!("dnat")),
            "only what was translated to another destination",
        ),
        (matched("in", status(), json!("snat")), ""),
        (matched("!=", meta("skuid"), json!(0)), OF_NODE),
        (
            matched("==", meta("iifname"), interfaces),
            "only what comes in by a, b*",
        ),
        (
            matched("!=", meta("oif"), json!("lo")),
            "not what leaves by lo",
        ),
        (
            by_name("owner"),
            &*format!("{OF_NODE}, or all but that (nft shows no `!`)"),
        ),
        (by_name("set"), ""),
        (by_name("comment"), ""),
        (json!({"match": "strange"}), ""),
        (json!({"counter": null}), ""),
    ] {
        assert_limit(&statement, limit);
    }
}

/// What is limited by jumps that differ is limited by what they have in common.
#[test]
fn a_chain_is_limited_by_all_jumps_that_lead_to_it() {
    let jump = |from: &str, source: &str, mark: u32, to: &str| {
        let source = matched("==", self::source(), source.into());
        let mark = matched("==", meta("mark"), mark.into());
        json!({"rule": {"chain": from, "expr": [source, mark, {"jump": {"target": to}}]}})
    };
    let masquerade = json!({"rule": {"chain": "last", "expr": [{"masquerade": null}]}});
    let listing = |jumps: Vec<Value>| {
        let all: Vec<&Value> = jumps.iter().chain([&masquerade]).collect();
        json!({"nftables": all}).to_string()
    };
    let two = vec![
        jump("p", "10.0.0.1", 1, "last"),
        jump("p", "10.0.0.2", 1, "a"),
        jump("a", "10.0.0.2", 1, "last"),
    ];
    assert_eq!(
        told(&listing(two), "p"),
        ["chain last rule 1 (only from 10.0.0.1, 10.0.0.2, only packets with mark 0x1)"]
    );
    let plain = json!({"rule": {"chain": "p", "expr": [{"goto": {"target": "last"}}]}});
    let one_is_plain = vec![jump("p", "10.0.0.1", 1, "last"), plain.clone()];
    assert_eq!(told(&listing(one_is_plain), "p"), ["chain last rule 1"]);
    // What stands behind a plain goto is never reached.
    let one_is_behind = vec![plain, jump("p", "10.0.0.1", 1, "last")];
    assert_eq!(told(&listing(one_is_behind), "p"), ["chain last rule 1"]);
    let returned = json!({"rule": {"chain": "p", "expr": [{"return": null}]}});
    let nothing_comes = vec![returned, jump("p", "10.0.0.1", 1, "last")];
    assert_eq!(told(&listing(nothing_comes), "p"), [""; 0]);
}

#[test]
fn native_rules_are_found_through_verdict_maps() {
    let table: NatTable = serde_json::from_str(NATIVE).unwrap();
    let found = table.source_nat_rules("p");
    let found: Vec<_> = found
        .iter()
        .map(|rule| (rule.chain.as_str(), rule.handle, rule.masquerades))
        .collect();
    assert_eq!(found, [("by-map", 5, true), ("in-place", 6, false)]);
}

#[test]
fn chains_that_jump_in_a_circle_are_walked_once() {
    let circle = r#"{"nftables": [
        {"rule": {"chain": "a", "expr": [{"jump": {"target": "b"}}]}},
        {"rule": {"chain": "b", "expr": [{"jump": {"target": "a"}}, {"masquerade": null}]}}]}"#;
    let table: NatTable = serde_json::from_str(circle).unwrap();
    for base_chain in ["a", "b"] {
        assert_eq!(table.source_nat_rules(base_chain).len(), 1);
    }
    let entered = circle.replacen(
        '[',
        r#"[{"rule": {"chain": "p", "expr": [{"jump": {"target": "a"}}]}},"#,
        1,
    );
    let table: NatTable = serde_json::from_str(&entered).unwrap();
    assert_eq!(table.source_nat_rules("p").len(), 1);
}

/// kube-proxy writes some 12 rules for a service.
#[test]
fn a_large_table_is_read_in_time_that_grows_with_its_rules_only() {
    const RULES: usize = 50_000;
    let lines = (0..RULES).flat_map(|number| {
        let jump = json!([{"jump": {"target": format!("KUBE-SVC-{}", number + 1)}}]);
        let own_chain = format!("KUBE-SVC-{number}");
        [own_chain.as_str(), "KUBE-SERVICES"]
            .map(|chain| json!({"rule": {"chain": chain, "handle": number, "expr": jump}}))
    });
    let last =
        json!({"rule": {"chain": format!("KUBE-SVC-{RULES}"), "expr": [{"masquerade": null}]}});
    let listing = json!({"nftables": lines.chain([last]).collect::<Vec<_>>()});
    let began = cpu_time();
    let table: NatTable = serde_json::from_value(listing).unwrap();
    let found = table.source_nat_rules("KUBE-SVC-0");
    assert!(cpu_time() - began < Duration::from_secs(5));
    let [rule] = found.try_into().unwrap();
    assert_eq!((rule.chain.as_str(), rule.number), ("KUBE-SVC-50000", 1));
}

fn cpu_time() -> Duration {
    let clock = ClockId::CLOCK_THREAD_CPUTIME_ID;
    clock_gettime(clock).unwrap().into()
}
