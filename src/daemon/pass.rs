//! The worker between two passes and during one, and what a pass came to.

use std::future::{Future, pending};
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::readiness::TableState;
use super::reconciler::Outcome;
use crate::in_words;
use crate::kernel::Kernel;
use crate::kernel::error::{KernelError, listed};
use crate::kernel::tables::TablePass;
use crate::ruleset::Tables;

/// A pass over the kernel gives it back when it is done.
type Pass = Pin<Box<dyn Future<Output = (Box<Kernel>, PassEnd)>>>;

/// How a pass over the kernel ended.
pub(super) enum PassEnd {
    /// A sync, and how long it took.
    Synced(Rc<Tables>, Vec<TablePass>, Duration),
    /// A look.
    Looked(Vec<TablePass>),
    /// A listing for the counters alone.
    Counted(Result<(), KernelError>),
}

/// The kernel, or the pass that has it.
pub(super) enum Worker {
    Idle(Box<Kernel>),
    Busy(Pass, Purpose),
    /// Between the two, for the length of a move.
    Taken,
}

/// What a pass is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To compare the tables, or make them right.
    Tables,
    /// To read the counters.
    Counters,
}

pub(super) enum WorkerEvent {
    Done(Box<Kernel>, PassEnd),
    /// The process ended while nothing was asked of it; how.
    Ended(String),
}

impl Worker {
    pub(super) fn sync(&mut self, tables: Rc<Tables>) {
        self.start(Purpose::Tables, |mut kernel| {
            Box::pin(async move {
                let started = Instant::now();
                let passes = kernel.sync_all(&tables).await;
                (kernel, PassEnd::Synced(tables, passes, started.elapsed()))
            })
        });
    }

    pub(super) fn look(&mut self, tables: Rc<Tables>) {
        self.start(Purpose::Tables, |mut kernel| {
            Box::pin(async move {
                let passes = kernel.look_all(&tables).await;
                (kernel, PassEnd::Looked(passes))
            })
        });
    }

    pub(super) fn count(&mut self, tables: Rc<Tables>) {
        self.start(Purpose::Counters, |mut kernel| {
            Box::pin(async move {
                let counted = kernel.count_all(&tables).await;
                (kernel, PassEnd::Counted(counted))
            })
        });
    }

    fn start(&mut self, purpose: Purpose, pass: impl FnOnce(Box<Kernel>) -> Pass) {
        *self = match std::mem::replace(self, Self::Taken) {
            Self::Idle(kernel) => Self::Busy(pass(kernel), purpose),
            // The reconciler starts one pass at a time.
            other => other,
        };
    }

    pub(super) fn is_idle(&self) -> bool {
        matches!(self, Self::Idle(_))
    }

    pub(super) fn is_counting(&self) -> bool {
        matches!(self, Self::Busy(_, Purpose::Counters))
    }

    /// Waits for the end of the pass, or of the idle worker.
    pub(super) async fn happened(&mut self) -> WorkerEvent {
        match self {
            Self::Busy(pass, _) => {
                let (kernel, end) = pass.await;
                WorkerEvent::Done(kernel, end)
            }
            Self::Idle(kernel) => WorkerEvent::Ended(kernel.worker_ended().await),
            Self::Taken => pending().await,
        }
    }
}

pub(super) fn outcome(pass: &TablePass) -> Outcome {
    match &pass.result {
        Ok(report) if report.differences.is_empty() => Outcome::InStep,
        Ok(_) => Outcome::Differed,
        Err(KernelError::OwnedByAnother { is_ending, .. }) => Outcome::Owned {
            is_ending: *is_ending,
        },
        Err(_) => Outcome::Failed,
    }
}

/// In what the tables differed; empty: in nothing, as far as was seen.
pub(super) fn differences(passes: &[TablePass]) -> String {
    let differing = passes.iter().filter_map(|pass| {
        let report = pass.result.as_ref().ok()?;
        let family = pass.family.name();
        (!report.differences.is_empty())
            .then(|| format!("{family}: {}", listed(&report.differences)))
    });
    in_words::all(differing, "; ")
}

/// What a table is like after a sync; `None`: its family is off, and it is gone.
pub(super) fn state_after_sync(pass: &TablePass, tables: &Tables) -> Option<TableState> {
    let is_wanted = tables.wanted().any(|ruleset| ruleset.family == pass.family);
    match &pass.result {
        Ok(_) => is_wanted.then_some(TableState::InStep),
        Err(failure) => Some(TableState::Failed(failure.to_string())),
    }
}

/// What a look has found of a table; `processes`: who else has committed.
pub(super) fn state_after_look(pass: &TablePass, processes: &str) -> TableState {
    match &pass.result {
        Ok(report) if report.differences.is_empty() => TableState::InStep,
        Ok(report) => {
            TableState::WrittenByAnother(processes.to_owned(), listed(&report.differences))
        }
        Err(failure) => TableState::Failed(failure.to_string()),
    }
}
