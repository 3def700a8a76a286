//! A configuration file as meant: each key judged, all errors found at once.

use std::time::Duration;

use super::cidr::parse_cidr;
use super::duration::parse_nanoseconds;
use super::file::ConfigFile;
use super::node::{Node, Number, Text};
use super::positions::At;
use super::remarks::{Remark, Remarks};
use super::{Config, Flags, MIN_RESYNC_INTERVAL, defaults};

/// A key of the file: its documented form, and how its value is judged.
struct Key {
    name: &'static str,
    judge: fn(&mut Validation, &Value<'_>),
}

/// The known keys. A new one needs a row here and a field in [`Config`].
const KEYS: [Key; 5] = [
    Key {
        name: "nonMasqueradeCIDRs",
        judge: Validation::non_masquerade_cidrs,
    },
    Key {
        name: "masqLinkLocal",
        judge: |meant, value| meant.boolean(value, |config| &mut config.masq_link_local),
    },
    Key {
        name: "masqLinkLocalIPv6",
        judge: |meant, value| meant.boolean(value, |config| &mut config.masq_link_local_ipv6),
    },
    Key {
        name: "cidrLimit",
        judge: Validation::cidr_limit,
    },
    Key {
        name: "resyncInterval",
        judge: Validation::resync_interval,
    },
];

/// A value in its place.
struct Value<'a> {
    key: &'static str,
    entry: usize,
    node: &'a Node<'a>,
}

impl Value<'_> {
    fn remark(&self, reason: impl Into<String>, remedy: impl Into<String>) -> Remark {
        Remark {
            at: At::value(self.entry),
            key: self.key.into(),
            value: Some(self.node.shown()),
            reason: reason.into(),
            earlier: None,
            remedy: remedy.into(),
        }
    }

    fn wrong_type(&self, wanted: &str, remedy: impl Into<String>) -> Remark {
        let found = self.node.kind();
        self.remark(format!("{found} where {wanted} must stand"), remedy)
    }
}

/// What is known of the file so far.
pub(super) struct Validation {
    pub(super) config: Config,
    pub(super) remarks: Remarks,
    cidr_limit: Option<u64>,
    /// Where the list stands, and how many items it has.
    list: Option<(usize, usize)>,
}

/// Judges `file`. Of what it holds only remarks are kept that the user will see.
pub(super) fn validate(file: &ConfigFile<'_>, flags: &Flags) -> Validation {
    let mut meant = Validation {
        config: defaults(flags),
        remarks: Remarks::default(),
        cidr_limit: None,
        list: None,
    };
    let mut first_of = [None; KEYS.len()];
    for (entry, written) in file.entries.iter().enumerate() {
        let Node::Text(name) = &written.key else {
            meant
                .remarks
                .error(|| key_not_a_string(entry, &written.key));
            continue;
        };
        let known = KEYS
            .iter()
            .zip(&mut first_of)
            .find(|(key, _)| equal_fold(key.name, &name.text));
        match known {
            None => meant.remarks.error(|| unknown_key(entry, name)),
            Some((_, Some(first))) => {
                let first = *first;
                meant.remarks.error(|| duplicate_key(entry, name, first));
            }
            Some((key, first)) => {
                *first = Some(entry);
                meant.known_key(key, entry, name, &written.value);
            }
        }
    }
    meant.hold_list_against_limit();
    meant
}

impl Validation {
    fn known_key(&mut self, key: &Key, entry: usize, written: &Text<'_>, node: &Node<'_>) {
        if written.text != key.name {
            self.remarks.warning(Remark {
                at: At::key(entry),
                key: written.shown(),
                value: None,
                reason: "not the documented form of this key".into(),
                earlier: None,
                remedy: format!("write {}", key.name),
            });
        }
        let value = Value {
            key: key.name,
            entry,
            node,
        };
        (key.judge)(self, &value);
    }

    fn boolean(&mut self, value: &Value<'_>, field: fn(&mut Config) -> &mut bool) {
        match value.node {
            Node::Bool(written) => *field(&mut self.config) = *written,
            Node::Null => self.keeps_default(value),
            Node::Text(text) => match yaml_1_1_boolean(&text.text) {
                Some(meant) if text.is_plain => {
                    *field(&mut self.config) = meant;
                    self.remarks.warning(value.remark(
                        "not the documented form of a boolean",
                        format!("write {meant}"),
                    ));
                }
                meant => self.remarks.error(|| {
                    let meant = meant.or_else(|| text.text.to_ascii_lowercase().parse().ok());
                    let remedy = match meant {
                        Some(meant) => format!("write {meant} without quotes"),
                        None => "write true or false".into(),
                    };
                    value.wrong_type("true or false", remedy)
                }),
            },
            _ => self
                .remarks
                .error(|| value.wrong_type("true or false", "write true or false")),
        }
    }

    fn non_masquerade_cidrs(&mut self, value: &Value<'_>) {
        let items = match value.node {
            Node::Sequence(items) => items,
            Node::Null => {
                return self.remarks.error(|| {
                    value.remark(
                        "null where a list must stand",
                        "write [] to masquerade every destination, or remove the key for the default",
                    )
                });
            }
            Node::Text(text) if parse_cidr(&text.text).is_ok() => {
                let remedy = format!(
                    "write it as a list item: {}: [{}]",
                    value.key,
                    value.node.shown()
                );
                return self.remarks.error(|| value.wrong_type("a list", remedy));
            }
            _ => {
                let remedy = format!("write a list such as {}: [\"10.0.0.0/8\"]", value.key);
                return self.remarks.error(|| value.wrong_type("a list", remedy));
            }
        };
        self.list = Some((value.entry, items.len()));
        self.config.non_masquerade_cidrs_are_default = false;
        self.config.non_masquerade_cidrs = items
            .iter()
            .enumerate()
            .filter_map(|(index, item)| self.cidr(value, index, item))
            .collect();
    }

    fn cidr(&mut self, list: &Value<'_>, index: usize, item: &Node<'_>) -> Option<ipnet::IpNet> {
        let written = match item {
            Node::Text(text) => text.text.as_ref(),
            Node::Null => "",
            _ => {
                self.remarks.error(|| Remark {
                    at: At::item(list.entry, index),
                    value: Some(item.shown()),
                    ..list.remark(
                        format!("{} where a CIDR must stand", item.kind()),
                        "write a CIDR such as 10.0.0.0/8",
                    )
                });
                return None;
            }
        };
        match parse_cidr(written) {
            Ok(cidr) => Some(cidr),
            Err(error) => {
                self.remarks.error(|| Remark {
                    at: At::item(list.entry, index),
                    value: Some(item.shown()),
                    ..list.remark(error.to_string(), error.remedy())
                });
                None
            }
        }
    }

    fn cidr_limit(&mut self, value: &Value<'_>) {
        match value.node {
            Node::Null => self.keeps_default(value),
            Node::Number(Number::Unsigned(limit)) => self.cidr_limit = Some(*limit),
            Node::Number(_) => self
                .remarks
                .error(|| value.remark("not an integer from 0 up", "write an integer such as 64")),
            _ => self.remarks.error(|| {
                value.wrong_type("an integer", "write an integer such as 64, without quotes")
            }),
        }
    }

    fn hold_list_against_limit(&mut self) {
        if let (Some(limit), Some((entry, length))) = (self.cidr_limit, self.list)
            && u64::try_from(length).is_ok_and(|length| length > limit)
        {
            self.remarks.late_error(Remark {
                at: At::value(entry),
                key: "nonMasqueradeCIDRs".into(),
                value: Some(format!("{length} items")),
                reason: format!("longer than cidrLimit, which is {limit}"),
                earlier: None,
                remedy: "shorten the list or raise cidrLimit".into(),
            });
        }
    }

    fn resync_interval(&mut self, value: &Value<'_>) {
        let text = match value.node {
            Node::Null => return self.keeps_default(value),
            Node::Text(text) => &text.text,
            Node::Number(number) => {
                let remedy = match number {
                    Number::Unsigned(1..) => format!("write {number}s"),
                    _ => "write a duration such as 60s".into(),
                };
                return self
                    .remarks
                    .error(|| value.remark("a duration without a unit", remedy));
            }
            _ => {
                return self
                    .remarks
                    .error(|| value.wrong_type("a duration", "write a duration such as 60s"));
            }
        };
        match parse_nanoseconds(text).map(u64::try_from) {
            Ok(Ok(nanoseconds)) if Duration::from_nanos(nanoseconds) >= MIN_RESYNC_INTERVAL => {
                self.config.resync_interval = Duration::from_nanos(nanoseconds);
            }
            Ok(_) => self.remarks.error(|| {
                let least = format!("shorter than {} ms", MIN_RESYNC_INTERVAL.as_millis());
                value.remark(least, "write a longer duration such as 60s")
            }),
            Err(error) => self.remarks.error(|| {
                value.remark(
                    error.to_string(),
                    "write a number with ms, s, m or h, such as 60s",
                )
            }),
        }
    }

    /// As in Go, where null leaves a field as it was.
    fn keeps_default(&mut self, value: &Value<'_>) {
        self.remarks.warning(value.remark(
            "without a value, so that its default holds",
            "write a value or remove the key",
        ));
    }
}

fn key_not_a_string(entry: usize, key: &Node<'_>) -> Remark {
    Remark {
        at: At::key(entry),
        key: key.shown(),
        value: None,
        reason: format!("{} where a key must stand", key.kind()),
        earlier: None,
        remedy: "remove it".into(),
    }
}

fn unknown_key(entry: usize, name: &Text<'_>) -> Remark {
    // The distance to a long text costs its length, and it is no slip of a known key.
    let start: String = name
        .text
        .chars()
        .take(64)
        .collect::<String>()
        .to_lowercase();
    let nearest = KEYS
        .iter()
        .max_by(|a, b| {
            let likeness = |key: &Key| strsim::jaro_winkler(&key.name.to_lowercase(), &start);
            likeness(a).total_cmp(&likeness(b))
        })
        .map_or("", |key| key.name);
    Remark {
        at: At::key(entry),
        key: name.shown(),
        value: None,
        reason: "unknown key".into(),
        earlier: None,
        remedy: format!("the nearest known key is {nearest}"),
    }
}

fn duplicate_key(entry: usize, name: &Text<'_>, first: usize) -> Remark {
    Remark {
        at: At::key(entry),
        key: name.shown(),
        value: None,
        reason: "duplicate key, already given".into(),
        earlier: Some(At::key(first)),
        remedy: "leave one of the two".into(),
    }
}

/// Equality as Go's `encoding/json` has it for keys: two letters outside ASCII are, in Unicode's simple case
/// folding, the same as `k` and `s`.
fn equal_fold(documented: &str, written: &str) -> bool {
    let folded = |c: char| match c {
        '\u{212a}' => 'k',
        '\u{17f}' => 's',
        _ => c.to_ascii_lowercase(),
    };
    documented
        .chars()
        .map(folded)
        .eq(written.chars().map(folded))
}

/// The plain words that YAML 1.1, and so Go's readers, take for booleans, besides `true` and `false`.
fn yaml_1_1_boolean(text: &str) -> Option<bool> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}
