//! Ruleset and transactions as libnftables' JSON (libnftables-json(5)). Tables, sets, chains and rules are written here: of a
//! table's flags and comment, of a set's `stmt` and `typeof`, of a counter without `bytes` and of a deletion by name the
//! crate `nftables` knows nothing. Statements are the crate's, in `json::statements`.
//!
//! Integers and arrays only: libnftables 1.0.6 takes `"prio": "srcnat"` and `"flags": "interval"`
//! without an error and makes an unhooked chain and a plain set of them.

mod statements;

use serde_json::{Value, json};

use super::transaction::{Command, TableFlags, Transaction};
use super::{AddressField, Chain, Element, Family, Rule, Ruleset, Set, SetNames, names};
pub use statements::statements;

/// How sets are declared and what the table carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Sets by `typeof`, which older hosts' nft can list whoever wrote it. Needs libnftables ≥ 1.1.2.
    Typeof,
    /// Sets by `type`, which each libnftables takes.
    Portable,
}

/// One JSON document, in one line, with the commands of all `transactions`, in order; libnftables applies all or none.
///
/// # Errors
/// Where `serde_json` cannot write the document; not known to happen.
pub fn document<'a>(
    transactions: impl IntoIterator<Item = &'a Transaction<'a>>,
    form: Form,
) -> serde_json::Result<String> {
    let mut commands = Vec::new();
    for transaction in transactions {
        for command in &transaction.commands {
            commands.push(written(transaction, command, form)?);
        }
    }
    Ok(Value::from_iter([("nftables", commands)]).to_string())
}

/// The JSON document that asks libnftables for one table with all that stands in it, of a family that is named as nft(8)
/// has it. (`list ruleset`, and `list counters` even where a table is named, read every table on the host.)
#[must_use]
pub fn list_table(family: &str, table: &str) -> String {
    let table = json!({ "family": family, "name": table });
    json!({ "nftables": [{ "list": { "table": table } }] }).to_string()
}

/// `type` of the set's declaration in either form, as libnftables lists it.
fn set_type(family: Family, field: AddressField, form: Form) -> Value {
    match form {
        Form::Typeof => {
            json!({ "typeof": { "payload": { "protocol": family.name(), "field": field.name() } } })
        }
        Form::Portable => match family {
            Family::Ip => json!("ipv4_addr"),
            Family::Ip6 => json!("ipv6_addr"),
        },
    }
}

fn written(
    transaction: &Transaction<'_>,
    command: &Command<'_>,
    form: Form,
) -> serde_json::Result<Value> {
    let (ruleset, set_names) = (transaction.ruleset, transaction.set_names);
    let by_name = |verb, kind, name| command_of(verb, kind, named(ruleset, name));
    Ok(match *command {
        Command::AddTable(flags) => command_of("add", "table", table(ruleset, flags)),
        Command::AddSet(of) => command_of("add", "set", set(ruleset, set_names, of, form)),
        Command::AddChain(of) => command_of("add", "chain", chain(ruleset, of)),
        Command::AddRule(chain, of) => {
            command_of("add", "rule", rule(ruleset, set_names, chain, of)?)
        }
        Command::AddCounter(name) => by_name("add", "counter", name),
        Command::DeleteMap(name) => by_name("delete", "map", name),
        Command::FlushChain(name) => by_name("flush", "chain", name),
        Command::DeleteChain(name) => by_name("delete", "chain", name),
        Command::DeleteCounter(name) => by_name("delete", "counter", name),
    })
}

/// The members of an object, as name and value.
type Object = Vec<(&'static str, Value)>;

/// The command that does what `verb` says to an object.
fn command_of(verb: &str, kind: &str, object: Object) -> Value {
    Value::from_iter([(verb, Value::from_iter([(kind, Value::from_iter(object))]))])
}

/// An object of the table.
fn named(ruleset: &Ruleset, name: &str) -> Object {
    vec![
        ("family", ruleset.family.name().into()),
        ("table", ruleset.table.as_str().into()),
        ("name", name.into()),
    ]
}

/// ```text
/// add table ip non-masquerade-daemon { flags owner,persist; comment "managed by …"; }
/// ```
fn table(ruleset: &Ruleset, flags: TableFlags) -> Object {
    let mut table = vec![
        ("family", ruleset.family.name().into()),
        ("name", ruleset.table.as_str().into()),
        ("comment", names::TABLE_COMMENT.into()),
    ];
    if flags != TableFlags::Plain {
        table.push(("flags", flags.names().into()));
    }
    table
}

/// ```text
/// add set ip non-masquerade-daemon non-masquerade-cidrs-1 { typeof ip daddr; flags interval; [counter;] [elements = …;] }
/// ```
///
/// Elements in the declaration: of those that follow it as a command of their own, libnftables first loads every interval
/// set of every table on the host (design §2).
fn set(ruleset: &Ruleset, set_names: &SetNames, of: &Set, form: Form) -> Object {
    let mut set = named(ruleset, set_names.of(of.field));
    set.push(("type", set_type(ruleset.family, of.field, form)));
    set.push(("flags", json!(["interval"])));
    if of.counts {
        set.push(("stmt", json!([{ "counter": null }])));
    }
    if !of.elements.is_empty() {
        set.push(("elem", of.elements.iter().map(element).collect()));
    }
    set
}

/// A prefix is written as the range that it is: libnftables needs a twelfth less time for 64 ranges than for 64 prefixes.
fn element(of: &Element) -> Value {
    let value = if of.first == of.last {
        json!(of.first)
    } else {
        json!({ "range": [of.first, of.last] })
    };
    match &of.comment {
        None => value,
        Some(comment) => json!({ "elem": { "val": value, "comment": comment } }),
    }
}

/// ```text
/// add chain ip non-masquerade-daemon postrouting { type nat hook postrouting priority 110; policy accept; }
/// ```
fn chain(ruleset: &Ruleset, of: &Chain) -> Object {
    let mut chain = named(ruleset, &of.name);
    if let Some(hook) = of.hook {
        chain.push(("type", hook.chain_type.name().into()));
        chain.push(("hook", "postrouting".into()));
        chain.push(("prio", hook.priority.into()));
        chain.push(("policy", "accept".into()));
    }
    chain
}

/// ```text
/// add rule ip non-masquerade-daemon postrouting … comment "…"
/// ```
fn rule(
    ruleset: &Ruleset,
    set_names: &SetNames,
    chain: &str,
    of: &Rule,
) -> serde_json::Result<Object> {
    Ok(vec![
        ("family", ruleset.family.name().into()),
        ("table", ruleset.table.as_str().into()),
        ("chain", chain.into()),
        ("expr", statements(ruleset.family, set_names, of)?),
        ("comment", (*of.comment).into()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_asks_for_the_one_table_only() {
        assert_eq!(
            list_table("ip", "t"),
            r#"{"nftables":[{"list":{"table":{"family":"ip","name":"t"}}}]}"#
        );
    }
}
