//! `run`: the daemon; with `--once`, one pass of it.

use std::sync::Arc;

use nix::sys::utsname::uname;
use tracing::{error, info, warn};

use super::{ExitStatus, bad_configuration, load, policy_here, require_net_admin};
use crate::cli::Options;
use crate::config_source::Origin;
use crate::daemon::event_loop::{self, Settings};
use crate::daemon::once::sync;
use crate::in_words;
use crate::kernel::pass::TablePass;
use crate::ruleset::Tables;

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
    let policy = policy_here(&loaded.config);
    for warning in policy.warnings() {
        warn!("{warning}");
    }
    info!("policy: {policy}");
    let tables = Arc::new(Tables::new(&policy, &options.chosen_names()));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let passes = runtime
        .map_err(|error| format!("the event loop cannot be made: {error}"))
        .and_then(|runtime| {
            let passes = runtime.block_on(sync(&tables, options.table_owner.into()));
            passes.map_err(|error| error.to_string())
        });
    let passes = match passes {
        Ok(passes) => passes,
        Err(error) => {
            error!("{error}");
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
