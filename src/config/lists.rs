//! One list of CIDRs as it stands in a file.

use ipnet::IpNet;

use super::cidr::parse_cidr;
use super::keys;
use super::node::Node;
use super::positions::At;
use super::said::CidrList;
use super::validate::{Validation, Value};

impl Validation<'_> {
    /// The list that `value` is; an empty one where it is none.
    pub(super) fn cidr_list(&mut self, value: &Value<'_>) -> CidrList {
        let entry = value.entry;
        let Node::Sequence(items) = value.node else {
            self.not_a_list(value);
            let items = Vec::new();
            return CidrList { items, entry };
        };
        let items = items
            .iter()
            .enumerate()
            .map(|(index, item)| self.cidr(value, index, item))
            .collect();
        CidrList { items, entry }
    }

    fn not_a_list(&mut self, value: &Value<'_>) {
        self.error(At::value(value.entry), || match value.node {
            Node::Null => value.remark("null where a list must stand", null_remedy(value.key)),
            Node::Text(text) if parse_cidr(&text.text).is_ok() => {
                let (key, shown) = (value.key, value.node.shown());
                value.wrong_type(
                    "a list",
                    format!("write it as a list item: {key}: [{shown}]"),
                )
            }
            _ => {
                let remedy = format!("write a list such as {}: [\"10.0.0.0/8\"]", value.key);
                value.wrong_type("a list", remedy)
            }
        });
    }

    fn cidr(&mut self, list: &Value<'_>, index: usize, item: &Node<'_>) -> Option<IpNet> {
        let at = At::item(list.entry, index);
        let written = match item {
            Node::Text(text) => text.text.as_ref(),
            Node::Null => "",
            _ => {
                self.error(at, || {
                    let reason = format!("{} where a CIDR must stand", item.kind());
                    list.remark(reason, "write a CIDR such as 10.0.0.0/8")
                });
                return None;
            }
        };
        match parse_cidr(written) {
            Ok(cidr) => Some(cidr),
            Err(error) => {
                self.error(at, || list.remark(error.to_string(), error.remedy()));
                None
            }
        }
    }
}

/// To Go's readers null is the empty list, which is the opposite of the default.
fn null_remedy(key: &str) -> &'static str {
    match key {
        keys::MASQUERADE_CIDRS => "write [] for no destination, or remove the key",
        keys::SOURCE_CIDRS => "write [] for any source, or remove the key",
        _ => "write [] to masquerade every destination, or remove the key for the default",
    }
}
