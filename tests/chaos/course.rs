//! The course of a run: stretches of acts under flows, with kills or without, and what must be so after each.

use std::collections::BTreeMap;
use std::io;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use non_masquerade_daemon::ruleset::Tables;

use crate::DAEMON;
use crate::conditions::Conditions;
use crate::damage::{Damage, Verdict};
use crate::dice::Dice;
use crate::files::{Alike, GoodFile};
use crate::growth::{Growth, Size};
use crate::log::Log;
use crate::subject::{Libnftables, Subject, Way};
use crate::support::http::get;
use crate::support::lab::Lab;
use crate::support::programmed::Programmed;
use crate::support::wait_until;
use crate::timeline::{Cause, Steps, Timeline};

/// The kernel must be in step so soon after an event, on a machine with much else to do. The promise is milliseconds, and
/// the resync comes later: who misses an event is found out.
const PATIENCE: Duration = Duration::from_secs(3);
/// The same after the end of what kept the daemon from its work, beyond the resync interval.
const PATIENCE_AFTER_HINDRANCE: Duration = Duration::from_secs(4);
/// How often the kernel is looked at: at first, and later.
const LOOK_EVERY: Duration = Duration::from_millis(1);
const LOOK_LATER_EVERY: Duration = Duration::from_millis(5);
/// About how long a stretch is.
const STRETCH: Duration = Duration::from_secs(50);
/// The part of a stretch without kills after which allocators and caches have what they keep.
const WARM_UP: u32 = 4;
/// Clients that have gone are noticed, and what was freed is given back.
const CALM: Duration = Duration::from_millis(500);
/// A connection lives for 10 s at the most.
const CONNECTIONS_END: Duration = Duration::from_secs(12);
/// How much of what was done last is shown of a run that failed.
const LAST_ACTS: usize = 40;
const LAST_LINES: usize = 40;
const ACTS_BEFORE_THE_LONGEST: usize = 12;

pub(crate) struct Course {
    // Before the lab, so that they end first.
    pub(crate) conditions: Conditions,
    pub(crate) subject: Subject,
    pub(crate) watch: Programmed,
    pub(crate) lab: Lab,
    pub(crate) dice: Dice,
    pub(crate) alike: Alike,
    /// What the file says, or said when it was good last.
    pub(crate) good: GoodFile,
    pub(crate) has_kills: bool,
    /// Until when the daemon may be ended by its memory limit.
    pub(crate) memory_limited_until: Option<Instant>,
    pub(crate) timeline: Timeline,
    pub(crate) damage: Damage,
    pub(crate) steps: Steps,
    /// What was done before the kernel was in step after the longest time without a hindrance.
    pub(crate) before_the_longest: String,
    pub(crate) done: BTreeMap<&'static str, u32>,
    pub(crate) verdict: Verdict,
    pub(crate) growth: Growth,
    pub(crate) stretches: u32,
}

impl Course {
    /// Starts the daemon in a new lab.
    pub(crate) fn begin(libnftables: Libnftables, dice: Dice) -> io::Result<Self> {
        let started = Instant::now();
        let lab = Lab::new()?;
        let good = Alike::BothFamilies.file_at_rest();
        let log = Log::new(started)?;
        Ok(Self {
            conditions: Conditions::default(),
            subject: Subject::start(&lab.node, libnftables, log, &good.text)?,
            watch: watch(&lab, libnftables)?,
            lab,
            dice,
            alike: Alike::BothFamilies,
            good,
            has_kills: false,
            memory_limited_until: None,
            timeline: Timeline::new(started),
            damage: Damage::default(),
            steps: Steps::default(),
            before_the_longest: String::new(),
            done: BTreeMap::new(),
            verdict: Verdict::default(),
            growth: Growth::default(),
            stretches: 0,
        })
    }

    /// Runs for about this time.
    pub(crate) fn run(&mut self, time: Duration) -> io::Result<()> {
        // One with kills and one without, or more of both.
        let pairs = (time + STRETCH).as_secs() / (2 * STRETCH).as_secs();
        let stretches = 2 * u32::try_from(pairs.max(1)).map_err(io::Error::other)?;
        for number in 0..stretches {
            self.stretch(time / stretches, number % 2 == 0)?;
        }
        self.is_as_if_new()?;
        self.is_ready()
    }

    fn stretch(&mut self, length: Duration, has_kills: bool) -> io::Result<()> {
        self.alike = *self.dice.one_of(&Alike::ALL);
        self.has_kills = has_kills;
        let words = if has_kills { "with" } else { "without" };
        self.timeline
            .note(format!("stretch {words} kills, alike: {:?}", self.alike));
        self.at_rest()?;
        self.stretches += 1;
        self.damage = Damage::default();
        let flows = self.alike.flows().start(&self.lab)?;
        let sent_from = flows.started;
        let result = self.go_on_for(length);
        let stopped = self.conditions.stop();
        let counts = flows.stop(&self.lab)?;
        // Where it was not undone the run has failed anyway.
        self.damage.is_undone();
        let wrong = self.verdict.add(&counts, sent_from, &self.damage);
        if let Some((sent, line)) = wrong.first() {
            let result = result.map_or_else(|error| error.to_string(), |()| String::new());
            let lines: Vec<&str> = wrong.iter().map(|(_, line)| line.as_str()).collect();
            return Err(io::Error::other(format!(
                "{result}\nwrong flows: {}\n{line}, and this was done around that moment:\n{}\nThe daemon said:\n{}",
                lines.join("\n"),
                self.timeline.around(*sent),
                self.subject
                    .log
                    .around(sent.duration_since(self.timeline.started))
            )));
        }
        if self.verdict.proves_nothing() {
            return Err(io::Error::other(format!(
                "too many flows lost, or too few sent: {counts}"
            )));
        }
        stopped?;
        result
    }

    fn go_on_for(&mut self, length: Duration) -> io::Result<()> {
        let started = Instant::now();
        let mut before = None;
        while started.elapsed() < length {
            if !self.has_kills && before.is_none() && started.elapsed() > length / WARM_UP {
                before = Some(self.at_rest()?);
            }
            self.act()?;
        }
        let after = self.at_rest()?;
        match before {
            Some(before) => self.growth.add(before, after).map_err(|error| {
                let said = self.subject.log.lines_with("worker", LAST_LINES);
                io::Error::other(format!("{error}\nOf the worker was said:\n{said}"))
            }),
            None => Ok(()),
        }
    }

    /// Nothing else goes on, the file is the one for measurements, and the kernel is in step with it.
    fn at_rest(&mut self) -> io::Result<[Size; 2]> {
        for name in self.conditions.stop()? {
            self.timeline.note(format!("end of: {name}"));
        }
        self.settle()?;
        self.good = self.alike.file_at_rest();
        let text = self.good.text.clone();
        self.subject
            .write(Way::Rename, text.as_bytes(), &mut self.dice)?;
        self.steps.is_out(Cause::File);
        self.settle()?;
        self.timeline.note("at rest");
        // The first scrape opens the socket on which the counters are read.
        get(&self.lab.node, "/metrics")?;
        let started = Instant::now();
        let mut last = None;
        loop {
            std::thread::sleep(CALM);
            let Some(worker) = self.subject.worker() else {
                return Err(io::Error::other("the daemon has no worker"));
            };
            let sizes = [Size::of(self.subject.process_id())?, Size::of(worker)?];
            let descriptors = sizes.map(|size| size.descriptors);
            if last == Some(descriptors) || started.elapsed() > CONNECTIONS_END {
                return Ok(sizes);
            }
            last = Some(descriptors);
        }
    }

    /// Waits until the kernel is in step with the last good file.
    pub(crate) fn settle(&mut self) -> io::Result<()> {
        let asked = Instant::now();
        let was_hindered = self.conditions.hinder();
        loop {
            self.watch_over()?;
            if self.is_in_step() {
                break;
            }
            if self.deadline(asked) < Instant::now() {
                let differences = self.watch.differences(&self.good.tables);
                return Err(io::Error::other(format!(
                    "out of step for {:?}: {differences:?}\nThe file is\n{}",
                    self.steps.since().unwrap_or(asked).elapsed(),
                    self.good.text
                )));
            }
            std::thread::sleep(if asked.elapsed() < Duration::from_millis(50) {
                LOOK_EVERY
            } else {
                LOOK_LATER_EVERY
            });
        }
        if self.steps.since().is_some() && (was_hindered || self.was_hindered()) {
            self.steps.is_out(Cause::Hindered);
        }
        self.damage.is_undone();
        let longest = self.steps.longest_unhindered();
        if let Some((time, cause)) = self.steps.is_in() {
            self.timeline
                .note(format!("in step again after {time:.3?}: {cause}"));
            if time > longest && cause != Cause::Hindered {
                self.before_the_longest = self.timeline.last(ACTS_BEFORE_THE_LONGEST);
            }
        }
        Ok(())
    }

    /// Something that kept the daemon from its work went on since it is out of step.
    fn was_hindered(&self) -> bool {
        let since = self.steps.since();
        since.is_some_and(|since| {
            let until = self.conditions.hindered_until();
            until.is_some_and(|until| until > since)
        })
    }

    /// When the kernel must be in step at the latest.
    fn deadline(&self, asked: Instant) -> Instant {
        let since = self.steps.since().max(Some(asked));
        let from = since.max(self.conditions.hindered_until());
        let waits_for_a_resync = self.was_hindered() || self.steps.is_by(Cause::SecondDaemon);
        from.unwrap_or(asked)
            + if waits_for_a_resync {
                self.good.resync_interval + PATIENCE_AFTER_HINDRANCE
            } else {
                PATIENCE
            }
    }

    fn is_in_step(&mut self) -> bool {
        let tables = &self.good.tables;
        // Where the kernel cannot be looked at, for a poisonous set say, it is looked at again.
        let is_right = matches!(self.watch.differences(tables), Ok(none) if none.is_empty());
        is_right
            && (self.subject.libnftables == Libnftables::Host
                || are_owned(&self.watch, tables).unwrap_or(false))
            && self.has_the_rules().unwrap_or(false)
    }

    /// The differences above say nothing of rules. These are listed, which takes some 20 ms, once all else is right.
    fn has_the_rules(&mut self) -> io::Result<bool> {
        let libnftables = self.subject.libnftables;
        let wanted = match self.good.chains.take() {
            Some(chains) => chains,
            None => libnftables.chains_of(&self.good.text, &self.lab.node)?,
        };
        let wanted = self.good.chains.insert(wanted);
        Ok(libnftables.chains(&self.lab.node)? == *wanted)
    }

    /// Reads the log, and starts the next daemon where a memory limit has ended one.
    pub(crate) fn watch_over(&mut self) -> io::Result<()> {
        self.subject.log.read()?;
        let Some(status) = self.subject.end()? else {
            return Ok(());
        };
        self.was_ended_by_its_memory_limit(status)?;
        self.subject.start_again()?;
        self.steps.is_out(Cause::Hindered);
        Ok(())
    }

    /// An error where it has none.
    pub(crate) fn was_ended_by_its_memory_limit(&mut self, status: ExitStatus) -> io::Result<()> {
        let limited_until = self.memory_limited_until;
        if limited_until.is_none_or(|until| until < Instant::now()) {
            return Err(io::Error::other(format!("the daemon ended: {status}")));
        }
        self.count("ended by its memory limit");
        self.timeline.note(format!("the daemon ended: {status}"));
        Ok(())
    }

    pub(crate) fn count(&mut self, act: &'static str) {
        *self.done.entry(act).or_default() += 1;
    }

    /// The tables are those that a new daemon makes where there is nothing.
    fn is_as_if_new(&mut self) -> io::Result<()> {
        let libnftables = self.subject.libnftables;
        let tables = self.good.tables.clone();
        let expected = std::thread::spawn(move || {
            let mut fresh = match libnftables {
                Libnftables::Host => Programmed::new(DAEMON)?,
                Libnftables::Debian13 => Programmed::on_debian_13(DAEMON)?,
            };
            for ruleset in tables.wanted() {
                fresh.sync(ruleset).map_err(io::Error::other)?;
            }
            libnftables.listed(&fresh.namespace)
        });
        let expected = expected.join().expect("the thread of a fresh daemon")?;
        let found = libnftables.listed(&self.lab.node)?;
        if found == expected {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "the tables are\n{}\nand not\n{}",
            found.join("\n"),
            expected.join("\n")
        )))
    }

    fn is_ready(&self) -> io::Result<()> {
        let is_ready = || get(&self.lab.node, "/readyz").is_ok_and(|answer| answer.status == 200);
        wait_until(CONNECTIONS_END, is_ready).map_err(|error| {
            let said = get(&self.lab.node, "/readyz");
            io::Error::other(format!("not ready: {error}: {said:?}"))
        })
    }

    /// What was done last, and what the daemon said.
    pub(crate) fn last_words(&mut self) -> String {
        // What can be read of it is shown.
        let _ = self.subject.log.read();
        format!(
            "Done last:\n{}\nThe daemon said:\n{}",
            self.timeline.last(LAST_ACTS),
            self.subject.log.last_lines(LAST_LINES)
        )
    }
}

fn watch(lab: &Lab, libnftables: Libnftables) -> io::Result<Programmed> {
    match libnftables {
        Libnftables::Host => Programmed::within(lab.node.clone(), DAEMON),
        Libnftables::Debian13 => Programmed::on_debian_13_within(lab.node.clone(), DAEMON),
    }
}

/// Whether each of the tables that are there has an owner.
pub(crate) fn are_owned(watch: &Programmed, tables: &Tables) -> io::Result<bool> {
    let mut are_owned = true;
    for ruleset in tables.wanted() {
        let observed = watch.observe(ruleset)?;
        are_owned &= observed.is_none_or(|observed| observed.header.owner.is_some());
    }
    Ok(are_owned)
}
