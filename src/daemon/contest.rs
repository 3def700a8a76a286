//! Two daemons at one table, where no owner is possible: when it is mended, and when it stays as the other one has left it.
//! Daemons that mend each other's table would never stop, and with a neighbour that commits, whose commit it is does not
//! tell whose the difference is.

use super::reconciler::Outcome;

/// Who has committed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Committers {
    /// Whoever they are, no daemon like this one.
    #[default]
    Others,
    /// The worker of another daemon, and nobody else.
    AnotherDaemon,
    /// Both.
    Both,
}

/// What another daemon has done to the tables.
#[derive(Debug, Default)]
pub(super) struct Contest {
    /// Whose commits the look is for that waits, or was the last.
    pub(super) look_is_for: Committers,
    /// In what the tables differ as another daemon has left them: they stay so until the next resync, or until someone
    /// else changes them.
    differences: Option<String>,
    /// Since the last resync the tables were mended after commits of another daemon and others, of which either may have
    /// changed them.
    has_mended_beside_daemon: bool,
}

impl Contest {
    /// Whether the next look leaves the tables as they are.
    pub(super) fn leaves_tables(&self) -> bool {
        let is_by_daemon = match self.look_is_for {
            Committers::Others => false,
            Committers::AnotherDaemon => true,
            Committers::Both => self.has_mended_beside_daemon,
        };
        is_by_daemon || self.differences.is_some()
    }

    /// What the tables are like that were left as they are; says whether someone else than a daemon has changed them since
    /// another daemon wrote them.
    pub(super) fn compared(&mut self, outcome: Outcome, differences: String) -> bool {
        if differences.is_empty() {
            // Where a look fails, that says nothing.
            self.differences = self
                .differences
                .take()
                .filter(|_| outcome != Outcome::InStep);
            return false;
        }
        let before = self.differences.replace(differences);
        self.look_is_for == Committers::Others && before != self.differences
    }

    /// The tables were mended after commits `by` these.
    pub(super) fn mended(&mut self, by: Committers, found_drift: bool) {
        self.differences = None;
        self.has_mended_beside_daemon |= found_drift && by == Committers::Both;
    }

    /// A resync has mended them, whoever wrote them.
    pub(super) fn is_over(&mut self) {
        self.differences = None;
        self.has_mended_beside_daemon = false;
    }
}
