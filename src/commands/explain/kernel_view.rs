//! What the kernel says of one destination.

use std::net::IpAddr;

use super::other_chains::{OtherChain, Others, Treatment};
use super::verdict::of_family;
use crate::cli::Options;
use crate::commands::legacy_nat::LegacyNat;
use crate::commands::look::Look;
use crate::commands::other_nat::{NatChain, Survey, Traffic};
use crate::daemon::worker::WorkerError;
use crate::kernel::difference::Difference;
use crate::kernel::observed::{Observed, ObservedElement};
use crate::policy::prefix_table::Verdict;
use crate::policy::{FamilyPolicy, Policy, Sources};
use crate::ruleset::{AddressField, Family, Tables};

/// What was seen of the kernel.
pub(super) enum KernelView {
    /// CAP_NET_ADMIN is missing.
    NotPermitted,
    Seen(Box<Seen>),
}

/// What can be seen with CAP_NET_ADMIN; an error is why it cannot.
pub(super) struct Seen {
    ip: Result<Table, String>,
    ip6: Result<Table, String>,
    others: Others,
}

/// The daemon's table of a family.
struct Table {
    /// None: there is none.
    observed: Option<Observed>,
    /// In what it differs, but for elements, which are looked up one by one.
    differences: Vec<String>,
}

/// What the kernel's table says of one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TableAnswer {
    pub(super) state: State,
    /// The element of the set of exempt destinations that contains the destination.
    pub(super) element: Option<ObservedElement>,
    /// Why the kernel does otherwise than the configuration says; empty: it does the same, as far as is known.
    pub(super) disagreements: Vec<String>,
}

/// What there is of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    NotPermitted,
    Unknown(String),
    Missing,
    Read,
}

impl TableAnswer {
    /// `None`: it is not known.
    pub(super) fn agrees(&self) -> Option<bool> {
        match self.state {
            State::NotPermitted | State::Unknown(_) => None,
            State::Missing | State::Read => Some(self.disagreements.is_empty()),
        }
    }
}

/// Looks, without writing anything.
pub(super) fn look(look: &mut Look, options: &Options, tables: &Tables) -> KernelView {
    let table = &options.table;
    let mut seen = |family| {
        let seen = table_of(look, family, options, tables);
        seen.map_err(|error| error.to_string())
    };
    let (ip, ip6) = (seen(Family::Ip), seen(Family::Ip6));
    let is_other = |chain: &NatChain| {
        let is_of_a_daemon_s_family = ["ip", "ip6"].contains(&chain.family.as_str());
        !(is_of_a_daemon_s_family && chain.table == *table)
    };
    let chains = look.chains();
    let survey = chains.map(|listing| Survey::new(look, &listing, is_other));
    KernelView::Seen(Box::new(Seen {
        ip,
        ip6,
        others: Others {
            survey: survey.map_err(|error| error.to_string()),
            legacy: Family::ALL.map(|family| (family, LegacyNat::read_of(family))),
        },
    }))
}

fn table_of(
    look: &mut Look,
    family: Family,
    options: &Options,
    tables: &Tables,
) -> Result<Table, WorkerError> {
    let Some(ruleset) = tables.of(family) else {
        let observed = look.observe_any(family, &options.table)?;
        let is_too_many = || "there is a table, although IPv6 is off".to_owned();
        let differences = observed.iter().map(|_| is_too_many()).collect();
        return Ok(Table {
            observed,
            differences,
        });
    };
    let observed = look.observe(ruleset)?;
    let mut differences = look.differences(ruleset, observed.as_ref())?;
    differences.retain(|difference| {
        !matches!(
            difference,
            Difference::ElementsMissing(..)
                | Difference::ElementsForeign(..)
                | Difference::ElementsStrange(..)
        )
    });
    Ok(Table {
        observed,
        differences: differences.iter().map(ToString::to_string).collect(),
    })
}

impl KernelView {
    /// What the table says of traffic to `destination`, held against the policy.
    pub(super) fn answer(
        &self,
        policy: &Policy,
        source: Option<IpAddr>,
        destination: IpAddr,
    ) -> TableAnswer {
        let seen = match (self, destination) {
            (Self::NotPermitted, _) => return State::NotPermitted.into(),
            (Self::Seen(seen), IpAddr::V4(_)) => &seen.ip,
            (Self::Seen(seen), IpAddr::V6(_)) => &seen.ip6,
        };
        let of_family = of_family(policy, destination);
        let table = match seen {
            Err(error) => return State::Unknown(error.clone()).into(),
            Ok(table) => table,
        };
        let Some(observed) = &table.observed else {
            let disagreement = "there is no table, so that it masquerades nothing";
            return TableAnswer {
                disagreements: of_family
                    .map(|_| disagreement.to_owned())
                    .into_iter()
                    .collect(),
                ..State::Missing.into()
            };
        };
        let element = element_of(observed, AddressField::Destination, destination);
        let mut disagreements = of_family
            .map(|of_family| lookups(of_family, observed, source, destination, element))
            .unwrap_or_default();
        disagreements.extend(table.differences.iter().cloned());
        TableAnswer {
            state: State::Read,
            element: element.cloned(),
            disagreements,
        }
    }

    /// See [`Others::beside`].
    pub(super) fn other_chains(
        &self,
        traffic: &Traffic,
        destination: IpAddr,
        treatment: Treatment,
    ) -> (Vec<OtherChain>, Option<String>) {
        let family = Family::of(destination);
        match self {
            Self::NotPermitted => (Vec::new(), None),
            Self::Seen(seen) => seen.others.beside(family, traffic, treatment),
        }
    }
}

impl From<State> for TableAnswer {
    /// Nothing more is known.
    fn from(state: State) -> Self {
        Self {
            state,
            element: None,
            disagreements: Vec::new(),
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
    if let (Some(source), Sources::Only(sources)) = (source, &of_family.sources) {
        let is_listed = sources.iter().any(|listed| listed.contains(&source));
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
