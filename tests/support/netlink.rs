//! Just enough of nfnetlink to do what `nft` would not: plant odd objects, read the generation.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, connect, recv, send,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::netns::Namespace;

/// `NFNL_SUBSYS_NFTABLES` of linux/netfilter/nfnetlink.h.
pub const SUBSYSTEM_NFTABLES: u16 = 10;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
/// Messages of linux/netfilter/nf_tables.h.
pub const NEW_TABLE: u16 = 0;
/// See [`NEW_TABLE`].
pub const DELETE_TABLE: u16 = 2;
/// See [`NEW_TABLE`].
pub const NEW_SET: u16 = 9;
const GET_SET: u16 = 10;
/// See [`NEW_TABLE`].
pub const NEW_ELEMENT: u16 = 12;
/// See [`NEW_TABLE`].
pub const DELETE_ELEMENT: u16 = 14;
/// See [`NEW_TABLE`].
pub const NEW_OBJECT: u16 = 18;
/// See [`NEW_TABLE`].
pub const DELETE_OBJECT: u16 = 20;
const NFTA_SET_TABLE: u16 = 1;
const NFTA_SET_NAME: u16 = 2;
const GET_GENERATION: u16 = 16;
const NFTA_GEN_ID: u16 = 1;

/// `NLM_F_REQUEST`, `NLM_F_ACK`, `NLM_F_DUMP`, `NLM_F_CREATE` of linux/netlink.h.
const REQUEST: u16 = 0x001;
const ACKNOWLEDGE: u16 = 0x004;
const DUMP: u16 = 0x300;
const CREATE: u16 = 0x400;
/// `NLMSG_ERROR`, `NLMSG_DONE` of linux/netlink.h.
const ERROR: u16 = 2;
const DONE: u16 = 3;
const MESSAGE_HEADER_BYTES: usize = 16;
/// `struct nfgenmsg` of linux/netfilter/nfnetlink.h.
const FAMILY_HEADER_BYTES: usize = 4;
/// `NFPROTO_IPV4` of linux/netfilter.h.
const FAMILY_IPV4: u8 = 2;

/// One attribute: length, type, value, padding.
pub fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).expect("a short attribute");
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// An attribute that holds a name, with the zero byte that the kernel wants.
pub fn name(kind: u16, name: &str) -> Vec<u8> {
    attribute(kind, &[name.as_bytes(), &[0]].concat())
}

/// Sends nftables messages for family `ip` as one transaction. An error of any of them is returned.
pub fn commit(namespace: &Namespace, messages: &[(u16, Vec<u8>)]) -> io::Result<()> {
    commit_on(&open(namespace)?, messages)
}

/// The same on a socket that is used again: for one that is closed, the kernel makes others wait.
pub fn commit_on(socket: &OwnedFd, messages: &[(u16, Vec<u8>)]) -> io::Result<()> {
    let subsystem = SUBSYSTEM_NFTABLES.to_be_bytes();
    let mut batch = message(BATCH_BEGIN, REQUEST, 0, subsystem, &[]);
    for (kind, attributes) in messages {
        let kind = SUBSYSTEM_NFTABLES << 8 | kind;
        let flags = REQUEST | CREATE | ACKNOWLEDGE;
        batch.extend(message(kind, flags, FAMILY_IPV4, [0, 0], attributes));
    }
    batch.extend(message(BATCH_END, REQUEST, 0, subsystem, &[]));
    send(socket.as_raw_fd(), &batch, MsgFlags::empty())?;
    for _ in messages {
        let reply = receive(socket)?;
        let code = i32::from_ne_bytes(bytes_at(&reply, MESSAGE_HEADER_BYTES)?);
        if code != 0 {
            return Err(io::Error::from_raw_os_error(-code));
        }
    }
    Ok(())
}

/// Creates an ipset of IPv4 addresses, as `ipset create NAME hash:ip` does: linux/netfilter/ipset/ip_set.h.
pub fn create_ipset(namespace: &Namespace, set: &str) -> io::Result<()> {
    const SUBSYSTEM_IPSET: u16 = 6;
    const CREATE_SET: u16 = 2;
    let (protocol, set_name, type_name, revision, family, data) = (1, 2, 3, 4, 5, 7 | 0x8000);
    let attributes = [
        attribute(protocol, &[6]),
        name(set_name, set),
        name(type_name, "hash:ip"),
        attribute(revision, &[0]),
        attribute(family, &[FAMILY_IPV4]),
        attribute(data, &[]),
    ];
    let kind = SUBSYSTEM_IPSET << 8 | CREATE_SET;
    let flags = REQUEST | CREATE | ACKNOWLEDGE;
    let request = message(kind, flags, FAMILY_IPV4, [0, 0], &attributes.concat());
    let socket = open(namespace)?;
    send(socket.as_raw_fd(), &request, MsgFlags::empty())?;
    match i32::from_ne_bytes(bytes_at(&receive(&socket)?, MESSAGE_HEADER_BYTES)?) {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(-code)),
    }
}

/// The names of the sets and maps of a table of family `ip`; none if there is no such table.
pub fn sets_of(socket: &OwnedFd, table: &str) -> io::Result<Vec<String>> {
    let kind = SUBSYSTEM_NFTABLES << 8 | GET_SET;
    let of_table = name(NFTA_SET_TABLE, table);
    let request = message(kind, REQUEST | DUMP, FAMILY_IPV4, [0, 0], &of_table);
    send(socket.as_raw_fd(), &request, MsgFlags::empty())?;
    let mut names = Vec::new();
    loop {
        let reply = receive(socket)?;
        let mut rest = reply.as_slice();
        while !rest.is_empty() {
            let length = u32::from_ne_bytes(bytes_at(rest, 0)?) as usize;
            if [ERROR, DONE].contains(&u16::from_ne_bytes(bytes_at(rest, 4)?)) {
                return Ok(names);
            }
            let attributes = MESSAGE_HEADER_BYTES + FAMILY_HEADER_BYTES..length;
            let attributes = rest.get(attributes).ok_or(io::ErrorKind::InvalidData)?;
            names.extend(text_of(NFTA_SET_NAME, attributes));
            rest = &rest[length.next_multiple_of(4).min(rest.len())..];
        }
    }
}

/// The text of the first attribute of this type.
fn text_of(kind: u16, mut attributes: &[u8]) -> Option<String> {
    while !attributes.is_empty() {
        let length = usize::from(u16::from_ne_bytes(bytes_at(attributes, 0).ok()?));
        if u16::from_ne_bytes(bytes_at(attributes, 2).ok()?) == kind {
            let text = attributes.get(4..length)?.split(|byte| *byte == 0).next()?;
            return String::from_utf8(text.to_vec()).ok();
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
    None
}

/// The generation of the namespace's ruleset: it grows with every transaction.
pub fn generation(namespace: &Namespace) -> io::Result<u32> {
    let socket = open(namespace)?;
    let kind = SUBSYSTEM_NFTABLES << 8 | GET_GENERATION;
    let request = message(kind, REQUEST, 0, [0, 0], &[]);
    send(socket.as_raw_fd(), &request, MsgFlags::empty())?;
    let reply = receive(&socket)?;
    let kind = u16::from_ne_bytes(bytes_at(&reply, 4)?);
    let attributes = MESSAGE_HEADER_BYTES + FAMILY_HEADER_BYTES;
    let first = u16::from_ne_bytes(bytes_at(&reply, attributes + 2)?);
    if kind == ERROR || first != NFTA_GEN_ID {
        return Err(io::Error::other("no generation in the kernel's answer"));
    }
    Ok(u32::from_be_bytes(bytes_at(&reply, attributes + 4)?))
}

fn message(kind: u16, flags: u16, family: u8, resource: [u8; 2], attributes: &[u8]) -> Vec<u8> {
    let length = MESSAGE_HEADER_BYTES + FAMILY_HEADER_BYTES + attributes.len();
    let length = u32::try_from(length).expect("a short message");
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    // Sequence and port: the kernel repeats them, and nobody looks.
    bytes.extend([0; 8]);
    bytes.extend([family, 0]);
    bytes.extend(resource);
    bytes.extend_from_slice(attributes);
    bytes
}

/// A socket of the namespace.
pub fn open(namespace: &Namespace) -> io::Result<OwnedFd> {
    namespace.run(|| {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkNetFilter,
        )?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(1))?;
        connect(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(socket)
    })
}

fn receive(socket: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut reply = vec![0; 8192];
    let bytes = recv(socket.as_raw_fd(), &mut reply, MsgFlags::empty())?;
    reply.truncate(bytes);
    Ok(reply)
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> io::Result<[u8; N]> {
    bytes
        .get(at..at + N)
        .and_then(|part| part.try_into().ok())
        .ok_or_else(|| io::Error::other("a netlink answer that is too short"))
}
