//! What became of the node's connections: the entries of conntrack, each judged by the policy.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use crate::kernel::conntrack::{self, Conntrack, Entry, Filter};
use crate::kernel::routing;
use crate::policy::Policy;
use crate::policy::judgement::{AddressKind, Connection, Judgement, Node, judge};
use crate::ruleset::Family;

/// The node whose network namespace this is, as its routes are when it is read.
#[derive(Debug, Default)]
pub struct ThisNode {
    /// Routes to single addresses: with IPVS there are thousands.
    addresses: HashMap<IpAddr, AddressKind>,
    networks: Vec<(IpNet, AddressKind)>,
    /// What was asked for, by source and destination.
    interfaces: RefCell<HashMap<(IpAddr, IpAddr), Option<String>>>,
}

impl ThisNode {
    /// Reads its local routes.
    ///
    /// # Errors
    /// Where the kernel does not answer.
    pub fn read() -> io::Result<Self> {
        let mut node = Self::default();
        for family in Family::ALL {
            for (destination, is_local) in routing::local_table(family)? {
                let kind = match is_local {
                    true => AddressKind::Local,
                    false => AddressKind::Shared,
                };
                if destination.prefix_len() == destination.max_prefix_len() {
                    node.addresses.insert(destination.addr(), kind);
                } else {
                    node.networks.push((destination, kind));
                }
            }
        }
        // The longest first, as the kernel has it.
        let length = |(network, _): &(IpNet, _)| std::cmp::Reverse(network.prefix_len());
        node.networks.sort_by_key(length);
        Ok(node)
    }
}

impl Node for ThisNode {
    fn kind_of(&self, address: IpAddr) -> AddressKind {
        if address.is_multicast() || address == Ipv4Addr::BROADCAST {
            return AddressKind::Shared;
        }
        let kind = self.addresses.get(&address).copied();
        let kind = kind.or_else(|| {
            let mut networks = self.networks.iter();
            let (_, kind) = networks.find(|(network, _)| network.contains(&address))?;
            Some(*kind)
        });
        kind.unwrap_or(AddressKind::Other)
    }

    fn interface_to(&self, source: IpAddr, destination: IpAddr) -> Option<String> {
        let mut interfaces = self.interfaces.borrow_mut();
        let asked = || Some(routing::route_from(source, destination).ok()??.interface);
        let interface = interfaces.entry((source, destination));
        interface.or_insert_with(asked).clone()
    }
}

/// Judges what became of a connection.
pub fn judged(policy: &Policy, entry: &Entry, node: &impl Node) -> Judgement {
    let Entry {
        original, reply, ..
    } = entry;
    // ICMP has no destination port, and its answers none that says anything.
    let is_other_port =
        original.destination_port.is_some() && original.destination_port != reply.source_port;
    let connection = Connection {
        source: original.source,
        destination: reply.source,
        is_translated: original.destination != reply.source || is_other_port,
        is_beside: entry.zone != 0 && !entry.has_met_source_nat(),
        seen_source: reply.destination,
    };
    judge(policy, connection, node)
}

/// Ends the connections of the family that the change to the policy `now` has turned, from any of those `before`, for as long
/// as it `goes_on`. Tells how many.
///
/// # Errors
/// Where the kernel refuses, or has no ctnetlink.
pub fn follow<'a>(
    family: Family,
    before: impl Iterator<Item = &'a Policy> + Clone,
    now: &Policy,
    goes_on: impl Fn() -> bool,
) -> io::Result<u64> {
    let node = ThisNode::read()?;
    conntrack::end(&Filter::of(family), |entry| {
        let now = judged(now, entry, &node);
        let is_turned = |before| now.is_turned_from(&judged(before, entry, &node));
        goes_on() && before.clone().any(is_turned)
    })
}

/// Has each connection read that `filter` asks for, with what is found of it.
///
/// # Errors
/// Where the kernel refuses, or has no ctnetlink.
pub fn judge_all(
    policy: &Policy,
    filter: &Filter,
    mut read: impl FnMut(Entry, Judgement),
) -> io::Result<()> {
    let (node, conntrack) = (ThisNode::read()?, Conntrack::open()?);
    for family in Family::ALL {
        conntrack.dump(family, filter, |entry| {
            let judgement = judged(policy, &entry, &node);
            read(entry, judgement);
        })?;
    }
    Ok(())
}
