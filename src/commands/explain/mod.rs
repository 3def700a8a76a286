//! `explain`: what happens to traffic to a destination, and why.

mod answer;
mod conditions;
mod kernel_view;
mod other_chains;
mod text;

use std::collections::HashMap;
use std::net::IpAddr;

use serde::Serialize;
use tracing::warn;

use super::daemon_says::DaemonSays;
use super::look::Look;
use super::other_nat::Traffic;
use super::terminal::Terminal;
use super::uplinks;
use super::{ExitStatus, failed, load_here, print, print_json};
use crate::cli::{Options, OutputFormat};
use crate::config::provenance::{CidrPlace, List, ListedCidr};
use crate::config_source::Loaded;
use crate::kernel::capability::{self, NetAdmin};
use crate::kernel::routing::{self, Route};
use crate::policy::Policy;
use crate::policy::judgement::{Decision, Locality, Reason, Verdict, decide};
use crate::policy::node_address::SnatAddress;
use crate::policy::prefix_table::{Entry, Origin};
use crate::ruleset::{Family, Tables};
use answer::{Answer, DecidedBy};
use conditions::conditions;
use kernel_view::{KernelAnswer, Seen, TableState};
use other_chains::Treatment;

/// What `--format json` prints. Names of fields are a contract.
#[derive(Serialize)]
struct Answers {
    from: Option<IpAddr>,
    destinations: Vec<Answer>,
    /// What the daemon says of the rules, whose bytes it compares; they were compared as libnftables lists them. None: they
    /// were not compared.
    daemon: Option<DaemonSays>,
}

/// Explains what happens to traffic to each destination.
pub(super) fn explain(
    options: &Options,
    from: Option<IpAddr>,
    destinations: &[IpAddr],
    format: OutputFormat,
) -> ExitStatus {
    let (loaded, policy) = match load_here(options) {
        Ok(here) => here,
        Err(status) => return status,
    };
    let tables = Tables::new(&policy, &options.chosen_names());
    let seen = match seen(options, &tables) {
        Ok(seen) => seen,
        Err(error) => return failed(&format!("the kernel cannot be asked: {error}")),
    };
    let answers = Answers {
        from,
        destinations: answers(&policy, &loaded, from, destinations, seen.as_ref()),
        daemon: seen.is_some().then(|| DaemonSays::asked(options)),
    };
    let printed = match format {
        OutputFormat::Text => {
            let terminal = Terminal::of_standard_output();
            print(&text::told(&answers, &options.table, terminal))
        }
        OutputFormat::Json => print_json(&answers),
    };
    let is_nonsense = |answer: &Answer| answer.error.is_some();
    if printed == ExitStatus::Done && answers.destinations.iter().any(is_nonsense) {
        return ExitStatus::WrongArguments;
    }
    printed
}

/// What there is of the kernel to see; `None`: CAP_NET_ADMIN is missing.
fn seen(options: &Options, tables: &Tables) -> std::io::Result<Option<Seen>> {
    // What cannot be read of the own capabilities is not permitted either.
    if let Ok(NetAdmin::Missing) | Err(_) = capability::raise_net_admin() {
        return Ok(None);
    }
    Ok(Some(Seen::now(&mut Look::new()?, options, tables)))
}

fn answers(
    policy: &Policy,
    loaded: &Loaded,
    from: Option<IpAddr>,
    destinations: &[IpAddr],
    seen: Option<&Seen>,
) -> Vec<Answer> {
    let decided: Vec<Result<Decided, String>> = destinations
        .iter()
        .map(|destination| decided(policy, from, *destination))
        .collect();
    let decisions = decided.iter().flatten().map(|decided| &decided.decision);
    let places = places(loaded, decisions);
    let pods = Traffic::of_pods(Some(policy));
    let answer = |(destination, decided): (&IpAddr, Result<Decided, String>)| {
        let decided = match decided {
            Ok(decided) => decided,
            Err(error) => {
                return Answer {
                    error: Some(error),
                    ..Answer::to(*destination)
                };
            }
        };
        let decided_by = decided.decision.decided_by;
        let decided_by = decided_by.map(|entry| DecidedBy::new(entry, loaded, &places));
        let traffic = Traffic {
            source: from,
            destination: Some(*destination),
            ..pods.clone()
        };
        answer_to(*destination, &decided, decided_by, &traffic, policy, seen)
    };
    destinations.iter().zip(decided).map(answer).collect()
}

/// What the policy means for a destination.
struct Decided {
    decision: Decision,
    /// Today's way there; `None`: there is none, or it is not known.
    way: Option<Route>,
}

fn answer_to(
    destination: IpAddr,
    decided: &Decided,
    decided_by: Option<DecidedBy>,
    traffic: &Traffic,
    policy: &Policy,
    seen: Option<&Seen>,
) -> Answer {
    let Decided { decision, way } = decided;
    let treatment = Treatment {
        verdict: decision.verdict,
        is_enforced: policy.enforce,
    };
    let family = Family::of(destination);
    let others = seen.map(|seen| seen.others.beside(family, traffic, treatment));
    let (other_chains, other_chains_error) = others.unwrap_or_default();
    Answer {
        verdict: Some(decision.verdict),
        reason: decision.reason,
        decided_by,
        masqueraded_as: match decision.verdict {
            Verdict::Masqueraded => {
                let snat_address = uplinks::snat_address_of(policy, family);
                let chosen = snat_address.and_then(SnatAddress::chosen);
                way.as_ref()
                    .and_then(|way| uplinks::on_the_way(way, chosen))
            }
            Verdict::KeepsSource | Verdict::LeftAlone => None,
        },
        conditions: match decision.reason {
            None | Some(Reason::OutputInterface) => {
                conditions(policy, traffic.source, destination, way.as_ref())
            }
            Some(_) => Vec::new(),
        },
        invalid_is_dropped: decision.drops_invalid,
        kernel: Some(match seen {
            Some(seen) => seen.answer(policy, traffic.source, destination),
            None => KernelAnswer::only(TableState::NotPermitted),
        }),
        other_chains,
        other_chains_error,
        ..Answer::to(destination)
    }
}

impl DecidedBy {
    fn new(entry: Entry, loaded: &Loaded, places: &HashMap<ListedCidr, CidrPlace>) -> Self {
        Self {
            cidr: entry.prefix.to_string(),
            list: entry.origin,
            is_default: match entry.origin {
                Origin::LinkLocal => true,
                Origin::NonMasqueradeCidrs => loaded.config.non_masquerade_cidrs_are_default,
                Origin::MasqueradeCidrs => false,
            },
            place: listed(entry).and_then(|listed| places.get(&listed).cloned()),
        }
    }
}

/// Where the CIDRs that decide stand in the files.
fn places<'a>(
    loaded: &Loaded,
    decisions: impl Iterator<Item = &'a Decision>,
) -> HashMap<ListedCidr, CidrPlace> {
    let deciding = decisions.filter_map(|decision| decision.decided_by);
    let listed: Vec<ListedCidr> = deciding.filter_map(listed).collect();
    let places = loaded.places(&listed);
    let found = listed.into_iter().zip(places);
    found
        .filter_map(|(cidr, place)| Some((cidr, place?)))
        .collect()
}

/// # Errors
/// Where no packet has these two addresses.
fn decided(policy: &Policy, from: Option<IpAddr>, to: IpAddr) -> Result<Decided, String> {
    if let Some(from) = from
        && from.is_ipv4() != to.is_ipv4()
    {
        return Err(format!(
            "no packet goes from {from} to {to}: give --from an address of the same family"
        ));
    }
    let way = way(from, to);
    let is_local = |way: &Route| way.is_local;
    let locality = Locality {
        source: from
            .and_then(|from| self::way(None, from))
            .as_ref()
            .is_some_and(is_local),
        destination: way.as_ref().is_some_and(is_local),
    };
    let interface = way.as_ref().map(|way| way.interface.as_str());
    Ok(Decided {
        decision: decide(policy, from, to, locality, interface),
        way,
    })
}

fn way(from: Option<IpAddr>, to: IpAddr) -> Option<Route> {
    let way = match from {
        Some(from) => routing::route_from(from, to),
        None => routing::route_to(to),
    };
    way.unwrap_or_else(|error| {
        warn!("the way to {to} is not known, so it is taken for another host's: {error}");
        None
    })
}

/// Where a file may hold the prefix.
fn listed(entry: Entry) -> Option<ListedCidr> {
    let list = match entry.origin {
        Origin::LinkLocal => return None,
        Origin::NonMasqueradeCidrs => List::NonMasquerade,
        Origin::MasqueradeCidrs => List::Masquerade,
    };
    Some(ListedCidr {
        list,
        cidr: entry.prefix,
    })
}
