//! `render`: the tables of both families as one JSON document.

use super::{
    ExitStatus, bad_configuration, failed, load, policy_here, print, print_notes, print_warnings,
};
use crate::cli::Options;
use crate::ruleset::json::{self, Form};
use crate::ruleset::transaction::Transaction;
use crate::ruleset::{SetNames, Tables};

/// Prints what makes the tables in an empty kernel, in the form that each libnftables takes.
pub(super) fn render(options: &Options) -> ExitStatus {
    let loaded = match load(options) {
        Ok(loaded) => loaded,
        Err(error) => return bad_configuration(&error),
    };
    print_warnings(&loaded.warnings);
    let policy = policy_here(&loaded.config);
    print_warnings(&policy.warnings());
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
