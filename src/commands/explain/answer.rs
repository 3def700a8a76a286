//! The answer for one destination, as `--format json` has it. Names of fields are a contract.

use std::net::IpAddr;

use serde::Serialize;

use super::kernel_view::{KernelView, Rival, State, TableAnswer};
use super::verdict::{Condition, Decision, Reason, Verdict};
use crate::commands::other_nat::NatChain;
use crate::config::provenance::CidrPlace;
use crate::in_words;
use crate::policy::Policy;
use crate::policy::prefix_table::Origin;
use crate::ruleset::names::{ENFORCE_PRIORITY, POSTROUTING_PRIORITY};

/// What is said of one destination.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    pub(super) destination: IpAddr,
    /// Why nothing can be said; the other fields are empty then.
    pub(super) error: Option<String>,
    pub(super) verdict: Option<Verdict>,
    /// Why traffic is left alone.
    pub(super) reason: Option<Reason>,
    pub(super) decided_by: Option<DecidedBy>,
    /// What else must hold for the verdict, where no source was given.
    pub(super) conditions: Vec<String>,
    pub(super) kernel: Option<KernelAnswer>,
    /// In the order in which they run.
    pub(super) other_chains: Vec<OtherChain>,
    /// Why not all other chains are known.
    pub(super) other_chains_error: Option<String>,
}

/// The configured prefix that decides.
#[derive(Debug, Serialize)]
pub(super) struct DecidedBy {
    pub(super) cidr: String,
    /// `nonMasqueradeCIDRs`, `masqueradeCIDRs` or `link-local`.
    pub(super) list: &'static str,
    /// It stands in no file.
    pub(super) is_default: bool,
    /// None: in no file.
    pub(super) place: Option<CidrPlace>,
}

/// What the kernel's table says.
#[derive(Debug, Serialize)]
pub(super) struct KernelAnswer {
    /// `read`, `missing`, `unreadable`, `unknown` or `not_permitted`.
    pub(super) table: &'static str,
    /// None: it is not known.
    pub(super) agrees: Option<bool>,
    pub(super) element: Option<Element>,
    pub(super) disagreements: Vec<String>,
    pub(super) error: Option<String>,
}

/// The element that contains the destination.
#[derive(Debug, Serialize)]
pub(super) struct Element {
    pub(super) first: IpAddr,
    pub(super) last: IpAddr,
    /// The configured CIDR that it came from, or `link-local`.
    pub(super) comment: Option<String>,
}

/// A NAT chain of another table that may decide otherwise.
#[derive(Debug, Serialize)]
pub(super) struct OtherChain {
    pub(super) family: String,
    pub(super) table: String,
    pub(super) chain: String,
    pub(super) priority: i64,
    /// The program that lists its rules: `nft`, `iptables-legacy` or `ip6tables-legacy`.
    pub(super) listed_by: &'static str,
    /// When it runs, as seen from the daemon's chain that decides.
    pub(super) runs: Order,
    /// It decides over nothing but [`crate::policy::NOT_ENFORCED`].
    pub(super) only_translated: bool,
}

/// Base chains run in ascending order of their priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    Before,
    /// Equal priorities: the order is undefined, nft(8).
    BeforeOrAfter,
    After,
}

impl Answer {
    pub(super) fn error(destination: IpAddr, error: String) -> Self {
        Self {
            destination,
            error: Some(error),
            verdict: None,
            reason: None,
            decided_by: None,
            conditions: Vec::new(),
            kernel: None,
            other_chains: Vec::new(),
            other_chains_error: None,
        }
    }

    pub(super) fn new(
        destination: IpAddr,
        decision: &Decision,
        decided_by: Option<DecidedBy>,
        policy: &Policy,
        table: TableAnswer,
        view: &KernelView,
    ) -> Self {
        let (other_chains, error) = view.other_chains(destination);
        Self {
            destination,
            error: None,
            verdict: Some(decision.verdict),
            reason: decision.reason,
            decided_by,
            conditions: decision.conditions.iter().map(condition).collect(),
            kernel: Some(KernelAnswer::from(table)),
            other_chains: relevant(other_chains, decision.verdict, policy.enforce),
            other_chains_error: error,
        }
    }
}

fn condition(condition: &Condition) -> String {
    match condition {
        Condition::FromOneOf(sources) => format!(
            "from {} (sourceCIDRs); from other sources it is left alone",
            in_words::all(sources, ", ")
        ),
        Condition::NotFromTheNode => {
            "not sent by the node itself (masqNodeTraffic: false); that is left alone".to_owned()
        }
    }
}

impl From<TableAnswer> for KernelAnswer {
    fn from(answer: TableAnswer) -> Self {
        let agrees = answer.agrees();
        let (table, error) = match answer.state {
            State::NotPermitted => ("not_permitted", None),
            State::Unknown(error) => ("unknown", Some(error)),
            State::Missing => ("missing", None),
            State::Read => ("read", None),
        };
        Self {
            table,
            agrees,
            element: answer.element.map(|element| Element {
                first: element.first,
                last: element.last,
                comment: element.comment,
            }),
            disagreements: answer.disagreements,
            error,
        }
    }
}

/// The chains that may decide otherwise: the first chain that maps a connection decides. What the daemon masquerades,
/// later chains do not see; what it lets fall through, they do. Of what `enforce` pins, they see what it leaves to those
/// who translated the destination.
fn relevant(rivals: Vec<Rival>, verdict: Verdict, enforce: bool) -> Vec<OtherChain> {
    let is_pinned = verdict == Verdict::KeepsSource && enforce;
    let ours = i64::from(if is_pinned {
        ENFORCE_PRIORITY
    } else {
        POSTROUTING_PRIORITY
    });
    let order = |chain: &NatChain| match chain.priority {
        before if before < ours => Order::Before,
        after if after > ours => Order::After,
        _ => Order::BeforeOrAfter,
    };
    let other = |Rival { chain, listed_by }: Rival| OtherChain {
        runs: order(&chain),
        only_translated: is_pinned && order(&chain) == Order::After,
        family: chain.family,
        table: chain.table,
        chain: chain.name,
        priority: chain.priority,
        listed_by,
    };
    let others = rivals.into_iter().map(other);
    let may_decide =
        |chain: &OtherChain| verdict != Verdict::Masqueraded || chain.runs != Order::After;
    others.filter(may_decide).collect()
}

/// How an origin is called, in the file's words.
pub(super) fn list_of(origin: Origin) -> &'static str {
    match origin {
        Origin::LinkLocal => "link-local",
        Origin::NonMasqueradeCidrs => "nonMasqueradeCIDRs",
        Origin::MasqueradeCidrs => "masqueradeCIDRs",
    }
}

#[cfg(test)]
mod tests {
    use super::super::kernel_view::NFT;
    use super::*;

    #[test]
    fn chains_that_come_too_late_are_not_named_or_only_for_what_is_not_enforced() {
        let chains: Vec<Rival> = [80, 90, 100, 110, 120]
            .map(|priority| Rival {
                chain: NatChain {
                    family: "ip".to_owned(),
                    table: "t".to_owned(),
                    name: "c".to_owned(),
                    priority,
                },
                listed_by: NFT,
            })
            .into();
        let named = |verdict, enforce| -> Vec<(i64, Order)> {
            let named = relevant(chains.clone(), verdict, enforce).into_iter();
            let is_pinned = verdict == Verdict::KeepsSource && enforce;
            named
                .inspect(|chain| {
                    let is_late = is_pinned && chain.runs == Order::After;
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
