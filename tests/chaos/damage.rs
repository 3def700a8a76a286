//! When a foreign hand has changed the table, flows are wrong until that is undone: each is judged by when it was sent.

use std::time::{Duration, Instant};

use crate::support::flows::Counts;
use crate::support::moments::MOMENT;

/// A flow meets the table so long after it was sent at the most, or is judged by that.
const UNDER_WAY: Duration = Duration::from_millis(50);
/// So large a part of the flows may be lost: each burst is as long as the queue of a veth device.
const MOST_LOST: f64 = 0.002;

/// Fewer flows a second prove nothing, on however busy a machine.
const LEAST_RATE: f64 = 2_000.0;

/// The spans in which the table was not the daemon's work.
#[derive(Debug, Default)]
pub(crate) struct Damage {
    spans: Vec<(Instant, Instant)>,
    open: Option<Instant>,
}

impl Damage {
    /// A foreign hand is about to change the table.
    pub(crate) fn begins(&mut self) {
        self.open.get_or_insert_with(Instant::now);
    }

    /// It was not let.
    pub(crate) fn was_refused(&mut self) {
        self.open = None;
    }

    /// All is undone.
    pub(crate) fn is_undone(&mut self) {
        let now = Instant::now();
        self.spans
            .extend(self.open.take().map(|begun| (begun, now)));
    }

    fn may_concern(&self, sent: Instant) -> bool {
        self.spans.iter().any(|(begun, undone)| {
            sent + MOMENT + UNDER_WAY >= *begun && sent <= *undone + UNDER_WAY
        })
    }
}

/// What became of the flows of one or more stretches.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) sent: u64,
    pub(crate) by_ipv6: u64,
    pub(crate) time: Duration,
    /// Sent while the table was the daemon's work alone.
    pub(crate) judged: u64,
    pub(crate) wrong: u64,
    pub(crate) lost: u64,
    /// Wrong because a foreign hand had changed the table.
    pub(crate) wrong_by_damage: u64,
    pub(crate) damages: usize,
    pub(crate) damaged_time: Duration,
}

impl Verdict {
    /// Adds the flows of a stretch that began to be sent at `started`; the wrong ones, as lines, with their moments.
    pub(crate) fn add(
        &mut self,
        counts: &Counts,
        started: Instant,
        damage: &Damage,
    ) -> Vec<(Instant, String)> {
        let mut wrong = Vec::new();
        self.sent += counts.sent;
        self.by_ipv6 += counts.by_ipv6;
        self.time += counts.elapsed;
        self.damages += damage.spans.len();
        for (begun, undone) in &damage.spans {
            self.damaged_time += undone.duration_since(*begun);
        }
        for (after, moment) in counts.moments.all() {
            if damage.may_concern(started + after) {
                self.wrong_by_damage += moment.wrong;
            } else {
                self.judged += moment.sent;
                self.wrong += moment.wrong;
                self.lost += moment.sent.saturating_sub(moment.received);
            }
        }
        for flows in counts.moments.wrong_flows() {
            let sent = started + flows.after;
            if !damage.may_concern(sent) {
                wrong.push((sent, flows.to_string()));
            }
        }
        wrong
    }

    /// Whether so many were lost, or so few sent, that the others prove nothing.
    pub(crate) fn proves_nothing(&self) -> bool {
        let has_lost_too_many = self.lost as f64 > self.judged as f64 * MOST_LOST;
        has_lost_too_many || (self.sent as f64) < self.time.as_secs_f64() * LEAST_RATE
    }
}
