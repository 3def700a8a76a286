//! `status`: what the kernel has, who owns it, and whether it is in step with the configuration.

mod text;

use std::path::PathBuf;

use serde::{Serialize, Serializer};

use super::bars::Style;
use super::daemon_says::DaemonSays;
use super::holder::Holder;
use super::look::{Look, SeenTable};
use super::{ExitStatus, bad_configuration, failed, load, print, print_json, require_net_admin};
use crate::cli::{Options, OutputFormat};
use crate::config_source::{LoadError, Loaded, Origin};
use crate::daemon::worker::WorkerError;
use crate::kernel::observed::{Observed, ObservedElement};
use crate::policy::Policy;
use crate::ruleset::{AddressField, Family, Tables};

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
    /// Without any, the defaults apply.
    files: Vec<PathBuf>,
    /// None: it is not good.
    #[serde(skip)]
    origin: Option<Origin>,
    /// Why it is not good, one a line.
    error: Option<String>,
}

/// One table.
#[derive(Debug, Serialize)]
struct TableStatus {
    #[serde(serialize_with = "name_of")]
    family: Family,
    table: String,
    /// None: the configuration is bad.
    is_wanted: Option<bool>,
    /// None: it could not be looked at.
    is_present: Option<bool>,
    /// None: it is not known.
    in_step: Option<bool>,
    differences: Vec<String>,
    owner: Option<Holder>,
    masqueraded_connections: Option<u64>,
    /// With `dropInvalid`.
    dropped_invalid_packets: Option<u64>,
    /// The sum over the elements; none where one does not count.
    kept_connections: Option<u64>,
    /// Those of the set of exempt destinations.
    elements: Vec<ObservedElement>,
    error: Option<String>,
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
        Ok(mut look) => Family::ALL.map(|family| {
            let seen = look.table(family, &options.table, wanted.as_ref());
            let is_wanted = wanted.as_ref().map(|tables| tables.of(family).is_some());
            TableStatus::new(family, &options.table, is_wanted, &seen)
        }),
        Err(error) => return failed(&format!("the kernel cannot be asked: {error}")),
    };
    let status = Status {
        in_step: in_step(&tables),
        configuration: Configuration::new(&loaded, &options.config),
        tables: tables.into(),
        daemon: DaemonSays::asked(options),
    };
    let printed = match format {
        OutputFormat::Text => print(&text::told(&status, Style::of_standard_output())),
        OutputFormat::Json => print_json(&status),
    };
    match (loaded, status.in_step, printed) {
        (_, _, ExitStatus::Failed) => ExitStatus::Failed,
        (Err(error), ..) => bad_configuration(&error),
        (Ok(_), Some(true), printed) => printed,
        (Ok(_), ..) => ExitStatus::Failed,
    }
}

fn name_of<S: Serializer>(family: &Family, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(family.name())
}

/// In step where all tables are; not known where one is not known and none is out of step.
fn in_step(tables: &[TableStatus]) -> Option<bool> {
    if tables.iter().any(|table| table.in_step == Some(false)) {
        return Some(false);
    }
    let is_known = |table: &TableStatus| table.in_step.is_some();
    tables.iter().all(is_known).then_some(true)
}

impl Configuration {
    /// Of what `paths` led to.
    fn new(loaded: &Result<Loaded, LoadError>, paths: &[PathBuf]) -> Self {
        let good = loaded.as_ref().ok();
        Self {
            is_good: good.is_some(),
            files: good.map(|good| good.files.clone()).unwrap_or_default(),
            origin: good.map(|good| Origin::of(good, paths)),
            error: loaded.as_ref().err().map(ToString::to_string),
        }
    }
}

impl TableStatus {
    fn new(
        family: Family,
        name: &str,
        is_wanted: Option<bool>,
        seen: &Result<SeenTable, WorkerError>,
    ) -> Self {
        let observed = seen.as_ref().map(|seen| seen.observed.as_ref()).ok();
        let table = observed.flatten();
        let exempt = table.and_then(|table| table.set_in_use(AddressField::Destination));
        let exempt = exempt.map(|set| set.elements.as_slice());
        let kept = |elements: &[ObservedElement]| {
            let mut connections = elements.iter().map(|element| element.connections);
            connections.try_fold(0_u64, |sum, its| Some(sum.saturating_add(its?)))
        };
        let compared = seen.as_ref().and_then(|seen| seen.differences.as_ref());
        let differences = compared.ok().and_then(Option::as_ref);
        Self {
            family,
            table: name.to_owned(),
            is_wanted,
            is_present: observed.map(|table| table.is_some()),
            in_step: differences.map(Vec::is_empty),
            differences: differences
                .into_iter()
                .flatten()
                .map(ToString::to_string)
                .collect(),
            owner: table.map(|table| Holder::of(table.header)),
            masqueraded_connections: table.and_then(Observed::masqueraded),
            dropped_invalid_packets: table.and_then(Observed::dropped_invalid),
            kept_connections: exempt.and_then(kept),
            elements: exempt.unwrap_or_default().to_vec(),
            error: compared.err().map(ToString::to_string),
        }
    }
}
