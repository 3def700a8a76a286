//! What a run comes to.

use crate::course::Course;
use crate::subject::Libnftables;

impl Course {
    pub(crate) fn summary(&self) -> String {
        [self.acts_done(), self.flows(), self.steps_and_growth()].join("\n")
    }

    fn acts_done(&self) -> String {
        let libnftables = match self.subject.libnftables {
            Libnftables::Host => "the machine's libnftables",
            Libnftables::Debian13 => "Debian 13's libnftables, the table is owned",
        };
        let done = self
            .done
            .iter()
            .map(|(act, times)| format!("{act} {times}"));
        format!(
            "\n{libnftables}: {:.0} s under flows, {} stretches\n  done: {}",
            self.verdict.time.as_secs_f64(),
            self.stretches,
            done.collect::<Vec<_>>().join(", ")
        )
    }

    fn flows(&self) -> String {
        let verdict = &self.verdict;
        format!(
            "  flows sent: {} ({:.0}/s, {} by IPv6)
  flows with a wrong source: {}
  flows lost: {}
    not judged: {} flows in {} spans of foreign damage, {:.1} s in all; {} of them were wrong",
            verdict.sent,
            verdict.sent as f64 / verdict.time.as_secs_f64().max(1.0),
            verdict.by_ipv6,
            verdict.wrong,
            verdict.lost,
            verdict.sent - verdict.judged,
            verdict.damages,
            verdict.damaged_time.as_secs_f64(),
            verdict.wrong_by_damage
        )
    }

    fn steps_and_growth(&self) -> String {
        format!(
            "  repairs: {} foreign changes undone, {} by a daemon that ran meanwhile
  longest time out of step: {:.1} ms, {:.1} ms while nothing hindered the daemon
{}    before the latter:
{}
  growth: {}",
            self.verdict.damages,
            self.subject.log.count("repaired and read back"),
            self.steps.longest().as_secs_f64() * 1_000.0,
            self.steps.longest_unhindered().as_secs_f64() * 1_000.0,
            self.steps,
            self.before_the_longest,
            self.growth
        )
    }
}
