//! Messages of nfnetlink and their attributes: written, and read whatever their bytes are.

use std::io;

/// `NFNL_SUBSYS_NFTABLES`, linux/netfilter/nfnetlink.h.
pub(super) const SUBSYSTEM: u16 = 10;
/// `NLA_TYPE_MASK`, linux/netlink.h: the attribute's type without its two flags.
const TYPE_MASK: u16 = 0x3fff;
/// `NLM_F_REQUEST`, `NLM_F_ACK`, `NLM_F_DUMP`, `NLM_F_DUMP_INTR`, `NLMSG_ERROR` and `NLMSG_DONE`, linux/netlink.h.
const NLM_F_REQUEST: u16 = 1;
pub(super) const NLM_F_ACK: u16 = 4;
pub(super) const NLM_F_DUMP: u16 = 0x300;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// linux/netfilter/nf_tables.h.
pub(super) const NFTA_COUNTER_PACKETS: u16 = 2;
/// `struct nlmsghdr`: length, type, flags, sequence, port.
const MESSAGE_HEADER_BYTES: usize = 16;
/// `struct nfgenmsg`: family, version, resource.
const FAMILY_HEADER_BYTES: usize = 4;
/// `struct nlattr`: length, type.
const ATTRIBUTE_HEADER_BYTES: usize = 4;

/// A request. Sequence and port are 0: one request at a time, so there is nothing to tell apart.
pub(super) fn message(kind: u16, flags: u16, family: u8, attributes: &[u8]) -> io::Result<Vec<u8>> {
    let length = MESSAGE_HEADER_BYTES + FAMILY_HEADER_BYTES + attributes.len();
    let length = u32::try_from(length).map_err(io::Error::other)?;
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((NLM_F_REQUEST | flags).to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family, 0]);
    // The resource, by which a transaction says whom it is for; in other messages it says nothing.
    bytes.extend(SUBSYSTEM.to_be_bytes());
    bytes.extend_from_slice(attributes);
    Ok(bytes)
}

/// The first message, and what comes after it.
pub(super) fn first_of(messages: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(*messages.first_chunk()?)).ok()?;
    if length < MESSAGE_HEADER_BYTES {
        return None;
    }
    let message = messages.get(..length)?;
    // NLMSG_ALIGN, linux/netlink.h.
    let after = messages.get(length.next_multiple_of(4)..);
    Some((message, after.unwrap_or_default()))
}

pub(in crate::kernel) fn type_of(message: &[u8]) -> Option<u16> {
    Some(u16::from_ne_bytes(*message.get(4..)?.first_chunk()?))
}

/// The port that `nlmsg_pid` names: in a notification of nf_tables, that of the socket on which it was committed
/// (`nf_tables_gen_notify`, net/netfilter/nf_tables_api.c).
pub(super) fn port_of(message: &[u8]) -> u32 {
    let port = message.get(12..).and_then(|port| port.first_chunk());
    port.map_or(0, |port| u32::from_ne_bytes(*port))
}

/// Whether someone has changed the ruleset since the dump that the message is of began (nl_dump_check_consistent).
pub(super) fn is_interrupted(message: &[u8]) -> bool {
    let flags = message.get(6..).and_then(|flags| flags.first_chunk());
    flags.is_some_and(|flags| u16::from_ne_bytes(*flags) & NLM_F_DUMP_INTR != 0)
}

/// How a dump has ended, if the message is its end: with an error where what was asked for went meanwhile.
pub(super) fn end_of_dump(message: &[u8]) -> Option<io::Result<()>> {
    match type_of(message) {
        Some(NLMSG_DONE) if code_of(message).unwrap_or_default() == 0 => Some(Ok(())),
        Some(NLMSG_DONE | NLMSG_ERROR) => Some(Err(refusal_of(message))),
        _ => None,
    }
}

/// What the kernel said in place of an answer.
pub(super) fn refusal_of(message: &[u8]) -> io::Error {
    match (type_of(message), code_of(message)) {
        (Some(NLMSG_ERROR | NLMSG_DONE), Some(code)) => {
            io::Error::from_raw_os_error(code.saturating_neg())
        }
        _ => io::Error::other("an answer of nf_tables that is none to the request"),
    }
}

fn code_of(message: &[u8]) -> Option<i32> {
    let body = message.get(MESSAGE_HEADER_BYTES..)?;
    Some(i32::from_ne_bytes(*body.first_chunk()?))
}

/// The attributes of the first message, as type and value; what is cut ends them.
pub(in crate::kernel) fn attributes_of(message: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let length = message
        .first_chunk()
        .map(|length| u32::from_ne_bytes(*length));
    let length = length.and_then(|length| usize::try_from(length).ok());
    let end = length.unwrap_or_default().min(message.len());
    let start = MESSAGE_HEADER_BYTES + FAMILY_HEADER_BYTES;
    attributes_in(message.get(start..end).unwrap_or_default())
}

/// The attributes that an attribute consists of.
pub(in crate::kernel) fn attributes_in(nested: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut remaining = nested;
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*remaining.first_chunk()?));
        let kind = u16::from_ne_bytes(*remaining.get(2..)?.first_chunk()?);
        let value = remaining.get(ATTRIBUTE_HEADER_BYTES..length)?;
        let next = length.next_multiple_of(ATTRIBUTE_HEADER_BYTES);
        remaining = remaining.get(next..).unwrap_or_default();
        Some((kind & TYPE_MASK, value))
    })
}

/// The value of the first attribute of this type.
pub(in crate::kernel) fn value_of(message: &[u8], kind: u16) -> Option<&[u8]> {
    let (_, value) = attributes_of(message).find(|(found, _)| *found == kind)?;
    Some(value)
}

/// How many packets a counter has counted, by its attributes.
pub(in crate::kernel) fn packets_of(counter: &[u8]) -> Option<u64> {
    let (_, packets) = attributes_in(counter).find(|(kind, _)| *kind == NFTA_COUNTER_PACKETS)?;
    Some(u64::from_be_bytes(packets.try_into().ok()?))
}

/// nf_tables has its numbers in network byte order.
pub(in crate::kernel) fn big_endian(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*value.first_chunk()?))
}

/// The number in the first attribute of this type, or 0.
pub(in crate::kernel) fn number_of(message: &[u8], kind: u16) -> u32 {
    let value = value_of(message, kind);
    value.and_then(big_endian).unwrap_or_default()
}

/// A string up to its NUL.
pub(in crate::kernel) fn text(value: &[u8]) -> String {
    let bytes = value.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(bytes).into_owned()
}

pub(in crate::kernel) fn text_attribute(kind: u16, text: &str) -> Vec<u8> {
    attribute(kind, &[text.as_bytes(), &[0]].concat())
}

pub(in crate::kernel) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = ATTRIBUTE_HEADER_BYTES + value.len();
    // Names are checked to be short.
    let length_field = u16::try_from(length).unwrap_or(u16::MAX);
    let mut bytes = [length_field.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend_from_slice(value);
    bytes.resize(length.next_multiple_of(ATTRIBUTE_HEADER_BYTES), 0);
    bytes
}
