//! One thread, one loop: signals, the deadline, and the sync that is under way.

use std::future::{Future, pending};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Instant;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use super::reconciler::{Action, Desired, Event, Reading, Reconciler};
use crate::config::Flags;
use crate::config_source::{self, LoadError, Writers};
use crate::kernel::error::KernelError;
use crate::kernel::{Kernel, SyncReport};
use crate::policy::Policy;
use crate::ruleset::{ChosenNames, Ruleset};

/// What the daemon runs with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Configuration files.
    pub config: Vec<PathBuf>,
    /// What the command line contributes to them.
    pub flags: Flags,
    /// Names of the table and the chain.
    pub names: ChosenNames,
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
        EventLoop::new(settings).run(signals).await;
        Ok(())
    })
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

/// A sync gives the kernel back when it is done.
type Sync = Pin<Box<dyn Future<Output = (Box<Kernel>, Result<SyncReport, KernelError>)>>>;

enum Worker {
    Idle(Box<Kernel>),
    Syncing(Sync),
    /// Between the two, for the length of a move.
    Taken,
}

struct EventLoop {
    settings: Settings,
    reconciler: Reconciler,
    worker: Worker,
    said: Said,
}

impl EventLoop {
    fn new(settings: Settings) -> Self {
        let kernel = Kernel::new(settings.program.clone());
        Self {
            settings,
            reconciler: Reconciler::new(RandomState::new().hash_one(0)),
            worker: Worker::Idle(Box::new(kernel)),
            said: Said::default(),
        }
    }

    async fn run(mut self, mut signals: Signals) {
        self.happened(Event::ReloadRequested);
        loop {
            let deadline = self.reconciler.deadline();
            tokio::select! {
                biased;
                _ = signals.terminate.recv() => return info!("SIGTERM: the rules stay in force"),
                _ = signals.interrupt.recv() => return info!("SIGINT: the rules stay in force"),
                _ = signals.hangup.recv() => self.happened(Event::ReloadRequested),
                (kernel, result) = self.worker.synced() => {
                    self.worker = Worker::Idle(kernel);
                    let succeeded = self.said.of_sync(result);
                    self.happened(Event::Synced(succeeded));
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
                    self.said.of_policy(&desired.policy);
                    self.worker.start(desired.ruleset);
                }
                None => {}
            }
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
                let warnings = loaded.warnings.iter().map(ToString::to_string);
                self.said.of_good_file(warnings.collect());
                let policy = Policy::new(&loaded.config);
                let desired = Desired {
                    ruleset: Rc::new(Ruleset::ipv4(&policy, &settings.names)),
                    policy: policy.to_string().into(),
                    resync_interval: loaded.config.resync_interval,
                };
                if loaded.found {
                    Reading::Good(desired)
                } else {
                    Reading::Absent(desired)
                }
            }
            Err(LoadError::BeingWritten { .. }) => Reading::BeingWritten,
            Err(error) => {
                self.said.of_bad_file(&error);
                Reading::Bad
            }
        }
    }
}

impl Worker {
    fn start(&mut self, ruleset: Rc<Ruleset>) {
        *self = match std::mem::replace(self, Self::Taken) {
            Self::Idle(mut kernel) => Self::Syncing(Box::pin(async move {
                let result = kernel.sync(&ruleset).await;
                (kernel, result)
            })),
            // The reconciler starts one sync at a time.
            other => other,
        };
    }

    /// Waits for the end of the sync; for ever where there is none.
    async fn synced(&mut self) -> (Box<Kernel>, Result<SyncReport, KernelError>) {
        match self {
            Self::Syncing(sync) => sync.await,
            Self::Idle(_) | Self::Taken => pending().await,
        }
    }
}

/// Waits for the deadline; for ever where there is none.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => pending().await,
    }
}

/// What was logged last, so that a resync does not say it again.
#[derive(Default)]
struct Said {
    policy: Option<Rc<str>>,
    warnings: Vec<String>,
    bad_file: Option<String>,
    has_synced: bool,
    failure: Option<String>,
    failures: u32,
}

impl Said {
    fn of_good_file(&mut self, warnings: Vec<String>) {
        if self.bad_file.take().is_some() {
            info!("the configuration is good again");
        }
        if self.warnings != warnings {
            for warning in &warnings {
                warn!("{warning}");
            }
            self.warnings = warnings;
        }
    }

    fn of_policy(&mut self, policy: &Rc<str>) {
        if self.policy.as_ref() != Some(policy) {
            info!("policy: {policy}");
            self.policy = Some(Rc::clone(policy));
        }
    }

    fn of_bad_file(&mut self, error: &LoadError) {
        let text = error.to_string();
        if self.bad_file.as_ref() == Some(&text) {
            return;
        }
        for line in text.lines() {
            error!("{line}");
        }
        if self.policy.is_none() {
            error!("the configuration is bad: nothing is changed until it is good");
        } else {
            error!("the configuration is bad: the last good one stays in force");
        }
        self.bad_file = Some(text);
    }

    /// Whether the kernel has the ruleset.
    fn of_sync(&mut self, result: Result<SyncReport, KernelError>) -> bool {
        match result {
            Ok(report) => {
                if self.failure.take().is_some() {
                    info!(failures = self.failures, "in step again");
                    self.failures = 0;
                }
                // At the first time also that nothing was to be done: it says that the rules are in force.
                if !report.differences.is_empty() || !self.has_synced {
                    info!("{report}");
                }
                self.has_synced = true;
                true
            }
            Err(failure) => {
                self.failures = self.failures.saturating_add(1);
                let text = failure.to_string();
                if self.failure.as_ref() != Some(&text) {
                    error!("{text}; retried until it succeeds");
                    self.failure = Some(text);
                }
                false
            }
        }
    }
}
