//! One entry of the conntrack table, read whatever its bytes are.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use nix::libc::c_int;

use crate::kernel::netlink::{append_attribute, attributes_of, big_endian, type_of, value_in};

/// linux/netfilter/nfnetlink.h and nfnetlink_conntrack.h, of which libc has few.
const NFNL_SUBSYS_CTNETLINK: c_int = 1;
const IPCTNL_MSG_CT_NEW: c_int = 0;
pub(super) const CTA_TUPLE_ORIG: u16 = 1;
pub(super) const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_TIMESTAMP: u16 = 20;
pub(super) const CTA_TUPLE_IP: u16 = 1;
pub(super) const CTA_TUPLE_PROTO: u16 = 2;
const CTA_TUPLE_ZONE: u16 = 3;
pub(super) const CTA_IP_V4_SRC: u16 = 1;
pub(super) const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
pub(super) const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_PROTO_ICMP_ID: u16 = 4;
const CTA_PROTO_ICMPV6_ID: u16 = 7;
const CTA_TIMESTAMP_START: u16 = 1;
/// Bits of the status, linux/netfilter/nf_conntrack_common.h.
const IPS_SEEN_REPLY: u32 = 1 << 1;
const IPS_SRC_NAT_DONE: u32 = 1 << 7;
/// `NLA_F_NESTED`, linux/netlink.h: the attribute consists of attributes.
pub(super) const NESTED: u16 = 1 << 15;

/// The type of a message of ctnetlink, by its `IPCTNL_MSG_CT_*`.
pub(super) const fn of_conntrack(message: c_int) -> c_int {
    NFNL_SUBSYS_CTNETLINK << 8 | message
}

/// Where packets of one direction come from and go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// Their source.
    pub source: IpAddr,
    /// Their destination, of the same family.
    pub destination: IpAddr,
    /// The source port; of ICMP, the identifier.
    pub source_port: Option<u16>,
    /// The destination port.
    pub destination_port: Option<u16>,
}

/// A connection, as the kernel tracks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// By its number of IANA's.
    pub protocol: u8,
    /// What the connection's first packet said, before any translation.
    pub original: Tuple,
    /// What answers say, before they are translated back: their destination is the source that the other end sees, and
    /// their source is where the connection goes.
    pub reply: Tuple,
    /// The zone of the original direction, by which tables of connections are kept apart; 0 is the default.
    pub zone: u16,
    /// `IPS_*`, linux/netfilter/nf_conntrack_common.h.
    pub status: u32,
    /// When it began; `None`: `net.netfilter.nf_conntrack_timestamp` was off then.
    pub started: Option<SystemTime>,
    /// The attributes by which the kernel finds it, and no other, again.
    identity: Vec<u8>,
}

impl Entry {
    /// The other end has answered.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.status & IPS_SEEN_REPLY != 0
    }

    /// It has come to where source NAT is done, whether it was translated there or not.
    #[must_use]
    pub fn has_met_source_nat(&self) -> bool {
        self.status & IPS_SRC_NAT_DONE != 0
    }

    pub(super) fn identity(&self) -> &[u8] {
        &self.identity
    }
}

/// The entry that a message of ctnetlink tells of, new or not; `None`: it tells of none that can be read.
#[must_use]
pub fn entry_of(message: &[u8]) -> Option<Entry> {
    if type_of(message) != Some(of_conntrack(IPCTNL_MSG_CT_NEW)) {
        return None;
    }
    let (mut original, mut reply, mut zone, mut status) = (None, None, 0, 0);
    let (mut started, mut identity) = (None, Vec::with_capacity(96));
    for (kind, value) in attributes_of(message) {
        match kind {
            CTA_TUPLE_ORIG => {
                append_attribute(&mut identity, NESTED | CTA_TUPLE_ORIG, value);
                original = Some(value);
                zone = value_in(value, CTA_TUPLE_ZONE)
                    .and_then(short)
                    .unwrap_or(zone);
            }
            CTA_TUPLE_REPLY => reply = Some(value),
            CTA_STATUS => status = big_endian(value)?,
            CTA_ZONE => {
                append_attribute(&mut identity, CTA_ZONE, value);
                zone = short(value)?;
            }
            CTA_ID => append_attribute(&mut identity, CTA_ID, value),
            CTA_TIMESTAMP => started = value_in(value, CTA_TIMESTAMP_START).and_then(time),
            _ => {}
        }
    }
    let (protocol, original) = tuple(original?)?;
    let (_, reply) = tuple(reply?)?;
    // Where tables of both families were translated into one another, nothing could be said; no kernel does.
    (original.source.is_ipv4() == reply.source.is_ipv4()).then_some(Entry {
        protocol,
        original,
        reply,
        zone,
        status,
        started,
        identity,
    })
}

/// A tuple with its protocol.
fn tuple(attributes: &[u8]) -> Option<(u8, Tuple)> {
    let addresses = value_in(attributes, CTA_TUPLE_IP)?;
    let (source, destination) = match value_in(addresses, CTA_IP_V4_SRC) {
        Some(source) => (ipv4(source)?, ipv4(value_in(addresses, CTA_IP_V4_DST)?)?),
        None => (
            ipv6(value_in(addresses, CTA_IP_V6_SRC)?)?,
            ipv6(value_in(addresses, CTA_IP_V6_DST)?)?,
        ),
    };
    let of_protocol = value_in(attributes, CTA_TUPLE_PROTO)?;
    let protocol = *value_in(of_protocol, CTA_PROTO_NUM)?.first()?;
    let port = |kind| value_in(of_protocol, kind).and_then(short);
    let identifier = || port(CTA_PROTO_ICMP_ID).or_else(|| port(CTA_PROTO_ICMPV6_ID));
    let tuple = Tuple {
        source,
        destination,
        source_port: port(CTA_PROTO_SRC_PORT).or_else(identifier),
        destination_port: port(CTA_PROTO_DST_PORT),
    };
    Some((protocol, tuple))
}

fn ipv4(octets: &[u8]) -> Option<IpAddr> {
    Some(<[u8; 4]>::try_from(octets).ok()?.into())
}

fn ipv6(octets: &[u8]) -> Option<IpAddr> {
    Some(<[u8; 16]>::try_from(octets).ok()?.into())
}

fn short(value: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(*value.first_chunk()?))
}

/// Nanoseconds since 1970.
fn time(value: &[u8]) -> Option<SystemTime> {
    let since = Duration::from_nanos(u64::from_be_bytes(*value.first_chunk()?));
    SystemTime::UNIX_EPOCH.checked_add(since)
}
