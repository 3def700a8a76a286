//! `run --once`: the kernel is made right by one worker, which is asked again where it fails.

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::backoff::Backoff;
use super::worker::{OWN_PROGRAM, Worker, WorkerError};
use crate::kernel::error::KernelError;
use crate::kernel::owner;
use crate::kernel::ownership::TableOwner;
use crate::kernel::pass::TablePass;
use crate::ruleset::{Family, Tables};

/// How often it tries, and how long it waits between two times.
const TRIES: u32 = 5;
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_millis(800);

/// Makes the kernel's tables these, and ends the worker.
///
/// # Errors
/// Where the worker gave no answer, each time. What failed for one table stands in its pass.
pub async fn sync(
    tables: &Arc<Tables>,
    table_owner: TableOwner,
) -> Result<Vec<TablePass>, WorkerError> {
    let mut worker = Worker::new(OWN_PROGRAM.into());
    let passes = try_to_sync(&mut worker, tables, table_owner).await;
    // Else a command that comes next may find the tables owned still.
    worker.close().await;
    passes
}

async fn try_to_sync(
    worker: &mut Worker,
    tables: &Arc<Tables>,
    table_owner: TableOwner,
) -> Result<Vec<TablePass>, WorkerError> {
    let mut retry = Backoff::new(FIRST_RETRY, LAST_RETRY);
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
        tokio::time::sleep(retry.failed()).await;
        tries += 1;
    }
}

/// Whether the table's owner goes on, for all that is to be seen of it: its end is not to be waited for.
fn stays_owned(failure: &KernelError) -> bool {
    matches!(failure, KernelError::OwnedByAnother { port, .. } if !owner::may_be_ending(*port))
}
