//! Ruleset and transactions as libnftables' JSON (libnftables-json(5)); the one file that uses the
//! crate `nftables`.
//!
//! Integers and arrays only: libnftables 1.0.6 takes `"prio": "srcnat"` and `"flags": "interval"`
//! without an error and makes an unhooked chain and a plain set of them. What the crate cannot
//! express (the table's flags and comment, a set's `stmt` and `typeof`, deletion by any kind) is added to its
//! `serde_json` value here.

use std::borrow::Cow;
use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::IpNet;
use nftables::expr::{Expression, Fib, FibFlag, FibResult, NamedExpression, Payload, PayloadField};
use nftables::schema::{self, NfCmd, NfListObject, SetFlag, SetType, SetTypeValue};
use nftables::stmt::{self, JumpTarget, Match, NAT, NATFlag, Operator};
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook};
use serde::Serialize;
use serde_json::{Value, json};

use super::transaction::{Command, Transaction};
use super::{Chain, Element, Family, Rule, Ruleset, Set, Statement};

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

/// A JSON document for libnftables that applies all commands of `transaction` or none.
///
/// # Errors
/// Where `serde_json` cannot write the document; not known to happen.
pub fn document(
    transaction: &Transaction<'_>,
    form: Form,
    flags: TableFlags,
) -> serde_json::Result<String> {
    documents([transaction], form, flags)
}

/// One JSON document with the commands of all `transactions`, in order.
///
/// # Errors
/// Where `serde_json` cannot write the document; not known to happen.
pub fn documents<'a>(
    transactions: impl IntoIterator<Item = &'a Transaction<'a>>,
    form: Form,
    flags: TableFlags,
) -> serde_json::Result<String> {
    let mut commands = Vec::new();
    for transaction in transactions {
        for command in &transaction.commands {
            commands.push(written(transaction.ruleset, command, form, flags)?);
        }
    }
    serde_json::to_string(&Document { nftables: commands })
}

/// The JSON document that asks libnftables for one table with all that stands in it. (`list
/// ruleset`, and `list counters` even where a table is named, read every table on the host.)
#[must_use]
pub fn list_table(family: Family, table: &str) -> String {
    let table = json!({ "family": family.name(), "name": table });
    json!({ "nftables": [{ "list": { "table": table } }] }).to_string()
}

/// The statements of `rule`, as libnftables lists them.
///
/// # Errors
/// Where `serde_json` cannot write them; not known to happen.
pub fn statements(rule: &Rule) -> serde_json::Result<Value> {
    serde_json::to_value(rule.statements.iter().map(statement).collect::<Vec<_>>())
}

/// `type` of the set's declaration in either form, as libnftables lists it.
#[must_use]
pub fn set_type(family: Family, form: Form) -> Value {
    match form {
        Form::Typeof => {
            json!({ "typeof": { "payload": { "protocol": family.name(), "field": "daddr" } } })
        }
        Form::Portable => match family {
            Family::Ip => json!("ipv4_addr"),
        },
    }
}

#[derive(Serialize)]
struct Document<'a> {
    nftables: Vec<Written<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Written<'a> {
    /// As the crate writes it.
    Crate(NfCmd<'a>),
    /// As the crate writes it, with what it cannot express; small objects only.
    Amended(Value),
    /// `{"add": {"element": …}}`. Not by the crate: its `Elem` boxes each value and writes `null`
    /// for each absent field, and there may be 100,000 elements.
    Elements(ElementCommand<'a>),
}

fn written<'a>(
    ruleset: &'a Ruleset,
    command: &Command<'a>,
    form: Form,
    flags: TableFlags,
) -> serde_json::Result<Written<'a>> {
    Ok(match command {
        Command::AddTable => Written::Amended(add_table(ruleset, flags)?),
        Command::DeleteTable => Written::Amended(json!({
            "delete": { "table": { "family": ruleset.family.name(), "name": ruleset.table } }
        })),
        Command::AddSet(set) => Written::Amended(add_set(ruleset, set, form)?),
        Command::AddChain(chain) => Written::Crate(add_chain(ruleset, chain)),
        Command::AddRule(chain, rule) => Written::Crate(add_rule(ruleset, chain, rule)),
        Command::AddElements(set, elements) => {
            let elem = elements.iter().map(|element| CommentedElement::of(element));
            Written::Elements(ElementCommand::Add {
                element: Elements::new(ruleset, set, elem.collect()),
            })
        }
        Command::DeleteElements(set, intervals) => {
            let elem = intervals
                .iter()
                .map(|&(first, last)| ElementValue::of(first, last));
            Written::Elements(ElementCommand::Delete {
                element: Elements::new(ruleset, set, elem.collect()),
            })
        }
        // Not by the crate: its counter writes `bytes` even where there are none.
        Command::AddCounter(name) => by_name(ruleset, "add", "counter", name),
        Command::FlushSet(name) => by_name(ruleset, "flush", "set", name),
        Command::FlushMap(name) => by_name(ruleset, "flush", "map", name),
        Command::FlushChain(name) => by_name(ruleset, "flush", "chain", name),
        Command::Delete(kind, name) => by_name(ruleset, "delete", kind, name),
    })
}

fn by_name<'a>(ruleset: &Ruleset, verb: &str, kind: &str, name: &str) -> Written<'a> {
    let object = json!({ "family": ruleset.family.name(), "table": ruleset.table, "name": name });
    Written::Amended(json!({ verb: { kind: object } }))
}

fn family(ruleset: &Ruleset) -> NfFamily {
    match ruleset.family {
        Family::Ip => NfFamily::IP,
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
/// add set ip non-masquerade-daemon non-masquerade-cidrs { typeof ip daddr; flags interval; counter; }
/// ```
fn add_set(ruleset: &Ruleset, set: &Set, form: Form) -> serde_json::Result<Value> {
    let command = NfCmd::Add(NfListObject::Set(Box::new(schema::Set {
        family: family(ruleset),
        table: Cow::Borrowed(&ruleset.table),
        name: Cow::Borrowed(set.name),
        set_type: SetTypeValue::Single(SetType::Ipv4Addr),
        // One flag only: the crate holds them in a HashSet, of which two have no fixed order.
        flags: Some(HashSet::from([SetFlag::Interval])),
        ..schema::Set::default()
    })));
    let mut value = serde_json::to_value(command)?;
    amend(&mut value, "set", "type", set_type(ruleset.family, form));
    amend(&mut value, "set", "stmt", json!([{ "counter": null }]));
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

fn add_rule<'a>(ruleset: &'a Ruleset, chain: &'a str, rule: &'a Rule) -> NfCmd<'a> {
    NfCmd::Add(NfListObject::Rule(schema::Rule {
        family: family(ruleset),
        table: Cow::Borrowed(&ruleset.table),
        chain: Cow::Borrowed(chain),
        expr: rule.statements.iter().map(statement).collect(),
        handle: None,
        index: None,
        comment: Some(Cow::Borrowed(rule.comment)),
    }))
}

fn statement(statement: &Statement) -> stmt::Statement<'_> {
    match statement {
        // ip daddr @SET
        Statement::DestinationIn(set) => stmt::Statement::Match(Match {
            left: Expression::Named(NamedExpression::Payload(Payload::PayloadField(
                PayloadField {
                    protocol: Cow::Borrowed(Family::Ip.name()),
                    field: Cow::Borrowed("daddr"),
                },
            ))),
            right: Expression::String(Cow::Owned(format!("@{set}"))),
            op: Operator::EQ,
        }),
        // fib daddr type != local
        Statement::DestinationNotLocal => stmt::Statement::Match(Match {
            left: Expression::Named(NamedExpression::Fib(Fib {
                result: FibResult::Type,
                flags: HashSet::from([FibFlag::Daddr]),
            })),
            right: Expression::String(Cow::Borrowed("local")),
            op: Operator::NEQ,
        }),
        // counter name "NAME"
        Statement::Counter(name) => {
            stmt::Statement::Counter(stmt::Counter::Named(Cow::Borrowed(name)))
        }
        // jump CHAIN
        Statement::Jump(chain) => stmt::Statement::Jump(JumpTarget {
            target: Cow::Borrowed(chain),
        }),
        // return
        Statement::Return => stmt::Statement::Return(None),
        // masquerade [fully-random]
        Statement::Masquerade { fully_random } => {
            stmt::Statement::Masquerade(fully_random.then(|| NAT {
                addr: None,
                family: None,
                port: None,
                flags: Some(HashSet::from([NATFlag::FullyRandom])),
            }))
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum ElementCommand<'a> {
    Add {
        element: Elements<'a, CommentedElement<'a>>,
    },
    Delete {
        element: Elements<'a, ElementValue>,
    },
}

#[derive(Serialize)]
struct Elements<'a, E> {
    family: &'static str,
    table: &'a str,
    name: &'a str,
    elem: Vec<E>,
}

impl<'a, E> Elements<'a, E> {
    fn new(ruleset: &'a Ruleset, set: &'a str, elem: Vec<E>) -> Self {
        Self {
            family: ruleset.family.name(),
            table: &ruleset.table,
            name: set,
            elem,
        }
    }
}

#[derive(Serialize)]
struct CommentedElement<'a> {
    elem: ElementObject<'a>,
}

#[derive(Serialize)]
struct ElementObject<'a> {
    val: ElementValue,
    comment: &'a str,
}

impl<'a> CommentedElement<'a> {
    fn of(element: &'a Element) -> Self {
        Self {
            elem: ElementObject {
                val: ElementValue::of(element.first, element.last),
                comment: &element.comment,
            },
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum ElementValue {
    Prefix { addr: IpAddr, len: u8 },
    Range([IpAddr; 2]),
}

impl ElementValue {
    fn of(first: IpAddr, last: IpAddr) -> Self {
        match as_prefix(first, last) {
            Some(prefix) => Self::Prefix {
                addr: prefix.addr(),
                len: prefix.prefix_len(),
            },
            None => Self::Range([first, last]),
        }
    }
}

/// The prefix whose addresses are those from `first` to `last`, where there is one.
fn as_prefix(first: IpAddr, last: IpAddr) -> Option<IpNet> {
    let length = match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => (first.to_bits() ^ last.to_bits()).leading_zeros(),
        (IpAddr::V6(first), IpAddr::V6(last)) => (first.to_bits() ^ last.to_bits()).leading_zeros(),
        _ => return None,
    };
    let prefix = IpNet::new(first, u8::try_from(length).ok()?).ok()?;
    (prefix.network() == first && prefix.broadcast() == last).then_some(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(first: &str, last: &str) -> Option<String> {
        as_prefix(first.parse().unwrap(), last.parse().unwrap()).map(|prefix| prefix.to_string())
    }

    #[test]
    fn an_interval_that_is_a_prefix_is_written_as_one() {
        assert_eq!(
            shown("0.0.0.0", "255.255.255.255").as_deref(),
            Some("0.0.0.0/0")
        );
        assert_eq!(
            shown("10.0.0.0", "10.255.255.255").as_deref(),
            Some("10.0.0.0/8")
        );
        assert_eq!(
            shown("192.0.2.1", "192.0.2.1").as_deref(),
            Some("192.0.2.1/32")
        );
        assert_eq!(
            shown("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff").as_deref(),
            Some("::/0")
        );
        assert_eq!(shown("10.0.0.1", "10.0.0.2"), None);
        assert_eq!(shown("10.0.0.0", "10.255.255.254"), None);
        assert_eq!(shown("10.0.0.1", "10.255.255.255"), None);
    }

    #[test]
    fn a_listing_asks_for_the_one_table_only() {
        assert_eq!(
            list_table(Family::Ip, "t"),
            r#"{"nftables":[{"list":{"table":{"family":"ip","name":"t"}}}]}"#
        );
    }
}
