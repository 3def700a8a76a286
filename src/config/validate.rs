//! A configuration file as meant: each of its keys judged, all errors found at once.

use std::time::Duration;

use super::duration::parse_resync_interval;
use super::file::ConfigFile;
use super::go_values::{integer, yaml_1_1_boolean};
use super::keys::{self, KEYS, Key, equal_fold};
use super::node::{Node, Number, Text};
use super::port_range::{PortRange, parse_port_ranges};
use super::positions::At;
use super::remarks::{Remark, Remarks, ShownValue, Spot};
use super::said::{Said, Stated};

/// A value in its place.
pub(super) struct Value<'a> {
    pub(super) key: &'static str,
    pub(super) entry: usize,
    pub(super) node: &'a Node<'a>,
}

impl Value<'_> {
    pub(super) fn remark(&self, reason: impl Into<String>, remedy: impl Into<String>) -> Remark {
        Remark {
            key: self.key.into(),
            value: ShownValue::AsWritten,
            reason: reason.into(),
            other: None,
            remedy: remedy.into(),
        }
    }

    pub(super) fn wrong_type(&self, wanted: &str, remedy: impl Into<String>) -> Remark {
        let found = self.node.kind();
        self.remark(format!("{found} where {wanted} must stand"), remedy)
    }

    fn stated<T>(&self, value: T) -> Option<Stated<T>> {
        let entry = self.entry;
        Some(Stated { value, entry })
    }
}

/// What is known of one file so far.
pub(super) struct Validation<'r> {
    pub(super) said: Said,
    index: usize,
    remarks: &'r mut Remarks,
}

/// Judges the file with this `index`: what it says by itself. What it says beside others is judged in
/// [`super::merge`].
pub(super) fn validate(index: usize, file: &ConfigFile<'_>, remarks: &mut Remarks) -> Said {
    let mut validation = Validation {
        said: Said::default(),
        index,
        remarks,
    };
    let mut first_of = [None; KEYS.len()];
    for (entry, written) in file.entries.iter().enumerate() {
        let at_key = At::key(entry);
        let Node::Text(name) = &written.key else {
            validation.error(at_key, || keys::not_a_string(&written.key));
            continue;
        };
        let known = KEYS
            .iter()
            .zip(&mut first_of)
            .find(|(key, _)| equal_fold(key.name, &name.text));
        match known {
            None => validation.error(at_key, || keys::unknown(name)),
            Some((_, Some(first))) => {
                let first = *first;
                validation.error(at_key, || keys::duplicate(name, index, first));
            }
            Some((key, first)) => {
                *first = Some(entry);
                validation.known_key(key, entry, name, &written.value);
            }
        }
    }
    validation.said
}

impl Validation<'_> {
    pub(super) fn error(&mut self, at: At, remark: impl FnOnce() -> Remark) {
        let file = self.index;
        self.remarks.error(Spot { file, at }, remark);
    }

    fn warning(&mut self, at: At, remark: Remark) {
        let file = self.index;
        self.remarks.warning(Spot { file, at }, remark);
    }

    /// The value is an error.
    fn refuse<T>(&mut self, value: &Value<'_>, remark: impl FnOnce() -> Remark) -> Option<T> {
        self.error(At::value(value.entry), remark);
        None
    }

    fn known_key(&mut self, key: &Key, entry: usize, written: &Text<'_>, node: &Node<'_>) {
        if written.text != key.name {
            self.warning(At::key(entry), keys::not_documented(written, key.name));
        }
        let value = Value {
            key: key.name,
            entry,
            node,
        };
        (key.judge)(self, &value);
    }

    pub(super) fn boolean(&mut self, value: &Value<'_>) -> Option<Stated<bool>> {
        match value.node {
            Node::Bool(written) => value.stated(*written),
            Node::Null => self.keeps_default(value),
            Node::Text(text) => match yaml_1_1_boolean(&text.text) {
                Some(meant) if text.is_plain => {
                    let reason = "not the documented form of a boolean";
                    let remark = value.remark(reason, format!("write {meant}"));
                    self.warning(At::value(value.entry), remark);
                    value.stated(meant)
                }
                meant => self.refuse(value, || {
                    let meant = meant.or_else(|| text.text.to_ascii_lowercase().parse().ok());
                    let remedy = match meant {
                        Some(meant) => format!("write {meant} without quotes"),
                        None => "write true or false".into(),
                    };
                    value.wrong_type("true or false", remedy)
                }),
            },
            _ => self.refuse(value, || {
                value.wrong_type("true or false", "write true or false")
            }),
        }
    }

    pub(super) fn enable_ipv6(&mut self, value: &Value<'_>) {
        self.said.enable_ipv6 = self.boolean(value);
        self.said.enable_ipv6_is_bad = self.said.enable_ipv6.is_none() && *value.node != Node::Null;
    }

    pub(super) fn port_ranges(&mut self, value: &Value<'_>) -> Option<Stated<Vec<PortRange>>> {
        let text = match value.node {
            Node::Null => return self.keeps_default(value),
            Node::Text(text) => &text.text,
            Node::Number(port) => {
                return self.refuse(value, || {
                    value.wrong_type("a string", format!("write \"{port}\", in quotes"))
                });
            }
            _ => {
                return self.refuse(value, || {
                    let remedy = "write a string such as 1024-29999,32768-65535";
                    value.wrong_type("a string", remedy)
                });
            }
        };
        match parse_port_ranges(text) {
            Ok(ranges) => value.stated(ranges),
            Err(error) => self.refuse(value, || value.remark(error.to_string(), error.remedy())),
        }
    }

    pub(super) fn cidr_limit(&mut self, value: &Value<'_>) -> Option<Stated<u64>> {
        let reason = "not an integer from 0 up";
        let remedy = "write an integer such as 64";
        match value.node {
            Node::Null => self.keeps_default(value),
            Node::Number(Number::Unsigned(limit)) => value.stated(*limit),
            Node::Number(_) | Node::Text(Text { is_plain: true, .. }) => {
                let Some(limit) = integer(value.node) else {
                    return self.refuse(value, || match value.node {
                        Node::Number(_) => value.remark(reason, remedy),
                        _ => value.wrong_type("an integer", remedy),
                    });
                };
                let reason = "not the documented form of an integer";
                let remark = value.remark(reason, format!("write {limit}"));
                self.warning(At::value(value.entry), remark);
                value.stated(limit)
            }
            _ => self.refuse(value, || {
                value.wrong_type("an integer", format!("{remedy}, without quotes"))
            }),
        }
    }

    pub(super) fn resync_interval(&mut self, value: &Value<'_>) -> Option<Stated<Duration>> {
        let text = match value.node {
            Node::Null => return self.keeps_default(value),
            Node::Text(text) => &text.text,
            Node::Number(number) => {
                let remedy = match number {
                    Number::Unsigned(1..) => format!("write {number}s"),
                    _ => "write a duration such as 60s".into(),
                };
                return self.refuse(value, || value.remark("a duration without a unit", remedy));
            }
            _ => {
                return self.refuse(value, || {
                    value.wrong_type("a duration", "write a duration such as 60s")
                });
            }
        };
        match parse_resync_interval(text) {
            Ok(interval) => value.stated(interval),
            Err(error) => self.refuse(value, || value.remark(error.to_string(), error.remedy())),
        }
    }

    /// As in Go, where null leaves a field as it was (but refuses a duration, which reads null by itself).
    fn keeps_default<T>(&mut self, value: &Value<'_>) -> Option<T> {
        let remark = value.remark(
            "without a value, so that its default holds",
            "write a value or remove the key",
        );
        self.warning(At::value(value.entry), remark);
        None
    }
}
