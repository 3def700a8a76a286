//! What the policy means, and whether a connection got it.

use super::*;
use crate::config::Config;
use crate::policy::node_address::NodeAddress;

fn decided(config: &Config, source: Option<&str>, to: &str, locality: Locality) -> Decision {
    let source = source.map(|source| source.parse().unwrap());
    let policy = Policy::new(config);
    decide(&policy, source, to.parse().unwrap(), locality, Some("eth0"))
}

#[test]
fn each_reason_to_leave_traffic_alone_is_told() {
    let nowhere = Locality::default();
    let mut config = Config::default();
    let reason = |config: &Config, source, to, locality| {
        let decision = decided(config, source, to, locality);
        assert_eq!(
            decision.reason.is_some(),
            decision.verdict == Verdict::LeftAlone
        );
        decision.reason
    };
    let off = reason(&config, None, "fd00::1", nowhere);
    assert_eq!(off, Some(Reason::Ipv6Off));
    let to_local = Locality {
        destination: true,
        ..nowhere
    };
    let local = reason(&config, None, "10.0.0.1", to_local);
    assert_eq!(local, Some(Reason::LocalDestination));
    let from_local = Locality {
        source: true,
        ..nowhere
    };
    let node = reason(&config, Some("192.0.2.1"), "1.1.1.1", from_local);
    assert_eq!(node, None);
    config.masq_node_traffic = false;
    let node = reason(&config, Some("192.0.2.1"), "1.1.1.1", from_local);
    assert_eq!(node, Some(Reason::NodeTraffic));
    config.enable_ipv6 = true;
    config.source_cidrs = vec!["10.244.0.0/16".parse().unwrap()];
    let other = reason(&config, Some("10.245.0.1"), "1.1.1.1", nowhere);
    assert_eq!(other, Some(Reason::SourceNotListed));
    let listed = reason(&config, Some("10.244.0.1"), "1.1.1.1", nowhere);
    assert_eq!(listed, None);
    let none = reason(&config, None, "fd00::1", nowhere);
    assert_eq!(none, Some(Reason::NoSourceOfFamily));
    for (name, expected) in [("eth*", None), ("wg0", Some(Reason::OutputInterface))] {
        config.output_interfaces = vec![name.to_owned()];
        let by_eth0 = reason(&config, Some("10.244.0.1"), "1.1.1.1", nowhere);
        assert_eq!(by_eth0, expected);
    }
}

/// A node with two addresses of its own that sends what begins with 198 by wg0.
struct Small;

const UPLINK: &str = "192.0.2.1";

impl Node for Small {
    fn kind_of(&self, address: IpAddr) -> AddressKind {
        match address.to_string().as_str() {
            UPLINK | "10.244.1.1" | "2001:db8::1" => AddressKind::Local,
            "255.255.255.255" | "224.0.0.251" => AddressKind::Shared,
            _ => AddressKind::Other,
        }
    }

    fn interface_to(&self, _source: IpAddr, destination: IpAddr) -> Option<String> {
        let is_tunnel = destination.to_string().starts_with("198.");
        Some(if is_tunnel { "wg0" } else { "eth0" }.to_owned())
    }
}

fn judged(config: &Config, [from, to, seen]: [&str; 3]) -> (Became, Option<Contradiction>) {
    let judgement = judged_with(config, None, [from, to, seen], false);
    (judgement.became, judgement.contradiction)
}

fn judged_with(
    config: &Config,
    chosen: Option<&str>,
    [from, to, seen]: [&str; 3],
    is_translated: bool,
) -> Judgement {
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let connection = Connection {
        source: address(from),
        destination: address(to),
        is_translated,
        is_beside: false,
        seen_source: address(seen),
    };
    let mut config = config.clone();
    let chosen = chosen.map(|chosen| NodeAddress {
        address: address(chosen),
        interface: "eth0".to_owned(),
        kind: None,
        is_usable: true,
        is_secondary: false,
        is_single: false,
        since: 0,
    });
    let cidrs = chosen.iter().map(|own| own.address.into());
    config.snat_address_cidrs = cidrs.collect();
    let policy = Policy::new(&config).on_node(chosen.as_slice());
    judge(&policy, connection, &Small)
}

const POD: &str = "10.244.1.2";

#[test]
fn what_the_policy_wants_is_no_contradiction() {
    let config = Config::default();
    for (connection, became) in [
        ([POD, "10.0.0.1", POD], Became::Kept),
        ([POD, "1.1.1.1", UPLINK], Became::Masqueraded),
        // Whatever address it is: without snatAddressCIDRs that is the kernel's choice.
        ([POD, "1.1.1.1", "203.0.113.9"], Became::Masqueraded),
        // The node's own, from its address towards the outside and from another one.
        ([UPLINK, "1.1.1.1", UPLINK], Became::Kept),
        (["10.244.1.1", "1.1.1.1", UPLINK], Became::Masqueraded),
        // Of a client outside that is forwarded to a pod.
        (["203.0.113.77", POD, "203.0.113.77"], Became::Kept),
        (
            [POD, UPLINK, POD],
            Became::NotLookedAt(Reason::LocalDestination),
        ),
        (
            ["fd00::2", "2606::1", "fd00::2"],
            Became::NotLookedAt(Reason::Ipv6Off),
        ),
        (
            ["192.0.2.7", "224.0.0.251", "192.0.2.7"],
            Became::NotJudged(Unknown::SharedDestination),
        ),
    ] {
        assert_eq!(
            judged(&config, connection),
            (became, None),
            "{connection:?}"
        );
    }
}

#[test]
fn each_contradiction_is_told_from_what_is_seen() {
    let config = Config::default();
    let exempt = judged(&config, [POD, "10.0.0.1", UPLINK]);
    let contradiction = Contradiction::MasqueradedThoughExempt;
    assert_eq!(exempt, (Became::Masqueraded, Some(contradiction)));
    let kept = judged(&config, [POD, "1.1.1.1", POD]);
    let contradiction = Contradiction::KeptThoughToBeMasqueraded;
    assert_eq!(kept, (Became::Kept, Some(contradiction)));
    for (connection, is_other) in [
        ([POD, "1.1.1.1", "203.0.113.9"], false),
        ([POD, "1.1.1.1", UPLINK], true),
        // The node's own too.
        ([UPLINK, "1.1.1.1", UPLINK], true),
        ([UPLINK, "10.0.0.1", UPLINK], false),
    ] {
        let judgement = judged_with(&config, Some("203.0.113.9"), connection, false);
        let expected = is_other.then_some(Contradiction::OtherAddress);
        assert_eq!(judgement.contradiction, expected, "{connection:?}");
    }
}

#[test]
fn what_a_service_translated_or_the_policy_does_not_look_at_contradicts_nothing() {
    let mut config = Config::default();
    for connection in [[POD, POD, UPLINK], [POD, "1.1.1.1", POD]] {
        let judgement = judged_with(&config, None, connection, true);
        assert_eq!(
            (judgement.became, judgement.contradiction),
            (Became::Service, None)
        );
    }
    config.masq_node_traffic = false;
    config.source_cidrs = vec!["10.244.0.0/16".parse().unwrap()];
    let node = judged(&config, ["10.244.1.1", "1.1.1.1", "10.244.1.1"]);
    assert_eq!(node, (Became::NotLookedAt(Reason::NodeTraffic), None));
    let other = judged(&config, ["10.245.0.1", "1.1.1.1", "10.245.0.1"]);
    assert_eq!(other, (Became::NotLookedAt(Reason::SourceNotListed), None));
}

#[test]
fn with_output_interfaces_today_s_route_says_what_can_be_judged() {
    let config = Config {
        output_interfaces: vec!["eth*".to_owned()],
        ..Config::default()
    };
    let tunnel = judged(&config, [POD, "198.51.100.1", POD]);
    assert_eq!(tunnel, (Became::NotJudged(Unknown::OutputInterface), None));
    let (_, uplink) = judged(&config, [POD, "1.1.1.1", POD]);
    assert_eq!(uplink, Some(Contradiction::KeptThoughToBeMasqueraded));
}

#[test]
fn the_name_of_a_contradiction_is_the_one_that_json_has() {
    for kind in Contradiction::ALL {
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
    }
}
