//! A table in the small world's kernel, and who changes it.

use super::*;

/// What a table is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Contents {
    /// The number of the configuration.
    pub(super) configuration: u32,
    /// The node's address that masqueraded connections get; `None`: that of the interface by which they leave.
    pub(super) address: Option<u8>,
}

/// A family's table in the kernel.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// `None`: someone else has changed it, or it is not there.
    pub(super) contents: Option<Contents>,
    /// What the daemon has made of it last.
    pub(super) applied: Option<Contents>,
    pub(super) is_failing: bool,
    /// A pass over it has failed, or found its owner: that was no quiet.
    pub(super) was_hindered: bool,
    /// Whether its owner is ending.
    pub(super) other_owner: Option<bool>,
    pub(super) opponent: Option<Opponent>,
    /// Since four seconds without drift, when the daemon may have filled the bucket, and since six, when it must have.
    pub(super) repairs: [Repairs; 2],
}

#[derive(Debug)]
pub(super) struct Opponent {
    pub(super) until: Instant,
    pub(super) reaction: Duration,
    /// When it changes the table next.
    pub(super) due: Option<Instant>,
}

/// Repairs since the last quiet time.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    pub(super) since: Option<Instant>,
    pub(super) last: Option<Instant>,
    pub(super) count: u32,
}

impl Table {
    /// Someone else changes it.
    pub(super) fn change(&mut self, now: Instant) {
        if self.contents.take().is_none() {
            return;
        }
        for (repairs, seconds) in self.repairs.iter_mut().zip([4, 6]) {
            let quiet = repairs.last.map(|last| now - last);
            if quiet.is_none_or(|quiet| quiet >= seconds * SECOND) {
                *repairs = Repairs::default();
            }
        }
    }

    /// The daemon never hears of it.
    pub(super) fn forget_repair(&mut self) {
        for repairs in &mut self.repairs {
            repairs.count = repairs.count.saturating_sub(1);
        }
    }

    pub(super) fn write(&mut self, wanted: Contents, now: Instant) -> Outcome {
        self.contents = Some(wanted);
        if let Some(opponent) = &mut self.opponent {
            opponent.due = Some(now + opponent.reaction);
        }
        // The daemon need not have known that it differed before that.
        self.repairs[1].last = Some(now);
        if self.applied.replace(wanted) != Some(wanted) {
            return Outcome::Applied;
        }
        for repairs in &mut self.repairs {
            repairs.since.get_or_insert(now);
            repairs.last = Some(now);
            repairs.count += 1;
        }
        let [Repairs { since, count, .. }, _] = self.repairs;
        let time = since.map_or(Duration::ZERO, |since| now - since);
        let most = 100.0 + 10.0 * time.as_secs_f32() + 3.0;
        assert!(count as f32 <= most, "{count} repairs in {time:?}");
        Outcome::Repaired
    }
}
