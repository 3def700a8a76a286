//! Other base chains that translate source addresses, rule by rule, and what that means for exempt destinations.

use super::enforcement::Enforcement;
use super::finding::{Finding, program_of_nft, rule_deletion, shell_word};
use super::iptables_legacy;
use crate::commands::legacy_nat::LegacyNat;
use crate::commands::other_nat::{
    BaseChain, Doubt, Harm, Judged, Meaning, NatChain, OF_OTHERS, Order, Survey, Traffic, WayOut,
    Writer,
};
use crate::daemon::worker::WorkerError;
use crate::in_words;
use crate::policy::NOT_ENFORCED;
use crate::ruleset::Family;
use crate::ruleset::names::POSTROUTING_PRIORITY;

pub(super) const CHECK: &str = "other-nat";
/// How many rules one finding names, and the commands of its remedy delete.
const RULES_NAMED: usize = 4;

/// What to say of the chains of others.
pub(super) fn findings(
    survey: &Survey,
    traffic: &Traffic,
    enforcement: Enforcement,
    legacy: &LegacyNat,
) -> Vec<Finding> {
    let chains = survey.base_chains.iter();
    let judged = chains.flat_map(|base| of_base_chain(base, traffic, enforcement));
    let unchecked = survey.unread.iter();
    let unchecked = unchecked.map(|(chain, why)| unchecked_table(chain, why));
    let found: Vec<Finding> = unchecked.chain(judged).collect();
    if found.is_empty() {
        let said = "no other base chain on postrouting masquerades or translates source addresses";
        let said = match iptables_legacy::caveat(legacy) {
            Some(caveat) => format!("{said}; {caveat}"),
            None => said.to_owned(),
        };
        return vec![Finding::ok(CHECK, said)];
    }
    found
}

fn unchecked_table(chain: &NatChain, why: &WorkerError) -> Finding {
    let NatChain { family, table, .. } = chain;
    let by = match why {
        death if death.is_a_crash() => "with a newer nft",
        _ => "by hand",
    };
    let word = shell_word(table);
    let remedy = format!("look for masquerade and snat in it {by}: nft list table {family} {word}");
    Finding::unchecked(CHECK, format!("table {family} {table}: {why}"), &remedy)
}

/// One finding for each writer, and for each thing that its rules mean.
fn of_base_chain(base: &BaseChain, traffic: &Traffic, enforcement: Enforcement) -> Vec<Finding> {
    let mut alike: Vec<Vec<Judged<'_>>> = Vec::new();
    let name = |judged: &Judged<'_>| judged.writer.map(|writer| writer.name);
    for judged in base.judged(traffic) {
        let is_alike =
            |other: &Judged<'_>| name(other) == name(&judged) && other.meaning == judged.meaning;
        let mut groups = alike.iter_mut();
        match groups.find(|group| group.first().is_some_and(is_alike)) {
            Some(group) => group.push(judged),
            None => alike.push(vec![judged]),
        }
    }
    let findings = alike.iter().filter_map(|group| {
        let (first, _) = group.split_first()?;
        Some(of_rules(
            base,
            first.writer,
            first.meaning,
            group,
            traffic,
            enforcement,
        ))
    });
    findings.collect()
}

fn of_rules(
    base: &BaseChain,
    writer: Option<&Writer>,
    meaning: Meaning,
    rules: &[Judged<'_>],
    traffic: &Traffic,
    enforcement: Enforcement,
) -> Finding {
    let said = described(base, writer, rules);
    let is_enforced = enforcement == Enforcement::On && base.is_enforced();
    let takes_address = takes_address(&base.chain, traffic);
    let ok = |why: String| Finding::ok(CHECK, format!("{said}; {why}"));
    let in_the_way = |condition: &str, way_out: String| {
        let remedy = match enforcement {
            Enforcement::Off if base.is_enforced() && !takes_address => {
                format!("{way_out}; or set enforce: true")
            }
            _ => way_out,
        };
        let harms = harms(!is_enforced, takes_address);
        Finding::warning(CHECK, format!("{said}; {condition}{harms}"), remedy)
    };
    match meaning {
        Meaning::Nothing => ok("it sees no traffic of pods".to_owned()),
        Meaning::Right(what) => ok(format!("{what}, which is right")),
        Meaning::OfOthers {
            what,
            harm: Some(harm),
        } if is_enforced => harmed(&said, what, harm, writer.is_some()),
        Meaning::OfOthers { what, .. } => ok(format!("{what}, no rival of the pods' traffic")),
        Meaning::Unclear(Doubt::Hidden { harm: Some(harm) }) if is_enforced => {
            harmed(&said, OF_OTHERS, harm, false)
        }
        Meaning::Unclear(_) | Meaning::Rival(_) if is_enforced && !takes_address => ok(format!(
            "our chain enforce comes first, so exempt destinations keep their source, but for {NOT_ENFORCED}"
        )),
        Meaning::Unclear(doubt) => {
            in_the_way("if that is traffic of pods, ", clearing(doubt, base, rules))
        }
        Meaning::Rival(way_out) => in_the_way(
            "",
            match way_out {
                WayOut::Setting(setting) => setting.to_owned(),
                WayOut::Remains => "see the check ip-masq-agent".to_owned(),
                WayOut::Deletion => deletion(base, rules),
            },
        ),
    }
}

/// What a chain does against the configuration, in words.
fn harms(takes_exempt: bool, takes_address: bool) -> String {
    let harms = [
        takes_exempt.then_some("exempt destinations may be masqueraded all the same"),
        takes_address.then_some(
            "what it masquerades gets that chain's address, not that of snatAddressCIDRs",
        ),
    ];
    in_words::all(harms.into_iter().flatten(), ", and ")
}

/// What it masquerades does not come to the daemon's chain, which would give it the address that is chosen.
fn takes_address(chain: &NatChain, traffic: &Traffic) -> bool {
    let is_seen = |family: &Family| chain.sees(*family);
    let comes_first = chain.runs(POSTROUTING_PRIORITY) != Order::After;
    comes_first && traffic.has_chosen_address.iter().any(is_seen)
}

/// What shows whether the rules concern pods.
fn clearing(doubt: Doubt, base: &BaseChain, rules: &[Judged<'_>]) -> String {
    match doubt {
        Doubt::Hidden { .. } => format!(
            "see whether it has a `!` and so concerns pods: {}",
            listing(base, rules)
        ),
        Doubt::Sources => format!(
            "name the pods' CIDRs in sourceCIDRs, then it is known whether that concerns them; {}",
            deletion(base, rules)
        ),
    }
}

/// Of rules that someone needs, who may not be known.
fn harmed(said: &str, what: &str, harm: Harm, is_known: bool) -> Finding {
    let said = format!(
        "{said}; enforce comes first, so that {what} would reach exempt destinations without it"
    );
    let remedy = match harm {
        Harm::OfNodeTraffic => {
            "set masqNodeTraffic: false: what the node itself sends is then left to that rule"
        }
        Harm::OfForwardedTraffic => {
            "set sourceCIDRs to the pods' CIDRs and to no others: all other traffic is then left to that rule"
        }
    };
    match is_known {
        true => Finding::failure(CHECK, said, remedy),
        false => Finding::warning(CHECK, said, remedy),
    }
}

fn described(base: &BaseChain, writer: Option<&Writer>, rules: &[Judged<'_>]) -> String {
    let by = writer.map_or(String::new(), |writer| format!(", by {}", writer.name));
    let what = if rules.iter().all(|judged| judged.rule.masquerades) {
        "masquerades"
    } else {
        "translates sources"
    };
    let NatChain {
        family,
        table,
        name,
        priority,
    } = &base.chain;
    let places: Vec<String> = rules.iter().map(|judged| judged.rule.to_string()).collect();
    format!(
        "table {family} {table} {what} from chain {name}, priority {priority}, {}: {}{by}",
        position(&base.chain),
        in_words::first(&places, RULES_NAMED, ", "),
    )
}

fn position(chain: &NatChain) -> String {
    let ours = POSTROUTING_PRIORITY;
    match chain.runs(ours) {
        Order::Before => format!("before ours ({ours})"),
        Order::BeforeOrAfter => format!("as ours ({ours}), in an undefined order"),
        Order::After => format!("after ours ({ours})"),
    }
}

/// The commands that show the rules whole. Matches that nft shows by name only are of iptables-nft.
fn listing(base: &BaseChain, rules: &[Judged<'_>]) -> String {
    let program = program_of_nft(&base.chain.family);
    let table = shell_word(&base.chain.table);
    let mut chains: Vec<&str> = rules.iter().map(|judged| &*judged.rule.chain).collect();
    chains.dedup();
    let commands = chains.into_iter().take(RULES_NAMED);
    let commands = commands.map(|chain| format!("{program} -t {table} -S {}", shell_word(chain)));
    in_words::all(commands, "; ")
}

/// The commands that delete the rules.
fn deletion(base: &BaseChain, rules: &[Judged<'_>]) -> String {
    let NatChain { family, table, .. } = &base.chain;
    let named = rules.iter().take(RULES_NAMED).map(|judged| judged.rule);
    let commands = named.map(|rule| rule_deletion(family, table, &rule.chain, rule.handle));
    format!("if nobody needs it: {}", in_words::all(commands, "; "))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::super::finding::Outcome;
    use super::*;
    use crate::commands::other_nat::NatTable;
    use crate::commands::pods::PodSources;

    const OFF: Enforcement = Enforcement::Off;

    fn judged(base: BaseChain, enforcement: Enforcement) -> Vec<Finding> {
        let survey = Survey {
            base_chains: vec![base],
            ..Survey::default()
        };
        let traffic = Traffic {
            pods: PodSources::Guessed(vec!["10.244.1.0/24".parse().unwrap()]),
            ..Traffic::default()
        };
        findings(&survey, &traffic, enforcement, &LegacyNat::NotLoaded)
    }

    /// Each rule masquerades what `matched` says; its handle is 41 and so on.
    fn base(table: &str, priority: i64, rules: &[(&str, Value)]) -> BaseChain {
        let jumps = rules.iter().map(|(chain, _)| {
            let expr = json!([{"jump": {"target": chain}}]);
            json!({"rule": {"chain": "POSTROUTING", "expr": expr}})
        });
        let masquerading = rules.iter().zip(41..).map(|((chain, matched), handle)| {
            let expr = json!([matched, {"masquerade": null}]);
            json!({"rule": {"chain": chain, "handle": handle, "expr": expr}})
        });
        let all: Vec<Value> = jumps.chain(masquerading).collect();
        let read: NatTable = serde_json::from_value(json!({"nftables": all})).unwrap();
        BaseChain {
            chain: NatChain {
                family: "ip".to_owned(),
                table: table.to_owned(),
                name: "POSTROUTING".to_owned(),
                priority,
            },
            rules: read.source_nat_rules("POSTROUTING"),
            remains: Vec::new(),
        }
    }

    fn all() -> Value {
        json!({"counter": null})
    }

    fn by_mark() -> Value {
        json!({"match": {"op": "==", "left": {"meta": {"key": "mark"}}, "right": 7}})
    }

    #[test]
    fn rules_of_nobody_known_are_named_with_the_commands_that_delete_them() {
        let found = judged(base("vpn", 100, &[("p", all()), ("q", all())]), OFF);
        let [finding] = found.try_into().unwrap();
        assert_eq!(finding.result, Outcome::Warning);
        let said = finding.finding;
        assert!(
            said.contains("before ours (110): chain p rule 1, chain q rule 1; "),
            "{said}"
        );
        assert_eq!(
            finding.remedy.unwrap(),
            "if nobody needs it: nft delete rule ip vpn p handle 41; nft delete rule ip vpn q handle 42; or set enforce: true"
        );
    }

    #[test]
    fn the_priority_says_who_comes_first() {
        for (priority, words, enforce_mends) in [
            (80, "before ours (110)", false),
            (90, "before ours (110)", false),
            (110, "as ours (110), in an undefined order", true),
            (120, "after ours (110)", true),
        ] {
            let base = base("vpn", priority, &[("p", all())]);
            let [plain] = judged(base.clone(), OFF).try_into().unwrap();
            assert!(plain.finding.contains(words), "{}", plain.finding);
            let remedy = plain.remedy.unwrap();
            assert_eq!(remedy.contains("enforce: true"), enforce_mends, "{remedy}");
            let [enforced] = judged(base, Enforcement::On).try_into().unwrap();
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
            ("firewalld", "nat_POST_public_allow", "--remove-masquerade"),
        ] {
            let [finding] = judged(base(table, 100, &[(chain, all())]), OFF)
                .try_into()
                .unwrap();
            assert_eq!(finding.result, Outcome::Warning);
            let remedy = finding.remedy.unwrap();
            assert!(remedy.contains(setting), "{chain}: {remedy}");
            assert!(!remedy.contains("delete"), "{chain}: {remedy}");
        }
    }

    #[test]
    fn what_kube_proxy_masquerades_by_its_mark_is_right_and_nothing_else_of_it() {
        for (chain, matched, result) in [
            ("KUBE-POSTROUTING", by_mark(), Outcome::Ok),
            ("KUBE-POSTROUTING", all(), Outcome::Warning),
            ("CNI-HOSTPORT-MASQ", by_mark(), Outcome::Ok),
            ("CNI-HOSTPORT-MASQ", all(), Outcome::Warning),
        ] {
            let [finding] = judged(base("nat", 100, &[(chain, matched)]), OFF)
                .try_into()
                .unwrap();
            assert_eq!(finding.result, result);
        }
    }

    #[test]
    fn what_kube_proxy_masquerades_before_it_looks_at_the_mark_is_right_too() {
        let result_of = |chain: &str, matched: [Value; 2]| {
            let rules = matched.map(|matched| (chain, matched));
            let [finding] = judged(base("nat", 100, &rules), OFF).try_into().unwrap();
            finding.result
        };
        let hairpin_first = [all(), by_mark()];
        assert_eq!(
            result_of("KUBE-POSTROUTING", hairpin_first.clone()),
            Outcome::Ok
        );
        assert_eq!(
            result_of("CNI-HOSTPORT-MASQ", hairpin_first),
            Outcome::Warning
        );
        assert_eq!(
            result_of("KUBE-POSTROUTING", [all(), all()]),
            Outcome::Warning
        );
    }

    #[test]
    fn enforce_is_not_advised_where_it_must_not_be_on() {
        for chain in ["p", "FLANNEL-POSTRTG"] {
            let base = base("vpn", 100, &[(chain, all())]);
            let [found] = judged(base, Enforcement::Harmful).try_into().unwrap();
            assert_eq!(found.result, Outcome::Warning);
            let remedy = found.remedy.unwrap();
            assert!(!remedy.contains("enforce"), "{remedy}");
        }
    }

    #[test]
    fn each_writer_and_each_meaning_has_a_finding_of_its_own() {
        let rules = [
            ("KUBE-POSTROUTING", by_mark()),
            ("CNI-a", all()),
            ("CNI-b", all()),
            ("p", by_mark()),
            ("q", all()),
            ("q", all()),
        ];
        let found = judged(base("nat", 100, &rules), OFF);
        let results: Vec<Outcome> = found.iter().map(|finding| finding.result).collect();
        use Outcome::{Ok, Warning};
        // The fourth has the mark, and the last is told with the one before it.
        assert_eq!(results, [Ok, Warning, Ok, Warning], "{found:?}");
    }

    #[test]
    fn where_a_table_took_too_long_to_be_read_nothing_is_said_to_be_well() {
        let hung = WorkerError::Hung {
            deadline: Duration::from_secs(5),
            said: String::new(),
        };
        let survey = Survey {
            unread: vec![(base("kube-proxy", 100, &[]).chain, hung)],
            ..Survey::default()
        };
        let found = findings(&survey, &Traffic::default(), OFF, &LegacyNat::NotLoaded);
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
        let survey = Survey::default();
        let found = findings(&survey, &Traffic::default(), OFF, &hidden);
        let [found] = found.try_into().unwrap();
        assert!(found.finding.contains("cannot be listed"), "{found:?}");
    }
}
