//! Whether a table declares what is asked for by name.

use std::io;

use super::message::{SUBSYSTEM, attribute, big_endian, text_attribute, value_of};
use super::{ANSWER_BYTES, NFT_MSG_GETOBJ, NFT_MSG_GETSET, NFTA_TABLE, Netlink, protocol};
use crate::ruleset::Family;

/// Attributes and flags of linux/netfilter/nf_tables.h.
const NFTA_SET_NAME: u16 = 2;
pub(super) const NFTA_SET_FLAGS: u16 = 3;
const NFT_SET_MAP: u32 = 8;
/// A map to objects, which is not flagged as a map besides.
const NFT_SET_OBJECT: u32 = 0x40;
pub(super) const NFTA_OBJ_NAME: u16 = 2;
pub(super) const NFTA_OBJ_TYPE: u16 = 3;
pub(super) const NFT_OBJECT_COUNTER: u32 = 1;

impl Netlink {
    /// Whether the table has a set, which is no map, and a counter of these names.
    ///
    /// # Errors
    /// Where the kernel does not answer.
    pub fn has_set_and_counter(
        &self,
        family: Family,
        table: &str,
        [set, counter]: [&str; 2],
    ) -> io::Result<bool> {
        let protocol = protocol(family.name())?;
        let table = text_attribute(NFTA_TABLE, table);
        let set = [table.as_slice(), &text_attribute(NFTA_SET_NAME, set)].concat();
        let mut answer = [0; ANSWER_BYTES];
        let kind = SUBSYSTEM << 8 | NFT_MSG_GETSET;
        let Some(found) = self.get(kind, protocol, &set, &mut answer)? else {
            return Ok(false);
        };
        let flags = value_of(found, NFTA_SET_FLAGS).and_then(big_endian);
        if flags.unwrap_or_default() & (NFT_SET_MAP | NFT_SET_OBJECT) != 0 {
            return Ok(false);
        }
        let counter = [
            table,
            text_attribute(NFTA_OBJ_NAME, counter),
            attribute(NFTA_OBJ_TYPE, &NFT_OBJECT_COUNTER.to_be_bytes()),
        ];
        let kind = SUBSYSTEM << 8 | NFT_MSG_GETOBJ;
        let found = self.get(kind, protocol, &counter.concat(), &mut answer)?;
        Ok(found.is_some())
    }
}
