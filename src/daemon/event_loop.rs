//! One thread, one loop: signals, the file, the kernel, the deadline, and the pass over the kernel that is under way.

use std::future::{Future, pending};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Instant;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use super::config_watch::ConfigWatch;
use super::ledger::{self, Ledger, is_after};
use super::log_lines::LogLines;
use super::reconciler::{Action, Desired, Event, Outcome, Reading, Reconciler};
use crate::config::Flags;
use crate::config_source::{self, LoadError, Writers};
use crate::kernel::Kernel;
use crate::kernel::error::KernelError;
use crate::kernel::netlink::Commit;
use crate::kernel::notifications::{Arrived, Notifications};
use crate::kernel::ownership::TableOwner;
use crate::kernel::tables::TablePass;
use crate::policy::Policy;
use crate::ruleset::{ChosenNames, Tables};
use crate::startup_signals;

/// What the daemon runs with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Configuration files.
    pub config: Vec<PathBuf>,
    /// What the command line contributes to them.
    pub flags: Flags,
    /// Names of the table and the chain.
    pub names: ChosenNames,
    /// Whether to own the table.
    pub table_owner: TableOwner,
    /// The program to run as worker.
    pub program: PathBuf,
}

/// Why the daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No runtime.
    #[error("the event loop cannot be made: {0}")]
    Runtime(#[source] io::Error),
    /// No signals.
    #[error("signals cannot be received: {0}")]
    Signals(#[source] io::Error),
}

/// Keeps the kernel in step with the file until SIGTERM or SIGINT; the rules stay.
///
/// # Errors
/// Where the loop cannot be made. Nothing that happens later ends it.
pub fn run(settings: Settings) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::Runtime)?;
    runtime.block_on(async {
        let signals = Signals::new().map_err(StartError::Signals)?;
        startup_signals::release();
        // Before the file and the kernel are read for the first time, so that no change in between is missed.
        let sources = Sources {
            signals,
            watch: or_resync(ConfigWatch::new(&settings.config), "changes of the file"),
            notifications: or_resync(Notifications::subscribe(), "changes by others"),
        };
        EventLoop::new(settings).run(sources).await;
        Ok(())
    })
}

/// What tells of changes is a courtesy: without it they are seen at the next resync.
fn or_resync<T>(source: io::Result<T>, what: &str) -> Option<T> {
    source
        .inspect_err(|error| warn!("{what} are seen at the next resync only: {error}"))
        .ok()
}

struct Sources {
    signals: Signals,
    watch: Option<ConfigWatch>,
    notifications: Option<Notifications>,
}

struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }
}

/// A pass over the kernel gives it back when it is done.
type Pass = Pin<Box<dyn Future<Output = (Box<Kernel>, PassEnd)>>>;

/// How a pass over the kernel ended.
enum PassEnd {
    Synced(Rc<Tables>, Vec<TablePass>),
    Looked(Vec<TablePass>),
}

enum Worker {
    Idle(Box<Kernel>),
    Busy(Pass),
    /// Between the two, for the length of a move.
    Taken,
}

enum WorkerEvent {
    Done(Box<Kernel>, PassEnd),
    /// The process ended while nothing was asked of it; how.
    Ended(String),
}

struct EventLoop {
    settings: Settings,
    reconciler: Reconciler,
    worker: Worker,
    ledger: Ledger,
    log: LogLines,
    /// What is odd about the configuration that was read a moment ago.
    warnings: Option<Vec<String>>,
}

impl EventLoop {
    fn new(settings: Settings) -> Self {
        let kernel = Kernel::new(settings.program.clone(), settings.table_owner);
        Self {
            settings,
            reconciler: Reconciler::new(RandomState::new().hash_one(0)),
            worker: Worker::Idle(Box::new(kernel)),
            ledger: Ledger::default(),
            log: LogLines::default(),
            warnings: None,
        }
    }

    async fn run(mut self, mut sources: Sources) {
        self.happened(Event::ReloadRequested);
        loop {
            let deadline = self.reconciler.deadline();
            tokio::select! {
                biased;
                _ = sources.signals.terminate.recv() => return info!("SIGTERM: the rules stay in force"),
                _ = sources.signals.interrupt.recv() => return info!("SIGINT: the rules stay in force"),
                event = self.worker.happened() => match event {
                    WorkerEvent::Done(kernel, end) => {
                        self.worker = Worker::Idle(kernel);
                        // The pass's own commits can be read by now.
                        if let Some(notifications) = &sources.notifications {
                            self.ledger.note(notifications.take());
                        }
                        let outcome = self.ended(end);
                        self.happened(Event::Done(outcome));
                        self.committed();
                    }
                    WorkerEvent::Ended(how) => {
                        self.log.worker_ended(&how);
                        self.happened(Event::WorkerEnded);
                    }
                },
                _ = sources.signals.hangup.recv() => self.happened(Event::ReloadRequested),
                () = changed(&mut sources.watch) => self.happened(Event::FileMayHaveChanged),
                arrived = arrived(&sources.notifications), if self.worker.is_idle() => {
                    self.ledger.note(arrived);
                    self.committed();
                }
                () = until(deadline) => self.happened(Event::DeadlineReached),
            }
        }
    }

    fn happened(&mut self, event: Event) {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            let action = self.reconciler.on(event, Instant::now());
            // Of a configuration that a file is still waited for, nothing is to be said yet.
            if let Some(warnings) = self.warnings.take()
                && !self.reconciler.waits_for_a_file()
            {
                self.log.good_file(warnings);
            }
            match action {
                Some(Action::Read { while_written }) => {
                    next = Some(Event::Read(self.read(while_written)));
                }
                Some(Action::Sync(desired)) => {
                    self.log.policy(&desired.policy);
                    self.worker.sync(desired.tables);
                }
                Some(Action::Look(desired)) => self.worker.look(desired.tables),
                None => {}
            }
        }
    }

    /// Others have committed, if the ledger says so.
    fn committed(&mut self) {
        if self.ledger.is_behind() {
            let by_another_daemon = self.ledger.is_by_another_daemon();
            self.happened(Event::Committed { by_another_daemon });
        }
    }

    fn read(&mut self, while_written: bool) -> Reading {
        let writers = if while_written {
            Writers::Ignore
        } else {
            Writers::Await
        };
        let settings = &self.settings;
        match config_source::load(&settings.config, &settings.flags, writers) {
            Ok(loaded) => {
                let policy = Policy::new(&loaded.config);
                let desired = Desired {
                    tables: Rc::new(Tables::new(&policy, &settings.names)),
                    policy: policy.to_string().into(),
                    resync_interval: loaded.config.resync_interval,
                };
                self.warnings = Some(loaded.warnings.iter().map(ToString::to_string).collect());
                Reading::Good {
                    desired,
                    files: loaded.files,
                    empty_files: loaded.empty_files,
                }
            }
            Err(LoadError::BeingWritten { .. }) => Reading::BeingWritten,
            Err(error) => {
                self.log.bad_file(&error);
                Reading::Bad
            }
        }
    }

    fn ended(&mut self, end: PassEnd) -> Outcome {
        let (passes, processes, synced) = match end {
            PassEnd::Synced(tables, passes) => {
                let committers = self.cover(&passes);
                (passes, ledger::processes(&committers), Some(tables))
            }
            PassEnd::Looked(passes) => {
                let processes = self.ledger.processes();
                self.cover(&passes);
                (passes, processes, None)
            }
        };
        let outcomes: Vec<Outcome> = passes.iter().map(outcome).collect();
        for TablePass { family, result } in passes {
            match (result, &synced) {
                (Ok(report), Some(tables)) => {
                    self.log.synced(family, tables, &report, &processes);
                }
                (Ok(report), None) => self.log.looked(family, &report, &processes),
                (Err(failure), _) => self.log.failed(family, &failure),
            }
        }
        outcomes.into_iter().max().unwrap_or(Outcome::InStep)
    }

    /// Which commits the pass has taken into account; gives those of others.
    fn cover(&mut self, passes: &[TablePass]) -> Vec<Commit> {
        match oldest_generation(passes) {
            Some(generation) => self.ledger.cover(generation),
            // The retry looks at all that has been committed by now; some of it may be this daemon's own.
            None => self.ledger.forget(),
        }
    }
}

fn outcome(pass: &TablePass) -> Outcome {
    match &pass.result {
        Ok(report) if report.differences.is_empty() => Outcome::InStep,
        Ok(_) => Outcome::Differed,
        Err(KernelError::OwnedByAnother { .. }) => Outcome::Owned,
        Err(_) => Outcome::Failed,
    }
}

/// `None` where the pass over a table failed.
fn oldest_generation(passes: &[TablePass]) -> Option<u32> {
    let mut oldest: Option<u32> = None;
    for pass in passes {
        let generation = pass.result.as_ref().ok()?.generation;
        let is_older = oldest.is_none_or(|oldest| is_after(oldest, generation));
        if is_older {
            oldest = Some(generation);
        }
    }
    oldest
}

impl Worker {
    fn sync(&mut self, tables: Rc<Tables>) {
        self.start(|mut kernel| {
            Box::pin(async move {
                let passes = kernel.sync_all(&tables).await;
                (kernel, PassEnd::Synced(tables, passes))
            })
        });
    }

    fn look(&mut self, tables: Rc<Tables>) {
        self.start(|mut kernel| {
            Box::pin(async move {
                let passes = kernel.look_all(&tables).await;
                (kernel, PassEnd::Looked(passes))
            })
        });
    }

    fn start(&mut self, pass: impl FnOnce(Box<Kernel>) -> Pass) {
        *self = match std::mem::replace(self, Self::Taken) {
            Self::Idle(kernel) => Self::Busy(pass(kernel)),
            // The reconciler starts one pass at a time.
            other => other,
        };
    }

    fn is_idle(&self) -> bool {
        matches!(self, Self::Idle(_))
    }

    /// Waits for the end of the pass, or of the idle worker.
    async fn happened(&mut self) -> WorkerEvent {
        match self {
            Self::Busy(pass) => {
                let (kernel, end) = pass.await;
                WorkerEvent::Done(kernel, end)
            }
            Self::Idle(kernel) => WorkerEvent::Ended(kernel.worker_ended().await),
            Self::Taken => pending().await,
        }
    }
}

async fn changed(watch: &mut Option<ConfigWatch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => pending().await,
    }
}

async fn arrived(notifications: &Option<Notifications>) -> Arrived {
    match notifications {
        Some(notifications) => notifications.arrived().await,
        None => pending().await,
    }
}

/// Waits for the deadline; for ever where there is none.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => pending().await,
    }
}
