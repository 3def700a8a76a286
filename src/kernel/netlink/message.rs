//! Messages of nfnetlink and their attributes: written, and read whatever their bytes are.

use std::io;

use nix::libc::{self, c_int};

/// `NLA_TYPE_MASK`, linux/netlink.h: the attribute's type without its two flags.
const TYPE_MASK: u16 = 0x3fff;
/// linux/netfilter/nf_tables.h.
pub(super) const NFTA_COUNTER_PACKETS: u16 = 2;
/// `struct nlmsghdr`: length, type, flags, sequence, port.
const MESSAGE_HEADER_BYTES: usize = 16;
/// `struct nfgenmsg`: family, version, resource.
const FAMILY_HEADER_BYTES: usize = 4;
/// `struct nlattr`: length, type.
const ATTRIBUTE_HEADER_BYTES: usize = 4;

/// The type of a message of nf_tables, by its `NFT_MSG_*`.
pub(super) const fn of_nf_tables(message: c_int) -> c_int {
    libc::NFNL_SUBSYS_NFTABLES << 8 | message
}

/// A request of nfnetlink.
pub(super) fn message(
    kind: c_int,
    flags: c_int,
    family: c_int,
    attributes: &[u8],
) -> io::Result<Vec<u8>> {
    let mut body = vec![u8::try_from(family).map_err(io::Error::other)?, 0];
    // The resource, by which a transaction says whom it is for; in other messages it says nothing.
    body.extend(short(libc::NFNL_SUBSYS_NFTABLES)?.to_be_bytes());
    body.extend_from_slice(attributes);
    request(kind, flags, &body)
}

/// A request of any kind of netlink. Sequence and port are 0: one request at a time, so there is nothing to tell apart.
pub(in crate::kernel) fn request(kind: c_int, flags: c_int, body: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(MESSAGE_HEADER_BYTES + body.len()).map_err(io::Error::other)?;
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(short(kind)?.to_ne_bytes());
    bytes.extend(short(libc::NLM_F_REQUEST | flags)?.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend_from_slice(body);
    Ok(bytes)
}

fn short(number: c_int) -> io::Result<u16> {
    u16::try_from(number).map_err(io::Error::other)
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

pub(in crate::kernel) fn type_of(message: &[u8]) -> Option<c_int> {
    short_at(message, 4)
}

/// The number of two bytes in the header.
fn short_at(message: &[u8], offset: usize) -> Option<c_int> {
    let bytes = message.get(offset..)?.first_chunk()?;
    Some(u16::from_ne_bytes(*bytes).into())
}

/// The port that `nlmsg_pid` names: in a notification of nf_tables, that of the socket on which it was committed
/// (`nf_tables_gen_notify`, net/netfilter/nf_tables_api.c).
pub(super) fn port_of(message: &[u8]) -> u32 {
    let port = message.get(12..).and_then(|port| port.first_chunk());
    port.map_or(0, |port| u32::from_ne_bytes(*port))
}

/// Whether others of the same answer follow; the last one of them says that it is.
pub(super) fn is_one_of_several(message: &[u8]) -> bool {
    short_at(message, 6).is_some_and(|flags| flags & libc::NLM_F_MULTI != 0)
}

/// What is dumped has changed meanwhile: `NLM_F_DUMP_INTR`, linux/netlink.h.
pub(in crate::kernel) fn is_interrupted(message: &[u8]) -> bool {
    short_at(message, 6).is_some_and(|flags| flags & libc::NLM_F_DUMP_INTR != 0)
}

/// How an answer has ended, if the message is its end: with an error where the kernel refused, or where what was asked for
/// went meanwhile.
pub(super) fn end_of_answer(message: &[u8]) -> Option<io::Result<()>> {
    match (type_of(message)?, code_of(message)) {
        (libc::NLMSG_DONE, None) | (libc::NLMSG_DONE | libc::NLMSG_ERROR, Some(0)) => Some(Ok(())),
        (libc::NLMSG_DONE | libc::NLMSG_ERROR, Some(code)) => {
            Some(Err(io::Error::from_raw_os_error(code.saturating_neg())))
        }
        (libc::NLMSG_ERROR, None) => Some(Err(no_answer())),
        _ => None,
    }
}

pub(super) fn no_answer() -> io::Error {
    io::Error::other("an answer of the kernel that is none to the request")
}

fn code_of(message: &[u8]) -> Option<i32> {
    Some(i32::from_ne_bytes(*body_of(message).first_chunk()?))
}

/// The first message without its header.
pub(in crate::kernel) fn body_of(message: &[u8]) -> &[u8] {
    let length = message
        .first_chunk()
        .map(|length| u32::from_ne_bytes(*length));
    let length = length.and_then(|length| usize::try_from(length).ok());
    let end = length.unwrap_or_default().min(message.len());
    message.get(MESSAGE_HEADER_BYTES..end).unwrap_or_default()
}

/// The attributes of the first message, as type and value; what is cut ends them.
pub(in crate::kernel) fn attributes_of(message: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    attributes_in(
        body_of(message)
            .get(FAMILY_HEADER_BYTES..)
            .unwrap_or_default(),
    )
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

/// The value of a message's first attribute of this type.
pub(in crate::kernel) fn value_of(message: &[u8], kind: u16) -> Option<&[u8]> {
    first_value(attributes_of(message), kind)
}

/// The same of an attribute that consists of attributes.
pub(in crate::kernel) fn value_in(nested: &[u8], kind: u16) -> Option<&[u8]> {
    first_value(attributes_in(nested), kind)
}

fn first_value<'a>(
    mut attributes: impl Iterator<Item = (u16, &'a [u8])>,
    kind: u16,
) -> Option<&'a [u8]> {
    let (_, value) = attributes.find(|(found, _)| *found == kind)?;
    Some(value)
}

/// How many packets a counter has counted, by its attributes.
pub(in crate::kernel) fn packets_of(counter: &[u8]) -> Option<u64> {
    let packets = value_in(counter, NFTA_COUNTER_PACKETS)?;
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

/// The text in the first attribute of this type, or none.
pub(in crate::kernel) fn text_of(message: &[u8], kind: u16) -> String {
    text(value_of(message, kind).unwrap_or_default())
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
    let mut bytes = Vec::new();
    append_attribute(&mut bytes, kind, value);
    bytes
}

pub(in crate::kernel) fn append_attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = ATTRIBUTE_HEADER_BYTES + value.len();
    // Names are checked to be short.
    let length_field = u16::try_from(length).unwrap_or(u16::MAX);
    let end = bytes.len() + length.next_multiple_of(ATTRIBUTE_HEADER_BYTES);
    bytes.extend(length_field.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(end, 0);
}
