//! What a table is made of, as nf_tables tells it: enough to see that nothing has changed but elements and counts.
//!
//! Not a second reader of rules: their bytes are compared with those that libnftables has listed before, never
//! understood. Where the kernel has an attribute that changes by itself and is not known here, the bytes differ, and
//! libnftables is asked.

use super::declared::{NFT_OBJECT_COUNTER, NFTA_OBJ_NAME, NFTA_OBJ_TYPE};
use super::message::{attributes_of, big_endian, packets_of, text, type_of, value_of};
use super::{NFT_MSG_NEWTABLE, SUBSYSTEM};
use crate::kernel::observed::ObservedCounter;

/// Messages and attributes of linux/netfilter/nf_tables.h.
const NFT_MSG_NEWCHAIN: u16 = 3;
const NFT_MSG_NEWRULE: u16 = 6;
const NFT_MSG_NEWSET: u16 = 9;
const NFT_MSG_NEWOBJ: u16 = 18;
const NFTA_TABLE_USE: u16 = 3;
const NFTA_CHAIN_USE: u16 = 6;
const NFTA_CHAIN_COUNTERS: u16 = 8;
const NFTA_SET_COUNT: u16 = 20;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_RULE_COMPAT: u16 = 5;
const NFTA_RULE_USERDATA: u16 = 7;
const NFTA_OBJ_DATA: u16 = 4;
const NFTA_OBJ_USE: u16 = 5;

/// What a table is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outline {
    /// Its chains, sets and objects.
    pub declarations: Declarations,
    /// Its rules, in the order in which they stand in each chain.
    pub rules: Vec<OutlinedRule>,
    /// Its named counters.
    pub counters: Vec<ObservedCounter>,
}

/// The chains, sets and objects of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declarations {
    /// As many chains, named sets, objects and flowtables as the kernel counts in the table (`table->use`); while a
    /// transaction is prepared, less what it deletes.
    uses: u32,
    /// Those of them that were read, as bytes without what changes by itself.
    read: Vec<Vec<u8>>,
}

/// A rule, as bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutlinedRule {
    /// The chain in which it stands.
    pub chain: String,
    /// Its expressions and its comment.
    bytes: Vec<u8>,
}

impl Declarations {
    /// Whether these are all: the table has no flowtable, and no chain but those that were asked for. Not where it has
    /// anonymous sets, which are read and do not count.
    #[must_use]
    pub fn are_all(&self) -> bool {
        usize::try_from(self.uses).is_ok_and(|uses| uses == self.read.len())
    }
}

impl Outline {
    /// Reads a message on the table or on something in it.
    pub(super) fn read(&mut self, message: &[u8]) {
        match type_of(message).map(|kind| kind ^ SUBSYSTEM << 8) {
            Some(NFT_MSG_NEWTABLE) => {
                let uses = value_of(message, NFTA_TABLE_USE).and_then(big_endian);
                self.declarations.uses = uses.unwrap_or_default();
            }
            Some(NFT_MSG_NEWCHAIN) => {
                self.declare(message, |kind| {
                    !matches!(kind, NFTA_CHAIN_USE | NFTA_CHAIN_COUNTERS)
                });
            }
            Some(NFT_MSG_NEWSET) => self.declare(message, |kind| kind != NFTA_SET_COUNT),
            Some(NFT_MSG_NEWOBJ) => self.read_object(message),
            Some(NFT_MSG_NEWRULE) => self.rules.push(OutlinedRule {
                chain: text(value_of(message, NFTA_RULE_CHAIN).unwrap_or_default()),
                bytes: kept(message, |kind| {
                    matches!(
                        kind,
                        NFTA_RULE_EXPRESSIONS | NFTA_RULE_COMPAT | NFTA_RULE_USERDATA
                    )
                }),
            }),
            _ => {}
        }
    }

    fn read_object(&mut self, message: &[u8]) {
        let kind = value_of(message, NFTA_OBJ_TYPE).and_then(big_endian);
        if kind != Some(NFT_OBJECT_COUNTER) {
            self.declare(message, |kind| kind != NFTA_OBJ_USE);
            return;
        }
        self.declare(message, |kind| {
            !matches!(kind, NFTA_OBJ_USE | NFTA_OBJ_DATA)
        });
        let data = value_of(message, NFTA_OBJ_DATA).unwrap_or_default();
        self.counters.push(ObservedCounter {
            name: text(value_of(message, NFTA_OBJ_NAME).unwrap_or_default()),
            packets: packets_of(data).unwrap_or_default(),
            // One that has been given a comment is declared otherwise than before.
            is_commented: false,
        });
    }

    fn declare(&mut self, message: &[u8], is_kept: impl Fn(u16) -> bool) {
        self.declarations.read.push(kept(message, is_kept));
    }
}

/// Those attributes with their types and lengths, behind the message's own type.
fn kept(message: &[u8], is_kept: impl Fn(u16) -> bool) -> Vec<u8> {
    let mut bytes = Vec::from(type_of(message).unwrap_or_default().to_ne_bytes());
    for (kind, value) in attributes_of(message).filter(|(kind, _)| is_kept(*kind)) {
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value.len().to_ne_bytes());
        bytes.extend_from_slice(value);
    }
    bytes
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::NFTA_CHAIN_NAME;
    use super::super::declared::NFTA_SET_FLAGS;
    use super::super::message::{NFTA_COUNTER_PACKETS, attribute, message, text_attribute};
    use super::*;

    /// A table with these chains, the first of which has these rules.
    pub(crate) fn outline_of(chains: &[&str], rules: &[&str]) -> Outline {
        let uses = u32::try_from(chains.len()).unwrap();
        let mut messages = vec![(
            NFT_MSG_NEWTABLE,
            attribute(NFTA_TABLE_USE, &uses.to_be_bytes()),
        )];
        messages.extend(
            chains
                .iter()
                .map(|chain| (NFT_MSG_NEWCHAIN, text_attribute(NFTA_CHAIN_NAME, chain))),
        );
        messages.extend(rules.iter().map(|rule| {
            let chain = text_attribute(NFTA_RULE_CHAIN, chains[0]);
            let rule = attribute(NFTA_RULE_EXPRESSIONS, rule.as_bytes());
            (NFT_MSG_NEWRULE, [chain, rule].concat())
        }));
        outline(&messages)
    }

    fn outline(messages: &[(u16, Vec<u8>)]) -> Outline {
        let mut outline = Outline::default();
        for (kind, attributes) in messages {
            outline.read(&message(SUBSYSTEM << 8 | kind, 0, 0, attributes).unwrap());
        }
        outline
    }

    fn number(kind: u16, number: u32) -> Vec<u8> {
        attribute(kind, &number.to_be_bytes())
    }

    #[test]
    fn counts_and_uses_are_no_difference() {
        let counted = |count: u32| {
            let packets = attribute(NFTA_COUNTER_PACKETS, &u64::from(count).to_be_bytes());
            let counter = [
                text_attribute(NFTA_OBJ_NAME, "o"),
                number(NFTA_OBJ_TYPE, NFT_OBJECT_COUNTER),
                attribute(NFTA_OBJ_DATA, &packets),
                number(NFTA_OBJ_USE, count),
            ];
            let chain = [
                text_attribute(NFTA_CHAIN_NAME, "c"),
                number(NFTA_CHAIN_USE, count),
            ];
            let set = [number(NFTA_SET_FLAGS, 4), number(NFTA_SET_COUNT, count)];
            outline(&[
                (NFT_MSG_NEWTABLE, number(NFTA_TABLE_USE, 3)),
                (NFT_MSG_NEWCHAIN, chain.concat()),
                (NFT_MSG_NEWSET, set.concat()),
                (NFT_MSG_NEWOBJ, counter.concat()),
            ])
        };
        let (some, more) = (counted(7), counted(8));
        assert_eq!(some.declarations, more.declarations);
        assert!(some.declarations.are_all());
        assert_eq!(
            [&some, &more].map(|outline| outline.counters[0].packets),
            [7, 8]
        );
    }

    #[test]
    fn all_else_is_a_difference() {
        let set = |flags| outline(&[(NFT_MSG_NEWSET, number(NFTA_SET_FLAGS, flags))]);
        assert_ne!(set(4).declarations, set(5).declarations);
        let quota = |consumed| {
            let attributes = [number(NFTA_OBJ_TYPE, 2), number(NFTA_OBJ_DATA, consumed)];
            outline(&[(NFT_MSG_NEWOBJ, attributes.concat())])
        };
        assert_ne!(quota(0).declarations, quota(1).declarations);
        let rule = |comment: &str| {
            let userdata = attribute(NFTA_RULE_USERDATA, comment.as_bytes());
            outline(&[(NFT_MSG_NEWRULE, userdata)]).rules
        };
        assert_ne!(rule("a"), rule("b"));
        // A flowtable, or a chain that was not asked for.
        assert!(
            !outline(&[(NFT_MSG_NEWTABLE, number(NFTA_TABLE_USE, 1))])
                .declarations
                .are_all()
        );
    }
}
