//! Forms of values that Go's YAML readers take and that serde_yaml, a reader of YAML 1.2, does not: files that are
//! in use hold them.

use super::node::{Node, Number};

/// The plain words that YAML 1.1, and so Go's readers, take for booleans, besides `true` and `false`.
pub(super) fn yaml_1_1_boolean(text: &str) -> Option<bool> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

/// The largest integer up to which a float holds each one: 2^53.
const MAX_WHOLE_FLOAT: f64 = 9_007_199_254_740_992.0;

/// The integer from 0 up that yaml.v2 of Go (`resolve`), `encoding/json` after it, makes of a value that is no plain
/// integer here: `64.0` and `6.4e1` (it writes a whole float without a fraction), `1_000` (it leaves out each `_`),
/// `0100` (octal, as in Go).
pub(super) fn integer(node: &Node<'_>) -> Option<u64> {
    match node {
        Node::Number(Number::Float(value)) => whole(*value),
        Node::Text(text) => {
            let unsigned_text = text.text.strip_prefix('+').unwrap_or(&text.text);
            let is_number = unsigned_text.starts_with(|c: char| c.is_ascii_digit());
            let digits = is_number.then(|| unsigned_text.replace('_', ""))?;
            unsigned(&digits).or_else(|| whole(yaml_float(&digits)?))
        }
        _ => None,
    }
}

/// As Go's `strconv.ParseUint` with base 0.
fn unsigned(digits: &str) -> Option<u64> {
    let lower = digits.to_ascii_lowercase();
    let (digits, radix) = match lower.as_bytes() {
        [b'0', b'x', ..] => (lower.get(2..)?, 16),
        [b'0', b'b', ..] => (lower.get(2..)?, 2),
        [b'0', b'o', ..] => (lower.get(2..)?, 8),
        [b'0', _, ..] => (lower.get(1..)?, 8),
        _ => (lower.as_str(), 10),
    };
    let is_unsigned = digits.starts_with(|c: char| c.is_digit(radix));
    is_unsigned
        .then(|| u64::from_str_radix(digits, radix).ok())
        .flatten()
}

fn yaml_float(digits: &str) -> Option<f64> {
    let is_float = digits
        .bytes()
        .all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    is_float.then(|| digits.parse().ok()).flatten()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole, and from 0 to 2^53"
)]
fn whole(value: f64) -> Option<u64> {
    let is_whole = (0.0..=MAX_WHOLE_FLOAT).contains(&value) && value.fract() == 0.0;
    is_whole.then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::super::node::Text;
    use super::*;

    fn of_text(text: &str) -> Option<u64> {
        integer(&Node::Text(Text {
            text: Cow::Borrowed(text),
            is_plain: true,
        }))
    }

    #[test]
    fn integers_are_those_of_go_s_reader() {
        for (text, meant) in [
            ("1_000", Some(1_000)),
            ("+64_", Some(64)),
            ("0100", Some(64)),
            ("0_1_0", Some(8)),
            ("0x4_0", Some(64)),
            ("0B1000000", Some(64)),
            ("0o100", Some(64)),
            ("6_4.0", Some(64)),
            ("18446744073709551615_", Some(u64::MAX)),
            ("18446744073709551616_", None),
            ("_64", None),
            ("-64", None),
            ("++64", None),
            ("0x", None),
            ("0x+1", None),
            ("0o+7", None),
            ("64 ", None),
            ("6_4.5", None),
            ("inf", None),
            ("+inf", None),
            ("1e400_", None),
            ("", None),
            ("64a", None),
        ] {
            assert_eq!(of_text(text), meant, "{text}");
        }
        // Not an octal number, and then a float to yaml.v2.
        assert_eq!(of_text("0_9"), Some(9));
    }

    #[test]
    fn whole_floats_are_integers() {
        for (value, meant) in [
            (64.0, Some(64)),
            (0.0, Some(0)),
            (MAX_WHOLE_FLOAT, Some(1 << 53)),
            (1e16, None),
            (64.5, None),
            (-1.0, None),
            (f64::INFINITY, None),
            (f64::NAN, None),
        ] {
            assert_eq!(
                integer(&Node::Number(Number::Float(value))),
                meant,
                "{value}"
            );
        }
    }
}
