//! The keys of a file: which there are, and which one is meant by what is written.

use super::node::{Node, Text};
use super::positions::At;
use super::remarks::{Remark, ShownValue, Spot};
use super::validate::{Validation, Value};

/// A key of the file: its documented form, and how its value is judged.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) judge: fn(&mut Validation<'_>, &Value<'_>),
}

pub(super) const NON_MASQUERADE_CIDRS: &str = "nonMasqueradeCIDRs";
pub(super) const MASQUERADE_CIDRS: &str = "masqueradeCIDRs";
pub(super) const SOURCE_CIDRS: &str = "sourceCIDRs";
pub(super) const MASQ_NODE_TRAFFIC: &str = "masqNodeTraffic";
pub(super) const MASQ_LINK_LOCAL: &str = "masqLinkLocal";
pub(super) const MASQ_LINK_LOCAL_IPV6: &str = "masqLinkLocalIPv6";
pub(super) const ENABLE_IPV6: &str = "enableIPv6";
pub(super) const RANDOM_FULLY: &str = "randomFully";
pub(super) const TO_PORTS: &str = "toPorts";
pub(super) const ENFORCE: &str = "enforce";
pub(super) const CIDR_LIMIT: &str = "cidrLimit";
pub(super) const RESYNC_INTERVAL: &str = "resyncInterval";

/// The known keys. A new one needs a row here, a field in [`super::said::Said`] and one in [`super::Config`], and a
/// line in [`super::merge`].
pub(super) const KEYS: [Key; 12] = [
    Key {
        name: NON_MASQUERADE_CIDRS,
        judge: |file, value| file.said.non_masquerade_cidrs = Some(file.cidr_list(value)),
    },
    Key {
        name: MASQUERADE_CIDRS,
        judge: |file, value| file.said.masquerade_cidrs = Some(file.cidr_list(value)),
    },
    Key {
        name: SOURCE_CIDRS,
        judge: |file, value| file.said.source_cidrs = Some(file.cidr_list(value)),
    },
    Key {
        name: MASQ_NODE_TRAFFIC,
        judge: |file, value| file.said.masq_node_traffic = file.boolean(value),
    },
    Key {
        name: MASQ_LINK_LOCAL,
        judge: |file, value| file.said.masq_link_local = file.boolean(value),
    },
    Key {
        name: MASQ_LINK_LOCAL_IPV6,
        judge: |file, value| file.said.masq_link_local_ipv6 = file.boolean(value),
    },
    Key {
        name: ENABLE_IPV6,
        judge: |file, value| file.enable_ipv6(value),
    },
    Key {
        name: RANDOM_FULLY,
        judge: |file, value| file.said.random_fully = file.boolean(value),
    },
    Key {
        name: TO_PORTS,
        judge: |file, value| file.said.to_ports = file.port_ranges(value),
    },
    Key {
        name: ENFORCE,
        judge: |file, value| file.said.enforce = file.boolean(value),
    },
    Key {
        name: CIDR_LIMIT,
        judge: |file, value| file.said.cidr_limit = file.cidr_limit(value),
    },
    Key {
        name: RESYNC_INTERVAL,
        judge: |file, value| file.said.resync_interval = file.resync_interval(value),
    },
];

/// Equality as Go's `encoding/json` has it for keys: two letters outside ASCII are, in Unicode's simple case
/// folding, the same as `k` and `s`.
pub(super) fn equal_fold(documented: &str, written: &str) -> bool {
    // A file may hold a million keys: most differ in length.
    if !(documented.len()..=3 * documented.len()).contains(&written.len()) {
        return false;
    }
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

pub(super) fn not_a_string(key: &Node<'_>) -> Remark {
    Remark {
        key: key.shown(),
        value: ShownValue::Nothing,
        reason: format!("{} where a key must stand", key.kind()),
        other: None,
        remedy: "remove it".into(),
    }
}

pub(super) fn unknown(name: &Text<'_>) -> Remark {
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
        key: name.shown(),
        value: ShownValue::Nothing,
        reason: "unknown key".into(),
        other: None,
        remedy: format!("the nearest known key is {nearest}"),
    }
}

pub(super) fn duplicate(name: &Text<'_>, file: usize, first: usize) -> Remark {
    let at = At::key(first);
    Remark {
        key: name.shown(),
        value: ShownValue::Nothing,
        reason: "duplicate key, already given".into(),
        other: Some(Spot { file, at }),
        remedy: "leave one of the two".into(),
    }
}

pub(super) fn not_documented(written: &Text<'_>, documented: &str) -> Remark {
    Remark {
        key: written.shown(),
        value: ShownValue::Nothing,
        reason: "not the documented form of this key".into(),
        other: None,
        remedy: format!("write {documented}"),
    }
}
