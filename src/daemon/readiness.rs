//! Whether the daemon does what it is there for, and if not, why: what `/readyz` answers.

use crate::ruleset::Family;

/// Ready: the configuration is good, and every wanted table is in the kernel and was read back.
#[derive(Debug, Default)]
pub(super) struct Readiness {
    configuration: Configuration,
    tables: Vec<(Family, TableState)>,
}

#[derive(Debug, Default)]
enum Configuration {
    #[default]
    Unread,
    /// Its first error.
    Bad(String),
    Good,
}

/// What the last pass found of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TableState {
    /// There was no pass yet, or none since another policy is wanted.
    Unread,
    /// The kernel has it, and it was read back.
    InStep,
    /// Another daemon has changed it, and it is left so until the next resync; who, and in what it differs.
    WrittenByAnother(String, String),
    /// Another owns it, or it could not be read or written.
    Failed(String),
}

impl TableState {
    /// Another daemon has changed it, and in the same.
    fn differs_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::WrittenByAnother(_, before), Self::WrittenByAnother(_, now)) => before == now,
            _ => false,
        }
    }
}

impl Readiness {
    pub(super) fn configuration_is_good(&mut self) {
        self.configuration = Configuration::Good;
    }

    /// `error` may be of many lines.
    pub(super) fn configuration_is_bad(&mut self, error: &str) {
        let mut lines = error.lines();
        let first = lines.next().unwrap_or_default();
        self.configuration = Configuration::Bad(match lines.count() {
            0 => first.to_owned(),
            more => format!("{first} (and {more} more)"),
        });
    }

    /// The tables of these families are to be made other than they are, and a pass over them begins.
    pub(super) fn wants(&mut self, families: impl Iterator<Item = Family>) {
        for family in families {
            self.looked(family, TableState::Unread);
        }
    }

    /// A sync has ended, with these tables and no others.
    pub(super) fn synced(&mut self, tables: Vec<(Family, TableState)>) {
        self.tables = tables;
    }

    /// A look has ended, which found this.
    pub(super) fn looked(&mut self, family: Family, found: TableState) {
        match self.tables.iter_mut().find(|(of, _)| *of == family) {
            // Who has committed since is not who changed it.
            Some((_, state)) if state.differs_as(&found) => {}
            Some((_, state)) => *state = found,
            None => self.tables.push((family, found)),
        }
    }

    /// Whether the kernel had the table when it was looked at last; `None`: no table of this family is wanted.
    pub(super) fn is_in_step(&self, family: Family) -> Option<bool> {
        self.state(family).map(|state| *state == TableState::InStep)
    }

    fn state(&self, family: Family) -> Option<&TableState> {
        let mut tables = self.tables.iter();
        tables.find(|(of, _)| *of == family).map(|(_, state)| state)
    }

    /// Why the daemon is not ready, one line each; empty: it is.
    pub(super) fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        match &self.configuration {
            Configuration::Good => {}
            Configuration::Unread => {
                reasons.push("no configuration has been read yet".to_owned());
            }
            Configuration::Bad(error) if self.tables.is_empty() => reasons.push(format!(
                "the configuration is bad: nothing is changed until it is good: {error}"
            )),
            Configuration::Bad(error) => reasons.push(format!(
                "the configuration is bad: the last good one stays in force: {error}"
            )),
        }
        for (family, state) in &self.tables {
            let table = format!("table {}", family.name());
            match state {
                TableState::InStep => {}
                TableState::Unread => reasons.push(format!("{table}: not applied yet")),
                TableState::WrittenByAnother(who, differences) => reasons.push(format!(
                    "{table}: another daemon writes it: {who} changed it ({differences}); end one of the two"
                )),
                TableState::Failed(why) => reasons.push(format!("{table}: {why}")),
            }
        }
        // What others have named may hold anything; a reason is one line.
        for reason in &mut reasons {
            *reason = reason.replace(['\n', '\r'], " ");
        }
        reasons
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready() -> Readiness {
        let mut readiness = Readiness::default();
        readiness.configuration_is_good();
        readiness.synced(vec![(Family::Ip, TableState::InStep)]);
        readiness
    }

    #[test]
    fn nothing_is_ready_before_a_good_file_and_a_read_back_table() {
        let mut readiness = Readiness::default();
        assert_eq!(readiness.reasons(), ["no configuration has been read yet"]);
        readiness.configuration_is_good();
        readiness.wants([Family::Ip].into_iter());
        assert_eq!(readiness.reasons(), ["table ip: not applied yet"]);
        readiness.synced(vec![(Family::Ip, TableState::InStep)]);
        assert!(readiness.reasons().is_empty());
    }

    #[test]
    fn a_bad_file_is_a_reason_with_its_first_error_until_it_is_good() {
        let mut readiness = ready();
        readiness.configuration_is_bad("one\ntwo\nthree");
        let reason = "the configuration is bad: the last good one stays in force: one (and 2 more)";
        assert_eq!(readiness.reasons(), [reason]);
        readiness.configuration_is_good();
        assert!(readiness.reasons().is_empty());
        let mut readiness = Readiness::default();
        readiness.configuration_is_bad("one");
        let reason = "the configuration is bad: nothing is changed until it is good: one";
        assert_eq!(readiness.reasons(), [reason]);
    }

    #[test]
    fn a_table_that_is_wanted_otherwise_is_a_reason_until_its_pass_has_ended() {
        let mut readiness = ready();
        readiness.wants([Family::Ip, Family::Ip6].into_iter());
        let reasons = ["table ip: not applied yet", "table ip6: not applied yet"];
        assert_eq!(readiness.reasons(), reasons);
        assert_eq!(readiness.is_in_step(Family::Ip), Some(false));
        assert_eq!(readiness.is_in_step(Family::Ip6), Some(false));
        readiness.synced(vec![(Family::Ip, TableState::InStep)]);
        assert_eq!(readiness.is_in_step(Family::Ip6), None);
    }

    #[test]
    fn each_reason_is_one_line_whatever_it_is_about() {
        let mut readiness = ready();
        let differs = TableState::WrittenByAnother("w (pid 1)".to_owned(), "x".to_owned());
        readiness.looked(Family::Ip, differs);
        readiness.looked(Family::Ip6, TableState::Failed("a\nb".to_owned()));
        let reasons = readiness.reasons();
        let expected =
            "table ip: another daemon writes it: w (pid 1) changed it (x); end one of the two";
        assert_eq!(reasons, [expected, "table ip6: a b"]);
    }
}
