//! The world: a kernel with two tables, a worker, the notifications, and others.

use std::collections::VecDeque;

use super::table::{Contents, Opponent, Table};
use super::*;
use crate::daemon::ledger::Ledger;
use crate::kernel::netlink::{self, is_after};
use crate::kernel::notifications::Arrived;

/// How many passes are no busy loop: repairs and looks at commits of others, and resyncs.
const MOST_PASSES_AT_ONCE: u64 = 1_000;
const MOST_PASSES_A_SECOND: u64 = 30;
/// A pass over a worker that hangs ends after this time.
const WORKER_DEADLINE: Duration = Duration::from_secs(10);
const OTHER_PORT: u32 = 1;

#[derive(Debug, Clone)]
pub(super) enum Happening {
    /// Of the file: other tables are wanted.
    AnotherConfiguration,
    /// The node's address of this family that connections are to get has left, another one has come, or the one before has
    /// come back: of this family another table is wanted, or one that was wanted before.
    AnotherAddress(Family, Option<u8>),
    /// It changes the table of this family, or others' tables.
    Commit(Option<Family>),
    /// The same while the daemon does not hear of commits.
    UnseenCommit(Family),
    /// Commits for so long, so often, and changes other tables.
    Neighbour(Duration, Duration),
    /// Changes the table for so long, each time so soon after it was repaired: a script, or another daemon.
    Opponent(Family, Duration, Duration),
    /// Of a commit that changes this table, or others' tables, and what else has not been received yet.
    NotificationsAreLost(Option<Family>),
    /// The table's pass fails, sometimes after it has written something.
    Failing(Family, bool),
    /// By another process, which is ending or not.
    Owned(Family, Option<bool>),
    /// Also in the middle of a pass.
    WorkerEnds,
    /// It does not answer, and cannot be killed.
    WorkerHangs,
    WorkerIsGone,
}

/// A pass that is under way. What others do falls between two of its steps.
struct Pass {
    wanted: [Contents; 2],
    granted: Vec<Family>,
    steps: VecDeque<Family>,
    step_due: Instant,
    outcomes: Vec<(Family, Outcome)>,
    covered: Option<u32>,
}

pub(super) struct World {
    pub(super) now: Instant,
    pub(super) keeper: Keeper,
    pub(super) passes: u64,
    begin: Instant,
    ledger: Ledger,
    resync_interval: Duration,
    /// What is wanted of each table, and what the last pass was for.
    wanted: [Contents; 2],
    last_wanted: Option<[Contents; 2]>,
    tables: [(Family, Table); 2],
    generation: u32,
    /// Notifications, and when they can be read.
    notifications: VecDeque<(Instant, netlink::Commit)>,
    lateness: Duration,
    pass: Option<Pass>,
    pass_step: Duration,
    pass_ended: Instant,
    worker_hangs: bool,
    /// It was waited for until the deadline; further passes fail at once.
    worker_is_given_up: bool,
    /// One has ended in the middle of a pass. What it had committed counts as someone else's.
    worker_has_died: bool,
    /// Each worker has another.
    worker_port: u32,
    worker_is_missing_since: Option<Instant>,
    commit_interval: Duration,
    next_commit: Instant,
    no_more_commits: Instant,
}

impl World {
    pub(super) fn new(pass_step: Duration, lateness: Duration, resync_interval: Duration) -> Self {
        let now = Instant::now();
        let mut world = Self {
            now,
            keeper: Keeper::new(),
            passes: 0,
            begin: now,
            ledger: Ledger::default(),
            resync_interval,
            wanted: [Contents {
                configuration: 0,
                address: None,
            }; 2],
            last_wanted: None,
            tables: BOTH.map(|family| (family, Table::default())),
            generation: u32::MAX - 20,
            notifications: VecDeque::new(),
            lateness,
            pass: None,
            pass_step,
            pass_ended: now,
            worker_hangs: false,
            worker_is_given_up: false,
            worker_has_died: false,
            worker_port: OTHER_PORT + 1,
            worker_is_missing_since: None,
            commit_interval: SECOND,
            next_commit: now,
            no_more_commits: now,
        };
        world.happens(AnotherConfiguration);
        world
    }

    pub(super) fn happens(&mut self, happening: Happening) {
        let now = self.now;
        match happening {
            AnotherConfiguration => {
                for wanted in &mut self.wanted {
                    wanted.configuration += 1;
                }
                self.tables_are_wanted();
            }
            AnotherAddress(family, address) => {
                let wanted = &mut self.wanted[index(family)].address;
                // As `Configuration::take_policy` has it: the same policy is nothing new.
                if std::mem::replace(wanted, address) != address {
                    self.tables_are_wanted();
                }
            }
            Commit(family) => {
                if let Some(family) = family {
                    self.change(family);
                }
                self.commit("nft", OTHER_PORT);
            }
            UnseenCommit(family) => {
                self.change(family);
                self.generation = self.generation.wrapping_add(1);
            }
            Neighbour(time, interval) => {
                self.commit_interval = interval;
                (self.next_commit, self.no_more_commits) = (now, now + time);
            }
            Opponent(family, time, reaction) => {
                self.table(family).opponent = Some(Opponent {
                    until: now + time,
                    reaction,
                    due: Some(now + reaction),
                });
            }
            NotificationsAreLost(family) => {
                self.happens(Commit(family));
                self.notifications.clear();
                self.ledger.note(Arrived {
                    commits: Vec::new(),
                    some_were_lost: true,
                });
            }
            Failing(family, is_failing) => self.table(family).is_failing = is_failing,
            Owned(family, owner) => self.table(family).other_owner = owner,
            WorkerEnds => self.worker_ends(),
            WorkerHangs => {
                let hangs_already = std::mem::replace(&mut self.worker_hangs, true);
                if let Some(pass) = self.pass.as_mut().filter(|_| !hangs_already) {
                    pass.step_due = now + WORKER_DEADLINE;
                }
            }
            WorkerIsGone => {
                if std::mem::take(&mut self.worker_hangs) {
                    self.worker_ends();
                }
            }
        }
        self.look_at_commits();
    }

    pub(super) fn all_hindrances_end(&mut self) {
        self.no_more_commits = self.now;
        for family in BOTH {
            self.table(family).opponent = None;
            self.happens(Failing(family, false));
            self.happens(Owned(family, None));
        }
        self.happens(WorkerIsGone);
    }

    fn tables_are_wanted(&mut self) {
        let resync_interval = self.resync_interval;
        self.keeper.wants(BOTH.to_vec(), resync_interval, self.now);
    }

    /// The families whose table is not as it is wanted.
    pub(super) fn what_differs(&self) -> Vec<Family> {
        let tables = self.tables.iter().zip(&self.wanted);
        let differing = tables.filter(|((_, table), wanted)| table.contents != Some(**wanted));
        differing.map(|((family, _), _)| *family).collect()
    }

    pub(super) fn time_passes(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.due().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.others_act();
            if self.pass.is_none() {
                self.notifications_arrive();
            }
            match self.pass.take_if(|pass| pass.step_due <= self.now) {
                Some(pass) => self.step(pass),
                None => self.begin_pass(),
            }
            self.look_at_commits();
            // A pass whose worker hangs takes its time.
            let longest = WORKER_DEADLINE + SOON;
            let limit = self.resync_interval.checked_add(longest);
            let missing = self.worker_is_missing_since.map(|since| self.now - since);
            assert!(missing <= Some(SECOND), "no worker for {missing:?}");
            let time = self.now - self.pass_ended;
            assert!(
                limit.is_none_or(|limit| time <= limit),
                "no pass for {time:?}"
            );
        }
        self.now = until;
    }

    /// When something happens next.
    fn due(&self) -> Option<Instant> {
        let pass = self.pass.as_ref().map(|pass| pass.step_due);
        let commit = Some(self.next_commit).filter(|due| *due < self.no_more_commits);
        let notifications = self.notifications.front();
        // They wait while a pass is under way, as in the event loop.
        let notification = notifications.filter(|_| self.pass.is_none());
        let notification = notification.map(|(due, _)| *due);
        let tables = self.tables.iter();
        let opponents = tables.filter_map(|(_, table)| table.opponent.as_ref()?.due);
        let due = [pass, commit, notification, self.keeper.due()].into_iter();
        due.flatten().chain(opponents).min()
    }

    fn others_act(&mut self) {
        if self.next_commit <= self.now && self.next_commit < self.no_more_commits {
            self.next_commit = self.now + self.commit_interval;
            self.commit("neighbour", OTHER_PORT);
        }
        for family in BOTH {
            let now = self.now;
            let Some(opponent) = &mut self.table(family).opponent else {
                continue;
            };
            if opponent.due.take_if(|due| *due <= now).is_some() && now <= opponent.until {
                self.change(family);
                self.commit("opponent", OTHER_PORT);
            }
        }
    }

    /// As the event loop does it, which waits for the end of the pass to look at commits.
    fn look_at_commits(&mut self) {
        if self.ledger.is_behind() {
            self.keeper.committed(self.now);
        }
    }

    fn notifications_arrive(&mut self) {
        let now = self.now;
        let arrived = self.notifications.iter().take_while(|(due, _)| *due <= now);
        let arrived = arrived.count();
        let commits = self.notifications.drain(..arrived);
        self.ledger.note(Arrived {
            commits: commits.map(|(_, commit)| commit).collect(),
            some_were_lost: false,
        });
    }

    fn change(&mut self, family: Family) {
        let now = self.now;
        self.table(family).change(now);
    }

    fn commit(&mut self, process_name: &str, port: u32) {
        self.generation = self.generation.wrapping_add(1);
        let commit = netlink::Commit {
            generation: self.generation,
            process_id: 1,
            process_name: process_name.to_owned(),
            port,
        };
        self.notifications
            .push_back((self.now + self.lateness, commit));
    }

    fn commit_own(&mut self) {
        self.commit("nmd-nft-worker", self.worker_port);
    }

    fn begin_pass(&mut self) {
        let Some(granted) = self.keeper.next(self.now) else {
            return;
        };
        assert!(self.pass.is_none(), "one pass at a time");
        self.passes += 1;
        self.worker_is_missing_since = None;
        let seconds = (self.now - self.begin).as_secs();
        let most = MOST_PASSES_AT_ONCE + MOST_PASSES_A_SECOND * seconds;
        assert!(self.passes <= most, "{} passes in {seconds} s", self.passes);
        if self.last_wanted.replace(self.wanted) != Some(self.wanted) {
            assert_eq!(granted, BOTH, "another configuration waits for no budget");
        }
        self.ledger.pass_begins();
        let takes = match self.worker_hangs && !self.worker_is_given_up {
            true => WORKER_DEADLINE,
            false => self.pass_step,
        };
        self.pass = Some(Pass {
            wanted: self.wanted,
            granted,
            steps: BOTH.into(),
            step_due: self.now + takes,
            outcomes: Vec::new(),
            covered: None,
        });
    }

    fn step(&mut self, mut pass: Pass) {
        match pass.steps.pop_front() {
            _ if self.worker_hangs => self.fails(&pass),
            Some(family) => {
                let outcome = self.pass_over(family, &mut pass);
                pass.outcomes.push((family, outcome));
                pass.step_due = self.now + self.pass_step;
                self.pass = Some(pass);
            }
            None => self.ends(&pass),
        }
    }

    fn pass_over(&mut self, family: Family, pass: &mut Pass) -> Outcome {
        let (now, worker_has_died) = (self.now, self.worker_has_died);
        let wanted = pass.wanted[index(family)];
        let table = self.table(family);
        table.was_hindered |= table.is_failing || table.other_owner.is_some();
        if table.is_failing {
            if self.generation.is_multiple_of(2) {
                self.commit_own();
            }
            return Outcome::Failed;
        }
        if let Some(is_ending) = table.other_owner {
            return Outcome::Owned { is_ending };
        }
        let outcome = if table.contents == Some(wanted) {
            Outcome::InStep
        } else if !pass.granted.contains(&family) {
            let count = table.repairs[1].count;
            assert!(
                count >= 100 || worker_has_died || table.was_hindered,
                "withheld after {count} repairs"
            );
            Outcome::Withheld
        } else {
            let outcome = table.write(wanted, now);
            self.commit_own();
            outcome
        };
        let covered = pass.covered.unwrap_or(self.generation);
        let is_older = is_after(covered, self.generation);
        pass.covered = Some(if is_older { self.generation } else { covered });
        outcome
    }

    fn ends(&mut self, pass: &Pass) {
        self.ledger.own_port_is(Some(self.worker_port));
        self.notifications_arrive();
        let named = self.ledger.passed(pass.covered);
        let is_own = |commit: &netlink::Commit| commit.port == self.worker_port;
        assert!(!named.iter().any(is_own), "{named:?}");
        self.pass_ended = self.now;
        self.keeper.passed(&pass.outcomes, self.now);
    }

    /// The worker has not answered: what it has committed is not known.
    fn fails(&mut self, pass: &Pass) {
        for (family, outcome) in &pass.outcomes {
            if *outcome == Outcome::Repaired {
                self.table(*family).forget_repair();
            }
        }
        self.worker_has_died = true;
        self.worker_is_given_up = self.worker_hangs;
        self.worker_port += 1;
        self.notifications_arrive();
        self.ledger.passed(None);
        self.pass_ended = self.now;
        let outcomes = BOTH.map(|family| (family, Outcome::Failed));
        self.keeper.passed(&outcomes, self.now);
    }

    fn worker_ends(&mut self) {
        match self.pass.take() {
            Some(pass) => self.fails(&pass),
            None => {
                self.worker_is_missing_since.get_or_insert(self.now);
                self.keeper.worker_ended(self.now);
            }
        }
    }

    fn table(&mut self, family: Family) -> &mut Table {
        &mut self.tables[index(family)].1
    }
}

/// Its place in [`BOTH`].
fn index(family: Family) -> usize {
    usize::from(family == Family::Ip6)
}
