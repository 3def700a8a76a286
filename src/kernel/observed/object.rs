//! What has a name in a table: what it is called, and its end.

use std::fmt;
use std::io;

use nix::libc;

use super::reading::{
    NFT_OBJECT_COUNTER, NFTA_CHAIN_NAME, NFTA_FLOWTABLE_NAME, NFTA_OBJ_NAME, NFTA_OBJ_TYPE,
    NFTA_SET_NAME,
};
use crate::kernel::netlink::{NFTA_TABLE, Netlink, attribute, text_attribute};
use crate::ruleset::Family;

/// `NFT_MSG_DELFLOWTABLE`, linux/netfilter/nf_tables.h.
const NFT_MSG_DELFLOWTABLE: libc::c_int = 24;

/// What has a name in a table and can be deleted by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// As nft(8) calls it: `chain`, `set`, `map`, `counter`, `flowtable` and so on.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// `NFT_OBJECT_*`, linux/netfilter/nf_tables.h, of what is neither chain, set, map nor flowtable.
    object_type: Option<u32>,
}

impl Object {
    /// A chain, set, map or flowtable of this name.
    pub(in crate::kernel) fn new(kind: &'static str, name: &str) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            object_type: None,
        }
    }

    /// Another object of this type and name.
    pub(in crate::kernel) fn of_type(object_type: u32, name: &str) -> Self {
        Self {
            kind: kind_of_object(object_type),
            name: name.to_owned(),
            object_type: Some(object_type),
        }
    }

    /// Deletes it, in a transaction of its own, on a socket that may change the table. Not by libnftables, whose JSON
    /// deletes no `ct timeout`, and takes `ct expectation` for the whole table (1.1.3).
    ///
    /// # Errors
    /// Where the kernel refuses: something refers to it (EBUSY), it is gone (ENOENT), another owns the table (EPERM).
    pub fn delete(&self, netlink: &Netlink, family: Family, table: &str) -> io::Result<()> {
        let (message, name) = match self.kind {
            "chain" => (libc::NFT_MSG_DELCHAIN, NFTA_CHAIN_NAME),
            "set" | "map" => (libc::NFT_MSG_DELSET, NFTA_SET_NAME),
            "flowtable" => (NFT_MSG_DELFLOWTABLE, NFTA_FLOWTABLE_NAME),
            _ => (libc::NFT_MSG_DELOBJ, NFTA_OBJ_NAME),
        };
        let mut attributes = text_attribute(NFTA_TABLE, table);
        attributes.extend(text_attribute(name, &self.name));
        if let Some(object_type) = self.object_type {
            attributes.extend(attribute(NFTA_OBJ_TYPE, &object_type.to_be_bytes()));
        }
        netlink.delete(message, family.name(), &attributes)
    }
}

/// What nft(8) calls an object of this type (`NFT_OBJECT_*`).
fn kind_of_object(object_type: u32) -> &'static str {
    match object_type {
        NFT_OBJECT_COUNTER => "counter",
        2 => "quota",
        3 => "ct helper",
        4 => "limit",
        5 => "connlimit",
        6 => "tunnel",
        7 => "ct timeout",
        8 => "secmark",
        9 => "ct expectation",
        10 => "synproxy",
        _ => "object",
    }
}

impl fmt::Display for Object {
    /// Its name is anyone's to choose, and not to forge a line of the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name.escape_debug())
    }
}
