//! Tables that a daemon has left: of another name, or for a family that is off.

use super::finding::{Finding, shell_word};
use crate::commands::look::FoundTable;

pub(super) const CHECK: &str = "other-tables";

/// Tables that a daemon made under another name, or for a family that is off.
pub(super) fn findings(tables: &[FoundTable]) -> Vec<Finding> {
    if tables.is_empty() {
        return vec![Finding::ok(
            CHECK,
            "no daemon has left a table of another name",
        )];
    }
    let left = |table: &FoundTable| {
        let (family, table) = (table.family.name(), &table.name);
        let word = shell_word(table);
        Finding::warning(
            CHECK,
            format!(
                "table {family} {table} is a daemon's of another --table or family, and masquerades too"
            ),
            format!(
                "stop that daemon, then: non-masquerade-daemon cleanup (or nft delete table {family} {word})"
            ),
        )
    };
    tables.iter().map(left).collect()
}
