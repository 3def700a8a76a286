//! Other base chains that translate source addresses, rule by rule, and what that means for exempt destinations.

use super::enforcement::Enforcement;
use super::finding::{Finding, rule_deletion, shell_word};
use super::legacy;
use super::writers::{Judgement, Writer};
use crate::commands::legacy_nat::LegacyNat;
use crate::commands::other_nat::{NatChain, SourceNatRule};
use crate::daemon::worker::WorkerError;
use crate::in_words;
use crate::policy::NOT_ENFORCED;
use crate::ruleset::names::{ENFORCE_PRIORITY, POSTROUTING_PRIORITY};

const CHECK: &str = "other-nat";
/// How many rules the commands of one remedy delete.
const RULES_NAMED: usize = 4;

/// A foreign base chain of type nat in the hook postrouting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BaseChain {
    pub(super) chain: NatChain,
    /// The rules that translate source addresses, in it and in the chains that it leads to.
    pub(super) rules: Vec<SourceNatRule>,
}

/// What to say of the chains of others. `unread`: a chain of each table that cannot be read, and why.
pub(super) fn findings(
    chains: &[BaseChain],
    unread: &[(NatChain, WorkerError)],
    enforcement: Enforcement,
    legacy_nat: &LegacyNat,
) -> Vec<Finding> {
    let judged = chains
        .iter()
        .flat_map(|base| of_base_chain(base, enforcement));
    let unchecked = unread.iter().map(|(chain, why)| unchecked(chain, why));
    let found: Vec<Finding> = unchecked.chain(judged).collect();
    if found.is_empty() {
        let said = "no other base chain on postrouting masquerades or translates source addresses";
        let said = match legacy::caveat(legacy_nat) {
            Some(caveat) => format!("{said}; {caveat}"),
            None => said.to_owned(),
        };
        return vec![Finding::ok(CHECK, said)];
    }
    found
}

fn unchecked(chain: &NatChain, why: &WorkerError) -> Finding {
    let NatChain { family, table, .. } = chain;
    let by = match why {
        death if death.is_a_crash() => "with a newer nft",
        _ => "by hand",
    };
    let word = shell_word(table);
    let remedy = format!("look for masquerade and snat in it {by}: nft list table {family} {word}");
    Finding::unchecked(CHECK, format!("table {family} {table}: {why}"), &remedy)
}

/// One finding for each writer.
fn of_base_chain(base: &BaseChain, enforcement: Enforcement) -> Vec<Finding> {
    let mut by_writer: Vec<(Option<&'static Writer>, Vec<&SourceNatRule>)> = Vec::new();
    for rule in &base.rules {
        let writer = Writer::of(&base.chain.table, &rule.chain);
        let name = |writer: Option<&Writer>| writer.map(|writer| writer.name);
        match by_writer
            .iter_mut()
            .find(|(known, _)| name(*known) == name(writer))
        {
            Some((_, rules)) => rules.push(rule),
            None => by_writer.push((writer, vec![rule])),
        }
    }
    let judged = by_writer.into_iter();
    judged
        .map(|(writer, rules)| judged_rules(base, writer, &rules, enforcement))
        .collect()
}

fn judged_rules(
    base: &BaseChain,
    writer: Option<&Writer>,
    rules: &[&SourceNatRule],
    enforcement: Enforcement,
) -> Finding {
    let said = described(base, writer, rules);
    if let Some(what) = writer.and_then(|writer| writer.right(rules)) {
        return Finding::ok(CHECK, format!("{said}; {what}, which is right"));
    }
    let enforce_comes_first = base.chain.priority > i64::from(ENFORCE_PRIORITY);
    if enforcement == Enforcement::On && enforce_comes_first {
        let said = format!(
            "{said}; our chain enforce comes first, so exempt destinations keep their source, but for {NOT_ENFORCED}"
        );
        return Finding::ok(CHECK, said);
    }
    let way_out = match writer.map(|writer| &writer.judgement) {
        Some(Judgement::Wrong { setting } | Judgement::RightByMark { setting }) => {
            (*setting).to_owned()
        }
        Some(Judgement::Right { .. }) | None => deletion(base, rules),
    };
    let remedy = if enforcement == Enforcement::Off && enforce_comes_first {
        format!("{way_out}; or set enforce: true")
    } else {
        way_out
    };
    Finding::warning(
        CHECK,
        format!("{said}; exempt destinations may be masqueraded all the same"),
        remedy,
    )
}

fn described(base: &BaseChain, writer: Option<&Writer>, rules: &[&SourceNatRule]) -> String {
    let by = writer.map_or(String::new(), |writer| format!(", by {}", writer.name));
    let what = if rules.iter().all(|rule| rule.masquerades) {
        "masquerades"
    } else {
        "translates sources"
    };
    let places: Vec<String> = rules
        .iter()
        .map(|rule| format!("chain {} rule {}", rule.chain, rule.number))
        .collect();
    format!(
        "table {} {} {what} from chain {}, priority {}, {}: {}{by}",
        base.chain.family,
        base.chain.table,
        base.chain.name,
        base.chain.priority,
        position(base.chain.priority),
        in_words::first(&places, RULES_NAMED, ", "),
    )
}

fn position(priority: i64) -> String {
    let ours = i64::from(POSTROUTING_PRIORITY);
    match priority.cmp(&ours) {
        std::cmp::Ordering::Less => format!("before ours ({ours})"),
        std::cmp::Ordering::Equal => format!("as ours ({ours}), in an undefined order"),
        std::cmp::Ordering::Greater => format!("after ours ({ours})"),
    }
}

/// The commands that delete the rules.
fn deletion(base: &BaseChain, rules: &[&SourceNatRule]) -> String {
    let BaseChain {
        chain: NatChain { family, table, .. },
        ..
    } = base;
    let named = rules.iter().take(RULES_NAMED);
    let commands = named.map(|rule| rule_deletion(family, table, &rule.chain, rule.handle));
    format!("if nobody needs it: {}", in_words::all(commands, "; "))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::finding::Outcome;
    use super::*;

    const OFF: Enforcement = Enforcement::Off;

    fn judged(chains: &[BaseChain], enforcement: Enforcement) -> Vec<Finding> {
        findings(chains, &[], enforcement, &LegacyNat::NotLoaded)
    }

    fn rule(chain: &str, number: usize, looks_at_mark: bool) -> SourceNatRule {
        SourceNatRule {
            chain: chain.to_owned(),
            number,
            handle: 40 + u64::try_from(number).unwrap(),
            masquerades: true,
            looks_at_mark,
        }
    }

    fn base(family: &str, table: &str, priority: i64, rules: Vec<SourceNatRule>) -> BaseChain {
        BaseChain {
            chain: NatChain {
                family: family.to_owned(),
                table: table.to_owned(),
                name: "POSTROUTING".to_owned(),
                priority,
            },
            rules,
        }
    }

    #[test]
    fn a_rule_of_nobody_known_is_named_with_the_command_that_deletes_it() {
        let rules = vec![rule("POSTROUTING", 2, false), rule("POSTROUTING", 5, false)];
        for (family, table, commands) in [
            (
                "ip6",
                "nat",
                "nft delete rule ip6 nat POSTROUTING handle 42; nft delete rule ip6 nat POSTROUTING handle 45",
            ),
            (
                "inet",
                "vpn",
                "nft delete rule inet vpn POSTROUTING handle 42; ",
            ),
        ] {
            let found = judged(&[base(family, table, 100, rules.clone())], OFF);
            let [finding] = found.as_slice() else {
                panic!("{found:?}")
            };
            assert_eq!(finding.result, Outcome::Warning);
            assert!(
                finding.finding.contains("before ours (110)"),
                "{}",
                finding.finding
            );
            let remedy = finding.remedy.clone().unwrap();
            assert!(
                remedy.contains(commands) && remedy.ends_with("or set enforce: true"),
                "{remedy}"
            );
        }
    }

    #[test]
    fn the_priority_says_who_comes_first() {
        for (priority, words, enforce_mends) in [
            (80, "before ours (110)", false),
            (90, "before ours (110)", false),
            (110, "as ours (110), in an undefined order", true),
            (120, "after ours (110)", true),
        ] {
            let chains = [base("ip", "vpn", priority, vec![rule("p", 1, false)])];
            let [plain] = judged(&chains, OFF).try_into().unwrap();
            assert!(plain.finding.contains(words), "{}", plain.finding);
            let remedy = plain.remedy.unwrap();
            assert_eq!(remedy.contains("enforce: true"), enforce_mends, "{remedy}");
            let [enforced] = judged(&chains, Enforcement::On).try_into().unwrap();
            assert_eq!(enforced.result == Outcome::Ok, enforce_mends, "{priority}");
            let are_excepted = enforced.finding.contains("(Services)");
            assert_eq!(are_excepted, enforce_mends, "{}", enforced.finding);
        }
    }

    #[test]
    fn known_writers_are_named_with_the_setting_that_turns_them_off() {
        for (table, chain, setting) in [
            ("nat", "CNI-0123456789abcdef01234567", "\"ipMasq\": false"),
            ("cni_plugins_masquerade", "masq_checks", "\"ipMasq\": false"),
            ("nat", "FLANNEL-POSTRTG", "--ip-masq"),
            ("flannel-ipv4", "postrtg", "--ip-masq"),
            ("nat", "cali-nat-outgoing", "natOutgoing: false"),
            ("nat", "CILIUM_POST_nat", "masquerade to false"),
            ("nat", "AWS-SNAT-CHAIN-0", "EXTERNALSNAT=true"),
            ("nat", "IP-MASQ-AGENT", "see the check ip-masq-agent"),
        ] {
            let chains = [base("ip", table, 100, vec![rule(chain, 1, false)])];
            let [finding] = judged(&chains, OFF).try_into().unwrap();
            assert_eq!(finding.result, Outcome::Warning);
            let remedy = finding.remedy.unwrap();
            assert!(remedy.contains(setting), "{chain}: {remedy}");
        }
    }

    #[test]
    fn what_kube_proxy_masquerades_by_its_mark_is_right_and_nothing_else_of_it() {
        for (chain, looks_at_mark, result) in [
            ("KUBE-POSTROUTING", true, Outcome::Ok),
            ("KUBE-POSTROUTING", false, Outcome::Warning),
            ("CNI-HOSTPORT-MASQ", true, Outcome::Ok),
            ("CNI-HOSTPORT-MASQ", false, Outcome::Warning),
        ] {
            let rules = vec![rule(chain, 3, looks_at_mark)];
            let [finding] = judged(&[base("ip", "nat", 100, rules)], OFF)
                .try_into()
                .unwrap();
            assert_eq!(finding.result, result);
        }
    }

    #[test]
    fn what_kube_proxy_masquerades_before_it_looks_at_the_mark_is_right_too() {
        let result_of = |chain: &str, rules: [(usize, bool); 2]| {
            let rules = rules.map(|(number, looks_at_mark)| rule(chain, number, looks_at_mark));
            let [finding] = judged(&[base("ip", "nat", 100, rules.to_vec())], OFF)
                .try_into()
                .unwrap();
            finding.result
        };
        let hairpin_first = [(1, false), (4, true)];
        assert_eq!(result_of("KUBE-POSTROUTING", hairpin_first), Outcome::Ok);
        assert_eq!(
            result_of("CNI-HOSTPORT-MASQ", hairpin_first),
            Outcome::Warning
        );
        let all = [(1, false), (2, false)];
        assert_eq!(result_of("KUBE-POSTROUTING", all), Outcome::Warning);
    }

    #[test]
    fn enforce_is_not_advised_where_it_must_not_be_on() {
        for chain in ["p", "FLANNEL-POSTRTG"] {
            let chains = [base("ip", "vpn", 100, vec![rule(chain, 1, false)])];
            let [found] = judged(&chains, Enforcement::Harmful).try_into().unwrap();
            assert_eq!(found.result, Outcome::Warning);
            let remedy = found.remedy.unwrap();
            assert!(!remedy.contains("enforce"), "{remedy}");
        }
    }

    #[test]
    fn each_writer_of_a_chain_has_a_finding_of_its_own() {
        let rules = vec![
            rule("KUBE-POSTROUTING", 3, true),
            rule("CNI-a", 2, false),
            rule("CNI-b", 2, false),
        ];
        let found = judged(&[base("ip", "nat", 100, rules)], OFF);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(judged(&[], OFF).len(), 1);
    }

    #[test]
    fn where_a_table_took_too_long_to_be_read_nothing_is_said_to_be_well() {
        let hung = WorkerError::Hung {
            deadline: Duration::from_secs(5),
            said: String::new(),
        };
        let unread = [(base("ip", "kube-proxy", 100, vec![]).chain, hung)];
        let found = findings(&[], &unread, OFF, &LegacyNat::NotLoaded);
        let [finding] = found.try_into().unwrap();
        assert_eq!(finding.result, Outcome::Warning);
        assert_eq!(
            finding.remedy.unwrap(),
            "look for masquerade and snat in it by hand: nft list table ip kube-proxy"
        );
    }

    #[test]
    fn that_nothing_is_found_is_said_of_nftables_alone_where_iptables_legacy_is_not_seen() {
        let hidden = LegacyNat::Hidden(String::new());
        let [found] = findings(&[], &[], OFF, &hidden).try_into().unwrap();
        assert!(found.finding.contains("cannot be listed"), "{found:?}");
    }
}
