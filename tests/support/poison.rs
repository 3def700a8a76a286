//! A foreign set that kills libnftables 1.0.6 of SIGSEGV on an ordinary change of any other table.
//!
//! The set's user data say "typeof" an expression that cannot be told from user data.
//! `set_make_key` of libnftables 1.0.6 then calls a function pointer that is NULL. Newer versions of
//! nft write such sets by themselves.

use std::io;

use super::netlink::{DELETE_TABLE, NEW_SET, NEW_TABLE, attribute, commit, name};
use super::netns::Namespace;

/// The table that holds the set.
pub const TABLE: &str = "poison";

/// Attributes of linux/netfilter/nf_tables.h.
const NFTA_TABLE_NAME: u16 = 1;
const NFTA_SET_TABLE: u16 = 1;
const NFTA_SET_NAME: u16 = 2;
const NFTA_SET_KEY_TYPE: u16 = 4;
const NFTA_SET_KEY_LEN: u16 = 5;
const NFTA_SET_ID: u16 = 10;
const NFTA_SET_USERDATA: u16 = 13;
/// User data of libnftnl's udata.h.
const UDATA_SET_KEY_TYPEOF: u8 = 3;
const UDATA_SET_TYPEOF_EXPR: u8 = 0;
const UDATA_SET_TYPEOF_DATA: u8 = 1;
/// nft's number of a range expression, which has no reader of user data.
const EXPR_RANGE: u32 = 6;
/// nft's number of the type `ipv4_addr`, and its length.
const TYPE_IPV4_ADDR: u32 = 7;
const IPV4_ADDR_BYTES: u32 = 4;

/// Plants the table and its set.
pub fn plant(namespace: &Namespace) -> io::Result<()> {
    plant_in(namespace, TABLE)
}

/// Plants the set in a table of family `ip`, which is made if it is not there.
pub fn plant_in(namespace: &Namespace, table: &str) -> io::Result<()> {
    let set = [
        name(NFTA_SET_TABLE, table),
        name(NFTA_SET_NAME, "typeof-unknown"),
        attribute(NFTA_SET_KEY_TYPE, &TYPE_IPV4_ADDR.to_be_bytes()),
        attribute(NFTA_SET_KEY_LEN, &IPV4_ADDR_BYTES.to_be_bytes()),
        attribute(NFTA_SET_ID, &1_u32.to_be_bytes()),
        attribute(NFTA_SET_USERDATA, &typeof_user_data()),
    ]
    .concat();
    commit(
        namespace,
        &[(NEW_TABLE, name(NFTA_TABLE_NAME, table)), (NEW_SET, set)],
    )
}

/// Takes the table away again.
pub fn remove(namespace: &Namespace) -> io::Result<()> {
    delete_table(namespace, TABLE)
}

/// Deletes any table without libnftables.
pub fn delete_table(namespace: &Namespace, table: &str) -> io::Result<()> {
    commit(namespace, &[(DELETE_TABLE, name(NFTA_TABLE_NAME, table))])
}

fn typeof_user_data() -> Vec<u8> {
    let expression = [
        // libnftnl keeps numbers of user data in the host's byte order.
        user_data(UDATA_SET_TYPEOF_EXPR, &EXPR_RANGE.to_ne_bytes()),
        user_data(UDATA_SET_TYPEOF_DATA, &[]),
    ]
    .concat();
    user_data(UDATA_SET_KEY_TYPEOF, &expression)
}

/// Type, length, value, without padding.
fn user_data(kind: u8, value: &[u8]) -> Vec<u8> {
    let length = u8::try_from(value.len()).expect("short user data");
    [&[kind, length], value].concat()
}
