//! One thread, one loop: signals, the file, the kernel, the deadline, and the pass over the kernel that is under way.

use std::future::pending;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use super::config_watch::ConfigWatch;
use super::http::{Answer, Http, Question, Reply};
use super::ledger::{self, Ledger};
use super::log_lines::LogLines;
use super::metrics::{self, Metrics};
use super::pass::{
    PassEnd, Worker, WorkerEvent, differences, outcome, state_after_look, state_after_sync,
};
use super::readiness::Readiness;
use super::reconciler::{Action, Desired, Event, Outcome, Reading, Reconciler};
use crate::config::Flags;
use crate::config_source::{self, Origin};
use crate::kernel::notifications::{Arrived, Notifications};
use crate::kernel::ownership::TableOwner;
use crate::kernel::tables::TablePass;
use crate::kernel::{Kernel, give_freed_memory_back};
use crate::policy::Policy;
use crate::ruleset::{ChosenNames, Family, Tables};
use crate::startup_signals;

/// How long a scrape waits for fresh counters; after that it gets those that were read last.
const COUNT_LIMIT: Duration = Duration::from_secs(1);

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
    /// Where to serve metrics and probes; `None`: nowhere.
    pub http_address: Option<SocketAddr>,
    /// Whether the metrics tell the connections of each configured CIDR.
    pub metrics_per_cidr: bool,
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
        // Before the kernel is read for the first time, so that no change in between is missed.
        let sources = Sources {
            signals,
            notifications: Notifications::subscribe()
                .inspect_err(|error| {
                    warn!("changes by others are seen at the next resync only: {error}");
                })
                .ok(),
            http: Http::new(settings.http_address),
        };
        EventLoop::new(settings).run(sources).await;
        Ok(())
    })
}

struct Sources {
    signals: Signals,
    notifications: Option<Notifications>,
    http: Http,
}

impl Sources {
    /// That it failed was said at the start.
    fn subscribe_again(&mut self) {
        if self.notifications.is_none()
            && let Ok(notifications) = Notifications::subscribe()
        {
            info!("changes by others are seen at once again");
            self.notifications = Some(notifications);
        }
    }
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

struct EventLoop {
    watch: ConfigWatch,
    settings: Settings,
    reconciler: Reconciler,
    worker: Worker,
    ledger: Ledger,
    log: LogLines,
    /// Where the good configuration comes from that was read a moment ago, and what is odd about it.
    good_file: Option<(Origin, Vec<String>)>,
    readiness: Readiness,
    metrics: Metrics,
    /// Those who wait for the metrics, and when they have waited long enough.
    scrapes: Vec<Reply>,
    scrapes_due: Option<Instant>,
}

impl EventLoop {
    fn new(settings: Settings) -> Self {
        let kernel = Kernel::new(settings.program.clone(), settings.table_owner)
            .counting_per_cidr(settings.metrics_per_cidr);
        Self {
            metrics: Metrics::new(settings.metrics_per_cidr),
            watch: ConfigWatch::new(&settings.config),
            settings,
            reconciler: Reconciler::new(RandomState::new().hash_one(0)),
            worker: Worker::Idle(Box::new(kernel)),
            ledger: Ledger::default(),
            log: LogLines::default(),
            good_file: None,
            readiness: Readiness::default(),
            scrapes: Vec::new(),
            scrapes_due: None,
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
                        // The pass's own commits can be read by now.
                        if let Some(notifications) = &sources.notifications {
                            self.ledger.note(notifications.take());
                        }
                        self.passed(kernel, end);
                    }
                    WorkerEvent::Ended(how) => {
                        self.log.worker_ended(&how);
                        self.happened(Event::WorkerEnded);
                    }
                },
                _ = sources.signals.hangup.recv() => self.happened(Event::ReloadRequested),
                () = self.watch.changed() => self.happened(Event::FileMayHaveChanged),
                arrived = arrived(&sources.notifications), if self.worker.is_idle() => {
                    self.ledger.note(arrived);
                    self.committed();
                }
                () = until(deadline) => {
                    sources.subscribe_again();
                    self.happened(Event::DeadlineReached);
                }
                () = until(self.scrapes_due) => self.answer_scrapes(),
                question = sources.http.asked() => self.asked(question),
            }
        }
    }

    fn happened(&mut self, event: Event) {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            let action = self.reconciler.on(event, Instant::now());
            // Of a configuration that a file is still waited for, nothing is to be said yet.
            if let Some((origin, warnings)) = self.good_file.take()
                && !self.reconciler.waits_for_a_file()
            {
                self.log.good_file(origin, warnings);
                self.metrics.good_load();
                self.readiness.configuration_is_good();
            }
            match action {
                Some(Action::Read { while_written }) => {
                    next = Some(Event::Read(self.read(while_written)));
                }
                Some(Action::Sync(desired)) => {
                    if self.log.policy(&desired.policy, desired.resync_interval) {
                        self.metrics.wants(&desired.tables);
                        let wanted = desired.tables.wanted().map(|ruleset| ruleset.family);
                        self.readiness.wants(wanted);
                        self.tell_what_is_in_step();
                    }
                    self.ledger.look_begins();
                    self.worker.sync(desired.tables);
                }
                Some(Action::Look(desired)) => {
                    self.ledger.look_begins();
                    self.worker.look(desired.tables);
                }
                Some(Action::Count(desired)) => self.worker.count(desired.tables),
                None => {}
            }
        }
    }

    fn passed(&mut self, kernel: Box<Kernel>, end: PassEnd) {
        self.metrics.passed(&kernel);
        self.log.libnftables(kernel.libnftables());
        self.worker = Worker::Idle(kernel);
        let done = self.ended(end);
        self.answer_scrapes();
        self.happened(done);
        self.committed();
        if self.worker.is_idle() {
            give_freed_memory_back();
        }
    }

    /// Others have committed, if the ledger says so.
    fn committed(&mut self) {
        if self.ledger.is_behind() {
            let committers = self.ledger.committers();
            self.happened(Event::Committed(committers));
        }
    }

    fn read(&mut self, while_written: bool) -> Reading {
        // Before it is read, so that no change in between is missed.
        self.watch.renew();
        let settings = &self.settings;
        match config_source::load(&settings.config, &settings.flags) {
            Ok(loaded) => {
                let policy = Policy::new(&loaded.config);
                let desired = Desired {
                    tables: Rc::new(Tables::new(&policy, &settings.names)),
                    policy: Rc::new(policy),
                    resync_interval: loaded.config.resync_interval,
                };
                let warnings = loaded.warnings.iter().map(ToString::to_string).collect();
                self.good_file = Some((Origin::of(&loaded, &settings.config), warnings));
                Reading::Good {
                    desired,
                    // A file that is emptied counts as one that goes: a writer that begins anew does that first.
                    files: loaded.files_with_contents(),
                    empty_files: Vec::new(),
                }
            }
            Err(failure) if failure.may_be_half_written && !while_written => Reading::BeingWritten,
            Err(failure) => {
                self.log.bad_file(&failure.error);
                self.metrics.bad_load();
                self.readiness
                    .configuration_is_bad(&failure.error.to_string());
                Reading::Bad {
                    files: failure.files_with_contents,
                    may_pass: failure.error.may_pass(),
                }
            }
        }
    }

    fn ended(&mut self, end: PassEnd) -> Event {
        let done = match &end {
            PassEnd::Synced(_, passes, _) | PassEnd::Looked(passes) => Event::Done {
                outcome: passes.iter().map(outcome).max().unwrap_or(Outcome::InStep),
                differences: differences(passes),
            },
            PassEnd::Counted(counted) => Event::Done {
                outcome: counted
                    .as_ref()
                    .map_or(Outcome::Failed, |()| Outcome::InStep),
                differences: String::new(),
            },
        };
        match end {
            PassEnd::Synced(tables, passes, took) => {
                self.metrics.sync_took(took);
                self.synced(&tables, passes);
            }
            PassEnd::Looked(passes) => self.looked(passes),
            PassEnd::Counted(Ok(())) => {}
            PassEnd::Counted(Err(failure)) => self.log.counting_failed(&failure),
        }
        self.tell_what_is_in_step();
        done
    }

    fn tell_what_is_in_step(&mut self) {
        for family in [Family::Ip, Family::Ip6] {
            let is_in_step = self.readiness.is_in_step(family);
            self.metrics.is_in_step(family, is_in_step);
        }
    }

    fn synced(&mut self, tables: &Rc<Tables>, passes: Vec<TablePass>) {
        let processes = ledger::processes(&self.ledger.passed(&passes));
        let states = passes
            .iter()
            .filter_map(|pass| state_after_sync(pass, tables).map(|state| (pass.family, state)));
        self.readiness.synced(states.collect());
        for TablePass { family, result } in passes {
            self.metrics.synced(family, result.is_ok());
            match result {
                Ok(report) => {
                    if self.log.synced(family, tables, &report, &processes) {
                        self.metrics.repaired(family);
                    }
                }
                Err(failure) => self.log.failed(family, &failure),
            }
        }
    }

    fn looked(&mut self, passes: Vec<TablePass>) {
        let processes = self.ledger.processes();
        self.ledger.passed(&passes);
        for pass in passes {
            let state = state_after_look(&pass, &processes);
            self.readiness.looked(pass.family, state);
            match pass.result {
                Ok(report) => self.log.looked(pass.family, &report, &processes),
                Err(failure) => self.log.failed(pass.family, &failure),
            }
        }
    }

    fn asked(&mut self, question: Question) {
        // That nobody waits for the answer any more is no error.
        match question {
            Question::Health(reply) => {
                let _ = reply.send(Answer::text(StatusCode::OK, "ok\n"));
            }
            Question::Readiness(reply) => {
                let reasons = self.readiness.reasons();
                let _ = reply.send(match reasons.is_empty() {
                    true => Answer::text(StatusCode::OK, "ready\n"),
                    false => {
                        Answer::text(StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n")
                    }
                });
            }
            Question::Metrics(reply) => {
                self.scrapes.push(reply);
                self.happened(Event::CountWanted);
                if self.worker.is_counting() {
                    let latest = || Instant::now().checked_add(COUNT_LIMIT);
                    self.scrapes_due = self.scrapes_due.or_else(latest);
                } else {
                    self.answer_scrapes();
                }
            }
        }
    }

    fn answer_scrapes(&mut self) {
        self.scrapes_due = None;
        if self.scrapes.is_empty() {
            return;
        }
        let answer = match self.metrics.text() {
            Ok(text) => Answer::ok(metrics::CONTENT_TYPE, text),
            Err(error) => {
                let text = format!("the metrics cannot be written: {error}\n");
                Answer::text(StatusCode::INTERNAL_SERVER_ERROR, text)
            }
        };
        for reply in self.scrapes.drain(..) {
            let _ = reply.send(answer.clone());
        }
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
