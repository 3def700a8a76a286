//! The elements of a set of addresses, as nf_tables has them: of an interval, one where it begins and one, flagged so,
//! behind its end.
//!
//! Not by libnftables' listing: for 10,000 elements it makes 1.3 MB of JSON in 120 ms, of which the daemon needs what the
//! kernel tells in 10.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::message::{attributes_in, attributes_of, big_endian, packets_of, text, value_in};
use crate::kernel::observed::ObservedElement;
use crate::ruleset::Family;

/// Attributes and flags of linux/netfilter/nf_tables.h.
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_FLAGS: u16 = 3;
const NFTA_SET_ELEM_USERDATA: u16 = 6;
const NFTA_SET_ELEM_EXPR: u16 = 7;
const NFTA_SET_ELEM_PAD: u16 = 8;
const NFT_SET_ELEM_INTERVAL_END: u32 = 1;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
/// `NFTNL_UDATA_SET_ELEM_COMMENT`, libnftnl/udata.h.
const COMMENT: u8 = 0;

/// The elements of a set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Elements {
    /// In order, and disjoint.
    pub readable: Vec<ObservedElement>,
    /// How many are no interval of addresses, expire, or carry something else than a counter.
    pub strange: usize,
}

/// Where intervals begin and end.
pub(super) struct Bounds {
    family: Family,
    starts: Vec<Start>,
    /// The addresses behind the intervals.
    ends: Vec<u128>,
    strange: usize,
}

/// Where an interval begins, and what the kernel keeps there.
struct Start {
    address: u128,
    comment: Option<String>,
    connections: Option<u64>,
}

impl Bounds {
    pub(super) fn new(family: Family) -> Self {
        Self {
            family,
            starts: Vec::new(),
            ends: Vec::new(),
            strange: 0,
        }
    }

    /// Reads a message of the dump: `NFT_MSG_NEWSETELEM`.
    pub(super) fn read(&mut self, message: &[u8]) {
        let lists = attributes_of(message).filter(|(kind, _)| *kind == NFTA_SET_ELEM_LIST_ELEMENTS);
        for (_, element) in lists.flat_map(|(_, list)| attributes_in(list)) {
            self.read_element(element);
        }
    }

    fn read_element(&mut self, element: &[u8]) {
        let (mut address, mut flags, mut is_strange) = (None, 0, false);
        let (mut comment, mut connections) = (None, None);
        for (kind, value) in attributes_in(element) {
            match kind {
                NFTA_SET_ELEM_KEY => address = self.address_in(value),
                NFTA_SET_ELEM_FLAGS => flags = big_endian(value).unwrap_or_default(),
                NFTA_SET_ELEM_USERDATA => comment = comment_in(value),
                NFTA_SET_ELEM_EXPR => {
                    connections = packets_in(value);
                    is_strange |= connections.is_none();
                }
                NFTA_SET_ELEM_PAD => {}
                // It expires, is of a map, ranges over several fields, does more than to count.
                _ => is_strange = true,
            }
        }
        match (address, flags) {
            // What has no address has begun as a strange element.
            (address, NFT_SET_ELEM_INTERVAL_END) => self.ends.extend(address),
            (Some(address), 0) if !is_strange => self.starts.push(Start {
                address,
                comment,
                connections,
            }),
            _ => self.strange += 1,
        }
    }

    /// An address of this family, `NFTA_SET_ELEM_KEY`.
    fn address_in(&self, key: &[u8]) -> Option<u128> {
        let value = value_in(key, NFTA_DATA_VALUE)?;
        match self.family {
            Family::Ip => Some(u128::from(u32::from_be_bytes(value.try_into().ok()?))),
            Family::Ip6 => Some(u128::from_be_bytes(value.try_into().ok()?)),
        }
    }

    /// The elements that begin and end there: before the next end or the next start, or with the last address, which
    /// nothing is behind (`interval_map_decompose`, src/segtree.c of nftables).
    pub(super) fn elements(mut self, has_intervals: bool) -> Elements {
        self.starts.sort_by_key(|start| start.address);
        self.starts.dedup_by_key(|start| start.address);
        self.ends.sort_unstable();
        let family = self.family;
        let mut ends = self.ends.into_iter().peekable();
        let mut starts = self.starts.into_iter().peekable();
        let mut readable = Vec::with_capacity(starts.len());
        while let Some(start) = starts.next() {
            while ends.next_if(|end| *end <= start.address).is_some() {}
            let behind = [starts.peek().map(|next| next.address), ends.peek().copied()];
            let last = match behind.into_iter().flatten().min() {
                _ if !has_intervals => start.address,
                Some(behind) => behind - 1,
                None => u128::MAX,
            };
            readable.push(ObservedElement {
                first: address(family, start.address),
                last: address(family, last),
                comment: start.comment,
                connections: start.connections,
            });
        }
        Elements {
            readable,
            strange: self.strange,
        }
    }
}

/// The address of this number, or the family's last one.
fn address(family: Family, number: u128) -> IpAddr {
    match family {
        Family::Ip => Ipv4Addr::from_bits(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        Family::Ip6 => Ipv6Addr::from_bits(number).into(),
    }
}

/// The comment in `NFTA_SET_ELEM_USERDATA`: type, length and value of each datum (libnftnl's udata.c).
fn comment_in(userdata: &[u8]) -> Option<String> {
    let mut rest = userdata;
    while let &[kind, length, ref after @ ..] = rest {
        let (value, after) = after.split_at_checked(usize::from(length))?;
        if kind == COMMENT {
            return Some(text(value));
        }
        rest = after;
    }
    None
}

/// What a counter has counted, `NFTA_SET_ELEM_EXPR`; `None`: it is another statement.
fn packets_in(statement: &[u8]) -> Option<u64> {
    let is_counter = value_in(statement, NFTA_EXPR_NAME)? == b"counter\0";
    packets_of(value_in(statement, NFTA_EXPR_DATA)?).filter(|_| is_counter)
}

#[cfg(test)]
mod tests;
