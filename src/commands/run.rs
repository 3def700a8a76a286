//! `run`: the daemon; with `--once`, one pass of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::utsname::uname;
use tracing::{error, info, warn};

use super::{ExitStatus, bad_configuration, load};
use crate::cli::Options;
use crate::config_source::Origin;
use crate::daemon::event_loop::{self, Settings};
use crate::daemon::worker::{Worker, WorkerError};
use crate::in_words;
use crate::kernel::capability;
use crate::kernel::error::KernelError;
use crate::kernel::owner;
use crate::kernel::ownership::TableOwner;
use crate::kernel::pass::TablePass;
use crate::policy::Policy;
use crate::ruleset::{Family, Tables};

/// The program itself, whatever became of the file it was started from, proc(5).
pub(super) const OWN_PROGRAM: &str = "/proc/self/exe";

/// How often `--once` tries, and how long it waits before the second time; twice as long each time.
const TRIES: u32 = 5;
const FIRST_RETRY: Duration = Duration::from_millis(100);

/// Keeps the kernel in step with the file until it is told to end.
pub(super) fn daemon(options: &Options) -> ExitStatus {
    if let Err(status) = require_net_admin() {
        return status;
    }
    // As a person writes them on the command line.
    info!(
        version = env!("CARGO_PKG_VERSION"),
        kernel = kernel_release(),
        config = config_paths(options),
        table = options.table,
        masq_chain = options.masq_chain,
        table_owner = options.table_owner.to_string(),
        enable_ipv6 = options.enable_ipv6,
        random_fully = options.random_fully,
        to_ports = options.to_ports.to_string(),
        nomasq_all_reserved_ranges = options.nomasq_all_reserved_ranges,
        http_address = options.http_address.to_string(),
        metrics_per_cidr = options.metrics_per_cidr,
        "non-masquerade-daemon starts"
    );
    let settings = Settings {
        config: options.config.clone(),
        flags: options.flags(),
        names: options.chosen_names(),
        table_owner: options.table_owner.into(),
        program: PathBuf::from(OWN_PROGRAM),
        http_address: options.http_address.socket_address(),
        metrics_per_cidr: options.metrics_per_cidr,
    };
    match event_loop::run(settings) {
        Ok(()) => ExitStatus::Done,
        Err(error) => {
            error!("{error}");
            ExitStatus::Failed
        }
    }
}

/// As the environment has them.
fn config_paths(options: &Options) -> String {
    in_words::all(options.config.iter().map(|path| path.display()), ":")
}

/// As uname(2) tells it.
fn kernel_release() -> String {
    match uname() {
        Ok(names) => names.release().to_string_lossy().into_owned(),
        Err(error) => format!("not known: {error}"),
    }
}

/// Applies the configuration, reads it back, and ends.
pub(super) fn once(options: &Options) -> ExitStatus {
    if let Err(status) = require_net_admin() {
        return status;
    }
    let loaded = match load(options) {
        Ok(loaded) => loaded,
        Err(error) => return bad_configuration(&error),
    };
    info!("{}", Origin::of(&loaded, &options.config));
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    let policy = Policy::new(&loaded.config);
    info!("policy: {policy}");
    let tables = Arc::new(Tables::new(&policy, &options.chosen_names()));
    let passes = match sync_once(&tables, options.table_owner.into()) {
        Ok(Ok(passes)) => passes,
        Ok(Err(error)) => {
            error!("{error}");
            return ExitStatus::Failed;
        }
        Err(error) => {
            error!("the event loop cannot be made: {error}");
            return ExitStatus::Failed;
        }
    };
    let mut status = ExitStatus::Done;
    for TablePass { family, result, .. } in passes {
        let table = format!("table {}", family.name());
        match result {
            Ok(report) => {
                info!("{table}: {report}");
                if let Some(protection) = report.protection {
                    info!("{table}: {protection}");
                }
            }
            Err(error) => {
                error!("{table}: {error}");
                status = ExitStatus::Failed;
            }
        }
    }
    status
}

type Passes = Result<Vec<TablePass>, WorkerError>;

fn sync_once(tables: &Arc<Tables>, table_owner: TableOwner) -> std::io::Result<Passes> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut worker = Worker::new(PathBuf::from(OWN_PROGRAM));
    Ok(runtime.block_on(async {
        let passes = try_to_sync(&mut worker, tables, table_owner).await;
        // Else a command that comes next may find the tables owned still.
        worker.close().await;
        passes
    }))
}

async fn try_to_sync(worker: &mut Worker, tables: &Arc<Tables>, table_owner: TableOwner) -> Passes {
    let mut wait = FIRST_RETRY;
    let mut tries = 1;
    loop {
        let report = worker.pass(tables, Family::ALL.to_vec(), table_owner).await;
        let passes = report.map(|report| report.tables);
        let failures: Vec<String> = match &passes {
            Ok(passes) => passes
                .iter()
                .filter_map(|pass| pass.result.as_ref().err())
                .filter(|failure| !stays_owned(failure))
                .map(ToString::to_string)
                .collect(),
            Err(error) => vec![error.to_string()],
        };
        if failures.is_empty() || tries == TRIES {
            return passes;
        }
        for failure in failures {
            warn!("{failure}; tried again");
        }
        tokio::time::sleep(wait).await;
        wait *= 2;
        tries += 1;
    }
}

/// Whether the table's owner goes on, for all that is to be seen of it: its end is not to be waited for.
fn stays_owned(failure: &KernelError) -> bool {
    matches!(failure, KernelError::OwnedByAnother { port, .. } if !owner::may_be_ending(*port))
}

pub(super) fn require_net_admin() -> Result<(), ExitStatus> {
    let missing = match capability::raise_net_admin() {
        Ok(true) => return Ok(()),
        Ok(false) => capability::remedy(),
        Err(error) => Err(error),
    };
    match missing {
        Ok(remedy) => error!("CAP_NET_ADMIN is missing: {remedy}"),
        Err(error) => error!("the capabilities of this process cannot be read: {error}"),
    }
    Err(ExitStatus::NotPermitted)
}
