//! How a table is read: each of its parts by a request of its own, until nobody has committed in between.

use std::io;

use nix::libc;

use super::{
    NFT_SET_INTERVAL, Object, Observed, ObservedChain, ObservedCounter, ObservedHook, ObservedRule,
    ObservedSet, SetKind,
};
use crate::kernel::netlink::{
    NFTA_TABLE, Netlink, attributes_in, attributes_of, big_endian, number_of, packets_of, text,
    text_attribute, text_of, value_in, value_of,
};
use crate::ruleset::Family;

/// `NFT_MSG_GETFLOWTABLE`, attributes and flags, linux/netfilter/nf_tables.h.
const NFT_MSG_GETFLOWTABLE: libc::c_int = 23;
pub(super) const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_USE: u16 = 6;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_CHAIN_FLAGS: u16 = 10;
const NFTA_CHAIN_USERDATA: u16 = 12;
/// A chain that a rule has in itself: `jump { … }`.
const NFT_CHAIN_BINDING: u32 = 4;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
pub(super) const NFTA_SET_NAME: u16 = 2;
const NFTA_SET_FLAGS: u16 = 3;
const NFTA_SET_KEY_TYPE: u16 = 4;
const NFTA_SET_KEY_LEN: u16 = 5;
const NFTA_SET_EXPR: u16 = 17;
const NFTA_SET_EXPRESSIONS: u16 = 18;
const NFTA_EXPR_NAME: u16 = 1;
const NFT_SET_ANONYMOUS: u32 = 1;
const NFT_SET_MAP: u32 = 8;
/// A map to objects, which is not flagged as a map besides.
const NFT_SET_OBJECT: u32 = 0x40;
const NFT_SET_EXPR: u32 = 0x100;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_RULE_COMPAT: u16 = 5;
const NFTA_RULE_USERDATA: u16 = 7;
pub(super) const NFTA_OBJ_NAME: u16 = 2;
pub(super) const NFTA_OBJ_TYPE: u16 = 3;
const NFTA_OBJ_DATA: u16 = 4;
const NFTA_OBJ_USERDATA: u16 = 8;
pub(in crate::kernel) const NFT_OBJECT_COUNTER: u32 = 1;
pub(super) const NFTA_FLOWTABLE_NAME: u16 = 2;
/// `NF_ACCEPT`, linux/netfilter.h.
const ACCEPT: u32 = 1;

impl Observed {
    /// Reads the table, which the daemon makes with `chains`; `None`: there is none.
    ///
    /// # Errors
    /// Where the kernel does not answer.
    pub fn read<'a>(
        netlink: &Netlink,
        family: Family,
        table: &str,
        chains: impl Iterator<Item = &'a str> + Clone,
    ) -> io::Result<Option<Self>> {
        netlink.while_nobody_commits(|| Self::read_once(netlink, family, table, chains.clone()))
    }

    fn read_once<'a>(
        netlink: &Netlink,
        family: Family,
        table: &str,
        chains: impl Iterator<Item = &'a str>,
    ) -> io::Result<Option<Self>> {
        let Some(header) = netlink.table(family.name(), table)? else {
            return Ok(None);
        };
        let mut observed = Self {
            header,
            ..Self::default()
        };
        let of_table = text_attribute(NFTA_TABLE, table);
        for chain in chains {
            let named = [of_table.clone(), text_attribute(NFTA_CHAIN_NAME, chain)].concat();
            let read = |chain: &[u8]| observed.read_chain(chain);
            netlink.get(libc::NFT_MSG_GETCHAIN, family.name(), &named, read)?;
        }
        let read = |set: &[u8]| observed.read_set(set);
        netlink.dump(libc::NFT_MSG_GETSET, family.name(), &of_table, read)?;
        let read = |object: &[u8]| observed.read_object(object);
        netlink.dump(libc::NFT_MSG_GETOBJ, family.name(), &of_table, read)?;
        if observed.uses() != header.uses {
            observed.read_what_is_left(netlink, family, table)?;
        }
        observed.rules = rules(netlink, family, table)?;
        for set in &mut observed.sets {
            if set.is_called_as_the_daemon_s() {
                let has_intervals = set.kind.flags & NFT_SET_INTERVAL != 0;
                let read = netlink.elements(family, table, &set.name, has_intervals)?;
                (set.elements, set.strange_elements) = (read.readable, read.strange);
            }
        }
        Ok(Some(observed))
    }

    fn uses(&self) -> u32 {
        let [chains, sets, counters, others] = [
            self.chains.len(),
            self.sets.len(),
            self.counters.len(),
            self.others.len(),
        ];
        u32::try_from(chains + sets + counters + others).unwrap_or(u32::MAX)
    }

    /// The kernel dumps the chains of all tables only, of which kube-proxy makes thousands: they are read where the table
    /// has more in it than was found by name.
    fn read_what_is_left(
        &mut self,
        netlink: &Netlink,
        family: Family,
        table: &str,
    ) -> io::Result<()> {
        let is_of_table = |object: &[u8]| text_of(object, NFTA_TABLE) == table;
        self.chains.clear();
        netlink.dump(libc::NFT_MSG_GETCHAIN, family.name(), &[], |chain| {
            if is_of_table(chain) {
                self.read_chain(chain);
            }
        })?;
        netlink.dump(NFT_MSG_GETFLOWTABLE, family.name(), &[], |flowtable| {
            if is_of_table(flowtable) {
                let name = text_of(flowtable, NFTA_FLOWTABLE_NAME);
                self.others.push(Object::new("flowtable", &name));
            }
        })
    }

    fn read_chain(&mut self, message: &[u8]) {
        if number_of(message, NFTA_CHAIN_FLAGS) & NFT_CHAIN_BINDING != 0 {
            return; // A part of the rule that jumps to it, and gone with it.
        }
        let name = text_of(message, NFTA_CHAIN_NAME);
        let hook = value_of(message, NFTA_CHAIN_HOOK).map(|hook| {
            let number = |kind| value_in(hook, kind).and_then(big_endian);
            ObservedHook {
                chain_type: text_of(message, NFTA_CHAIN_TYPE),
                number: number(NFTA_HOOK_HOOKNUM).unwrap_or(u32::MAX),
                priority: number(NFTA_HOOK_PRIORITY).map_or(i32::MAX, u32::cast_signed),
                accepts: number_of(message, NFTA_CHAIN_POLICY) == ACCEPT,
            }
        });
        self.chains.push(ObservedChain {
            name,
            hook,
            uses: number_of(message, NFTA_CHAIN_USE) as usize,
            is_commented: value_of(message, NFTA_CHAIN_USERDATA).is_some(),
        });
    }

    fn read_set(&mut self, message: &[u8]) {
        let flags = number_of(message, NFTA_SET_FLAGS);
        if flags & NFT_SET_ANONYMOUS != 0 {
            return; // A part of a rule, whose bytes tell it.
        }
        self.sets.push(ObservedSet {
            name: text_of(message, NFTA_SET_NAME),
            is_map: flags & (NFT_SET_MAP | NFT_SET_OBJECT) != 0,
            kind: SetKind {
                flags: flags & !NFT_SET_EXPR,
                key_type: number_of(message, NFTA_SET_KEY_TYPE),
                key_bytes: number_of(message, NFTA_SET_KEY_LEN),
                statements: statements(message),
            },
            elements: Vec::new(),
            strange_elements: 0,
        });
    }

    fn read_object(&mut self, message: &[u8]) {
        let name = text_of(message, NFTA_OBJ_NAME);
        let object_type = number_of(message, NFTA_OBJ_TYPE);
        if object_type == NFT_OBJECT_COUNTER {
            let data = value_of(message, NFTA_OBJ_DATA).unwrap_or_default();
            self.counters.push(ObservedCounter {
                name,
                packets: packets_of(data).unwrap_or_default(),
                is_commented: value_of(message, NFTA_OBJ_USERDATA).is_some(),
            });
        } else {
            self.others.push(Object::of_type(object_type, &name));
        }
    }
}

/// The rules of a table.
pub(in crate::kernel) fn rules(
    netlink: &Netlink,
    family: Family,
    table: &str,
) -> io::Result<Vec<ObservedRule>> {
    let mut rules = Vec::new();
    let of_table = text_attribute(NFTA_TABLE, table);
    netlink.dump(libc::NFT_MSG_GETRULE, family.name(), &of_table, |rule| {
        rules.push(ObservedRule {
            chain: text_of(rule, NFTA_RULE_CHAIN),
            bytes: rule_bytes(rule),
        });
    })?;
    Ok(rules)
}

/// What a rule does and is called, without its handle and place: each attribute with its type and length.
fn rule_bytes(message: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, value) in attributes_of(message) {
        if matches!(
            kind,
            NFTA_RULE_EXPRESSIONS | NFTA_RULE_COMPAT | NFTA_RULE_USERDATA
        ) {
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(value.len().to_ne_bytes());
            bytes.extend_from_slice(value);
        }
    }
    bytes
}

/// The names of the statements that each element of a set carries.
fn statements(set: &[u8]) -> Vec<String> {
    let name_of = |statement: &[u8]| text(value_in(statement, NFTA_EXPR_NAME).unwrap_or_default());
    let mut names = Vec::new();
    for (kind, value) in attributes_of(set) {
        match kind {
            NFTA_SET_EXPR => names.push(name_of(value)),
            NFTA_SET_EXPRESSIONS => names.extend(attributes_in(value).map(|(_, s)| name_of(s))),
            _ => {}
        }
    }
    names
}
