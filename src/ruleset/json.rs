//! Ruleset and transactions as libnftables' JSON (libnftables-json(5)); with `json::statements` the one place that uses the
//! crate `nftables`.
//!
//! Integers and arrays only: libnftables 1.0.6 takes `"prio": "srcnat"` and `"flags": "interval"`
//! without an error and makes an unhooked chain and a plain set of them. What the crate cannot
//! express (the table's flags and comment, a set's `stmt` and `typeof`, deletion by any kind) is added to its
//! `serde_json` value here.

mod elements;
mod statements;

use std::borrow::Cow;
use std::collections::HashSet;

use nftables::schema::{self, NfCmd, NfListObject, SetFlag, SetType, SetTypeValue};
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook};
use serde::Serialize;
use serde_json::{Value, json};

use super::transaction::{Command, Transaction};
use super::{AddressField, Chain, Family, Rule, Ruleset, Set, SetNames};
use elements::SetCommand;
pub use statements::statements;

/// How sets are declared and what the table carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Sets by `typeof`, which older hosts' nft can list whoever wrote it. Needs libnftables ≥ 1.1.0.
    Typeof,
    /// Sets by `type`, which each libnftables takes.
    Portable,
}

/// The flags with which the table is made, adopted or woken, nft(8) "TABLES". libnftables before 1.1.0 drops them from
/// JSON without a word; the kernel before Linux 6.9 refuses `persist`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableFlags {
    /// None.
    Plain,
    /// `persist`: of an owner that has ended.
    Persist,
    /// `owner,persist`: others cannot change the table, and it outlives its owner. Never `owner` alone: the table would
    /// die with the socket that owns it.
    OwnerPersist,
}

impl TableFlags {
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Plain => &[],
            Self::Persist => &["persist"],
            Self::OwnerPersist => &["owner", "persist"],
        }
    }
}

/// One JSON document, in one line, with the commands of all `transactions`, in order; libnftables applies all or none.
///
/// # Errors
/// Where `serde_json` cannot write the document; not known to happen.
pub fn document<'a>(
    transactions: impl IntoIterator<Item = &'a Transaction<'a>>,
    form: Form,
    flags: TableFlags,
) -> serde_json::Result<String> {
    serde_json::to_string(&Document::of(transactions, form, flags)?)
}

/// The JSON document that asks libnftables for one table with all that stands in it, of a family that is named as nft(8)
/// has it. (`list ruleset`, and `list counters` even where a table is named, read every table on the host.)
#[must_use]
pub fn list_table(family: &str, table: &str) -> String {
    let table = json!({ "family": family, "name": table });
    json!({ "nftables": [{ "list": { "table": table } }] }).to_string()
}

/// `type` of the set's declaration in either form, as libnftables lists it.
#[must_use]
pub fn set_type(family: Family, field: AddressField, form: Form) -> Value {
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

#[derive(Serialize)]
struct Document<'a> {
    nftables: Vec<Written<'a>>,
}

impl<'a> Document<'a> {
    fn of(
        transactions: impl IntoIterator<Item = &'a Transaction<'a>>,
        form: Form,
        flags: TableFlags,
    ) -> serde_json::Result<Self> {
        let mut nftables = Vec::new();
        for transaction in transactions {
            for command in &transaction.commands {
                nftables.push(written(transaction, command, form, flags)?);
            }
        }
        Ok(Self { nftables })
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Written<'a> {
    /// As the crate writes it.
    Crate(NfCmd<'a>),
    /// As the crate writes it, with what it cannot express; small objects only.
    Amended(Value),
    /// `{"add": {"set": …}}`.
    Set(SetCommand<'a>),
}

fn written<'a>(
    transaction: &Transaction<'a>,
    command: &Command<'a>,
    form: Form,
    flags: TableFlags,
) -> serde_json::Result<Written<'a>> {
    let &Transaction {
        ruleset, set_names, ..
    } = transaction;
    Ok(match command {
        Command::AddTable => Written::Amended(add_table(ruleset, flags)?),
        Command::AddSet(set) => {
            let declaration = set_declaration(ruleset, set_names, set, form)?;
            Written::Set(SetCommand::add(declaration, &set.elements))
        }
        Command::AddChain(chain) => Written::Crate(add_chain(ruleset, chain)),
        Command::AddRule(chain, rule) => {
            Written::Amended(add_rule(ruleset, set_names, chain, rule)?)
        }
        // Not by the crate: its counter writes `bytes` even where there are none.
        Command::AddCounter(name) => by_name(ruleset, "add", "counter", name),
        Command::FlushMap(name) => by_name(ruleset, "flush", "map", name),
        Command::FlushChain(name) => by_name(ruleset, "flush", "chain", name),
        Command::DeleteChain(name) => by_name(ruleset, "delete", "chain", name),
        Command::DeleteCounter(name) => by_name(ruleset, "delete", "counter", name),
    })
}

fn by_name<'a>(ruleset: &Ruleset, verb: &str, kind: &str, name: &str) -> Written<'a> {
    let object = json!({ "family": ruleset.family.name(), "table": ruleset.table, "name": name });
    Written::Amended(json!({ verb: { kind: object } }))
}

fn family(ruleset: &Ruleset) -> NfFamily {
    match ruleset.family {
        Family::Ip => NfFamily::IP,
        Family::Ip6 => NfFamily::IP6,
    }
}

/// ```text
/// add table ip non-masquerade-daemon { flags owner,persist; comment "managed by …"; }
/// ```
fn add_table(ruleset: &Ruleset, flags: TableFlags) -> serde_json::Result<Value> {
    let table = NfCmd::Add(NfListObject::Table(schema::Table {
        family: family(ruleset),
        name: Cow::Borrowed(&ruleset.table),
        handle: None,
    }));
    let mut value = serde_json::to_value(table)?;
    amend(&mut value, "table", "comment", json!(ruleset.comment));
    if flags != TableFlags::Plain {
        amend(&mut value, "table", "flags", json!(flags.names()));
    }
    Ok(value)
}

/// ```text
/// add set ip non-masquerade-daemon non-masquerade-cidrs-1 { typeof ip daddr; flags interval; [counter;] [elements = …;] }
/// ```
fn set_declaration(
    ruleset: &Ruleset,
    set_names: &SetNames,
    set: &Set,
    form: Form,
) -> serde_json::Result<Value> {
    let mut value = serde_json::to_value(schema::Set {
        family: family(ruleset),
        table: Cow::Borrowed(&ruleset.table),
        name: Cow::Borrowed(set_names.of(set.field)),
        // In place of what the form says.
        set_type: SetTypeValue::Single(SetType::Ipv4Addr),
        // One flag only: the crate holds them in a HashSet, of which two have no fixed order.
        flags: Some(HashSet::from([SetFlag::Interval])),
        ..schema::Set::default()
    })?;
    if let Some(declaration) = value.as_object_mut() {
        let set_type = set_type(ruleset.family, set.field, form);
        declaration.insert("type".to_owned(), set_type);
        if set.counts {
            declaration.insert("stmt".to_owned(), json!([{ "counter": null }]));
        }
    }
    Ok(value)
}

/// Sets `key` of the object of this `kind` in an `add` command.
fn amend(command: &mut Value, kind: &str, key: &str, value: Value) {
    if let Some(object) = command
        .pointer_mut(&format!("/add/{kind}"))
        .and_then(Value::as_object_mut)
    {
        object.insert(key.to_owned(), value);
    }
}

/// ```text
/// add chain ip non-masquerade-daemon postrouting { type nat hook postrouting priority 110; policy accept; }
/// ```
fn add_chain<'a>(ruleset: &'a Ruleset, chain: &'a Chain) -> NfCmd<'a> {
    NfCmd::Add(NfListObject::Chain(schema::Chain {
        family: family(ruleset),
        table: Cow::Borrowed(&ruleset.table),
        name: Cow::Borrowed(&chain.name),
        _type: chain.hook.map(|_| NfChainType::NAT),
        hook: chain.hook.map(|_| NfHook::Postrouting),
        prio: chain.hook.map(|hook| hook.priority),
        policy: chain.hook.map(|_| NfChainPolicy::Accept),
        ..schema::Chain::default()
    }))
}

fn add_rule(
    ruleset: &Ruleset,
    set_names: &SetNames,
    chain: &str,
    rule: &Rule,
) -> serde_json::Result<Value> {
    let command = NfCmd::Add(NfListObject::Rule(schema::Rule {
        family: family(ruleset),
        table: Cow::Borrowed(&ruleset.table),
        chain: Cow::Borrowed(chain),
        expr: Cow::default(),
        handle: None,
        index: None,
        comment: Some(Cow::Borrowed(&*rule.comment)),
    }));
    let mut value = serde_json::to_value(command)?;
    let statements = statements(ruleset.family, set_names, rule)?;
    amend(&mut value, "rule", "expr", statements);
    Ok(value)
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
