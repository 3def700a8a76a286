//! `render`: the tables of both families as one JSON document.

use super::{ExitStatus, failed, load_here, print, print_notes};
use crate::cli::Options;
use crate::ruleset::json::{self, Form};
use crate::ruleset::transaction::Transaction;
use crate::ruleset::{SetNames, Tables};

/// Prints what makes the tables in an empty kernel, in the form that each libnftables takes.
pub(super) fn render(options: &Options) -> ExitStatus {
    let (_, policy) = match load_here(options) {
        Ok(here) => here,
        Err(status) => return status,
    };
    print_notes(&policy.snat_addresses_in_words());
    let tables = Tables::new(&policy, &options.chosen_names());
    let set_names = SetNames::first();
    let creation: Vec<Transaction<'_>> = tables
        .wanted()
        .flat_map(|ruleset| ruleset.creation(&set_names))
        .collect();
    match json::document(&creation, Form::Portable) {
        Ok(document) => print(&format!("{document}\n")),
        Err(error) => failed(&format!("the table cannot be written as JSON: {error}")),
    }
}
