//! Which conditions begin, one after the other; each is chosen at random.

use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use crate::conditions::Span;
use crate::course::Course;
use crate::dice::Dice;
use crate::disturbances::{self, Resource};

/// The daemon or its worker does not run.
pub(crate) const STOPPED_PROCESS: &str = "a stopped process";
/// So many go on at a time.
const MOST_CONDITIONS: usize = 3;
/// How long most of them last, in milliseconds.
const SHORT: Range<u32> = 300..4_000;
/// Who runs out of memory may take so long to end.
const LIMIT_IS_FELT: Duration = Duration::from_secs(1);

impl Course {
    pub(crate) fn begin_condition(&mut self) -> io::Result<()> {
        if self.conditions.number() >= MOST_CONDITIONS {
            return self.flips();
        }
        let Some(worker) = self.subject.worker() else {
            return self.settle();
        };
        // Neither of the two may end while it is measured.
        let choices = if self.has_kills { 10 } else { 8 };
        match self.dice.below(choices) {
            0 => self.neighbour(),
            1 => self.large_transactions(),
            2 => self.stop_a_process(worker),
            3 => self.limit(Resource::Descriptors, worker),
            4 => self.full_file_system(),
            5 => self.hangups(),
            6 | 7 => self.misuse_of_http(),
            8 => self.poisonous_set(),
            _ => self.limit(Resource::Memory, worker),
        }
        Ok(())
    }

    fn neighbour(&mut self) {
        let (node, pause) = (self.lab.node.clone(), self.dice.milliseconds(0..8));
        let work = move |span: &Span| disturbances::neighbour(span, &node, pause);
        self.go_on_with("a neighbour that commits", SHORT, false, work);
    }

    fn large_transactions(&mut self) {
        let (node, elements) = (self.lab.node.clone(), 1_000 + self.dice.below(15_000));
        let work = move |span: &Span| disturbances::large_transactions(span, &node, elements);
        self.go_on_with("large transactions", SHORT, false, work);
    }

    fn stop_a_process(&mut self, worker: Pid) {
        let (process, lengths) = match (self.dice.one_in(3), self.has_kills) {
            (true, _) => (self.subject.process_id(), 50..2_500),
            // Longer than the daemon waits for it, where it may be replaced.
            (false, true) => (worker, 50..8_000),
            (false, false) => (worker, 50..3_000),
        };
        self.go_on_with(STOPPED_PROCESS, lengths, true, move |span| {
            disturbances::stopped_process(span, process);
            Ok(())
        });
    }

    fn full_file_system(&mut self) {
        let ballast = self.subject.log.ballast();
        let work = move |span: &Span| disturbances::full_file_system(span, &ballast);
        self.go_on_with("a full file system", SHORT, false, work);
    }

    fn hangups(&mut self) {
        let (daemon, pause) = (self.subject.process_id(), self.dice.milliseconds(0..10));
        self.go_on_with("SIGHUPs", SHORT, false, move |span| {
            disturbances::hangups(span, daemon, pause);
            Ok(())
        });
    }

    fn misuse_of_http(&mut self) {
        let (node, mut dice) = (self.lab.node.clone(), Dice::new(self.dice.roll()));
        self.go_on_with("misuse of HTTP", SHORT, false, move |span| {
            disturbances::misuse_of_http(span, &node, &mut dice);
            Ok(())
        });
    }

    fn poisonous_set(&mut self) {
        let node = self.lab.node.clone();
        let work = move |span: &Span| disturbances::poisonous_set(span, &node);
        self.go_on_with("a poisonous set", SHORT, true, work);
    }

    /// Of the daemon or its worker.
    fn limit(&mut self, resource: Resource, worker: Pid) {
        let process = *self.dice.one_of(&[self.subject.process_id(), worker]);
        let spare = self.dice.below(256);
        let name = match resource {
            Resource::Descriptors => "a limit of descriptors",
            Resource::Memory => "a limit of memory",
        };
        if matches!(resource, Resource::Memory) {
            let longest = Duration::from_millis(SHORT.end.into());
            self.memory_limited_until = Some(Instant::now() + longest + LIMIT_IS_FELT);
        }
        self.go_on_with(name, SHORT, true, move |span| {
            disturbances::limited(span, process, resource, spare)
        });
    }

    fn go_on_with(
        &mut self,
        name: &'static str,
        milliseconds: Range<u32>,
        hinders: bool,
        work: impl FnOnce(&Span) -> io::Result<()> + Send + 'static,
    ) {
        if self.conditions.is_going_on(name) {
            return;
        }
        let length = self.dice.milliseconds(milliseconds);
        self.timeline.note(format!("{name} for {length:.1?}"));
        self.count(name);
        self.conditions.begin(name, length, hinders, work);
    }
}
