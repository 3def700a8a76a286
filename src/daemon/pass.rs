//! The worker between two passes and during one, and what a pass came to.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::inherited;
use super::keeper::Outcome;
use super::worker::{Worker, WorkerError};
use crate::kernel::error::KernelError;
use crate::kernel::ownership::TableOwner;
use crate::kernel::pass::{PassReport, TableReport};
use crate::ruleset::{Family, Tables};

/// A pass over the kernel's tables. It gives the worker back when it is done.
type Pass = Pin<Box<dyn Future<Output = (Box<Worker>, PassEnd)>>>;

/// How a pass ended.
pub(super) struct PassEnd {
    pub(super) tables: Rc<Tables>,
    pub(super) report: Result<PassReport, WorkerError>,
    pub(super) took: Duration,
}

/// The worker, or the pass that has it.
pub(super) enum Work {
    Idle(Box<Worker>),
    UnderWay(Pass),
    /// Between the two, for the length of a move.
    Taken,
}

pub(super) enum WorkEvent {
    Passed(PassEnd),
    /// The worker ended while nothing was asked of it; how.
    WorkerEnded(String),
}

impl Work {
    pub(super) fn begin(&mut self, tables: Rc<Tables>, repairs: Vec<Family>, owner: TableOwner) {
        *self = match std::mem::replace(self, Self::Taken) {
            Self::Idle(mut worker) => Self::UnderWay(Box::pin(async move {
                let started = Instant::now();
                let report = worker.pass(&tables, repairs, owner).await;
                let took = started.elapsed();
                (
                    worker,
                    PassEnd {
                        tables,
                        report,
                        took,
                    },
                )
            })),
            // The keeper begins one pass at a time.
            other => other,
        };
    }

    pub(super) fn is_idle(&self) -> bool {
        matches!(self, Self::Idle(_))
    }

    /// Waits for what has ended of the processes that the daemon has inherited. Not during a pass, in which workers come
    /// and go.
    pub(super) fn reap_inherited(&self) {
        if let Self::Idle(worker) = self {
            inherited::reap(worker.process_id());
        }
    }

    /// How many workers have been started; `None` during a pass.
    pub(super) fn workers_started(&self) -> Option<u32> {
        match self {
            Self::Idle(worker) => Some(worker.starts()),
            _ => None,
        }
    }

    /// Waits for the end of the pass, or of the idle worker.
    pub(super) async fn happened(&mut self) -> WorkEvent {
        match self {
            Self::UnderWay(pass) => {
                let (worker, end) = pass.await;
                *self = Self::Idle(worker);
                WorkEvent::Passed(end)
            }
            Self::Idle(worker) => WorkEvent::WorkerEnded(worker.ended().await),
            Self::Taken => std::future::pending().await,
        }
    }
}

/// `is_known`: the kernel has had what is wanted before, so that what differed others have changed.
pub(super) fn outcome(result: &Result<TableReport, KernelError>, is_known: bool) -> Outcome {
    match result {
        Ok(report) if report.is_withheld => Outcome::Withheld,
        Ok(report) if report.differences.is_empty() => Outcome::InStep,
        Ok(_) if is_known => Outcome::Repaired,
        Ok(_) => Outcome::Applied,
        Err(KernelError::OwnedByAnother { is_ending, .. }) => Outcome::Owned {
            is_ending: *is_ending,
        },
        Err(_) => Outcome::Failed,
    }
}
