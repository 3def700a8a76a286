//! The NAT chains of others that may decide otherwise, judged as `doctor` judges them.

use std::fmt;

use serde::Serialize;

use crate::commands::legacy_nat::{self, LegacyNat};
use crate::commands::other_nat::{BaseChain, Judged, Meaning, NatChain, Order, Survey, Traffic};
use crate::in_words;
use crate::policy::NOT_ENFORCED;
use crate::policy::judgement::Verdict;
use crate::ruleset::Family;
use crate::ruleset::names::{ENFORCE_PRIORITY, POSTROUTING_PRIORITY};

/// How many rules of a chain are named.
const RULES_NAMED: usize = 4;

/// What was seen of others.
pub(super) struct Others {
    /// Their base chains, or why they cannot be listed.
    pub(super) survey: Result<Survey, String>,
    pub(super) legacy: [(Family, LegacyNat); 2],
}

/// A NAT chain of another table that translates source addresses, and so may decide otherwise. Names of fields are a contract.
#[derive(Debug, Serialize)]
pub(super) struct OtherChain {
    family: String,
    table: String,
    chain: String,
    priority: i64,
    /// The program that lists its rules: `nft`, `iptables-legacy` or `ip6tables-legacy`.
    listed_by: &'static str,
    /// When it runs, as seen from the daemon's chain that decides.
    runs: Order,
    /// It decides over nothing but [`crate::policy::NOT_ENFORCED`].
    only_translated: bool,
    /// It may decide over such traffic; false: as far as is known, over that of others only.
    pub(super) is_rival: bool,
    /// The rules that decide, with what a packet must be like; none where they cannot be listed.
    rules: Vec<String>,
    /// Why they cannot.
    error: Option<String>,
}

/// How the daemon treats the traffic: from which of its chains others are looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Treatment {
    pub(super) verdict: Verdict,
    pub(super) is_enforced: bool,
}

impl Others {
    /// The chains that packets of this family pass, in the order in which they run, and why not all of them are known.
    pub(super) fn beside(
        &self,
        family: Family,
        traffic: &Traffic,
        treatment: Treatment,
    ) -> (Vec<OtherChain>, Option<String>) {
        let mut unknown: Vec<String> = self.survey.as_ref().err().cloned().into_iter().collect();
        let mut chains = Vec::new();
        for survey in self.survey.iter() {
            let read = survey.base_chains.iter();
            chains.extend(read.filter_map(|base| treatment.chain(base, family, traffic)));
            let unread = survey.unread.iter().filter(|(chain, _)| chain.sees(family));
            chains.extend(
                unread.filter_map(|(chain, why)| {
                    treatment.unseen(chain, "nft", Some(why.to_string()))
                }),
            );
        }
        for (_, legacy) in self.legacy.iter().filter(|(of, _)| *of == family) {
            match legacy {
                LegacyNat::NotLoaded => {}
                LegacyNat::Loaded(_) => {
                    let program = legacy_nat::program(family);
                    chains.extend(treatment.unseen(&legacy_chain(family), program, None));
                }
                LegacyNat::Hidden(why) | LegacyNat::Unknown(why) => {
                    unknown.push(format!("rules of iptables-legacy: {why}"));
                }
            }
        }
        chains.sort_by_key(|chain| chain.priority);
        (chains, (!unknown.is_empty()).then(|| unknown.join("; ")))
    }
}

fn legacy_chain(family: Family) -> NatChain {
    NatChain {
        family: family.name().to_owned(),
        table: "nat".to_owned(),
        name: "POSTROUTING".to_owned(),
        priority: legacy_nat::PRIORITY,
    }
}

impl Treatment {
    /// What the daemon pins to its source.
    fn is_pinned(self) -> bool {
        self.verdict == Verdict::KeepsSource && self.is_enforced
    }

    /// `None`: the chain decides nothing. The first chain that maps a connection decides: what the daemon masquerades, later
    /// chains do not see; what it lets fall through, they do. Of what `enforce` pins, they see what it leaves to those who
    /// translated the destination.
    fn unseen(
        self,
        chain: &NatChain,
        listed_by: &'static str,
        error: Option<String>,
    ) -> Option<OtherChain> {
        let ours = match self.is_pinned() {
            true => ENFORCE_PRIORITY,
            false => POSTROUTING_PRIORITY,
        };
        let runs = chain.runs(ours);
        let comes_too_late = self.verdict == Verdict::Masqueraded && runs == Order::After;
        (!comes_too_late).then(|| OtherChain {
            family: chain.family.clone(),
            table: chain.table.clone(),
            chain: chain.name.clone(),
            priority: chain.priority,
            listed_by,
            runs,
            only_translated: self.is_pinned() && runs == Order::After,
            is_rival: true,
            rules: Vec::new(),
            error,
        })
    }

    fn chain(self, base: &BaseChain, family: Family, traffic: &Traffic) -> Option<OtherChain> {
        if !base.chain.sees(family) {
            return None;
        }
        let judged = base.judged(traffic);
        let may_decide = |judged: &&Judged<'_>| judged.meaning.may_decide();
        let is_rival = judged.iter().any(|judged| may_decide(&judged));
        let decides = |judged: &&Judged<'_>| match is_rival {
            true => may_decide(judged),
            false => judged.meaning != Meaning::Nothing,
        };
        let rules = judged.iter().filter(decides);
        let rules: Vec<String> = rules.map(|judged| judged.rule.to_string()).collect();
        let seen = self.unseen(&base.chain, "nft", None)?;
        (!rules.is_empty()).then_some(OtherChain {
            is_rival,
            rules,
            ..seen
        })
    }
}

/// For people; names are anyone's to choose.
impl fmt::Display for OtherChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (table, chain) = (self.table.escape_debug(), self.chain.escape_debug());
        match self.listed_by {
            "nft" => write!(f, "table {} {table}", self.family)?,
            program => write!(f, "table {table} of {program}")?,
        }
        write!(
            f,
            ", chain {chain}, priority {} ({}) ",
            self.priority, self.runs
        )?;
        match self.is_rival {
            true => f.write_str("may decide otherwise")?,
            false => f.write_str("decides over other traffic")?,
        }
        if self.only_translated {
            write!(f, " for {NOT_ENFORCED}")?;
        }
        match (self.rules.as_slice(), &self.error) {
            ([], Some(error)) => {
                write!(f, ": its rules cannot be listed: {}", error.escape_debug())
            }
            ([], None) => write!(f, ": see {} -t nat -S", self.listed_by),
            (rules, _) => {
                let rules: Vec<_> = rules.iter().map(|rule| rule.escape_debug()).collect();
                write!(f, ": {}", in_words::first(&rules, RULES_NAMED, ", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_that_come_too_late_are_not_named_or_only_for_what_is_not_enforced() {
        let named = |verdict, is_enforced| -> Vec<(i64, Order)> {
            let treatment = Treatment {
                verdict,
                is_enforced,
            };
            let chains = [80, 90, 100, 110, 120].map(|priority| NatChain {
                priority,
                ..legacy_chain(Family::Ip)
            });
            let named = chains
                .iter()
                .filter_map(|chain| treatment.unseen(chain, "nft", None));
            named
                .inspect(|chain| {
                    let is_late = treatment.is_pinned() && chain.runs == Order::After;
                    assert_eq!(chain.only_translated, is_late, "{chain:?}");
                })
                .map(|chain| (chain.priority, chain.runs))
                .collect()
        };
        let up_to_ours = [
            (80, Order::Before),
            (90, Order::Before),
            (100, Order::Before),
            (110, Order::BeforeOrAfter),
        ];
        let all = [up_to_ours.as_slice(), &[(120, Order::After)]].concat();
        let pinned = [
            (80, Order::Before),
            (90, Order::BeforeOrAfter),
            (100, Order::After),
            (110, Order::After),
            (120, Order::After),
        ];
        for (verdict, enforce, expected) in [
            (Verdict::Masqueraded, false, up_to_ours.as_slice()),
            (Verdict::Masqueraded, true, &up_to_ours),
            (Verdict::KeepsSource, false, &all),
            (Verdict::KeepsSource, true, &pinned),
            (Verdict::LeftAlone, true, &all),
        ] {
            assert_eq!(named(verdict, enforce), expected, "{verdict:?} {enforce}");
        }
    }
}
