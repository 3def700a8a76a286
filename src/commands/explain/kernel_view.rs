//! What the kernel says of one destination.

use std::net::IpAddr;

use super::verdict::of_family;
use crate::cli::Options;
use crate::kernel::difference::Difference;
use crate::kernel::drift::Drift;
use crate::kernel::legacy_nat::{self, LegacyNat};
use crate::kernel::netlink::TableHeader;
use crate::kernel::observed::{ObservedElement, ObservedTable};
use crate::kernel::other_nat::NatChain;
use crate::kernel::{Kernel, Observation};
use crate::policy::prefix_table::Verdict;
use crate::policy::{FamilyPolicy, Policy, Sources};
use crate::ruleset::{Family, Tables, names};

/// What was seen of the kernel.
pub(super) enum KernelView {
    /// CAP_NET_ADMIN is missing.
    NotPermitted,
    Seen(Box<Seen>),
}

/// What can be seen with CAP_NET_ADMIN; an error is why it cannot.
pub(super) struct Seen {
    ip: Result<Observation, String>,
    ip6: Result<Observation, String>,
    /// The base chains of type nat on postrouting, less the daemon's.
    other_chains: Result<Vec<NatChain>, String>,
    legacy_ip: LegacyNat,
    legacy_ip6: LegacyNat,
}

/// A NAT chain of others.
#[derive(Debug, Clone)]
pub(super) struct Rival {
    pub(super) chain: NatChain,
    /// The program that lists its rules: [`NFT`], or a family's of iptables-legacy.
    pub(super) listed_by: &'static str,
}

/// See [`Rival::listed_by`].
pub(super) const NFT: &str = "nft";

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
    Unreadable,
    Read,
}

impl TableAnswer {
    /// `None`: it is not known.
    pub(super) fn agrees(&self) -> Option<bool> {
        match self.state {
            State::NotPermitted | State::Unknown(_) | State::Unreadable => None,
            State::Missing | State::Read => Some(self.disagreements.is_empty()),
        }
    }
}

/// Looks, without writing anything.
pub(super) async fn look(kernel: &mut Kernel, options: &Options) -> KernelView {
    let table = &options.table;
    let mut seen = async |family| {
        let observed = kernel.observe(family, table).await;
        observed.map_err(|error| error.to_string())
    };
    let ip = seen(Family::Ip).await;
    let ip6 = seen(Family::Ip6).await;
    let is_other = |chain: &NatChain| {
        let is_of_a_daemon_s_family = ["ip", "ip6"].contains(&chain.family.as_str());
        !(is_of_a_daemon_s_family && chain.table == *table)
    };
    let chains = kernel.chains().await;
    let other_chains =
        chains.map(|listing| listing.nat_chains.into_iter().filter(is_other).collect());
    KernelView::Seen(Box::new(Seen {
        ip,
        ip6,
        other_chains: other_chains.map_err(|error| error.to_string()),
        legacy_ip: LegacyNat::read_of(Family::Ip),
        legacy_ip6: LegacyNat::read_of(Family::Ip6),
    }))
}

impl KernelView {
    /// What the table says of traffic to `destination`, held against the policy.
    pub(super) fn answer(
        &self,
        policy: &Policy,
        tables: &Tables,
        source: Option<IpAddr>,
        destination: IpAddr,
    ) -> TableAnswer {
        let seen = match (self, destination) {
            (Self::NotPermitted, _) => return State::NotPermitted.into(),
            (Self::Seen(seen), IpAddr::V4(_)) => &seen.ip,
            (Self::Seen(seen), IpAddr::V6(_)) => &seen.ip6,
        };
        let of_family = of_family(policy, destination);
        match seen {
            Err(error) => State::Unknown(error.clone()).into(),
            Ok(Observation::Unreadable(_)) => State::Unreadable.into(),
            Ok(Observation::Missing) => TableAnswer {
                disagreements: of_family
                    .map(|_| "there is no table, so that it masquerades nothing".to_owned())
                    .into_iter()
                    .collect(),
                ..State::Missing.into()
            },
            Ok(Observation::Table(header, table)) => {
                let element = element_of(table, names::EXEMPT_SET, destination);
                let mut disagreements = of_family
                    .map(|of_family| lookups(of_family, table, source, destination, element))
                    .unwrap_or_default();
                disagreements.extend(other_differences(tables, destination, *header, table));
                TableAnswer {
                    state: State::Read,
                    element: element.cloned(),
                    disagreements,
                }
            }
        }
    }

    /// The other chains that packets of the destination's family pass, in the order in which they run, and why not all of
    /// them are known.
    pub(super) fn other_chains(&self, destination: IpAddr) -> (Vec<Rival>, Option<String>) {
        let Self::Seen(seen) = self else {
            return (Vec::new(), None);
        };
        let (family, legacy) = match destination {
            IpAddr::V4(_) => (Family::Ip, &seen.legacy_ip),
            IpAddr::V6(_) => (Family::Ip6, &seen.legacy_ip6),
        };
        let mut unknown: Vec<String> = seen
            .other_chains
            .as_ref()
            .err()
            .cloned()
            .into_iter()
            .collect();
        let chains = seen.other_chains.iter().flatten();
        let mut rivals: Vec<Rival> = chains
            .filter(|chain| chain.sees(family))
            .map(|chain| Rival {
                chain: chain.clone(),
                listed_by: NFT,
            })
            .collect();
        match legacy {
            LegacyNat::NotLoaded => {}
            LegacyNat::Loaded(_) => rivals.push(legacy_chain(family)),
            LegacyNat::Hidden(why) | LegacyNat::Unknown(why) => {
                unknown.push(format!("rules of iptables-legacy: {why}"));
            }
        }
        rivals.sort_by_key(|rival| rival.chain.priority);
        let unknown = (!unknown.is_empty()).then(|| unknown.join("; "));
        (rivals, unknown)
    }
}

fn legacy_chain(family: Family) -> Rival {
    Rival {
        chain: NatChain {
            family: family.name().to_owned(),
            table: "nat".to_owned(),
            name: "POSTROUTING".to_owned(),
            priority: legacy_nat::PRIORITY,
        },
        listed_by: legacy_nat::program(family),
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
    table: &ObservedTable,
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
        let is_in_set = element_of(table, names::SOURCE_SET, source).is_some();
        if is_listed != is_in_set {
            let has = if is_in_set { "has" } else { "lacks" };
            disagreements.push(format!("set {} {has} the source", names::SOURCE_SET));
        }
    }
    disagreements
}

fn element_of<'a>(
    table: &'a ObservedTable,
    set: &str,
    address: IpAddr,
) -> Option<&'a ObservedElement> {
    let set = table.sets.iter().find(|found| found.name == set)?;
    let mut elements = set.elements.iter();
    elements.find(|element| element.first <= address && address <= element.last)
}

/// Differences that may change what happens to any destination. Elements have been looked up one by one.
fn other_differences(
    tables: &Tables,
    destination: IpAddr,
    header: TableHeader,
    table: &ObservedTable,
) -> Vec<String> {
    let ruleset = match destination {
        IpAddr::V4(_) => Some(&tables.ip),
        IpAddr::V6(_) => tables.ip6.as_ref(),
    };
    let Some(ruleset) = ruleset else {
        return vec!["there is a table, although IPv6 is off".to_owned()];
    };
    let is_other = |difference: &&Difference| {
        !matches!(
            difference,
            Difference::ElementsMissing(..)
                | Difference::ElementsForeign(..)
                | Difference::ElementsStrange(..)
        )
    };
    match Drift::of_table(ruleset, header, table) {
        Ok(drift) => {
            let others = drift.differences.iter().filter(is_other);
            others.map(ToString::to_string).collect()
        }
        Err(error) => vec![error.to_string()],
    }
}
