//! What the kernel says of one destination.

use std::net::IpAddr;

use serde::Serialize;

use super::other_chains::Others;
use crate::cli::Options;
use crate::commands::legacy_nat::LegacyNat;
use crate::commands::look::{Look, SeenTable};
use crate::commands::other_nat::{NatChain, Survey};
use crate::daemon::worker::WorkerError;
use crate::kernel::observed::{Observed, ObservedElement};
use crate::policy::prefix_table::Verdict;
use crate::policy::{FamilyPolicy, Policy, Sources};
use crate::ruleset::{AddressField, Family, Tables};

/// What can be seen with CAP_NET_ADMIN; an error is why it cannot.
pub(super) struct Seen {
    ip: Result<SeenTable, WorkerError>,
    ip6: Result<SeenTable, WorkerError>,
    pub(super) others: Others,
}

/// What the kernel's table says of one destination. The names of its fields are a contract.
#[derive(Debug, Serialize)]
pub(super) struct KernelAnswer {
    pub(super) table: TableState,
    /// None: it is not known.
    pub(super) agrees: Option<bool>,
    /// The element of the set of exempt destinations that contains the destination.
    pub(super) element: Option<ObservedElement>,
    /// Why the kernel does otherwise than the configuration says; empty: it does the same, as far as is known.
    pub(super) disagreements: Vec<String>,
    pub(super) error: Option<String>,
}

/// What there is of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TableState {
    /// CAP_NET_ADMIN is missing.
    NotPermitted,
    /// It could not be looked at.
    Unknown,
    Missing,
    Read,
}

impl KernelAnswer {
    /// Nothing more is known.
    pub(super) fn only(table: TableState) -> Self {
        Self {
            table,
            agrees: None,
            element: None,
            disagreements: Vec::new(),
            error: None,
        }
    }
}

impl Seen {
    /// Looks, without writing anything.
    pub(super) fn now(look: &mut Look, options: &Options, tables: &Tables) -> Self {
        let table = &options.table;
        let [ip, ip6] = Family::ALL.map(|family| look.table(family, table, Some(tables)));
        let is_other = |chain: &NatChain| {
            let is_of_a_daemon_s_family = ["ip", "ip6"].contains(&chain.family.as_str());
            !(is_of_a_daemon_s_family && chain.table == *table)
        };
        let chains = look.chains();
        let survey = chains.map(|listing| Survey::new(look, &listing, is_other));
        Self {
            ip,
            ip6,
            others: Others {
                survey: survey.map_err(|error| error.to_string()),
                legacy: Family::ALL.map(|family| (family, LegacyNat::read(&[family]))),
            },
        }
    }

    /// What the table says of traffic to `destination`, held against the policy.
    pub(super) fn answer(
        &self,
        policy: &Policy,
        source: Option<IpAddr>,
        destination: IpAddr,
    ) -> KernelAnswer {
        let seen = match destination {
            IpAddr::V4(_) => &self.ip,
            IpAddr::V6(_) => &self.ip6,
        };
        let compared = seen.as_ref().and_then(|seen| {
            let differences = seen.differences.as_ref()?;
            Ok((seen.observed.as_ref(), differences.iter().flatten()))
        });
        let (observed, differences) = match compared {
            Ok(compared) => compared,
            Err(error) => {
                return KernelAnswer {
                    error: Some(error.to_string()),
                    ..KernelAnswer::only(TableState::Unknown)
                };
            }
        };
        let element =
            observed.and_then(|table| element_of(table, AddressField::Destination, destination));
        let lookups = match (observed, policy.of_family(destination)) {
            (Some(table), Some(of_family)) => {
                lookups(of_family, table, source, destination, element)
            }
            _ => Vec::new(),
        };
        // Elements are looked up one by one.
        let differences = differences.filter(|difference| !difference.is_of_elements());
        let differences = differences.map(ToString::to_string);
        let disagreements: Vec<String> = lookups.into_iter().chain(differences).collect();
        KernelAnswer {
            agrees: Some(disagreements.is_empty()),
            element: element.cloned(),
            disagreements,
            ..KernelAnswer::only(match observed {
                Some(_) => TableState::Read,
                None => TableState::Missing,
            })
        }
    }
}

/// What the sets of the table say otherwise than the policy.
fn lookups(
    of_family: &FamilyPolicy,
    table: &Observed,
    source: Option<IpAddr>,
    destination: IpAddr,
    element: Option<&ObservedElement>,
) -> Vec<String> {
    let mut disagreements = Vec::new();
    let decided_by = of_family.decision(destination);
    let is_exempt =
        decided_by.is_some_and(|decided_by| decided_by.origin.verdict() == Verdict::NonMasquerade);
    match (is_exempt, element) {
        (true, None) => disagreements.push("no element keeps the source address".to_owned()),
        (false, Some(_)) => disagreements.push("an element keeps the source address".to_owned()),
        (true, Some(_)) | (false, None) => {}
    }
    if let (Some(source), sources @ Sources::Only(_)) = (source, &of_family.sources) {
        let is_listed = sources.contain(source);
        let is_in_set = element_of(table, AddressField::Source, source).is_some();
        if is_listed != is_in_set {
            let has = if is_in_set { "has" } else { "lacks" };
            let set = AddressField::Source.set();
            disagreements.push(format!("set {set} {has} the source"));
        }
    }
    disagreements
}

fn element_of(table: &Observed, field: AddressField, address: IpAddr) -> Option<&ObservedElement> {
    let mut elements = table.set_in_use(field)?.elements.iter();
    elements.find(|element| element.first <= address && address <= element.last)
}
