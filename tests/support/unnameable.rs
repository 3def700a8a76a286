//! An object that no nft makes: a `synproxy` whose name would be more than a name in the nft language, so that
//! libnftables cannot delete it by that name.

use std::io;

use super::netlink::{DELETE_OBJECT, NEW_OBJECT, attribute, commit, name};
use super::netns::Namespace;

/// Attributes and types of linux/netfilter/nf_tables.h.
const NFTA_OBJ_TABLE: u16 = 1;
const NFTA_OBJ_NAME: u16 = 2;
const NFTA_OBJ_TYPE: u16 = 3;
const NFTA_OBJ_DATA: u16 = 4;
const NFTA_SYNPROXY_MSS: u16 = 1;
const NFTA_SYNPROXY_WSCALE: u16 = 2;
const NFTA_SYNPROXY_FLAGS: u16 = 3;
const NFT_OBJECT_SYNPROXY: u32 = 10;

/// Plants it in a table of family `ip`.
pub fn plant(namespace: &Namespace, table: &str, object: &str) -> io::Result<()> {
    let data = [
        attribute(NFTA_SYNPROXY_MSS, &1460_u16.to_be_bytes()),
        attribute(NFTA_SYNPROXY_WSCALE, &[7]),
        attribute(NFTA_SYNPROXY_FLAGS, &0_u32.to_be_bytes()),
    ];
    let attributes = [
        named(table, object),
        attribute(NFTA_OBJ_DATA, &data.concat()),
    ];
    commit(namespace, &[(NEW_OBJECT, attributes.concat())])
}

/// Takes it away again.
pub fn remove(namespace: &Namespace, table: &str, object: &str) -> io::Result<()> {
    commit(namespace, &[(DELETE_OBJECT, named(table, object))])
}

fn named(table: &str, object: &str) -> Vec<u8> {
    [
        name(NFTA_OBJ_TABLE, table),
        name(NFTA_OBJ_NAME, object),
        attribute(NFTA_OBJ_TYPE, &NFT_OBJECT_SYNPROXY.to_be_bytes()),
    ]
    .concat()
}
