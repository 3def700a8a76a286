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
    /// Others have changed it, and its repair has to wait: who, and in what it differs.
    Withheld(String, String),
    /// Another owns it, or it could not be read or written.
    Failed(String),
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
            self.tables.retain(|(of, _)| *of != family);
            self.tables.push((family, TableState::Unread));
        }
    }

    /// A pass has ended, with these tables and no others.
    pub(super) fn passed(&mut self, tables: Vec<(Family, TableState)>) {
        self.tables = tables;
    }

    /// Whether the kernel had the table when it was looked at last; `None`: no table of this family is wanted.
    pub(super) fn is_in_step(&self, family: Family) -> Option<bool> {
        self.state(family).map(|state| *state == TableState::InStep)
    }

    fn state(&self, family: Family) -> Option<&TableState> {
        let mut tables = self.tables.iter();
        tables.find(|(of, _)| *of == family).map(|(_, state)| state)
    }

    /// Why the daemon is not ready, one line each; empty: it is. `contested` says who changes the table again and again.
    pub(super) fn reasons(&self, contested: impl Fn(Family) -> Option<String>) -> Vec<String> {
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
                TableState::InStep => reasons.extend(contested(*family).map(|who| {
                    format!("{table}: others change it again and again: {who}; stop them")
                })),
                TableState::Unread => reasons.push(format!("{table}: not applied yet")),
                TableState::Withheld(who, differences) => reasons.push(format!(
                    "{table}: others change it again and again: {who}; stop them. Its next repair waits ({differences})"
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

    fn nobody(_: Family) -> Option<String> {
        None
    }

    #[test]
    fn a_table_that_others_change_again_and_again_is_not_ready_while_it_is_in_step() {
        let reasons = ready().reasons(|_| Some("w (pid 1)".to_owned()));
        let expected = "table ip: others change it again and again: w (pid 1); stop them";
        assert_eq!(reasons, [expected]);
    }

    fn ready() -> Readiness {
        let mut readiness = Readiness::default();
        readiness.configuration_is_good();
        readiness.passed(vec![(Family::Ip, TableState::InStep)]);
        readiness
    }

    #[test]
    fn nothing_is_ready_before_a_good_file_and_a_read_back_table() {
        let mut readiness = Readiness::default();
        assert_eq!(
            readiness.reasons(nobody),
            ["no configuration has been read yet"]
        );
        readiness.configuration_is_good();
        readiness.wants([Family::Ip].into_iter());
        assert_eq!(readiness.reasons(nobody), ["table ip: not applied yet"]);
        readiness.passed(vec![(Family::Ip, TableState::InStep)]);
        assert!(readiness.reasons(nobody).is_empty());
    }

    #[test]
    fn a_bad_file_is_a_reason_with_its_first_error_until_it_is_good() {
        let mut readiness = ready();
        readiness.configuration_is_bad("one\ntwo\nthree");
        let reason = "the configuration is bad: the last good one stays in force: one (and 2 more)";
        assert_eq!(readiness.reasons(nobody), [reason]);
        readiness.configuration_is_good();
        assert!(readiness.reasons(nobody).is_empty());
        let mut readiness = Readiness::default();
        readiness.configuration_is_bad("one");
        let reason = "the configuration is bad: nothing is changed until it is good: one";
        assert_eq!(readiness.reasons(nobody), [reason]);
    }

    #[test]
    fn a_table_that_is_wanted_otherwise_is_a_reason_until_its_pass_has_ended() {
        let mut readiness = ready();
        readiness.wants([Family::Ip, Family::Ip6].into_iter());
        let reasons = ["table ip: not applied yet", "table ip6: not applied yet"];
        assert_eq!(readiness.reasons(nobody), reasons);
        assert_eq!(readiness.is_in_step(Family::Ip), Some(false));
        assert_eq!(readiness.is_in_step(Family::Ip6), Some(false));
        readiness.passed(vec![(Family::Ip, TableState::InStep)]);
        assert_eq!(readiness.is_in_step(Family::Ip6), None);
    }

    #[test]
    fn each_reason_is_one_line_whatever_it_is_about() {
        let mut readiness = ready();
        let withheld = TableState::Withheld("w (pid 1)".to_owned(), "x".to_owned());
        readiness.passed(vec![
            (Family::Ip, withheld),
            (Family::Ip6, TableState::Failed("a\nb".to_owned())),
        ]);
        let reasons = readiness.reasons(nobody);
        let expected = "table ip: others change it again and again: w (pid 1); stop them. Its next repair waits (x)";
        assert_eq!(reasons, [expected, "table ip6: a b"]);
    }
}
