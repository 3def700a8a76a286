//! `explain`: what happens to traffic to a destination, and why.

mod answer;
mod kernel_view;
mod text;
mod verdict;

use std::net::IpAddr;

use serde::Serialize;
use tracing::warn;

use super::{ExitStatus, ask_kernel, bad_configuration, failed, print, print_json, print_warnings};
use crate::cli::{Options, OutputFormat};
use crate::config::provenance::{CidrPlace, List, ListedCidr};
use crate::config_source::{self, Loaded, Texts};
use crate::kernel::{capability, local_address};
use crate::policy::Policy;
use crate::policy::prefix_table::{Entry, Origin};
use crate::ruleset::Tables;
use answer::{Answer, DecidedBy, list_of};
use kernel_view::KernelView;
use verdict::{Decision, Locality, decide};

/// What `--format json` prints. Names of fields are a contract.
#[derive(Serialize)]
struct Answers {
    from: Option<IpAddr>,
    destinations: Vec<Answer>,
}

/// Explains what happens to traffic to each destination.
pub(super) fn explain(
    options: &Options,
    from: Option<IpAddr>,
    destinations: &[IpAddr],
    format: OutputFormat,
) -> ExitStatus {
    let (loaded, texts) = match config_source::load_with_texts(&options.config, &options.flags()) {
        Ok(loaded) => loaded,
        Err(error) => return bad_configuration(&error),
    };
    print_warnings(&loaded.warnings);
    let view = match seen(options) {
        Ok(view) => view,
        Err(error) => return failed(&format!("the kernel cannot be asked: {error}")),
    };
    let answers = Answers {
        from,
        destinations: answers(options, &loaded, &texts, from, destinations, &view),
    };
    let printed = match format {
        OutputFormat::Text => print(&text::told(&answers.destinations, &options.table)),
        OutputFormat::Json => print_json(&answers),
    };
    let is_nonsense = |answer: &Answer| answer.error.is_some();
    if printed == ExitStatus::Done && answers.destinations.iter().any(is_nonsense) {
        return ExitStatus::WrongArguments;
    }
    printed
}

fn seen(options: &Options) -> std::io::Result<KernelView> {
    // What cannot be read of the own capabilities is not permitted either.
    if !matches!(capability::raise_net_admin(), Ok(true)) {
        return Ok(KernelView::NotPermitted);
    }
    ask_kernel(async |kernel| kernel_view::look(kernel, options).await)
}

fn answers(
    options: &Options,
    loaded: &Loaded,
    texts: &Texts,
    from: Option<IpAddr>,
    destinations: &[IpAddr],
    view: &KernelView,
) -> Vec<Answer> {
    let policy = Policy::new(&loaded.config);
    let tables = Tables::new(&policy, &options.chosen_names());
    let decisions: Vec<Result<Decision, String>> = destinations
        .iter()
        .map(|destination| decided(&policy, from, *destination))
        .collect();
    let deciding = decisions.iter().flatten().filter_map(|d| d.decided_by);
    let listed: Vec<ListedCidr> = deciding.filter_map(listed).collect();
    let places = texts.places(&listed);
    let place_of = |entry: Entry| -> Option<CidrPlace> {
        let wanted = self::listed(entry)?;
        let index = listed.iter().position(|listed| *listed == wanted)?;
        places.get(index)?.clone()
    };
    let answer = |(destination, decision): (&IpAddr, &Result<Decision, String>)| match decision {
        Err(error) => Answer::error(*destination, error.clone()),
        Ok(decision) => {
            let decided_by = decision.decided_by.map(|entry| DecidedBy {
                cidr: entry.prefix.to_string(),
                list: list_of(entry.origin),
                is_default: match entry.origin {
                    Origin::LinkLocal => true,
                    Origin::NonMasqueradeCidrs => loaded.config.non_masquerade_cidrs_are_default,
                    Origin::MasqueradeCidrs => false,
                },
                file: place_of(entry).map(|place| place.file),
                line: place_of(entry).and_then(|place| place.line),
                place: place_of(entry),
            });
            let table = view.answer(&policy, &tables, from, *destination);
            Answer::new(*destination, decision, decided_by, &policy, table, view)
        }
    };
    destinations.iter().zip(&decisions).map(answer).collect()
}

/// # Errors
/// Where no packet has these two addresses.
fn decided(policy: &Policy, from: Option<IpAddr>, to: IpAddr) -> Result<Decision, String> {
    if let Some(from) = from
        && from.is_ipv4() != to.is_ipv4()
    {
        return Err(format!(
            "no packet goes from {from} to {to}: give --from an address of the same family"
        ));
    }
    let locality = Locality {
        source: from.is_some_and(is_local),
        destination: is_local(to),
    };
    Ok(decide(policy, from, to, locality))
}

fn is_local(address: IpAddr) -> bool {
    local_address::is_local(address).unwrap_or_else(|error| {
        warn!(
            "whether {address} is LOCAL is not known, so it is taken for another host's: {error}"
        );
        false
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
