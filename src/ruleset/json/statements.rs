//! Statements of rules, as libnftables 1.0.6 and 1.1.3 both take and list them, less the flags that the readers of listings
//! even out.

use std::borrow::Cow;
use std::collections::HashSet;
use std::net::IpAddr;

use nftables::expr::{
    CT, Expression, Fib, FibFlag, FibResult, Meta, MetaKey, NamedExpression, Payload, PayloadField,
    Range,
};
use nftables::stmt::{self, Counter, JumpTarget, Match, NAT, NATFlag, Operator};
use serde_json::{Value, json};

use crate::config::PortRange;
use crate::ruleset::{AddressField, Family, Rule, SetNames, Statement};

/// The statements of `rule`, as libnftables lists them.
///
/// # Errors
/// Where `serde_json` cannot write them; not known to happen.
pub fn statements(family: Family, set_names: &SetNames, rule: &Rule) -> serde_json::Result<Value> {
    let statements = rule.statements.iter();
    let written = statements.map(|of| statement(family, set_names, of));
    Ok(Value::Array(written.collect::<serde_json::Result<_>>()?))
}

impl AddressField {
    /// The field's name in the nft language.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Source => "saddr",
            Self::Destination => "daddr",
        }
    }
}

fn statement(
    family: Family,
    set_names: &SetNames,
    statement: &Statement,
) -> serde_json::Result<Value> {
    let by_the_crate = match *statement {
        // numgen random mod OUT_OF < FEWER_THAN
        // Not by the crate: nftables 0.6.3 writes `>` for its `Operator::LT`.
        Statement::Chance { out_of, fewer_than } => {
            let number = json!({ "numgen": { "mode": "random", "mod": out_of, "offset": 0 } });
            return Ok(json!({ "match": { "op": "<", "left": number, "right": fewer_than } }));
        }
        // ip daddr @SET
        Statement::AddressIn(field) => equals(address(family, field), set(set_names, field)),
        // ip daddr != @SET
        Statement::AddressNotIn(field) => {
            matches(address(family, field), Operator::NEQ, set(set_names, field))
        }
        // oifname "NAME"
        Statement::OutputInterface(ref name) => equals(meta(MetaKey::Oifname), text(name)),
        // fib saddr type local
        Statement::SourceLocal => equals(address_type(FibFlag::Saddr), text("local")),
        // fib daddr type != local
        Statement::DestinationNotLocal => {
            matches(address_type(FibFlag::Daddr), Operator::NEQ, text("local"))
        }
        // fib daddr type multicast
        Statement::DestinationMulticast => equals(address_type(FibFlag::Daddr), text("multicast")),
        // fib daddr type broadcast
        Statement::DestinationBroadcast => equals(address_type(FibFlag::Daddr), text("broadcast")),
        // ct status dnat
        Statement::DestinationTranslated => {
            matches(conntrack("status"), Operator::IN, text("dnat"))
        }
        // ct state != invalid
        Statement::ValidForConntrack => matches(conntrack("state"), Operator::NEQ, text("invalid")),
        // meta l4proto NUMBER
        Statement::Protocol(number) => {
            equals(meta(MetaKey::L4proto), Expression::Number(number.into()))
        }
        // counter name "NAME"
        Statement::Counter(ref name) => {
            stmt::Statement::Counter(Counter::Named(Cow::Borrowed(name)))
        }
        // jump CHAIN
        Statement::Jump(ref chain) => stmt::Statement::Jump(JumpTarget {
            target: Cow::Borrowed(chain),
        }),
        // return
        Statement::Return => stmt::Statement::Return(None),
        // accept
        Statement::Accept => stmt::Statement::Accept(None),
        // drop
        Statement::Drop => stmt::Statement::Drop(None),
        Statement::Masquerade {
            to_ports,
            fully_random,
        } => masquerade(to_ports, fully_random),
        // snat to ADDRESS[:FIRST-LAST] [fully-random]
        Statement::Snat {
            address,
            to_ports,
            fully_random,
        } => stmt::Statement::SNAT(Some(nat(Some(address), to_ports, fully_random))),
        // snat to ip saddr
        Statement::SnatToOwnSource => stmt::Statement::SNAT(Some(NAT {
            addr: Some(address(family, AddressField::Source)),
            family: None,
            port: None,
            flags: None,
        })),
    };
    serde_json::to_value(by_the_crate)
}

/// ```text
/// masquerade [to :FIRST-LAST] [fully-random]
/// ```
fn masquerade(to_ports: Option<PortRange>, fully_random: bool) -> stmt::Statement<'static> {
    // Without ports and flags `null`: libnftables lists it so.
    let has_options = to_ports.is_some() || fully_random;
    stmt::Statement::Masquerade(has_options.then(|| nat(None, to_ports, fully_random)))
}

/// ```text
/// [ADDRESS][:FIRST-LAST] [fully-random]
/// ```
fn nat(address: Option<IpAddr>, to_ports: Option<PortRange>, fully_random: bool) -> NAT<'static> {
    NAT {
        addr: address.map(|address| Expression::String(address.to_string().into())),
        family: None,
        port: to_ports.map(ports),
        flags: fully_random.then(|| HashSet::from([NATFlag::FullyRandom])),
    }
}

/// A range of one port is listed as that port.
fn ports(range: PortRange) -> Expression<'static> {
    let [first, last] = [range.first, range.last].map(|port| Expression::Number(port.into()));
    if first == last {
        return first;
    }
    Expression::Range(Box::new(Range {
        range: [first, last],
    }))
}

fn equals<'a>(left: Expression<'a>, right: Expression<'a>) -> stmt::Statement<'a> {
    matches(left, Operator::EQ, right)
}

fn matches<'a>(left: Expression<'a>, op: Operator, right: Expression<'a>) -> stmt::Statement<'a> {
    stmt::Statement::Match(Match { left, right, op })
}

fn text(text: &str) -> Expression<'_> {
    Expression::String(Cow::Borrowed(text))
}

/// ```text
/// ip saddr
/// ```
fn set(set_names: &SetNames, field: AddressField) -> Expression<'static> {
    Expression::String(Cow::Owned(format!("@{}", set_names.of(field))))
}

fn meta(key: MetaKey) -> Expression<'static> {
    Expression::Named(NamedExpression::Meta(Meta { key }))
}

fn conntrack(key: &str) -> Expression<'_> {
    Expression::Named(NamedExpression::CT(CT {
        key: Cow::Borrowed(key),
        family: None,
        dir: None,
    }))
}

fn address(family: Family, field: AddressField) -> Expression<'static> {
    Expression::Named(NamedExpression::Payload(Payload::PayloadField(
        PayloadField {
            protocol: Cow::Borrowed(family.name()),
            field: Cow::Borrowed(field.name()),
        },
    )))
}

/// ```text
/// fib saddr type
/// ```
fn address_type(of: FibFlag) -> Expression<'static> {
    Expression::Named(NamedExpression::Fib(Fib {
        result: FibResult::Type,
        flags: HashSet::from([of]),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(family: Family, of: Statement) -> String {
        statement(family, &SetNames::first(), &of)
            .unwrap()
            .to_string()
    }

    /// What libnftables 1.0.6 and 1.1.3 list for the nft text beside it.
    #[test]
    fn each_statement_is_written_as_libnftables_lists_it() {
        let ports = |first, last| Some(PortRange { first, last });
        let masquerade = |to_ports, fully_random| Statement::Masquerade {
            to_ports,
            fully_random,
        };
        let snat = |address: &str, to_ports, fully_random| Statement::Snat {
            address: address.parse().unwrap(),
            to_ports,
            fully_random,
        };
        for (of, listed) in [
            (
                Statement::AddressIn(AddressField::Source),
                r#"{"match":{"left":{"payload":{"field":"saddr","protocol":"ip6"}},"op":"==","right":"@source-cidrs-1"}}"#,
            ),
            (
                Statement::SourceLocal,
                r#"{"match":{"left":{"fib":{"flags":["saddr"],"result":"type"}},"op":"==","right":"local"}}"#,
            ),
            (
                Statement::DestinationNotLocal,
                r#"{"match":{"left":{"fib":{"flags":["daddr"],"result":"type"}},"op":"!=","right":"local"}}"#,
            ),
            (
                Statement::DestinationMulticast,
                r#"{"match":{"left":{"fib":{"flags":["daddr"],"result":"type"}},"op":"==","right":"multicast"}}"#,
            ),
            (
                Statement::DestinationBroadcast,
                r#"{"match":{"left":{"fib":{"flags":["daddr"],"result":"type"}},"op":"==","right":"broadcast"}}"#,
            ),
            (
                Statement::DestinationTranslated,
                r#"{"match":{"left":{"ct":{"key":"status"}},"op":"in","right":"dnat"}}"#,
            ),
            (
                Statement::AddressNotIn(AddressField::Destination),
                r#"{"match":{"left":{"payload":{"field":"daddr","protocol":"ip6"}},"op":"!=","right":"@non-masquerade-cidrs-1"}}"#,
            ),
            (
                Statement::OutputInterface("eth*".to_owned()),
                r#"{"match":{"left":{"meta":{"key":"oifname"}},"op":"==","right":"eth*"}}"#,
            ),
            (
                Statement::ValidForConntrack,
                r#"{"match":{"left":{"ct":{"key":"state"}},"op":"!=","right":"invalid"}}"#,
            ),
            (Statement::Accept, r#"{"accept":null}"#),
            (Statement::Drop, r#"{"drop":null}"#),
            (
                Statement::Protocol(6),
                r#"{"match":{"left":{"meta":{"key":"l4proto"}},"op":"==","right":6}}"#,
            ),
            (
                Statement::Chance {
                    out_of: 61744,
                    fewer_than: 28976,
                },
                r#"{"match":{"left":{"numgen":{"mod":61744,"mode":"random","offset":0}},"op":"<","right":28976}}"#,
            ),
            (masquerade(None, false), r#"{"masquerade":null}"#),
            (
                masquerade(None, true),
                r#"{"masquerade":{"flags":["fully-random"]}}"#,
            ),
            (
                masquerade(ports(1024, 29999), true),
                r#"{"masquerade":{"flags":["fully-random"],"port":{"range":[1024,29999]}}}"#,
            ),
            (
                masquerade(ports(5000, 5000), false),
                r#"{"masquerade":{"port":5000}}"#,
            ),
            (
                snat("2001:db8::1", ports(1024, 29999), true),
                r#"{"snat":{"addr":"2001:db8::1","flags":["fully-random"],"port":{"range":[1024,29999]}}}"#,
            ),
            (
                snat("192.0.2.1", None, false),
                r#"{"snat":{"addr":"192.0.2.1"}}"#,
            ),
            (
                Statement::SnatToOwnSource,
                r#"{"snat":{"addr":{"payload":{"field":"saddr","protocol":"ip6"}}}}"#,
            ),
        ] {
            assert_eq!(written(Family::Ip6, of), listed);
        }
    }
}
