//! Reconciler and ledger in a small world with a clock of its own: whatever happens in whatever order, soon after the last
//! of it file and kernel agree, and then there is quiet.

use std::io;

use proptest::prelude::*;

use super::*;
use crate::daemon::ledger::Ledger;
use crate::daemon::pass::{differences, outcome};
use crate::kernel::SyncReport;
use crate::kernel::difference::Difference;
use crate::kernel::error::KernelError;
use crate::kernel::netlink::Commit;
use crate::kernel::notifications::Arrived;
use crate::kernel::tables::TablePass;
use crate::kernel::worker::WORKER_NAME;
use crate::ruleset::Family;

/// How many configurations there are; the first is the defaults.
const VERSIONS: usize = 3;
/// A file that is missed for a second, a wait for an owner, a look that had to wait, and some passes.
const SOON: Duration = Duration::from_secs(3);

const FAR_TOO_MANY_ACTIONS: usize = 20_000;

#[derive(Debug, Clone, Copy)]
enum File {
    Good(usize),
    Gone,
    BeingWritten(usize),
    Bad,
    Unreadable,
}

#[derive(Debug, Clone)]
enum Happening {
    /// The file becomes this, and inotify tells it or does not.
    File(File, bool),
    Reload,
    /// Of a table or of none, that makes it differ.
    Commit(Option<Family>),
    /// The table becomes another daemon's.
    CommitByAnotherDaemon(Family),
    /// Ten times a second for so long, of other tables.
    Commits(Duration),
    /// What has not been received yet, of commits.
    NotificationsAreLost,
    Failing(Family, bool),
    Owned(Family, bool),
    WorkerEnds,
    Scrape,
}

use Happening::*;

/// A family's table in the kernel.
#[derive(Debug, Default)]
struct Table {
    /// The version that it is made of, or what else it is.
    contents: String,
    is_failing: bool,
    is_owned: bool,
}

/// A pass that is under way.
struct Under {
    way: Action,
    steps: Vec<Step>,
    step_due: Instant,
    passes: Vec<TablePass>,
}

/// What others do falls between two of these.
enum Step {
    Table(Family),
    BringToOneGeneration,
}

struct World {
    now: Instant,
    reconciler: Reconciler,
    ledger: Ledger,
    file: File,
    tables: [Table; 2],
    generation: u32,
    others: u32,
    notifications: Arrived,
    pass: Option<Under>,
    pass_step: Duration,
    actions: usize,
    last_reading: Instant,
    next_commit: Instant,
    no_more_commits: Instant,
}

impl World {
    fn new(pass_step: Duration) -> Self {
        let now = Instant::now();
        let mut world = Self {
            now,
            reconciler: Reconciler::new(1),
            ledger: Ledger::default(),
            file: File::Good(1),
            tables: Default::default(),
            generation: u32::MAX - 20,
            others: 0,
            notifications: Arrived::default(),
            pass: None,
            pass_step,
            actions: 0,
            last_reading: now,
            next_commit: now,
            no_more_commits: now,
        };
        world.tell(Event::ReloadRequested);
        world
    }

    fn happens(&mut self, happening: Happening) {
        match happening {
            File(file, is_told) => {
                self.file = file;
                if is_told {
                    self.tell(Event::FileMayHaveChanged);
                }
            }
            Reload => self.tell(Event::ReloadRequested),
            Commit(family) => {
                self.others += 1;
                if let Some(family) = family {
                    self.table(family).contents = format!("foreign {}", self.others);
                }
                self.commit("nft");
            }
            CommitByAnotherDaemon(family) => {
                self.table(family).contents = "another daemon's".to_owned();
                self.commit(&WORKER_NAME.to_string_lossy());
            }
            Commits(time) => {
                self.next_commit = self.now;
                self.no_more_commits = self.now + time;
            }
            NotificationsAreLost => {
                self.notifications = Arrived {
                    commits: Vec::new(),
                    some_were_lost: true,
                };
            }
            Failing(family, is_failing) => self.table(family).is_failing = is_failing,
            Owned(family, is_owned) => self.table(family).is_owned = is_owned,
            WorkerEnds if self.pass.is_none() => self.tell(Event::WorkerEnded),
            WorkerEnds => {}
            Scrape => self.tell(Event::CountWanted),
        }
        self.receive();
    }

    fn commit(&mut self, process_name: &str) {
        self.generation = self.generation.wrapping_add(1);
        self.notifications.commits.push(Commit {
            generation: self.generation,
            process_id: 1,
            process_name: process_name.to_owned(),
        });
    }

    /// As the event loop does it: not during a pass.
    fn receive(&mut self) {
        if self.pass.is_none() {
            self.ledger.note(std::mem::take(&mut self.notifications));
            self.look_at_commits();
        }
    }

    fn look_at_commits(&mut self) {
        if self.ledger.is_behind() {
            self.tell(Event::Committed(self.ledger.committers()));
        }
    }

    fn tell(&mut self, event: Event) {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            let action = self.reconciler.on(event, self.now);
            self.actions += usize::from(action.is_some());
            assert!(self.actions < FAR_TOO_MANY_ACTIONS, "a busy loop");
            match action {
                Some(Action::Read { while_written }) => {
                    self.last_reading = self.now;
                    next = Some(Event::Read(self.read(while_written)));
                }
                Some(way) => {
                    assert!(self.pass.is_none(), "one pass at a time");
                    let look = [Step::Table(Family::Ip), Step::Table(Family::Ip6)].into_iter();
                    let steps: Vec<Step> = match way {
                        Action::Count(_) => Vec::new(),
                        Action::Sync(_) => look.chain([Step::BringToOneGeneration]).collect(),
                        _ => look.collect(),
                    };
                    if !steps.is_empty() {
                        self.ledger.look_begins();
                    }
                    self.pass = Some(Under {
                        way,
                        steps,
                        step_due: self.now + self.pass_step,
                        passes: Vec::new(),
                    });
                }
                None => {}
            }
        }
    }

    fn read(&self, while_written: bool) -> Reading {
        match self.file {
            File::BeingWritten(_) if !while_written => Reading::BeingWritten,
            File::Good(version) | File::BeingWritten(version) => good(&version.to_string()),
            File::Gone => absent("0"),
            File::Bad => bad(),
            File::Unreadable => unreadable(),
        }
    }

    fn step(&mut self, mut pass: Under) {
        if pass.steps.is_empty() {
            return self.ends(&pass);
        }
        match pass.steps.remove(0) {
            Step::Table(family) => {
                let result = self.pass_over(family, &pass.way);
                pass.passes.push(TablePass { family, result });
            }
            Step::BringToOneGeneration => self.bring_to_one_generation(&mut pass),
        }
        pass.step_due = self.now + self.pass_step;
        self.pass = Some(pass);
    }

    fn ends(&mut self, Under { way, passes, .. }: &Under) {
        self.ledger.note(std::mem::take(&mut self.notifications));
        if !matches!(way, Action::Count(_)) {
            self.ledger.passed(passes);
        }
        self.tell(Event::Done {
            outcome: passes.iter().map(outcome).max().unwrap_or(Outcome::InStep),
            differences: differences(passes),
        });
        self.look_at_commits();
    }

    /// As `Kernel::sync_all` does it.
    fn bring_to_one_generation(&mut self, pass: &mut Under) {
        for _ in 0..2 {
            let newest = self.generation;
            for TablePass { family, result } in &mut pass.passes {
                let Ok(report) = result else { continue };
                if report.generation == newest {
                    continue;
                }
                let mut before = std::mem::take(&mut report.differences);
                *result = self.pass_over(*family, &pass.way).map(|mut report| {
                    before.append(&mut report.differences);
                    report.differences = before;
                    report
                });
            }
        }
    }

    fn table(&mut self, family: Family) -> &mut Table {
        let [ip, ip6] = &mut self.tables;
        match family {
            Family::Ip => ip,
            Family::Ip6 => ip6,
        }
    }

    fn pass_over(&mut self, family: Family, way: &Action) -> Result<SyncReport, KernelError> {
        let (Action::Sync(desired) | Action::Look(desired)) = way else {
            return Err(KernelError::Netlink(io::ErrorKind::InvalidInput.into()));
        };
        let wanted = desired.tables.ip.table.clone();
        let table = self.table(family);
        if table.is_failing {
            return Err(KernelError::Netlink(io::ErrorKind::OutOfMemory.into()));
        }
        if table.is_owned {
            return Err(KernelError::OwnedByAnother {
                port: 1,
                process: None,
                is_ending: false,
            });
        }
        let mut differences = Vec::new();
        if table.contents != wanted {
            differences.push(Difference::RulesDiffer(table.contents.clone()));
            if matches!(way, Action::Sync(_)) {
                table.contents = wanted;
                self.commit(&WORKER_NAME.to_string_lossy());
            }
        }
        Ok(SyncReport {
            differences,
            adopted: false,
            protection: None,
            generation: self.generation,
        })
    }

    fn time_passes(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            let due = match &self.pass {
                Some(pass) => pass.step_due,
                None => self.reconciler.deadline().expect("there is a next resync"),
            };
            let commit_due = Some(self.next_commit).filter(|due| *due < self.no_more_commits);
            let is_commit_first = commit_due.is_some_and(|commit_due| commit_due < due);
            let first = commit_due.filter(|_| is_commit_first).unwrap_or(due);
            if first > until {
                break;
            }
            self.now = self.now.max(first);
            match self.pass.take_if(|_| !is_commit_first) {
                Some(pass) => self.step(pass),
                None if is_commit_first => {
                    self.next_commit = self.now + SECOND / 10;
                    self.commit("nft");
                }
                None => self.tell(Event::DeadlineReached),
            }
            self.receive();
            let unread = self.now.duration_since(self.last_reading);
            assert!(unread <= 60 * SECOND + SOON, "not read for {unread:?}");
        }
        self.now = until;
    }

    /// What both tables are to be like: as the file says, or as the last good one said.
    fn wanted(&self) -> Option<String> {
        match self.file {
            File::Good(version) | File::BeingWritten(version) => Some(version.to_string()),
            File::Gone => Some("0".to_owned()),
            File::Bad | File::Unreadable => {
                let last_good = self.reconciler.last_good.as_ref();
                last_good.map(|desired| desired.tables.ip.table.clone())
            }
        }
    }
}

fn file() -> impl Strategy<Value = File> {
    prop_oneof![
        4 => (1..VERSIONS).prop_map(File::Good),
        1 => Just(File::Gone),
        2 => (1..VERSIONS).prop_map(File::BeingWritten),
        1 => Just(File::Bad),
        1 => Just(File::Unreadable),
    ]
}

fn family() -> impl Strategy<Value = Family> {
    prop_oneof![Just(Family::Ip), Just(Family::Ip6)]
}

fn what_is_seen_at_once() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => file().prop_map(|file| File(file, true)),
        1 => Just(Reload),
        4 => prop::option::of(family()).prop_map(Commit),
        1 => (0..100_u64).prop_map(|seconds| Commits(Duration::from_secs(seconds))),
        1 => Just(NotificationsAreLost),
        2 => (family(), any::<bool>()).prop_map(|(family, is)| Owned(family, is)),
        2 => Just(WorkerEnds),
        1 => Just(Scrape),
    ]
}

fn failures() -> impl Strategy<Value = Happening> {
    (family(), any::<bool>()).prop_map(|(family, is)| Failing(family, is))
}

fn what_a_resync_finds() -> impl Strategy<Value = Happening> {
    prop_oneof![
        1 => file().prop_map(|file| File(file, false)),
        2 => family().prop_map(CommitByAnotherDaemon),
    ]
}

/// With each kind that takes longer, and without.
fn happenings() -> impl Strategy<Value = Vec<(Happening, Duration)>> {
    let with_failures = || prop_oneof![6 => what_is_seen_at_once(), 1 => failures()];
    let all = prop_oneof![6 => with_failures(), 1 => what_a_resync_finds()];
    let some = 1..30_usize;
    prop_oneof![
        prop::collection::vec((what_is_seen_at_once(), pause()), some.clone()),
        prop::collection::vec((with_failures(), pause()), some.clone()),
        prop::collection::vec((all, pause()), some),
    ]
}

/// Many things at once, some a while apart, and some beyond the next resync.
fn pause() -> impl Strategy<Value = Duration> {
    let milliseconds = prop_oneof![6 => 0..30_u64, 3 => 0..1500_u64, 1 => 0..70_000_u64];
    milliseconds.prop_map(Duration::from_millis)
}

/// The longest that it may take once all hindrances are gone.
fn agreement_takes(happenings: &[(Happening, Duration)]) -> Duration {
    let any = |is: fn(&Happening) -> bool| happenings.iter().any(|(happening, _)| is(happening));
    let waits_for_resync = any(|it| matches!(it, File(_, false) | CommitByAnotherDaemon(_)));
    let waits_for_retry = any(|it| matches!(it, Failing(_, true)));
    match (waits_for_resync, waits_for_retry) {
        (true, _) => 60 * SECOND + SOON,
        (false, true) => LAST_RETRY + SOON,
        (false, false) => SOON,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn whatever_happens_file_and_kernel_agree_soon_after_and_then_there_is_quiet(
        happenings in happenings(),
        step in 0..40_u64,
    ) {
        let mut world = World::new(Duration::from_millis(step));
        for (happening, pause) in happenings.clone() {
            world.happens(happening);
            world.time_passes(pause);
        }
        world.happens(Commits(Duration::ZERO));
        for family in [Family::Ip, Family::Ip6] {
            world.happens(Failing(family, false));
            world.happens(Owned(family, false));
        }
        world.time_passes(agreement_takes(&happenings));
        let wanted = world.wanted();
        for table in &world.tables {
            prop_assert_eq!(Some(&table.contents), wanted.as_ref());
        }
        let before = world.actions;
        world.time_passes(600 * SECOND);
        // A reading and a sync with each resync, which comes every minute; before it a second of looks at a file that is
        // open for writing; and readings again of what cannot be read.
        let most = match world.file {
            File::BeingWritten(_) => 11 * 52,
            File::Unreadable => 100,
            _ => 11 * 2,
        };
        prop_assert!(world.actions - before <= most, "{} actions", world.actions - before);
    }
}
