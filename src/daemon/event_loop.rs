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
use super::ledger::Ledger;
use super::log_lines::LogLines;
use super::reconciler::{Action, Desired, Event, Outcome, Reading, Reconciler};
use crate::config::Flags;
use crate::config_source::{self, LoadError, Writers};
use crate::kernel::error::KernelError;
use crate::kernel::notifications::{Arrived, Notifications};
use crate::kernel::ownership::TableOwner;
use crate::kernel::{Kernel, SyncReport};
use crate::policy::Policy;
use crate::ruleset::{ChosenNames, Ruleset};
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
    Synced(Rc<Ruleset>, Result<SyncReport, KernelError>),
    Looked(Result<SyncReport, KernelError>),
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
            match self.reconciler.on(event, Instant::now()) {
                Some(Action::Read { while_written }) => {
                    next = Some(Event::Read(self.read(while_written)));
                }
                Some(Action::Sync(desired)) => {
                    self.log.policy(&desired.policy);
                    self.worker.sync(desired.ruleset);
                }
                Some(Action::Look(desired)) => self.worker.look(desired.ruleset),
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
                    ruleset: Rc::new(Ruleset::ipv4(&policy, &settings.names)),
                    policy: policy.to_string().into(),
                    resync_interval: loaded.config.resync_interval,
                };
                if loaded.found {
                    let warnings = loaded.warnings.iter().map(ToString::to_string);
                    self.log.good_file(warnings.collect());
                    Reading::Good(desired)
                } else {
                    self.log.no_file();
                    Reading::Absent(desired)
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
        let failure = match end {
            PassEnd::Synced(ruleset, Ok(report)) => {
                let committers = self.ledger.cover(report.generation);
                self.log.synced(ruleset, &report, &committers);
                return outcome(&report);
            }
            PassEnd::Looked(Ok(report)) => {
                let processes = self.ledger.processes();
                self.ledger.cover(report.generation);
                self.log.looked(&report, processes);
                return outcome(&report);
            }
            PassEnd::Synced(_, Err(failure)) | PassEnd::Looked(Err(failure)) => failure,
        };
        self.log.failed(&failure);
        // The retry looks at all that has been committed by now; some of it may be this daemon's own.
        self.ledger.forget();
        match failure {
            KernelError::OwnedByAnother { .. } => Outcome::Owned,
            _ => Outcome::Failed,
        }
    }
}

fn outcome(report: &SyncReport) -> Outcome {
    if report.differences.is_empty() {
        Outcome::InStep
    } else {
        Outcome::Differed
    }
}

impl Worker {
    fn sync(&mut self, ruleset: Rc<Ruleset>) {
        self.start(|mut kernel| {
            Box::pin(async move {
                let result = kernel.sync(&ruleset).await;
                (kernel, PassEnd::Synced(ruleset, result))
            })
        });
    }

    fn look(&mut self, ruleset: Rc<Ruleset>) {
        self.start(|mut kernel| {
            Box::pin(async move {
                let result = kernel.look(&ruleset).await;
                (kernel, PassEnd::Looked(result))
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
