//! What one file says, each value with its place; what it does not say is none.

use std::time::Duration;

use ipnet::IpNet;

use super::port_range::PortRange;
use super::positions::At;

/// A value that stands in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stated<T> {
    pub(super) value: T,
    /// Index in the file's entries.
    pub(super) entry: usize,
}

impl<T> Stated<T> {
    pub(super) fn at(&self) -> At {
        At::value(self.entry)
    }
}

/// A list of CIDRs as one file gives it. What is no list counts as an empty one: the file gave it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct CidrList {
    /// In the order written; none where an item is an error.
    pub(super) items: Vec<Option<IpNet>>,
    /// Index in the file's entries.
    pub(super) entry: usize,
}

impl CidrList {
    pub(super) fn at(&self) -> At {
        At::value(self.entry)
    }

    /// The CIDRs among the items, with their places.
    pub(super) fn cidrs(&self) -> impl Iterator<Item = (At, IpNet)> {
        let items = self.items.iter().enumerate();
        items.filter_map(|(index, item)| item.map(|cidr| (At::item(self.entry, index), cidr)))
    }
}

/// What one file says of each key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Said {
    pub(super) non_masquerade_cidrs: Option<CidrList>,
    pub(super) masquerade_cidrs: Option<CidrList>,
    pub(super) source_cidrs: Option<CidrList>,
    pub(super) masq_node_traffic: Option<Stated<bool>>,
    pub(super) masq_link_local: Option<Stated<bool>>,
    pub(super) masq_link_local_ipv6: Option<Stated<bool>>,
    pub(super) enable_ipv6: Option<Stated<bool>>,
    /// `enableIPv6` has a value that is an error, so that what it means is not known.
    pub(super) enable_ipv6_is_bad: bool,
    pub(super) random_fully: Option<Stated<bool>>,
    pub(super) enforce: Option<Stated<bool>>,
    pub(super) to_ports: Option<Stated<Vec<PortRange>>>,
    pub(super) cidr_limit: Option<Stated<u64>>,
    pub(super) resync_interval: Option<Stated<Duration>>,
}
