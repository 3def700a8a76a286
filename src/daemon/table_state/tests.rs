use super::*;
use crate::config::Config;
use crate::kernel::difference::Difference;
use crate::policy::Policy;
use crate::ruleset::ChosenNames;

fn tables(configuration: &Config) -> Arc<Tables> {
    let names = ChosenNames {
        table: "t".to_owned(),
        masq_chain: "c".to_owned(),
    };
    Arc::new(Tables::new(&Policy::new(configuration), &names))
}

/// With a table of IPv4 alone.
fn wanted() -> Arc<Tables> {
    tables(&Config::default())
}

fn wanted_otherwise() -> Arc<Tables> {
    tables(&Config {
        non_masquerade_cidrs: vec!["192.0.2.0/24".parse().unwrap()],
        ..Config::default()
    })
}

fn commits() -> [Commit; 1] {
    [Commit {
        generation: 7,
        process_id: 1,
        process_name: "w".to_owned(),
        port: 4711,
    }]
}

impl TableState {
    fn ended(&mut self, tables: &Arc<Tables>, result: Result<TableReport, KernelError>) -> Outcome {
        let pass = TablePass {
            family: self.family,
            result,
            counted: Vec::new(),
        };
        self.passed(tables, &pass, &commits(), None)
    }
}

/// A report of a table that lacked something.
fn differed() -> TableReport {
    TableReport {
        differences: vec![Difference::TableMissing],
        ..TableReport::default()
    }
}

fn withheld() -> TableReport {
    TableReport {
        is_withheld: true,
        ..differed()
    }
}

fn applied() -> (TableState, Arc<Tables>) {
    let (mut table, wanted) = (TableState::new(Family::Ip, false), wanted());
    let outcome = table.ended(&wanted, Ok(differed()));
    assert_eq!(outcome, Outcome::Applied);
    assert_eq!(table.reason(&wanted, false), None);
    (table, wanted)
}

#[test]
fn a_table_is_a_reason_until_a_pass_has_left_it_as_it_is_wanted() {
    let wanted = wanted();
    let table = TableState::new(Family::Ip, false);
    let reason = "table ip: not applied yet";
    assert_eq!(table.reason(&wanted, false).unwrap(), reason);
    assert_eq!(table.is_in_step(&wanted), Some(false));
    let (mut table, wanted) = applied();
    assert_eq!(table.is_in_step(&wanted), Some(true));
    let other = wanted_otherwise();
    assert_eq!(table.reason(&other, false).unwrap(), reason);
    // The end of a pass for what was wanted before.
    table.ended(&wanted, Ok(TableReport::default()));
    assert_eq!(table.reason(&other, false).unwrap(), reason);
    table.ended(&other, Ok(differed()));
    assert_eq!(table.reason(&other, false), None);
}

#[test]
fn what_differs_from_what_was_applied_others_have_changed() {
    let (mut table, wanted) = applied();
    let in_step = table.ended(&wanted, Ok(TableReport::default()));
    assert_eq!(in_step, Outcome::InStep);
    assert_eq!(table.ended(&wanted, Ok(differed())), Outcome::Repaired);
    let other = wanted_otherwise();
    assert_eq!(table.ended(&other, Ok(differed())), Outcome::Applied);
}

#[test]
fn a_table_that_others_change_again_and_again_is_not_ready_while_it_is_in_step() {
    let (mut table, wanted) = applied();
    table.ended(&wanted, Ok(differed()));
    let reason = "table ip: others change it again and again: w (pid 1); stop them";
    assert_eq!(table.reason(&wanted, true).unwrap(), reason);
    assert_eq!(table.is_in_step(&wanted), Some(true));
    assert_eq!(table.ended(&wanted, Ok(withheld())), Outcome::Withheld);
    let waits = format!("{reason}. Its next repair waits (there is no table)");
    assert_eq!(table.reason(&wanted, true).unwrap(), waits);
    assert_eq!(table.is_in_step(&wanted), Some(false));
}

#[test]
fn a_table_that_is_not_wanted_is_a_reason_only_where_it_cannot_be_deleted() {
    let (mut table, wanted) = (TableState::new(Family::Ip6, false), wanted());
    assert_eq!(table.reason(&wanted, false), None);
    assert_eq!(table.is_in_step(&wanted), None);
    let error = KernelError::Undeletable(vec!["chain c".to_owned()]);
    let reason = format!("table ip6: {error}");
    assert_eq!(table.ended(&wanted, Err(error)), Outcome::Failed);
    assert_eq!(table.reason(&wanted, false).unwrap(), reason);
    assert_eq!(table.is_in_step(&wanted), Some(false));
    table.note_absence();
    assert_eq!(table.reason(&wanted, false), None);
}

#[test]
fn a_reason_is_one_line_whatever_others_have_named() {
    let (mut table, wanted) = applied();
    let error = KernelError::Undeletable(vec!["chain a\nb\r".to_owned()]);
    table.ended(&wanted, Err(error));
    let reason = table.reason(&wanted, false).unwrap();
    assert!(reason.ends_with("chain a b "), "{reason:?}");
}

#[test]
fn an_error_names_who_has_committed_what_the_pass_has_not_seen() {
    let (mut table, wanted) = applied();
    let error = KernelError::Undeletable(vec!["chain c".to_owned()]);
    let reason = format!("table ip: {error}; others have committed meanwhile: x (pid 2)");
    let pass = TablePass {
        family: Family::Ip,
        result: Err(error),
        counted: Vec::new(),
    };
    table.passed(&wanted, &pass, &[], Some("x (pid 2)"));
    assert_eq!(table.reason(&wanted, false).unwrap(), reason);
}
