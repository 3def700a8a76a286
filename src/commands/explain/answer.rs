//! The answer for one destination, as `--format json` has it. Names of fields are a contract.

use std::net::IpAddr;

use serde::Serialize;

use super::kernel_view::{State, TableAnswer};
use super::other_chains::OtherChain;
use super::verdict::{Condition, Decision, Reason, Verdict};
use crate::commands::uplinks::{self, Taken};
use crate::config::provenance::CidrPlace;
use crate::in_words;
use crate::policy::prefix_table::Origin;

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
    /// Which address masqueraded traffic gets; none: it is not masqueraded, or there is no route.
    pub(super) masqueraded_as: Option<Taken>,
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

impl Answer {
    pub(super) fn error(destination: IpAddr, error: String) -> Self {
        Self {
            destination,
            error: Some(error),
            verdict: None,
            reason: None,
            decided_by: None,
            masqueraded_as: None,
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
        table: TableAnswer,
        (other_chains, other_chains_error): (Vec<OtherChain>, Option<String>),
    ) -> Self {
        Self {
            destination,
            error: None,
            verdict: Some(decision.verdict),
            reason: decision.reason,
            decided_by,
            masqueraded_as: match decision.verdict {
                Verdict::Masqueraded => uplinks::on_the_way_to(destination),
                Verdict::KeepsSource | Verdict::LeftAlone => None,
            },
            conditions: decision.conditions.iter().map(condition).collect(),
            kernel: Some(KernelAnswer::from(table)),
            other_chains,
            other_chains_error,
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

/// How an origin is called, in the file's words.
pub(super) fn list_of(origin: Origin) -> &'static str {
    match origin {
        Origin::LinkLocal => "link-local",
        Origin::NonMasqueradeCidrs => "nonMasqueradeCIDRs",
        Origin::MasqueradeCidrs => "masqueradeCIDRs",
    }
}
