//! `status`: what the kernel has, who owns it, and whether it is in step with the configuration.

mod text;

use std::net::IpAddr;
use std::path::PathBuf;

use serde::Serialize;

use super::daemon_says::DaemonSays;
use super::look::Look;
use super::run::require_net_admin;
use super::{ExitStatus, bad_configuration, failed, load, print, print_json};
use crate::cli::{Options, OutputFormat};
use crate::config_source::{self, LoadError, Loaded};
use crate::daemon::worker::WorkerError;
use crate::kernel::netlink::TableHeader;
use crate::kernel::observed::{Observed, ObservedElement};
use crate::kernel::owner;
use crate::policy::Policy;
use crate::ruleset::{AddressField, Family, Ruleset, Tables};

/// What `--format json` prints. Names of fields are a contract.
#[derive(Debug, Serialize)]
struct Status {
    /// None: the configuration is bad, or a table could not be looked at.
    in_step: Option<bool>,
    configuration: Configuration,
    /// Both families. Their rules are compared as libnftables lists them.
    tables: Vec<TableStatus>,
    /// The daemon compares their bytes.
    daemon: DaemonSays,
}

/// What the tables are compared with.
#[derive(Debug, Serialize)]
struct Configuration {
    is_good: bool,
    /// Without any, all is as by default.
    files: Vec<PathBuf>,
    /// That there is none, in words.
    #[serde(skip)]
    absence: Option<String>,
    /// Why it is not good, one a line.
    error: Option<String>,
}

/// One table.
#[derive(Debug, Serialize)]
struct TableStatus {
    family: &'static str,
    table: String,
    /// None: the configuration is bad.
    is_wanted: Option<bool>,
    /// None: it could not be looked at.
    is_present: Option<bool>,
    /// None: it is not known.
    in_step: Option<bool>,
    differences: Vec<String>,
    owner: Option<Owner>,
    masqueraded_connections: Option<u64>,
    /// The sum over the elements.
    kept_connections: Option<u64>,
    elements: Vec<Element>,
    error: Option<String>,
}

/// Whose the table is.
#[derive(Debug, Serialize)]
struct Owner {
    kind: OwnerKind,
    process: Option<String>,
    pid: Option<u32>,
    /// The netlink port id of the socket that owns it.
    port: Option<u32>,
}

/// Who may change the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum OwnerKind {
    /// The worker of a daemon.
    Daemon,
    /// Another process.
    Other,
    /// A process that is not to be seen from here.
    Unseen,
    /// The owner has ended; the next daemon adopts the table.
    Ended,
    /// It never had one, so that anyone may change it.
    None,
}

/// An element of the set of exempt destinations.
#[derive(Debug, Serialize)]
struct Element {
    first: IpAddr,
    last: IpAddr,
    /// The configured CIDR that it came from, or `link-local`.
    comment: Option<String>,
    connections: Option<u64>,
}

/// Says what the kernel has.
pub(super) fn status(options: &Options, format: OutputFormat) -> ExitStatus {
    if let Err(status) = require_net_admin() {
        return status;
    }
    let loaded = load(options);
    let wanted = loaded.as_ref().ok().map(|loaded| {
        let policy = Policy::new(&loaded.config);
        Tables::new(&policy, &options.chosen_names())
    });
    let tables = match Look::new() {
        Ok(mut look) => tables(&mut look, &options.table, wanted.as_ref()),
        Err(error) => return failed(&format!("the kernel cannot be asked: {error}")),
    };
    let status = Status {
        in_step: in_step(&tables),
        configuration: configuration(&loaded, &options.config),
        tables,
        daemon: DaemonSays::asked(options),
    };
    let printed = match format {
        OutputFormat::Text => print(&text::told(&status, text::Style::of_standard_output())),
        OutputFormat::Json => print_json(&status),
    };
    match (loaded, status.in_step, printed) {
        (_, _, ExitStatus::Failed) => ExitStatus::Failed,
        (Err(error), ..) => bad_configuration(&error),
        (Ok(_), Some(true), printed) => printed,
        (Ok(_), ..) => ExitStatus::Failed,
    }
}

fn configuration(loaded: &Result<Loaded, LoadError>, paths: &[PathBuf]) -> Configuration {
    let files = loaded.as_ref().map(|loaded| loaded.files.clone());
    let is_without_file = files.as_ref().is_ok_and(Vec::is_empty);
    Configuration {
        is_good: loaded.is_ok(),
        files: files.unwrap_or_default(),
        absence: is_without_file.then(|| config_source::absence(paths)),
        error: loaded.as_ref().err().map(ToString::to_string),
    }
}

/// In step where all tables are; not known where one is not known and none is out of step.
fn in_step(tables: &[TableStatus]) -> Option<bool> {
    if tables.iter().any(|table| table.in_step == Some(false)) {
        return Some(false);
    }
    let is_known = |table: &TableStatus| table.in_step.is_some();
    tables.iter().all(is_known).then_some(true)
}

/// `wanted` is none where the configuration is bad.
fn tables(look: &mut Look, name: &str, wanted: Option<&Tables>) -> Vec<TableStatus> {
    let mut tables = Vec::new();
    for family in Family::ALL {
        let ruleset = wanted.and_then(|wanted| wanted.of(family));
        let observed = match ruleset {
            Some(ruleset) => look.observe(ruleset),
            None => look.observe_any(family, name),
        };
        let mut table = table(family, name, &observed);
        table.is_wanted = wanted.map(|_| ruleset.is_some());
        if let (Some(_), Ok(observed)) = (wanted, &observed) {
            match differences(look, observed.as_ref(), ruleset) {
                Ok(differences) => {
                    table.in_step = Some(differences.is_empty());
                    table.differences = differences;
                }
                Err(error) => table.error = Some(error.to_string()),
            }
        }
        tables.push(table);
    }
    tables
}

/// In what the kernel's table differs; `ruleset` is none where the family is off.
fn differences(
    look: &mut Look,
    observed: Option<&Observed>,
    ruleset: Option<&Ruleset>,
) -> Result<Vec<String>, WorkerError> {
    Ok(match (ruleset, observed) {
        (None, None) => Vec::new(),
        (None, Some(_)) => vec!["there is a table, although IPv6 is off".to_owned()],
        (Some(ruleset), observed) => {
            let differences = look.differences(ruleset, observed)?;
            differences.iter().map(ToString::to_string).collect()
        }
    })
}

/// What is there.
fn table(
    family: Family,
    name: &str,
    observed: &Result<Option<Observed>, WorkerError>,
) -> TableStatus {
    let mut status = TableStatus {
        family: family.name(),
        table: name.to_owned(),
        is_wanted: None,
        is_present: None,
        in_step: None,
        differences: Vec::new(),
        owner: None,
        masqueraded_connections: None,
        kept_connections: None,
        elements: Vec::new(),
        error: None,
    };
    match observed {
        Err(error) => status.error = Some(error.to_string()),
        Ok(None) => status.is_present = Some(false),
        Ok(Some(table)) => {
            status.is_present = Some(true);
            status.owner = Some(Owner::of(table.header));
            status.count(table);
        }
    }
    status
}

impl TableStatus {
    fn count(&mut self, table: &Observed) {
        self.masqueraded_connections = table.masqueraded();
        let Some(exempt) = table.set_in_use(AddressField::Destination) else {
            return;
        };
        let connections = exempt.elements.iter().filter_map(|e| e.connections);
        self.kept_connections = Some(connections.fold(0, u64::saturating_add));
        let element = |element: &ObservedElement| Element {
            first: element.first,
            last: element.last,
            comment: element.comment.clone(),
            connections: element.connections,
        };
        self.elements = exempt.elements.iter().map(element).collect();
    }
}

impl Owner {
    fn of(header: TableHeader) -> Self {
        let process = header.owner.and_then(owner::with_port);
        let kind = match (header.owner, &process) {
            (Some(_), Some(process)) if process.is_a_worker() => OwnerKind::Daemon,
            (Some(_), Some(_)) => OwnerKind::Other,
            (Some(_), None) => OwnerKind::Unseen,
            (None, _) if header.is_persistent() => OwnerKind::Ended,
            (None, _) => OwnerKind::None,
        };
        Self {
            kind,
            pid: process.as_ref().map(|process| process.id),
            process: process.map(|process| process.name),
            port: header.owner,
        }
    }
}
