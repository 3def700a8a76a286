//! What masquerade agents have left: ip-masq-agent, ip-masq-agent-v2 and whoever writes alike, and the kubelet with kubenet.

use super::finding::{Finding, program_of_nft, rule_deletion, shell_word};
use super::iptables_legacy;
use crate::commands::legacy_nat::LegacyNat;
use crate::commands::other_nat::{Agent, Remains};

pub(super) const CHECK: &str = "ip-masq-agent";

pub(super) fn findings(remains: &[Remains], legacy: &LegacyNat) -> Vec<Finding> {
    match remains {
        [] => vec![nothing_in_nftables(legacy)],
        remains => remains.iter().map(finding).collect(),
    }
}

fn nothing_in_nftables(legacy: &LegacyNat) -> Finding {
    const NONE: &str =
        "nftables has no chain of an agent (as IP-MASQ-AGENT), and no rule of kubenet";
    match (legacy, iptables_legacy::caveat(legacy)) {
        (_, None) => Finding::ok(CHECK, format!("nothing is left: {NONE}")),
        (LegacyNat::Loaded(_) | LegacyNat::Hidden(_), Some(caveat)) => {
            Finding::ok(CHECK, format!("{NONE}; {caveat}"))
        }
        (_, Some(caveat)) => {
            let said = format!("{NONE}, but {caveat}");
            Finding::unchecked(CHECK, said, iptables_legacy::ON_THE_NODE)
        }
    }
}

fn finding(remains: &Remains) -> Finding {
    let family = &remains.family;
    let rules = remains.rules.iter();
    let deletions = rules.map(|(chain, handle)| rule_deletion(family, "nat", chain, *handle));
    let mut commands: Vec<String> = deletions.collect();
    let (said, first) = match &remains.agent {
        Agent::Chain(chain) => {
            let program = program_of_nft(family);
            let word = shell_word(chain);
            commands.extend(["-F", "-X"].map(|does| format!("{program} -t nat {does} {word}")));
            (
                format!("the chain {chain} of a masquerade agent, which outlives it"),
                "remove its DaemonSet",
            )
        }
        Agent::Kubenet => (
            "a rule as the kubelet's with kubenet".to_owned(),
            "have the kubelet write none (--non-masquerade-cidr=0.0.0.0/0, or another network plugin)",
        ),
    };
    Finding::warning(
        CHECK,
        format!("table {family} nat has {said}; it comes before this daemon's rules"),
        format!("{first}, then on the node: {}", commands.join("; ")),
    )
}

#[cfg(test)]
mod tests {
    use super::super::finding::Outcome;
    use super::*;

    #[test]
    fn what_is_left_is_told_for_each_family_with_the_commands_that_remove_it() {
        let remains = |family: &str, handles: &[u64]| Remains {
            family: family.to_owned(),
            agent: Agent::Chain("IP-MASQ-AGENT".to_owned()),
            rules: handles
                .iter()
                .map(|handle| ("POSTROUTING".to_owned(), *handle))
                .collect(),
        };
        let remains = [remains("ip", &[]), remains("ip6", &[7, 9])];
        let found = findings(&remains, &LegacyNat::NotLoaded);
        let [ipv4, ipv6] = found.try_into().unwrap();
        assert!(ipv4.remedy.unwrap().ends_with(
            "on the node: iptables -t nat -F IP-MASQ-AGENT; iptables -t nat -X IP-MASQ-AGENT"
        ));
        assert!(ipv6.remedy.unwrap().contains(
            "nft delete rule ip6 nat POSTROUTING handle 7; nft delete rule ip6 nat POSTROUTING handle 9; ip6tables -t nat -F IP-MASQ-AGENT"
        ));
    }

    #[test]
    fn that_nothing_is_left_is_said_only_where_all_rules_were_seen() {
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
            let [nothing] = findings(&[], &legacy).try_into().unwrap();
            assert_eq!(nothing.result, result);
            assert!(nothing.finding.contains(words), "{}", nothing.finding);
        }
    }
}
