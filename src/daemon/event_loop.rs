//! One thread, one loop: signals, the file, the kernel, the deadline, and the pass over the kernel that is under way.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use super::config_reader::{ConfigReader, Reading, Verdict};
use super::config_watch::ConfigWatch;
use super::connections::Connections;
use super::http::{Answer, Http, Question};
use super::keeper::{Keeper, Outcome};
use super::ledger::{Ledger, processes};
use super::log_lines::LogLines;
use super::metrics::{self, Metrics};
use super::pass::{PassEnd, Work, WorkEvent, outcome};
use super::readiness::{Readiness, TableState};
use super::worker::{OWN_PROGRAM, Worker, WorkerError};
use crate::config::Flags;
use crate::config_source::{self, LoadError, Loaded, Origin};
use crate::kernel::difference::Difference;
use crate::kernel::error::listed;
use crate::kernel::netlink::{Commit, is_after};
use crate::kernel::notifications::{Arrived, Notifications};
use crate::kernel::ownership::TableOwner;
use crate::kernel::pass::{PassReport, TablePass};
use crate::policy::Policy;
use crate::ruleset::{ChosenNames, Family, Tables};
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

/// What a good configuration asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Desired {
    tables: Rc<Tables>,
    /// What the tables are made of, for the log.
    policy: Rc<Policy>,
    /// How often file and kernel are compared without any event.
    resync_interval: Duration,
}

struct EventLoop {
    watch: ConfigWatch,
    settings: Settings,
    reader: ConfigReader,
    /// Of the last good configuration.
    desired: Option<Desired>,
    keeper: Keeper,
    work: Work,
    ledger: Ledger,
    /// Who changed a table the last time that it was repaired, or differed.
    changed_by: [String; 2],
    log: LogLines,
    readiness: Readiness,
    metrics: Metrics,
    connections: Connections,
}

impl EventLoop {
    fn new(settings: Settings) -> Self {
        Self {
            metrics: Metrics::new(settings.metrics_per_cidr),
            connections: Connections::new(settings.metrics_per_cidr),
            watch: ConfigWatch::new(&settings.config),
            work: Work::Idle(Box::new(Worker::new(OWN_PROGRAM.into()))),
            settings,
            reader: ConfigReader::new(Instant::now()),
            desired: None,
            keeper: Keeper::new(),
            ledger: Ledger::default(),
            changed_by: Default::default(),
            log: LogLines::default(),
            readiness: Readiness::default(),
        }
    }

    async fn run(mut self, mut sources: Sources) {
        loop {
            self.do_what_is_due(&mut sources);
            let deadline = self.deadline();
            tokio::select! {
                biased;
                _ = sources.signals.terminate.recv() => return info!("SIGTERM: the rules stay in force"),
                _ = sources.signals.interrupt.recv() => return info!("SIGINT: the rules stay in force"),
                event = self.work.happened() => match event {
                    WorkEvent::Passed(end) => {
                        if let Ok(report) = &end.report {
                            self.ledger.own_port_is(report.port);
                        }
                        // The pass's own commits can be read by now.
                        if let Some(notifications) = &sources.notifications {
                            self.ledger.note(notifications.take());
                        }
                        self.passed(end);
                    }
                    WorkEvent::WorkerEnded(how) => {
                        self.log.worker_ended(&how);
                        self.keeper.worker_ended(Instant::now());
                    }
                },
                _ = sources.signals.hangup.recv() => {
                    self.reader.reload(Instant::now());
                    self.keeper.look(Instant::now());
                }
                () = self.watch.changed() => self.reader.may_have_changed(Instant::now()),
                arrived = arrived(&sources.notifications), if self.work.is_idle() => self.ledger.note(arrived),
                () = until(deadline) => {}
                question = sources.http.asked() => self.asked(question),
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let due = [self.reader.due(), self.keeper.due(), self.log.due()];
        due.into_iter().flatten().min()
    }

    fn do_what_is_due(&mut self, sources: &mut Sources) {
        let now = Instant::now();
        self.log.say_what_is_due(now);
        if self.reader.next(now) {
            self.read();
        }
        if !self.work.is_idle() {
            return;
        }
        if self.ledger.is_behind() {
            self.keeper.committed(now);
        }
        if let Some(desired) = &self.desired
            && let Some(repairs) = self.keeper.next(now)
        {
            sources.subscribe_again();
            self.ledger.pass_begins();
            let tables = Rc::clone(&desired.tables);
            self.work.begin(tables, repairs, self.settings.table_owner);
        }
    }

    fn read(&mut self) {
        // Before it is read, so that no change in between is missed.
        self.watch.renew();
        let settings = &self.settings;
        let loaded = config_source::load(&settings.config, &settings.flags);
        let reading = match &loaded {
            Ok(loaded) => Reading::Good {
                files: loaded.files_with_contents(),
                resync_interval: loaded.config.resync_interval,
            },
            Err(failure) => Reading::Bad {
                files: failure.files_with_contents.clone(),
                may_be_half_written: failure.may_be_half_written,
                may_pass: failure.error.may_pass(),
            },
        };
        match (self.reader.read(reading, Instant::now()), loaded) {
            (Verdict::NotYet, _) => {}
            (Verdict::Counts, Ok(loaded)) => self.wants(&loaded),
            (Verdict::Counts, Err(failure)) => self.keeps_the_last_one(&failure.error),
        }
    }

    fn wants(&mut self, loaded: &Loaded) {
        let warnings = loaded.warnings.iter().map(ToString::to_string).collect();
        let origin = Origin::of(loaded, &self.settings.config);
        self.log.good_file(origin, warnings);
        self.metrics.good_load();
        self.readiness.configuration_is_good();
        let policy = Policy::new(&loaded.config);
        let desired = Desired {
            tables: Rc::new(Tables::new(&policy, &self.settings.names)),
            policy: Rc::new(policy),
            resync_interval: loaded.config.resync_interval,
        };
        if self.desired.as_ref() == Some(&desired) {
            return;
        }
        self.log.policy(&desired.policy, desired.resync_interval);
        self.metrics.wants(&desired.tables);
        let wanted = desired.tables.wanted().map(|ruleset| ruleset.family);
        self.readiness.wants(wanted);
        self.tell_what_is_in_step();
        let (families, now) = (Family::ALL.to_vec(), Instant::now());
        self.keeper.wants(families, desired.resync_interval, now);
        self.desired = Some(desired);
    }

    fn keeps_the_last_one(&mut self, error: &LoadError) {
        self.log.bad_file(error);
        self.metrics.bad_load();
        self.readiness.configuration_is_bad(&error.to_string());
    }

    fn passed(&mut self, end: PassEnd) {
        let PassEnd {
            tables,
            report,
            took,
        } = end;
        self.metrics.sync_took(took);
        if let Some(starts) = self.work.workers_started() {
            self.metrics.workers_started(starts);
        }
        match report {
            Ok(report) => self.passed_with(&tables, report),
            Err(error) => self.passed_without_answer(&tables, &error),
        }
        self.tell_what_is_in_step();
    }

    fn passed_with(&mut self, tables: &Rc<Tables>, report: PassReport) {
        if let Some(version) = &report.libnftables {
            self.metrics.libnftables(version);
            self.log.libnftables(version);
        }
        let committers = self.ledger.passed(covered(&report.tables));
        let mut outcomes = Vec::new();
        let mut states = Vec::new();
        for pass in &report.tables {
            let (outcome, state) = self.passed_over(tables, pass, &committers);
            outcomes.push((pass.family, outcome));
            if tables.of(pass.family).is_some() || matches!(state, TableState::Failed(_)) {
                states.push((pass.family, state));
            }
        }
        self.readiness.passed(states);
        let now = Instant::now();
        self.keeper.passed(&outcomes, now);
        for family in Family::ALL {
            let contested = self.contested(family, now);
            self.log.contested(family, contested.as_deref());
        }
    }

    fn passed_over(
        &mut self,
        tables: &Rc<Tables>,
        pass: &TablePass,
        committers: &[Commit],
    ) -> (Outcome, TableState) {
        let family = pass.family;
        let outcome = outcome(&pass.result, self.log.is_known(family, tables));
        if matches!(outcome, Outcome::Repaired | Outcome::Withheld) && !committers.is_empty() {
            *self.changed_by_mut(family) = processes(committers);
        }
        self.connections.note_gone(family, &pass.counted);
        self.metrics.synced(family, pass.result.is_ok());
        let state = match &pass.result {
            Ok(report) if report.is_withheld => {
                let who = self.changed_by_mut(family).clone();
                TableState::Withheld(who, listed(&report.differences))
            }
            Ok(report) => {
                if report.differences.contains(&Difference::TableMissing) {
                    self.connections.table_was_missing(family);
                }
                if outcome == Outcome::Repaired {
                    self.metrics.repaired(family);
                }
                self.log.passed(family, tables, report, committers);
                TableState::InStep
            }
            Err(failure) => {
                self.log.failed(family, failure);
                TableState::Failed(match self.ledger.suspects() {
                    None => failure.to_string(),
                    Some(who) => format!("{failure}; others have committed meanwhile: {who}"),
                })
            }
        };
        (outcome, state)
    }

    fn passed_without_answer(&mut self, tables: &Tables, error: &WorkerError) {
        self.log.worker_failed(error);
        self.ledger.passed(None);
        let wanted = || tables.wanted().map(|ruleset| ruleset.family);
        let failed = |family| (family, TableState::Failed(error.to_string()));
        self.readiness.passed(wanted().map(failed).collect());
        wanted().for_each(|family| self.metrics.synced(family, false));
        let outcomes: Vec<_> = Family::ALL.map(|family| (family, Outcome::Failed)).into();
        self.keeper.passed(&outcomes, Instant::now());
    }

    fn changed_by_mut(&mut self, family: Family) -> &mut String {
        let [ip, ip6] = &mut self.changed_by;
        match family {
            Family::Ip => ip,
            Family::Ip6 => ip6,
        }
    }

    /// Who changes the table again and again.
    fn contested(&self, family: Family, now: Instant) -> Option<String> {
        let [ip, ip6] = &self.changed_by;
        let who = match family {
            Family::Ip => ip,
            Family::Ip6 => ip6,
        };
        let is_contested = self.keeper.is_withheld(family, now);
        is_contested.then(|| who.clone())
    }

    fn tell_what_is_in_step(&mut self) {
        for family in Family::ALL {
            let is_in_step = self.readiness.is_in_step(family);
            self.metrics.is_in_step(family, is_in_step);
        }
    }

    fn asked(&mut self, question: Question) {
        // That nobody waits for the answer any more is no error.
        let _ = match question {
            Question::Health(reply) => reply.send(Answer::text(StatusCode::OK, "ok\n")),
            Question::Readiness(reply) => {
                let now = Instant::now();
                let reasons = self.readiness.reasons(|family| self.contested(family, now));
                reply.send(match reasons.is_empty() {
                    true => Answer::text(StatusCode::OK, "ready\n"),
                    false => {
                        Answer::text(StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n")
                    }
                })
            }
            Question::Metrics(reply) => reply.send(self.metrics_page()),
        };
    }

    /// During a pass with what was read last: sets may be about to go, whose counts the pass tells.
    fn metrics_page(&mut self) -> Answer {
        if let Some(desired) = self.desired.as_ref().filter(|_| self.work.is_idle())
            && let Err(failure) = self.connections.read(&desired.tables)
        {
            self.log.counting_failed(&failure);
        }
        self.metrics.counted(self.connections.of_families());
        match self.metrics.text() {
            Ok(text) => Answer::ok(metrics::CONTENT_TYPE, text),
            Err(error) => {
                let text = format!("the metrics cannot be written: {error}\n");
                Answer::text(StatusCode::INTERNAL_SERVER_ERROR, text)
            }
        }
    }
}

/// Up to which generation all tables have been looked at that could be; `None`: none could.
fn covered(passes: &[TablePass]) -> Option<u32> {
    let reports = passes.iter().filter_map(|pass| pass.result.as_ref().ok());
    let generations = reports.map(|report| report.generation);
    generations.reduce(|one, other| if is_after(one, other) { other } else { one })
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
