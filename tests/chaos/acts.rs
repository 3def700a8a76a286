//! What is done, one act after the other; each is chosen at random.

use std::io;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use non_masquerade_daemon::ruleset::{AddressField, Family};

use crate::beside::STOPPED_PROCESS;
use crate::course::{Course, are_owned};
use crate::files::bad_file;
use crate::subject::{END_LIMIT, Libnftables, Way};
use crate::support::foreign_hands::{FIRST_SET, foreign_hands, on_the_set_in_use, set_in_use};
use crate::support::nft::Nft;
use crate::support::wait_until;
use crate::timeline::Cause;

/// The owner of a table ends with its process.
const OWNER_ENDS: Duration = Duration::from_secs(1);
/// A daemon that is stopped ends when it goes on.
const END_LIMIT_OF_THE_STOPPED: Duration = Duration::from_secs(15);

impl Course {
    pub(crate) fn act(&mut self) -> io::Result<()> {
        for name in self.conditions.ended()? {
            self.timeline.note(format!("end of: {name}"));
        }
        self.watch_over()?;
        match self.dice.below(100) {
            0..25 => self.flips(),
            25..33 => self.bad_file(),
            33..48 => self.foreign_hand(),
            48..70 if self.has_kills => self.kill(),
            70..73 => self.second_daemon(),
            73.. => self.begin_condition(),
            _ => self.flips(),
        }
    }

    /// Some file changes in a row.
    pub(crate) fn flips(&mut self) -> io::Result<()> {
        let number = 1 + self.dice.below(20);
        let pause = *self.dice.one_of(&[1, 3, 15]);
        self.timeline.note(format!("{number} file changes"));
        for _ in 0..number {
            self.flip()?;
            std::thread::sleep(self.dice.milliseconds(0..pause));
        }
        self.settle()
    }

    fn flip(&mut self) -> io::Result<()> {
        let way = match self.dice.below(20) {
            0..10 => Way::Rename,
            10..15 => Way::Swap,
            15..19 => Way::InPlace,
            // To a daemon that has not read it yet, a file that is gone was never there.
            _ if self.subject.worker().is_none() => Way::Rename,
            // Gone for a second, it means the defaults.
            _ if self.alike.has_the_defaults() && self.dice.one_in(3) => {
                Way::Removal(Duration::from_millis(1_300))
            }
            _ => Way::Removal(self.dice.milliseconds(0..100)),
        };
        self.flip_by(way)
    }

    fn flip_by(&mut self, way: Way) -> io::Result<()> {
        let file = self.alike.file(&mut self.dice)?;
        self.subject
            .write(way, file.text.as_bytes(), &mut self.dice)?;
        self.good = file;
        self.steps.is_out(Cause::File);
        self.count("file changes");
        Ok(())
    }

    /// A bad file, and what may be done while the last good one is in force.
    fn bad_file(&mut self) -> io::Result<()> {
        self.settle()?;
        let bytes = bad_file(&mut self.dice);
        let way = *self.dice.one_of(&[Way::Rename, Way::Swap, Way::InPlace]);
        self.timeline.note(format!("a bad file by {way:?}"));
        // One that is still starting has not read the file before.
        let has_started = self.subject.worker().is_some();
        let knows_a_good_one = has_started.then(|| self.subject.process_id());
        self.subject.write(way, &bytes, &mut self.dice)?;
        self.count("bad files");
        std::thread::sleep(self.dice.milliseconds(0..150));
        for _ in 0..self.dice.below(3) {
            match self.dice.below(4) {
                0 => self.subject.reload(),
                1 if knows_a_good_one == Some(self.subject.process_id()) => {
                    self.foreign_hand_under_a_bad_file()?;
                }
                2 if self.has_kills => self.kill_worker(),
                3 if self.has_kills => {
                    // The next one has no last good configuration, and leaves the table as it is.
                    self.kill_daemon()?;
                    self.steps.is_out(Cause::Kill);
                    std::thread::sleep(self.dice.milliseconds(0..200));
                    break;
                }
                _ => {}
            }
        }
        self.timeline.note("a good file again");
        self.flip()?;
        self.settle()
    }

    fn foreign_hand_under_a_bad_file(&mut self) -> io::Result<()> {
        let has_next_owner = self.subject.libnftables == Libnftables::Debian13 && self.has_kills;
        // Who is started now knows no policy.
        if has_next_owner || self.conditions.hinder() || self.subject.end()?.is_some() {
            return Ok(());
        }
        self.foreign_hand_now()
    }

    fn foreign_hand(&mut self) -> io::Result<()> {
        self.settle()?;
        if self.dice.one_in(2) {
            // Some hands take elements away that only this file has.
            self.good = self.alike.file_at_rest();
            let text = self.good.text.clone();
            self.subject
                .write(Way::Rename, text.as_bytes(), &mut self.dice)?;
            self.steps.is_out(Cause::File);
            self.settle()?;
        }
        self.foreign_hand_now()
    }

    /// In step with the last good file, which the file need not be by now.
    fn foreign_hand_now(&mut self) -> io::Result<()> {
        let hand = self.hand()?;
        match (self.subject.libnftables, self.has_kills) {
            (Libnftables::Host, _) => {
                self.damage.begins();
                let applied = Nft::host().apply(&self.lab.node, &hand);
                self.was_applied(&hand, applied.is_ok());
                self.settle()
            }
            (Libnftables::Debian13, true) if !self.conditions.hinder() => {
                self.hand_between_owners(&hand)
            }
            (Libnftables::Debian13, _) if self.conditions.hinder() => Ok(()),
            (Libnftables::Debian13, _) => self.hand_at_an_owned_table(&hand),
        }
    }

    fn was_applied(&mut self, hand: &str, was_applied: bool) {
        if was_applied {
            self.timeline.note(format!("foreign hand: {hand}"));
            self.steps.is_out(Cause::Hand);
            self.count("foreign hands");
        } else {
            self.timeline.note(format!("foreign hand, refused: {hand}"));
            self.damage.was_refused();
        }
    }

    /// One of either family, if its table is there.
    fn hand(&mut self) -> io::Result<String> {
        let hands: Vec<String> = foreign_hands().collect();
        let hand = self.dice.one_of(&hands).clone();
        let is_of_ipv4 =
            hand.contains("ipv4_addr") || hand.contains(" daddr") || hand.contains(".0/");
        let (node, field) = (&self.lab.node, AddressField::Destination);
        if self.good.tables.ip6.is_none() || is_of_ipv4 || self.dice.one_in(2) {
            return on_the_set_in_use(&hand, node);
        }
        let hand = hand.replace(" ip ", " ip6 ");
        Ok(hand.replace(FIRST_SET, &set_in_use(node, Family::Ip6, field)?))
    }

    /// The next daemon undoes it.
    fn hand_between_owners(&mut self, hand: &str) -> io::Result<()> {
        self.timeline
            .note("kill -9 of the daemon, before a foreign hand");
        self.subject.kill()?;
        let (watch, tables) = (&mut self.watch, &self.good.tables);
        wait_until(OWNER_ENDS, || {
            let is_orphan = are_owned(watch, tables).map(|are_owned| !are_owned);
            is_orphan.unwrap_or(false)
        })?;
        self.damage.begins();
        let applied = Nft::host().apply(&self.lab.node, hand);
        self.was_applied(hand, applied.is_ok());
        self.subject.start_again()?;
        self.steps.is_out(Cause::Kill);
        self.settle()
    }

    fn hand_at_an_owned_table(&mut self, hand: &str) -> io::Result<()> {
        self.timeline
            .note(format!("foreign hand at an owned table: {hand}"));
        self.count("foreign hands at an owned table");
        let applied = Nft::host().apply(&self.lab.node, hand);
        if applied.is_ok() && hand != "flush ruleset" {
            return Err(io::Error::other(format!(
                "an owned table was changed: {hand}"
            )));
        }
        self.settle()
    }

    fn kill(&mut self) -> io::Result<()> {
        for _ in 0..1 + self.dice.below(3) {
            if self.dice.one_in(2) {
                self.flip_by(Way::Rename)?;
            }
            std::thread::sleep(self.dice.milliseconds(0..40));
            self.steps.is_out(Cause::Kill);
            match self.dice.below(4) {
                0 => self.kill_daemon()?,
                1 => self.terminate()?,
                _ => self.kill_worker(),
            }
        }
        self.settle()
    }

    fn kill_worker(&mut self) {
        if let Some(worker) = self.subject.worker() {
            self.timeline.note("kill -9 of the worker");
            self.count("kills of the worker");
            // It may have ended since.
            let _ = kill(worker, Signal::SIGKILL);
        }
    }

    fn kill_daemon(&mut self) -> io::Result<()> {
        self.timeline.note("kill -9 of the daemon");
        self.count("kills of the daemon");
        self.subject.kill()?;
        self.start_after_a_while()
    }

    fn terminate(&mut self) -> io::Result<()> {
        // Without a worker it may still be starting.
        if self.subject.worker().is_none() {
            return Ok(());
        }
        self.timeline.note("SIGTERM");
        self.count("SIGTERMs");
        let may_be_stopped = self.conditions.is_going_on(STOPPED_PROCESS);
        let status = self.subject.terminate(if may_be_stopped {
            END_LIMIT_OF_THE_STOPPED
        } else {
            END_LIMIT
        })?;
        if !status.success() {
            self.was_ended_by_its_memory_limit(status)?;
        }
        self.start_after_a_while()
    }

    fn start_after_a_while(&mut self) -> io::Result<()> {
        if self.dice.one_in(2) {
            std::thread::sleep(self.dice.milliseconds(0..300));
        }
        self.subject.start_again()
    }

    /// Another daemon with the same file, as during a rollout, or with another one.
    fn second_daemon(&mut self) -> io::Result<()> {
        self.settle()?;
        let has_the_same_file = self.dice.one_in(2);
        let mut second = if has_the_same_file {
            self.timeline.note("a second daemon with the same file");
            self.count("second daemons with the same file");
            self.subject.start_second(None)?
        } else {
            let file = self.alike.file(&mut self.dice)?;
            self.timeline.note("a second daemon with another file");
            self.count("second daemons with another file");
            if self.subject.libnftables == Libnftables::Host {
                // Nobody owns the table: each undoes what the other one does, until one of them has to wait.
                self.damage.begins();
            }
            self.subject.start_second(Some(&file.text))?
        };
        for _ in 0..1 + self.dice.below(4) {
            std::thread::sleep(self.dice.milliseconds(50..400));
            match self.dice.below(4) {
                0 => self.subject.reload(),
                1 if self.has_kills => self.kill_daemon()?,
                2 if self.has_kills => self.kill_worker(),
                _ => {
                    let way = *self.dice.one_of(&[Way::Rename, Way::Swap, Way::InPlace]);
                    self.flip_by(way)?;
                    self.timeline.note("a file change");
                }
            }
        }
        second.kill()?;
        self.timeline.note("the second daemon is killed");
        self.steps.is_out(Cause::SecondDaemon);
        if self.dice.one_in(2) {
            self.subject.reload();
        }
        self.settle()
    }
}
