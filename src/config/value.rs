//! One value as its key takes it. Forms that Go's readers of YAML 1.1 take and YAML 1.2 does not are taken as well, with a warning: files
//! that are in use hold them.

use std::fmt::Display;
use std::net::Ipv6Addr;
use std::time::Duration;

use ipnet::IpNet;
use serde_yaml::Value as Scalar;

use super::ExistingConnections;
use super::cidr::parse_cidr;
use super::duration::{parse_resync_interval, with_unit};
use super::finding::Advice;
use super::interface_name::{self, parse_interface_name};
use super::keys::{Field, Key};
use super::lookalike::Lookalike;
use super::node::{Content, Node};
use super::port_range::{PortRange, parse_port_ranges};

/// The value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Cidrs(Vec<Item<IpNet>>),
    Names(Vec<Item<String>>),
    Boolean(bool),
    Ports(Vec<PortRange>),
    Integer(u64),
    Interval(Duration),
    Existing(ExistingConnections),
}

/// An item of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item<T> {
    pub(super) line: usize,
    /// None where it is an error.
    pub(super) value: Option<T>,
}

impl Value {
    /// The items of a list of CIDRs.
    pub(super) fn cidrs(&self) -> &[Item<IpNet>] {
        match self {
            Self::Cidrs(items) => items,
            _ => &[],
        }
    }

    /// A list, and what another file adds to it.
    pub(super) fn united(self, other: Self) -> Self {
        match (self, other) {
            (Self::Cidrs(mut items), Self::Cidrs(more)) => {
                items.extend(more);
                Self::Cidrs(items)
            }
            (Self::Names(mut items), Self::Names(more)) => {
                items.extend(more);
                Self::Names(items)
            }
            (first, _) => first,
        }
    }
}

/// A value that is good; and how it is documented, where it is written otherwise.
type Read<T> = Result<(T, Option<Advice>), Advice>;

/// The value that `node` is to `key`, which is no list.
///
/// # Errors
/// What is wrong with it.
pub(super) fn scalar(key: &Key, node: &Node<'_>) -> Read<Value> {
    let read = match key.field {
        Field::Boolean(_) => boolean(node),
        Field::Integer(_) => integer(node),
        Field::Ports(_) => port_ranges(node).map(|value| (value, None)),
        Field::Interval(_) => interval(node).map(|value| (value, None)),
        Field::Existing(_) => existing(node).map(|value| (value, None)),
        Field::Cidrs(..) | Field::Names(..) => Err(not_a_list(key, node)),
    };
    read.map_err(|advice| with_lookalike(node.text(), advice))
}

/// A character that nobody sees in `text` comes before all else that is wrong with it.
pub(super) fn with_lookalike(text: Option<&str>, advice: Advice) -> Advice {
    match text.and_then(|text| Lookalike::all_in(text).next()) {
        Some(found) => {
            let reason = format!("{}: it holds {found}", advice.reason);
            Advice::new(reason, found.remedy())
        }
        None => advice,
    }
}

/// That `node` is not what is wanted.
fn wrong_type(node: &Node<'_>, wanted: &str, remedy: impl Into<String>) -> Advice {
    let found = node.kind();
    Advice::new(format!("{found} where {wanted} must stand"), remedy)
}

/// What is wrong with a value that is no list, where one must stand.
pub(super) fn not_a_list(key: &Key, node: &Node<'_>) -> Advice {
    let (example, is_item) = match key.field {
        Field::Names(..) => ("eth0", name(node).is_some()),
        _ => ("10.0.0.0/8", cidr(node).is_some()),
    };
    let name = key.name;
    let remedy = match key.field {
        // To Go's readers null is the empty list, which is the opposite of the default.
        Field::Cidrs(_, empty) | Field::Names(_, empty) if node.is_null() => {
            format!("write [] {empty}")
        }
        _ if is_item => format!("write it as a list item: {name}: [{}]", node.shown()),
        _ => format!("write a list such as {name}: [\"{example}\"]"),
    };
    wrong_type(node, "a list", remedy)
}

/// The CIDR that `node` is; none where it is [`not_a_cidr`].
pub(super) fn cidr(node: &Node<'_>) -> Option<IpNet> {
    node.text().and_then(|text| parse_cidr(text).ok())
}

/// What is wrong with an item that is no CIDR.
pub(super) fn not_a_cidr(node: &Node<'_>) -> Advice {
    if let Some(address) = address_without_length(node) {
        let length = 128 - u128::from(address).trailing_zeros() / 16 * 16;
        return Advice::new(
            format!("{address} ends in a colon, so that YAML takes it for a key"),
            format!("quote it and give the length of its prefix, as in \"{address}/{length}\""),
        );
    }
    let example = "write a CIDR such as 10.0.0.0/8";
    let text = match node.scalar() {
        Some(Scalar::String(text)) => text,
        Some(Scalar::Null) => String::new(),
        _ => return wrong_type(node, "a CIDR", example),
    };
    wrong_item(&text, "not a CIDR", example, |text| {
        parse_cidr(text).map_err(|error| Advice::new(error.to_string(), error.remedy()))
    })
}

/// What `parse` says of the text of an item; but a character that nobody sees in it comes before all else.
fn wrong_item<T: Display>(
    text: &str,
    reason: &str,
    example: &str,
    parse: impl Fn(&str) -> Result<T, Advice>,
) -> Advice {
    let Some(found) = Lookalike::all_in(text).next() else {
        let unknown = Advice::new(reason, example);
        return parse(text).err().unwrap_or(unknown);
    };
    let remedy = match parse(&Lookalike::mended(text)) {
        Ok(meant) => format!("write {meant}"),
        Err(advice) => advice.remedy,
    };
    Advice::new(format!("{reason}: it holds {found}"), remedy)
}

/// The name of an interface that `node` is; none where it is [`not_a_name`].
pub(super) fn name(node: &Node<'_>) -> Option<String> {
    let name = parse_interface_name(node.text()?).ok()?;
    matches!(node.scalar(), Some(Scalar::String(_))).then_some(name)
}

/// What is wrong with an item that is no name of an interface.
pub(super) fn not_a_name(node: &Node<'_>) -> Advice {
    let text = match node.scalar() {
        Some(Scalar::String(text)) => text,
        Some(Scalar::Null) => String::new(),
        _ => {
            // Such as 0 and true, which interfaces may be called.
            let name = node.text().and_then(|text| parse_interface_name(text).ok());
            let remedy = name.map(|name| format!("write \"{name}\", in quotes"));
            return wrong_type(
                node,
                "a name",
                remedy.unwrap_or(interface_name::EXAMPLE.into()),
            );
        }
    };
    let reason = "not the name of an interface";
    wrong_item(&text, reason, interface_name::EXAMPLE, |text| {
        parse_interface_name(text).map_err(|error| Advice::new(error.to_string(), error.remedy()))
    })
}

/// `- 2001:db8::` is a mapping with the key `2001:db8:` to YAML.
fn address_without_length(node: &Node<'_>) -> Option<Ipv6Addr> {
    match node.entries() {
        [only] if only.value.is_null() => format!("{}:", only.key.text()?).parse().ok(),
        _ => None,
    }
}

fn boolean(node: &Node<'_>) -> Read<Value> {
    let wanted = "true or false";
    let text = match node.scalar() {
        Some(Scalar::Bool(value)) => return Ok((Value::Boolean(value), None)),
        Some(Scalar::String(text)) => text,
        _ => return Err(wrong_type(node, wanted, "write true or false")),
    };
    let meant = yaml_1_1_boolean(&text);
    let is_plain = matches!(node.content, Content::Scalar { is_plain: true, .. });
    if let Some(meant) = meant.filter(|_| is_plain) {
        let documented = undocumented("a boolean", meant);
        return Ok((Value::Boolean(meant), Some(documented)));
    }
    let meant = meant.or_else(|| text.to_ascii_lowercase().parse().ok());
    let remedy = match meant.filter(|_| !is_plain) {
        Some(meant) => format!("write {meant} without quotes"),
        None => "write true or false".into(),
    };
    Err(wrong_type(node, wanted, remedy))
}

/// The words that YAML 1.1, and so Go's readers, take for booleans, besides `true` and `false`.
fn yaml_1_1_boolean(text: &str) -> Option<bool> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

fn undocumented(what: &str, meant: impl Display) -> Advice {
    Advice::new(
        format!("not the documented form of {what}"),
        format!("write {meant}"),
    )
}

fn port_ranges(node: &Node<'_>) -> Result<Value, Advice> {
    match node.scalar() {
        Some(Scalar::String(text)) => match parse_port_ranges(&text) {
            Ok(ranges) => Ok(Value::Ports(ranges)),
            Err(error) => Err(Advice::new(error.to_string(), error.remedy())),
        },
        Some(Scalar::Number(port)) if parse_port_ranges(&port.to_string()).is_ok() => Err(
            wrong_type(node, "a string", format!("write \"{port}\", in quotes")),
        ),
        _ => {
            let remedy = "write a string such as 1024-29999,32768-65535";
            Err(wrong_type(node, "a string", remedy))
        }
    }
}

fn interval(node: &Node<'_>) -> Result<Value, Advice> {
    let parsed = match node.scalar() {
        Some(Scalar::String(text)) => parse_resync_interval(&text),
        Some(Scalar::Number(number)) => {
            let reason = "a duration without a unit";
            return Err(Advice::new(reason, with_unit(number.as_u64())));
        }
        _ => {
            let remedy = "write a duration such as 60s";
            return Err(wrong_type(node, "a duration", remedy));
        }
    };
    parsed
        .map(Value::Interval)
        .map_err(|error| Advice::new(error.to_string(), error.remedy()))
}

fn existing(node: &Node<'_>) -> Result<Value, Advice> {
    let text = match node.scalar() {
        Some(Scalar::String(text)) => text,
        _ => return Err(wrong_type(node, "keep or follow", "write keep or follow")),
    };
    let all = [ExistingConnections::Keep, ExistingConnections::Follow];
    let meant = all.into_iter().find(|value| value.name() == text);
    let unknown = || Advice::new("neither keep nor follow", "write keep or follow");
    meant.map(Value::Existing).ok_or_else(unknown)
}

fn integer(node: &Node<'_>) -> Read<Value> {
    let example = "write an integer such as 64";
    let scalar = node.scalar();
    if let Some(value) = scalar.as_ref().and_then(Scalar::as_u64) {
        return Ok((Value::Integer(value), None));
    }
    let is_plain = matches!(node.content, Content::Scalar { is_plain: true, .. });
    match (node.text().and_then(go_integer), scalar) {
        (Some(value), _) if is_plain => {
            let documented = undocumented("an integer", value);
            Ok((Value::Integer(value), Some(documented)))
        }
        (_, Some(Scalar::Number(_))) => Err(Advice::new("not an integer from 0 up", example)),
        (Some(value), Some(Scalar::String(_))) => Err(wrong_type(
            node,
            "an integer",
            format!("write {value} without quotes"),
        )),
        _ => Err(wrong_type(node, "an integer", example)),
    }
}

/// The integer from 0 up that yaml.v2 of Go (`resolve`), `encoding/json` after it, makes of what is no integer in YAML 1.2: `64.0` (it
/// writes a whole float without a fraction), `1_000` (it leaves out each `_`), `0100` (octal, as in Go).
fn go_integer(text: &str) -> Option<u64> {
    let digits = text.strip_prefix('+').unwrap_or(text).replace('_', "");
    if let Some((whole, fraction)) = digits.split_once('.') {
        return whole
            .parse()
            .ok()
            .filter(|_| fraction.bytes().all(|digit| digit == b'0'));
    }
    let (radix, significant) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, 2),
        [b'0', b'b' | b'B', ..] => (2, 2),
        [b'0', b'o' | b'O', ..] => (8, 2),
        [b'0', _, ..] => (8, 1),
        _ => (10, 0),
    };
    let significant = digits.get(significant..)?;
    // It takes a sign as well.
    let are_digits = significant.chars().all(|c| c.is_digit(radix));
    u64::from_str_radix(significant, radix)
        .ok()
        .filter(|_| are_digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_those_of_go_s_reader() {
        for (text, meant) in [
            ("64.0", Some(64)),
            ("1_000", Some(1_000)),
            ("+64_", Some(64)),
            ("0100", Some(64)),
            ("0_1_0", Some(8)),
            ("0x4_0", Some(64)),
            ("0B1000000", Some(64)),
            ("0o100", Some(64)),
            ("6_4.00", Some(64)),
            ("18446744073709551615_", Some(u64::MAX)),
            ("18446744073709551616_", None),
            ("-64", None),
            ("++64", None),
            ("0x", None),
            ("0x+1", None),
            ("0o+7", None),
            ("09", None),
            ("64 ", None),
            ("6_4.5", None),
            (".0", None),
            ("-1.0", None),
            ("inf", None),
            ("", None),
            ("64a", None),
        ] {
            assert_eq!(go_integer(text), meant, "{text}");
        }
    }
}
