//! One thread, one loop: signals, the file, the kernel, the deadline, and the pass over the kernel that is under way.

mod answers;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::sleep_until;
use tracing::{info, warn};

use super::budget::Outcome;
use super::config_reader::{ConfigReader, Reading, Verdict};
use super::config_watch::ConfigWatch;
use super::configuration::Configuration;
use super::contradictions::LastCount;
use super::following::Following;
use super::http::{self, Question};
use super::keeper::Keeper;
use super::ledger::{Ledger, covered};
use super::metrics::Metrics;
use super::node_addresses::NodeAddresses;
use super::repetitions::Repetitions;
use super::table_state::TableState;
use super::work::{Order, PassEnd, WorkEvent, work};
use super::worker::{OWN_PROGRAM, Worker, WorkerError};
use crate::config::Flags;
use crate::config_source::{self, Loaded, Origin};
use crate::kernel::notifications::{Arrived, Notifications};
use crate::kernel::ownership::TableOwner;
use crate::kernel::pass::PassReport;
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
    let ended = runtime.block_on(async {
        let signals = Signals::new().map_err(StartError::Signals)?;
        startup_signals::release();
        let (orders, ordered) = mpsc::channel(4);
        let (tell, events) = mpsc::channel(1);
        let worker = Worker::new(OWN_PROGRAM.into());
        let children = signal(SignalKind::child()).map_err(StartError::Signals)?;
        let work = work(
            worker,
            settings.table_owner,
            children,
            ordered,
            tell.clone(),
        );
        let event_loop = EventLoop::new(settings, signals, orders, tell, events);
        tokio::select! {
            () = event_loop.run() => {}
            () = work => {}
        }
        Ok(())
    });
    // A reading of the counters is not waited for.
    runtime.shutdown_background();
    ended
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
    settings: Settings,
    signals: Signals,
    /// `None`: there is no socket to be had.
    notifications: Option<Notifications>,
    orders: mpsc::Sender<Order>,
    /// Who does something beside all orders tells by this that it is done.
    tell: mpsc::Sender<WorkEvent>,
    work_events: mpsc::Receiver<WorkEvent>,
    questions: mpsc::Receiver<Question>,
    watch: ConfigWatch,
    reader: ConfigReader,
    configuration: Configuration,
    addresses: NodeAddresses,
    /// What is in force, and what becomes of connections.
    following: Following,
    keeper: Keeper,
    ledger: Ledger,
    tables: [TableState; 2],
    /// What the worker runs on.
    libnftables: Option<String>,
    metrics: Metrics,
    /// The counters are being read for a page of metrics.
    is_counting: bool,
    /// Of the connections that contradict the policy.
    last_count: LastCount,
    /// Of the worker, and of readings of the counters.
    errors: Repetitions,
}

impl EventLoop {
    fn new(
        settings: Settings,
        signals: Signals,
        orders: mpsc::Sender<Order>,
        tell: mpsc::Sender<WorkEvent>,
        work_events: mpsc::Receiver<WorkEvent>,
    ) -> Self {
        // Before the kernel is read for the first time, so that no change in between is missed.
        let notifications = Notifications::subscribe().inspect_err(|error| {
            warn!("changes by others are seen at the next resync only: {error}");
        });
        let counts_per_cidr = settings.metrics_per_cidr;
        Self {
            signals,
            notifications: notifications.ok(),
            orders,
            following: Following::new(tell.clone()),
            tell,
            work_events,
            questions: http::serve(settings.http_address),
            watch: ConfigWatch::new(&settings.config),
            reader: ConfigReader::new(Instant::now()),
            configuration: Configuration::default(),
            addresses: NodeAddresses::new(),
            keeper: Keeper::new(),
            ledger: Ledger::default(),
            tables: Family::ALL.map(|family| TableState::new(family, counts_per_cidr)),
            libnftables: None,
            metrics: Metrics::new(counts_per_cidr),
            is_counting: false,
            last_count: LastCount::default(),
            errors: Repetitions::default(),
            settings,
        }
    }

    async fn run(mut self) {
        loop {
            self.do_what_is_due();
            let deadline = self.deadline();
            let is_idle = !self.keeper.is_under_way();
            tokio::select! {
                biased;
                _ = self.signals.terminate.recv() => return info!("SIGTERM: the rules stay in force"),
                _ = self.signals.interrupt.recv() => return info!("SIGINT: the rules stay in force"),
                Some(event) = self.work_events.recv() => match event {
                    WorkEvent::Passed(end) => self.passed(end),
                    WorkEvent::Counted(counters, reply) => {
                        self.counted(counters);
                        let _ = reply.send(self.metrics_page());
                    }
                    WorkEvent::CountedContradictions(counts, reply) => {
                        self.counted_contradictions(counts);
                        self.asked_for_metrics(reply);
                    }
                    WorkEvent::Followed(ended) => self.following.ended(ended, self.configuration.desired()),
                    WorkEvent::WorkerEnded => self.keeper.worker_ended(Instant::now()),
                },
                _ = self.signals.hangup.recv() => {
                    self.reader.reload(Instant::now());
                    self.keeper.look(Instant::now());
                }
                () = self.addresses.changed() => self.look_at_addresses(),
                () = self.watch.changed() => self.reader.may_have_changed(Instant::now()),
                Some(arrived) = arrived(&self.notifications), if is_idle => self.ledger.note(arrived),
                () = sleep_until(deadline.unwrap_or_else(Instant::now).into()), if deadline.is_some() => {}
                Some(question) = self.questions.recv() => self.asked(question),
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let lines = self.tables.iter().map(TableState::due);
        let pass = self.keeper.due().filter(|_| !self.is_counting);
        let due = [self.reader.due(), pass].into_iter();
        due.chain(lines).flatten().min()
    }

    fn do_what_is_due(&mut self) {
        let now = Instant::now();
        for table in &mut self.tables {
            table.say_what_is_due(now);
        }
        if self.reader.next(now) {
            self.read();
        }
        if self.keeper.is_under_way() {
            return;
        }
        if self.ledger.is_behind() {
            self.keeper.committed(now);
        }
        let Some(desired) = self.configuration.desired() else {
            return;
        };
        let is_in_force = |table: &&TableState| table.is_in_step(&desired.tables) != Some(false);
        let in_force = self.tables.iter().filter(is_in_force);
        let in_force: Vec<Family> = in_force.map(|table| table.family).collect();
        self.addresses.end_connections_of_gone_ones(&in_force);
        // A pass is for what is desired when it begins, and not when the counters had to be read first.
        if self.is_counting {
            return;
        }
        if let Some(repairs) = self.keeper.next(now) {
            let desired = Arc::clone(desired);
            self.subscribe_again();
            self.ledger.pass_begins();
            self.order(Order::Pass { desired, repairs });
        }
    }

    /// That it failed was said at the start.
    fn subscribe_again(&mut self) {
        if self.notifications.is_none()
            && let Ok(notifications) = Notifications::subscribe()
        {
            info!("changes by others are seen at once again");
            self.notifications = Some(notifications);
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
            (Verdict::Counts, Ok(loaded)) => {
                self.metrics.good_load();
                self.wants(loaded);
            }
            (Verdict::Counts, Err(failure)) => {
                self.metrics.bad_load();
                self.configuration.take_bad(&failure.error);
                // The last good one goes on being followed.
                self.look_at_addresses();
            }
        }
    }

    fn wants(&mut self, loaded: Loaded) {
        let settings = &self.settings;
        let origin = Origin::of(&loaded, &settings.config);
        let policy = self.addresses.look(Policy::new(&loaded.config));
        let is_new = self
            .configuration
            .take_good(loaded, policy, origin, &settings.names);
        if is_new {
            self.tables_are_wanted();
        }
    }

    /// The node's addresses may have changed.
    fn look_at_addresses(&mut self) {
        let Some(desired) = self.configuration.desired() else {
            return;
        };
        let policy = self.addresses.look(desired.policy.clone());
        if self.configuration.take_policy(policy, &self.settings.names) {
            self.tables_are_wanted();
        }
    }

    /// Others than before.
    fn tables_are_wanted(&mut self) {
        if let Some(desired) = self.configuration.desired() {
            self.metrics.wants(&desired.tables);
            for table in &mut self.tables {
                let wanted = desired.tables.of(table.family);
                table.connections.keep_cidrs_of(wanted);
            }
            let (families, now) = (Family::ALL.to_vec(), Instant::now());
            self.keeper
                .wants(families, desired.config.resync_interval, now);
            self.following.give_up();
        }
    }

    fn passed(&mut self, end: PassEnd) {
        self.metrics.sync_took(end.took);
        self.metrics.workers_started(end.worker_starts);
        if let Ok(report) = &end.report {
            self.ledger.own_port_is(report.port);
        }
        // The pass's own commits can be read by now.
        if let Some(notifications) = &self.notifications {
            self.ledger.note(notifications.take());
        }
        let outcomes = match end.report {
            Ok(report) => self.passed_with(&end.desired.tables, report),
            Err(error) => self.passed_without_answer(&end.desired.tables, &error),
        };
        // Of a table that is not to be there, and is not, there is no outcome.
        let is_as_wanted = |family: &Family| {
            let mut of_family = outcomes.iter().filter(|(its, _)| its == family);
            of_family.all(|(_, outcome)| outcome.is_as_wanted())
        };
        let as_wanted: Vec<Family> = Family::ALL.into_iter().filter(is_as_wanted).collect();
        let desired = self.configuration.desired();
        self.following
            .are_in_force(&as_wanted, &end.desired, desired);
        let now = Instant::now();
        self.keeper.passed(&outcomes, now);
        for table in &mut self.tables {
            let is_contested = self.keeper.is_withheld(table.family, now);
            table.say_whether_it_is_contested(is_contested);
        }
    }

    fn passed_with(&mut self, tables: &Arc<Tables>, report: PassReport) -> Vec<(Family, Outcome)> {
        if let Some(version) = report.libnftables {
            self.runs_on(version);
        }
        let committers = self.ledger.passed(covered(&report.tables));
        let suspects = self.ledger.suspects();
        let mut outcomes = Vec::new();
        for table in &mut self.tables {
            let family = table.family;
            let Some(pass) = report.tables.iter().find(|pass| pass.family == family) else {
                table.note_absence();
                continue;
            };
            let outcome = table.passed(tables, pass, &committers, suspects.as_deref());
            self.metrics.passed(family, outcome);
            outcomes.push((family, outcome));
        }
        outcomes
    }

    fn passed_without_answer(
        &mut self,
        tables: &Tables,
        error: &WorkerError,
    ) -> Vec<(Family, Outcome)> {
        let text = format!("{error}; retried until it succeeds");
        self.errors.error(&text);
        self.ledger.passed(None);
        for table in &mut self.tables {
            if tables.of(table.family).is_some() {
                table.failed(error.to_string());
                self.metrics.passed(table.family, Outcome::Failed);
            }
        }
        Family::ALL.map(|family| (family, Outcome::Failed)).into()
    }

    fn runs_on(&mut self, libnftables: String) {
        if self.libnftables.as_ref() != Some(&libnftables) {
            info!(libnftables, "libnftables {libnftables} programs the kernel");
            self.metrics.libnftables(&libnftables);
            self.libnftables = Some(libnftables);
        }
    }

    /// There is room: there is at most one of each.
    fn order(&self, order: Order) {
        let _ = self.orders.try_send(order);
    }
}

async fn arrived(notifications: &Option<Notifications>) -> Option<Arrived> {
    Some(notifications.as_ref()?.arrived().await)
}
