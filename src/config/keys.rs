//! The keys of a file: one table, from which all else that knows a key is made.

use std::time::Duration;

use ipnet::IpNet;
use serde::{Serialize, Serializer, ser::SerializeMap};

use super::Config;
use super::ExistingConnections;
use super::port_range::PortRange;
use super::value::{Item, Value};
use crate::in_words;
use Field::{Boolean, Cidrs, Existing, Integer, Interval, Names, Ports};

/// A key of the file.
pub(super) struct Key {
    /// As documented.
    pub(super) name: &'static str,
    pub(super) field: Field,
}

/// What a key takes, how several files are merged, and where it goes. A list is united, and a boolean is true where any file says so,
/// as in ip-masq-agent-v2; of anything else all files must say the same.
#[derive(Clone, Copy)]
pub(super) enum Field {
    /// And what it means that the list is empty.
    Cidrs(fn(&mut Config) -> &mut Vec<IpNet>, &'static str),
    /// As above, of interfaces.
    Names(fn(&mut Config) -> &mut Vec<String>, &'static str),
    Boolean(fn(&mut Config) -> &mut bool),
    Ports(fn(&mut Config) -> &mut Vec<PortRange>),
    Integer(fn(&mut Config) -> &mut Option<u64>),
    Interval(fn(&mut Config) -> &mut Duration),
    Existing(fn(&mut Config) -> &mut ExistingConnections),
}

// Of keys that more is said of than the table says.
pub(super) const NON_MASQUERADE_CIDRS: &str = "nonMasqueradeCIDRs";
pub(super) const MASQUERADE_CIDRS: &str = "masqueradeCIDRs";
pub(super) const SOURCE_CIDRS: &str = "sourceCIDRs";
pub(super) const ENABLE_IPV6: &str = "enableIPv6";
pub(super) const TO_PORTS: &str = "toPorts";
pub(super) const OUTPUT_INTERFACES: &str = "outputInterfaces";
pub(super) const CIDR_LIMIT: &str = "cidrLimit";

/// The known keys. A new one is a row here, a field of [`Config`] with its default, and a property in the schema of the chart's values;
/// what they are called elsewhere stands in [`super::other_names`].
pub(super) const KEYS: [Key; 16] = [
    key(
        NON_MASQUERADE_CIDRS,
        Cidrs(|c| &mut c.non_masquerade_cidrs, ALL_MASQUERADED),
    ),
    key(
        MASQUERADE_CIDRS,
        Cidrs(|c| &mut c.masquerade_cidrs, NO_DESTINATION),
    ),
    key(SOURCE_CIDRS, Cidrs(|c| &mut c.source_cidrs, ANY_SOURCE)),
    key(
        OUTPUT_INTERFACES,
        Names(|c| &mut c.output_interfaces, ANY_INTERFACE),
    ),
    key(
        "snatAddressCIDRs",
        Cidrs(|c| &mut c.snat_address_cidrs, OUTGOING_INTERFACE),
    ),
    key("masqNodeTraffic", Boolean(|c| &mut c.masq_node_traffic)),
    key("masqLinkLocal", Boolean(|c| &mut c.masq_link_local)),
    key(
        "masqLinkLocalIPv6",
        Boolean(|c| &mut c.masq_link_local_ipv6),
    ),
    key(ENABLE_IPV6, Boolean(|c| &mut c.enable_ipv6)),
    key("randomFully", Boolean(|c| &mut c.random_fully)),
    key(TO_PORTS, Ports(|c| &mut c.to_ports)),
    key("enforce", Boolean(|c| &mut c.enforce)),
    key("dropInvalid", Boolean(|c| &mut c.drop_invalid)),
    key(
        "existingConnections",
        Existing(|c| &mut c.existing_connections),
    ),
    key(CIDR_LIMIT, Integer(|c| &mut c.cidr_limit)),
    key("resyncInterval", Interval(|c| &mut c.resync_interval)),
];

// What an empty list means.
const ALL_MASQUERADED: &str = "to masquerade every destination, or remove the key for the default";
const NO_DESTINATION: &str = "for no destination, or remove the key";
const ANY_SOURCE: &str = "for any source, or remove the key";
const ANY_INTERFACE: &str = "for any interface, or remove the key";
const OUTGOING_INTERFACE: &str = "for the address of the outgoing interface, or remove the key";

const fn key(name: &'static str, field: Field) -> Key {
    Key { name, field }
}

/// The place in [`KEYS`] of the key that `written` means: ASCII case makes no difference, as in Go's reader.
pub(super) fn position(written: &str) -> Option<usize> {
    let means_it = |key: &Key| key.name.eq_ignore_ascii_case(written);
    KEYS.iter().position(means_it)
}

/// As the one file that says the same, whatever flags and other files said it: each key with its value.
impl Serialize for Config {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let config = &mut self.clone();
        let mut file = to.serialize_map(None)?;
        for Key { name, field } in &KEYS {
            match field {
                Cidrs(of, _) => {
                    let cidrs = of(config).iter().map(ToString::to_string);
                    file.serialize_entry(name, &cidrs.collect::<Vec<_>>())?;
                }
                Names(of, _) => file.serialize_entry(name, of(config))?,
                Boolean(of) => file.serialize_entry(name, of(config))?,
                Ports(of) => file.serialize_entry(name, &in_words::all(of(config).iter(), ","))?,
                Integer(of) => {
                    if let Some(value) = of(config) {
                        file.serialize_entry(name, value)?;
                    }
                }
                Existing(of) => file.serialize_entry(name, of(config).name())?,
                Interval(of) => file.serialize_entry(name, &format!("{:?}", of(config)))?,
            }
        }
        file.end()
    }
}

impl Field {
    /// What is a list may hold several values, and null is none.
    pub(super) fn is_list(self) -> bool {
        matches!(self, Cidrs(..) | Names(..))
    }

    /// Takes `value`, which is of this key's type.
    pub(super) fn set(self, config: &mut Config, value: Value) {
        match (self, value) {
            (Cidrs(of, _), Value::Cidrs(items)) => *of(config) = good(items),
            (Names(of, _), Value::Names(items)) => *of(config) = good(items),
            (Boolean(of), Value::Boolean(value)) => *of(config) = value,
            (Ports(of), Value::Ports(value)) => *of(config) = value,
            (Integer(of), Value::Integer(value)) => *of(config) = Some(value),
            (Interval(of), Value::Interval(value)) => *of(config) = value,
            (Existing(of), Value::Existing(value)) => *of(config) = value,
            // No `_` for the first: the compiler asks for the arm of a field that is new.
            (
                Cidrs(..) | Names(..) | Boolean(_) | Ports(_) | Integer(_) | Interval(_)
                | Existing(_),
                _,
            ) => {
                debug_assert!(false, "a value of another type than its key");
            }
        }
    }
}

/// The items that are no error.
fn good<T>(items: Vec<Item<T>>) -> Vec<T> {
    items.into_iter().filter_map(|item| item.value).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The first cell of each row of the table of keys.
    #[test]
    fn the_page_has_a_row_for_each_key() {
        let page = include_str!("../../daemon-config/README.md");
        let (_, table) = page.split_once("| key |").unwrap();
        let rows = table
            .lines()
            .skip(2)
            .take_while(|row| row.starts_with("| `"));
        let named: Vec<&str> = rows.filter_map(|row| row.split('`').nth(1)).collect();
        assert_eq!(named, KEYS.map(|key| key.name));
    }

    /// What `helm install` refuses and takes, key by key.
    #[test]
    fn the_schema_of_the_chart_has_each_key_and_its_type() {
        let schema = include_str!("../../manifests/helm/non-masquerade-daemon/values.schema.json");
        let schema: Value = serde_json::from_str(schema).unwrap();
        let keys = schema["properties"]["config"]["properties"]
            .as_object()
            .unwrap();
        for Key { name, field } in &KEYS {
            let defined = |name: &str| json!({ "$ref": format!("#/definitions/{name}") });
            let expected = match field {
                Cidrs(..) => defined("cidrs"),
                Names(..) => defined("interfaceNames"),
                Boolean(_) => json!({ "type": "boolean" }),
                Ports(_) => defined("portRanges"),
                Integer(_) => defined("count"),
                Interval(_) => defined("duration"),
                Existing(_) => json!({ "enum": ["keep", "follow"] }),
            };
            let known = keys.get(*name);
            assert_eq!(known, Some(&expected), "{name} of values.schema.json");
        }
        assert_eq!(keys.len(), KEYS.len(), "{:?}", keys.keys());
    }
}
