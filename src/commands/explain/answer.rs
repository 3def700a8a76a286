//! The answer for one destination, as `--format json` has it. Names of fields are a contract.

use std::net::IpAddr;

use serde::{Serialize, Serializer};

use super::kernel_view::KernelAnswer;
use super::other_chains::OtherChain;
use crate::commands::uplinks::Taken;
use crate::config::provenance::CidrPlace;
use crate::policy::judgement::{Reason, Verdict};
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
    /// What else must hold for the verdict: of the interface, and where no source was given.
    pub(super) conditions: Vec<String>,
    /// Forwarded packets to it that belong to no connection are dropped (`dropInvalid`).
    pub(super) invalid_is_dropped: bool,
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
    #[serde(serialize_with = "as_words")]
    pub(super) list: Origin,
    /// It stands in no file.
    pub(super) is_default: bool,
    /// None: in no file.
    pub(super) place: Option<CidrPlace>,
}

fn as_words<S: Serializer>(list: &Origin, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(list)
}

impl Answer {
    /// Of which nothing is said yet.
    pub(super) fn to(destination: IpAddr) -> Self {
        Self {
            destination,
            error: None,
            verdict: None,
            reason: None,
            decided_by: None,
            masqueraded_as: None,
            conditions: Vec::new(),
            invalid_is_dropped: false,
            kernel: None,
            other_chains: Vec::new(),
            other_chains_error: None,
        }
    }
}
