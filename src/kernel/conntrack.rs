//! The connections that the kernel tracks in this network namespace, by ctnetlink: read one at a time, so that a table of
//! any size takes no memory; deleted, so that a connection meets the rules anew; and heard of as they begin.
//!
//! By hand, on the socket that nf_tables is read with. netlink-packet-netfilter (0.4) reads neither the zone, the id nor the
//! time of an entry, and writes no filter: what it would save is less than its five crates.

mod entry;

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nix::errno::Errno;
use nix::libc::{self, c_int};
use nix::sys::socket::{SockFlag, setsockopt, sockopt};

use super::netlink::{Netlink, attribute};
use crate::ruleset::Family;
use entry::{
    CTA_IP_V4_SRC, CTA_PROTO_NUM, CTA_TUPLE_IP, CTA_TUPLE_ORIG, CTA_TUPLE_PROTO, CTA_TUPLE_REPLY,
    NESTED, of_conntrack,
};
pub use entry::{Entry, Tuple, entry_of};

/// linux/netfilter/nfnetlink_conntrack.h, of which libc has none.
const IPCTNL_MSG_CT_GET: c_int = 1;
const IPCTNL_MSG_CT_DELETE: c_int = 2;
const IPCTNL_MSG_CT_GET_STATS: c_int = 5;
const CTA_FILTER: u16 = 25;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
const CTA_FILTER_REPLY_FLAGS: u16 = 2;
/// Which parts of a tuple a filter is about: `CTA_FILTER_F_*`, net/netfilter/nf_internals.h.
const FILTER_BY_SOURCE: u32 = 1 << 0;
const FILTER_BY_PROTOCOL: u32 = 1 << 3;
/// As a bit of `nl_groups`, netlink(7).
const NEW_GROUP: u32 = 1 << (libc::NFNLGRP_CONNTRACK_NEW - 1);
/// One notification has some 300 bytes; with labels and a security context, not 1 KiB.
const NOTIFICATION_BYTES: usize = 8 * 1024;
/// What a fifth of a second brings at 20,000 connections a second: each takes 1 KiB of it.
const EVENT_BUFFER_BYTES: usize = 4 << 20;

/// Which entries are wanted; `None`: any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// By its number of IANA's.
    pub protocol: Option<u8>,
    /// Where the connection comes from, before any translation.
    pub from: Option<IpNet>,
    /// Where it goes, after any translation.
    pub to: Option<IpNet>,
}

/// A socket for requests. What is asked for while a dump is read needs another one.
pub struct Conntrack {
    netlink: Netlink,
}

/// New connections, as they begin.
pub struct Events {
    netlink: Netlink,
}

impl Filter {
    /// All of one family.
    #[must_use]
    pub fn of(family: Family) -> Self {
        let any = match family {
            Family::Ip => IpNet::V4(Ipv4Net::default()),
            Family::Ip6 => IpNet::V6(Ipv6Net::default()),
        };
        Self {
            from: Some(any),
            ..Self::default()
        }
    }

    /// Whether it asks for the entry.
    #[must_use]
    pub fn admits(&self, entry: &Entry) -> bool {
        let contains = |net: Option<IpNet>, address| net.is_none_or(|net| net.contains(&address));
        self.protocol.is_none_or(|wanted| wanted == entry.protocol)
            && contains(self.from, entry.original.source)
            && contains(self.to, entry.reply.source)
    }

    /// It names an address of the other family; to the kernel that is an error.
    fn asks_for_none_of(&self, family: Family) -> bool {
        let mut named = [self.from, self.to].into_iter().flatten();
        named.any(|net| Family::of(net.addr()) != family)
    }

    /// What of it the kernel understands, from 5.8 on; older ones skip what they do not know, and tell of more. Of single
    /// addresses those of IPv4 alone: an address of IPv6 gets all entries but those that have it, up to 6.18 at least
    /// (`!ipv6_addr_cmp` in ctnetlink_filter_match_tuple, net/netfilter/nf_conntrack_netlink.c).
    fn attributes(&self) -> Vec<u8> {
        let single = |net: Option<IpNet>| match net {
            Some(IpNet::V4(net)) if net.prefix_len() == net.max_prefix_len() => Some(net.addr()),
            _ => None,
        };
        let original = TupleFilter::new(single(self.from), self.protocol);
        let reply = TupleFilter::new(single(self.to), None);
        if original.flags | reply.flags == 0 {
            return Vec::new();
        }
        let flags = [
            attribute(CTA_FILTER_ORIG_FLAGS, &original.flags.to_ne_bytes()),
            attribute(CTA_FILTER_REPLY_FLAGS, &reply.flags.to_ne_bytes()),
        ];
        [
            attribute(NESTED | CTA_TUPLE_ORIG, &original.attributes),
            attribute(NESTED | CTA_TUPLE_REPLY, &reply.attributes),
            attribute(NESTED | CTA_FILTER, &flags.concat()),
        ]
        .concat()
    }
}

/// What must stand in a tuple, and which parts of it are meant.
struct TupleFilter {
    flags: u32,
    attributes: Vec<u8>,
}

impl TupleFilter {
    fn new(source: Option<Ipv4Addr>, protocol: Option<u8>) -> Self {
        let (mut flags, mut attributes) = (0, Vec::new());
        if let Some(source) = source {
            flags |= FILTER_BY_SOURCE;
            let source = attribute(CTA_IP_V4_SRC, &source.octets());
            attributes.extend(attribute(NESTED | CTA_TUPLE_IP, &source));
        }
        if let Some(protocol) = protocol {
            flags |= FILTER_BY_PROTOCOL;
            let number = attribute(CTA_PROTO_NUM, &[protocol]);
            attributes.extend(attribute(NESTED | CTA_TUPLE_PROTO, &number));
        }
        Self { flags, attributes }
    }
}

impl Conntrack {
    /// Opens a socket.
    ///
    /// # Errors
    /// Where there is none to be had.
    pub fn open() -> io::Result<Self> {
        let netlink = Netlink::open(0, SockFlag::empty())?;
        Ok(Self { netlink })
    }

    /// Has each entry of the family read that `filter` asks for. Of those that come and go meanwhile some are told of, and
    /// where the table grows meanwhile some may be told of twice.
    ///
    /// # Errors
    /// Where the kernel refuses: CAP_NET_ADMIN is missing (EPERM). `Unsupported`: it has no ctnetlink.
    pub fn dump(
        &self,
        family: Family,
        filter: &Filter,
        mut read: impl FnMut(Entry),
    ) -> io::Result<()> {
        if filter.asks_for_none_of(family) {
            return Ok(());
        }
        let kind = of_conntrack(IPCTNL_MSG_CT_GET);
        let attributes = filter.attributes();
        let mut unread = 0_u64;
        let read = |message: &[u8]| match entry_of(message) {
            Some(entry) if filter.admits(&entry) => read(entry),
            Some(_) => {}
            None => unread += 1,
        };
        let netlink = &self.netlink;
        let answered = netlink.ask_subsystem(kind, libc::NLM_F_DUMP, family, &attributes, read);
        answered.map_err(unsupported)?;
        match unread {
            0 => Ok(()),
            more => Err(io::Error::other(format!(
                "{more} entries of the conntrack table cannot be read"
            ))),
        }
    }

    /// Fails where the kernel has no ctnetlink: asks it for something small.
    fn require(&self) -> io::Result<()> {
        let kind = of_conntrack(IPCTNL_MSG_CT_GET_STATS);
        let netlink = &self.netlink;
        // The answer says that more follows it, which only an acknowledgement does (ctnetlink_stat_ct_fill_info).
        let answered = netlink.ask_subsystem(kind, libc::NLM_F_ACK, Family::Ip, &[], |_| {});
        answered.map_err(unsupported)
    }

    /// Deletes the entry: the connection's next packet meets the rules anew. One that has taken its place since is deleted in
    /// its stead where it lies at the same place in memory, of which the kernel makes the id. False: it has gone already.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn delete(&self, entry: &Entry) -> io::Result<bool> {
        let kind = of_conntrack(IPCTNL_MSG_CT_DELETE);
        let family = Family::of(entry.original.source);
        // Without a tuple the kernel would delete all entries: no entry is without one.
        let identity = entry.identity();
        let netlink = &self.netlink;
        match netlink.ask_subsystem(kind, libc::NLM_F_ACK, family, identity, |_| {}) {
            Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => Ok(false),
            result => result.map(|()| true),
        }
    }
}

/// Deletes the entries that `filter` asks for, of those the ones that are `to_end`, and tells how many.
///
/// # Errors
/// Where the kernel refuses, or has no ctnetlink. What could be deleted is.
pub fn end(filter: &Filter, mut to_end: impl FnMut(&Entry) -> bool) -> io::Result<u64> {
    let (reader, deleter) = (Conntrack::open()?, Conntrack::open()?);
    let (mut ended, mut refusal) = (0, None);
    for family in Family::ALL {
        let dumped = reader.dump(family, filter, |entry| {
            if to_end(&entry) {
                match deleter.delete(&entry) {
                    Ok(is_ended) => ended += u64::from(is_ended),
                    Err(error) => refusal = Some(error),
                }
            }
        });
        refusal = dumped.err().or(refusal);
    }
    refusal.map_or(Ok(ended), Err)
}

impl Events {
    /// Subscribes to the connections that begin from now on.
    ///
    /// # Errors
    /// Where CAP_NET_ADMIN is missing, or a socket is. `Unsupported`: the kernel has no ctnetlink.
    pub fn subscribe(flags: SockFlag) -> io::Result<Self> {
        // A kernel without ctnetlink lets everybody listen, and never tells of anything (nfnetlink_bind).
        Conntrack::open()?.require()?;
        let netlink = Netlink::open(NEW_GROUP, flags)?;
        // Only the initial user namespace may go beyond net.core.rmem_max.
        if setsockopt(&netlink, sockopt::RcvBufForce, &EVENT_BUFFER_BYTES).is_err() {
            setsockopt(&netlink, sockopt::RcvBuf, &EVENT_BUFFER_BYTES)?;
        }
        Ok(Self { netlink })
    }

    /// The next connection; `None`: one or several were lost (see [`Self::lost`]).
    ///
    /// # Errors
    /// `WouldBlock` where there is none and the socket does not block; `Interrupted` by a signal.
    pub fn next(&self) -> io::Result<Option<Entry>> {
        let mut buffer = [0; NOTIFICATION_BYTES];
        match self.netlink.receive(&mut buffer) {
            Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => Ok(None),
            received => Ok(entry_of(received?)),
        }
    }

    /// How many messages the kernel has dropped so far, because nobody read them in time: `SK_MEMINFO_DROPS`, which netlink
    /// counts one by one (netlink_overrun in net/netlink/af_netlink.c).
    ///
    /// # Errors
    /// Where the kernel does not tell.
    pub fn lost(&self) -> io::Result<u32> {
        // linux/sock_diag.h: nine numbers of 32 bits, of which the last are the drops.
        const SO_MEMINFO: c_int = 55;
        let mut numbers = [0_u32; 9];
        let mut length =
            libc::socklen_t::try_from(size_of_val(&numbers)).map_err(io::Error::other)?;
        // SAFETY: the descriptor is open as long as `self` lives, and the kernel writes at most `length` bytes, which the
        // array has, and any bytes are numbers.
        let result = unsafe {
            libc::getsockopt(
                self.netlink.as_raw_fd(),
                libc::SOL_SOCKET,
                SO_MEMINFO,
                numbers.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        Errno::result(result)?;
        let [.., drops] = numbers;
        Ok(drops)
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.netlink.as_fd()
    }
}

/// Nothing in a request is invalid: EINVAL says that no subsystem of this number is there (nfnetlink_rcv_msg in
/// net/netfilter/nfnetlink.c).
fn unsupported(error: io::Error) -> io::Error {
    const NO_CTNETLINK: &str = "this kernel lacks ctnetlink (CONFIG_NF_CT_NETLINK): load nf_conntrack_netlink, or run one that has it";
    match error.raw_os_error() == Some(Errno::EINVAL as i32) {
        true => io::Error::new(io::ErrorKind::Unsupported, NO_CTNETLINK),
        false => error,
    }
}

#[cfg(test)]
mod tests;
