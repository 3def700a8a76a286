//! What else on the node gets in the way: leftovers, IPVS, forwarding.

use super::enforcement::Enforcement;
use super::finding::{Finding, rule_deletion, shell_word};
use super::legacy;
use crate::commands::legacy_nat::LegacyNat;
use crate::commands::look::FoundTable;
use crate::commands::other_nat::{Chain, NatTable};

/// The chain that ip-masq-agent and ip-masq-agent-v2 have by default, in both families.
const CHAIN_OF_IP_MASQ_AGENT: &str = "IP-MASQ-AGENT";

/// What ip-masq-agent has left: its chain outlives it. `tables` are those that could be read, by family and name.
pub(super) fn ip_masq_agent(
    chains: &[Chain],
    tables: &[(String, NatTable)],
    legacy: &LegacyNat,
) -> Vec<Finding> {
    const CHECK: &str = "ip-masq-agent";
    let is_left = |family: &str| {
        chains.iter().any(|chain| {
            chain.family == family && chain.table == "nat" && chain.name == CHAIN_OF_IP_MASQ_AGENT
        })
    };
    let mut found = Vec::new();
    for (family, program) in [("ip", "iptables"), ("ip6", "ip6tables")] {
        if is_left(family) {
            let nat = format!("{family} nat");
            let table = tables.iter().find(|(name, _)| *name == nat);
            found.push(Finding::warning(
                CHECK,
                format!(
                    "table {nat} has the chain {CHAIN_OF_IP_MASQ_AGENT}, which comes before this daemon's rules and outlives \
                     ip-masq-agent"
                ),
                format!(
                    "remove its DaemonSet, then on the node: {}",
                    removal(family, program, table.map(|(_, table)| table))
                ),
            ));
        }
    }
    if found.is_empty() {
        found.push(nothing_in_nftables(CHECK, legacy));
    }
    found
}

fn nothing_in_nftables(check: &'static str, legacy_nat: &LegacyNat) -> Finding {
    const NONE: &str = "nftables has no chain IP-MASQ-AGENT";
    match (legacy_nat, legacy::caveat(legacy_nat)) {
        (_, None) => Finding::ok(check, "nothing is left of it (chain IP-MASQ-AGENT)"),
        (LegacyNat::Loaded(_) | LegacyNat::Hidden(_), Some(caveat)) => {
            Finding::ok(check, format!("{NONE}; {caveat}"))
        }
        (_, Some(caveat)) => {
            Finding::unchecked(check, format!("{NONE}, but {caveat}"), legacy::ON_THE_NODE)
        }
    }
}

/// The commands that remove its chain and what jumps to it.
fn removal(family: &str, program: &str, table: Option<&NatTable>) -> String {
    let chain = CHAIN_OF_IP_MASQ_AGENT;
    let jumps = table.map(|table| table.jumps_to(chain)).unwrap_or_default();
    let mut commands: Vec<String> = jumps
        .iter()
        .map(|(from, handle)| rule_deletion(family, "nat", from, *handle))
        .collect();
    commands.push(format!("{program} -t nat -F {chain}"));
    commands.push(format!("{program} -t nat -X {chain}"));
    commands.join("; ")
}

/// Tables that a daemon made under another name, or for a family that is off.
pub(super) fn leftovers(tables: &[FoundTable]) -> Vec<Finding> {
    const CHECK: &str = "other-tables";
    if tables.is_empty() {
        return vec![Finding::ok(
            CHECK,
            "no daemon has left a table of another name",
        )];
    }
    let left = |table: &FoundTable| {
        let (family, table) = (table.family.name(), &table.name);
        let word = shell_word(table);
        Finding::warning(
            CHECK,
            format!(
                "table {family} {table} is a daemon's of another --table or family, and masquerades too"
            ),
            format!(
                "stop that daemon, then: non-masquerade-daemon cleanup (or nft delete table {family} {word})"
            ),
        )
    };
    tables.iter().map(left).collect()
}

/// How many services IPVS balances; `listing` is /proc/net/ip_vs.
pub(super) fn ipvs_services(listing: &str) -> usize {
    const KINDS: [&str; 4] = ["TCP", "UDP", "SCTP", "FWM"];
    let is_service = |line: &&str| KINDS.iter().any(|kind| line.starts_with(kind));
    listing.lines().filter(is_service).count()
}

/// IPVS does not set the status dnat that `enforce` looks at; `listing` is /proc/net/ip_vs.
pub(super) fn ipvs(listing: &str, enforcement: Enforcement) -> Finding {
    const CHECK: &str = "ipvs";
    match (ipvs_services(listing), enforcement == Enforcement::On) {
        (0, _) => Finding::ok(CHECK, "no service is balanced by IPVS"),
        (count, false) => Finding::ok(
            CHECK,
            format!("IPVS balances {count} services; enforce is off, and has to stay so"),
        ),
        (count, true) => Finding::failure(
            CHECK,
            format!(
                "IPVS balances {count} services and enforce is on: their connections would keep a source that breaks them"
            ),
            "set enforce: false, or run kube-proxy in another mode (--proxy-mode=nftables or iptables)",
        ),
    }
}

/// Whether the node forwards; the values of net.ipv4.ip_forward and, where IPv6 is on, net.ipv6.conf.all.forwarding.
pub(super) fn forwarding(ipv4: &str, ipv6: Option<&str>) -> Vec<Finding> {
    const CHECK: &str = "forwarding";
    let families = [
        ("IPv4", "net.ipv4.ip_forward", Some(ipv4)),
        ("IPv6", "net.ipv6.conf.all.forwarding", ipv6),
    ];
    let off: Vec<Finding> = families
        .into_iter()
        .filter(|(_, _, value)| value.is_some_and(|value| value.trim() == "0"))
        .map(|(family, setting, _)| {
            Finding::warning(
                CHECK,
                format!("the node forwards no {family} traffic: its pods reach nothing beyond it"),
                format!("sysctl -w {setting}=1"),
            )
        })
        .collect();
    if off.is_empty() {
        return vec![Finding::ok(CHECK, "the node forwards traffic")];
    }
    off
}

#[cfg(test)]
mod tests {
    use super::super::finding::Outcome;
    use super::*;

    const IP_VS: &str = "IP Virtual Server version 1.2.1 (size=4096)\n\
        Prot LocalAddress:Port Scheduler Flags\n  -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n\
        TCP  0A600001:01BB rr\n  -> 0AF40102:1BBB      Masq    1      0          0\nUDP  0A60000A:0035 rr\n";

    #[test]
    fn enforce_beside_ipvs_services_is_a_failure() {
        let empty = IP_VS.lines().take(3).collect::<Vec<_>>().join("\n");
        for (services, enforces, result) in [
            (IP_VS, true, Outcome::Failure),
            (IP_VS, false, Outcome::Ok),
            (&empty, true, Outcome::Ok),
            ("", true, Outcome::Ok),
        ] {
            let found = ipvs(services, Enforcement::new(enforces, None));
            assert_eq!(found.result, result, "{}", found.finding);
        }
        let found = ipvs(IP_VS, Enforcement::On);
        assert!(found.finding.contains("balances 2 services"));
    }

    #[test]
    fn forwarding_is_asked_of_the_families_that_are_on() {
        assert_eq!(
            forwarding("1\n", None),
            [Finding::ok("forwarding", "the node forwards traffic")]
        );
        assert_eq!(forwarding("0\n", Some("0\n")).len(), 2);
        let [found] = forwarding("1\n", Some("0\n")).try_into().unwrap();
        assert_eq!(
            found.remedy.as_deref(),
            Some("sysctl -w net.ipv6.conf.all.forwarding=1")
        );
    }

    #[test]
    fn the_chain_of_ip_masq_agent_is_found_in_each_family() {
        let chain = |family: &str, table: &str| Chain {
            family: family.to_owned(),
            table: table.to_owned(),
            name: CHAIN_OF_IP_MASQ_AGENT.to_owned(),
        };
        let listing = r#"{"nftables": [
            {"rule": {"chain": "POSTROUTING", "expr": [{"jump": {"target": "KUBE-POSTROUTING"}}]}},
            {"rule": {"chain": "POSTROUTING", "handle": 7, "expr": [{"jump": {"target": "IP-MASQ-AGENT"}}]}},
            {"rule": {"chain": "POSTROUTING", "handle": 9, "expr": [{"jump": {"target": "IP-MASQ-AGENT"}}]}}]}"#;
        let tables = [("ip6 nat".to_owned(), serde_json::from_str(listing).unwrap())];
        let chains = [chain("ip", "nat"), chain("ip6", "nat"), chain("ip", "mine")];
        let [ipv4, ipv6] = ip_masq_agent(&chains, &tables, &LegacyNat::NotLoaded)
            .try_into()
            .unwrap();
        assert!(ipv4.remedy.unwrap().ends_with(
            "on the node: iptables -t nat -F IP-MASQ-AGENT; iptables -t nat -X IP-MASQ-AGENT"
        ));
        assert!(ipv6.remedy.unwrap().contains(
            "nft delete rule ip6 nat POSTROUTING handle 7; nft delete rule ip6 nat POSTROUTING handle 9; ip6tables -t nat -F IP-MASQ-AGENT"
        ));
        for (legacy, result, words) in [
            (LegacyNat::NotLoaded, Outcome::Ok, "nothing is left"),
            (
                LegacyNat::Loaded(vec!["x"]),
                Outcome::Ok,
                "nftables has no chain",
            ),
            (
                LegacyNat::Hidden(String::new()),
                Outcome::Ok,
                "cannot be listed here",
            ),
            (
                LegacyNat::Unknown(String::new()),
                Outcome::Warning,
                "not checked",
            ),
        ] {
            let found = ip_masq_agent(&[chain("ip", "mine")], &[], &legacy);
            let [nothing] = found.try_into().unwrap();
            assert_eq!(nothing.result, result);
            assert!(nothing.finding.contains(words), "{}", nothing.finding);
        }
    }
}
