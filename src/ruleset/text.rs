//! Deletions of named objects in the nft language, of which libnftables reads a document that is no JSON.
//!
//! Not by its JSON: there libnftables 1.1.3 takes `delete ct expectation` for the deletion of the whole table and refuses
//! that of a `ct timeout`, and 1.0.6 aborts over both and does not know `synproxy`. In the nft language both delete each.

use super::names;
use super::transaction::{Command, Transaction};

/// What each libnftables deletes as its JSON says.
const DELETED_BY_JSON: [&str; 9] = [
    "chain",
    "set",
    "map",
    "counter",
    "quota",
    "limit",
    "ct helper",
    "secmark",
    "flowtable",
];

/// Whether an object of this kind and name, which are others' to choose, can be deleted without saying more than that.
#[must_use]
pub fn is_deletable(kind: &str, name: &str) -> bool {
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
    DELETED_BY_JSON.contains(&kind)
        || (kind.split(' ').all(is_word) && names::checked_identifier(name).is_ok())
}

/// The transaction in the nft language, if it deletes one object that is not to be deleted by JSON.
#[must_use]
pub fn deletion(transaction: &Transaction<'_>) -> Option<String> {
    match transaction.commands.as_slice() {
        [Command::Delete(kind, name)] if !DELETED_BY_JSON.contains(kind) => {
            let (family, table) = (
                transaction.ruleset.family.name(),
                &transaction.ruleset.table,
            );
            Some(format!("delete {kind} {family} {table} {name}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_else_is_said_by_a_name_that_others_chose() {
        for (kind, name) in [
            ("ct expectation", "e; delete table ip x"),
            ("ct expectation", "e\ndelete table ip x"),
            ("ct timeout", "timeout"),
            ("ct  timeout", "t"),
            ("synproxy;", "s"),
            ("", "s"),
        ] {
            assert!(!is_deletable(kind, name), "{kind} {name}");
        }
        assert!(is_deletable("ct expectation", "e"));
        assert!(is_deletable("counter", "of JSON; quoted there"));
    }
}
