//! How many connections met the table, as sums that never go backwards.
//!
//! The kernel's counters start at zero again with each set that takes the place of another, and with the table. So what is
//! summed up is by how much each has grown since the reading before; what a set has counted that is gone, the worker has
//! read before it went.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::IpAddr;

use nix::sys::socket::SockFlag;

use crate::kernel::netlink::Netlink;
use crate::kernel::observed::Observed;
use crate::kernel::pass::Counted;
use crate::ruleset::{AddressField, Addresses, Family, Ruleset, Tables};

/// Connections of both families, and the socket on which they are read.
pub(super) struct Connections {
    netlink: Option<Netlink>,
    families: HashMap<Family, ConnectionCounts>,
    counts_per_cidr: bool,
}

impl Connections {
    pub(super) fn new(counts_per_cidr: bool) -> Self {
        Self {
            netlink: None,
            families: HashMap::new(),
            counts_per_cidr,
        }
    }

    /// Reads what the tables have counted.
    ///
    /// # Errors
    /// Where the kernel does not answer.
    pub(super) fn read(&mut self, tables: &Tables) -> io::Result<()> {
        for ruleset in tables.wanted() {
            // A socket whose request has failed is not used again: its answer might still come.
            let netlink = match self.netlink.take() {
                Some(netlink) => netlink,
                None => Netlink::open(0, SockFlag::empty())?,
            };
            let chains = ruleset.chains.iter().map(|chain| chain.name.as_str());
            let table = Observed::read(&netlink, ruleset.family, &ruleset.table, chains)?;
            self.netlink = Some(netlink);
            let counts = self.counts(ruleset.family);
            counts.keep_cidrs_of(ruleset);
            if let Some(table) = table {
                counts.note(&table);
            }
        }
        Ok(())
    }

    /// There was no table, so that the next one's counters start at zero.
    pub(super) fn table_was_missing(&mut self, family: Family) {
        let counts = self.counts(family);
        counts.last_masquerade = 0;
        counts.last_of_elements.clear();
    }

    /// What sets have counted that are gone.
    pub(super) fn note_gone(&mut self, family: Family, counted: &[Counted]) {
        self.counts(family).note_gone(counted);
    }

    fn counts(&mut self, family: Family) -> &mut ConnectionCounts {
        let by_cidr = self.counts_per_cidr.then(HashMap::new);
        let new = || ConnectionCounts {
            by_cidr,
            ..ConnectionCounts::default()
        };
        self.families.entry(family).or_insert_with(new)
    }

    /// What is known of each family.
    pub(super) fn of_families(&self) -> impl Iterator<Item = (Family, &ConnectionCounts)> {
        self.families
            .iter()
            .map(|(family, counts)| (*family, counts))
    }
}

/// Connections of one family. Only the first packet of one passes a NAT chain, so that packets are connections.
#[derive(Debug, Clone, Default)]
pub(super) struct ConnectionCounts {
    /// Those that were masqueraded.
    pub(super) masquerade: u64,
    /// Those that kept their source address because a configured CIDR contains their destination.
    pub(super) non_masquerade: u64,
    /// The same for each configured CIDR, and `link-local`; `None`: not asked for.
    pub(super) by_cidr: Option<HashMap<String, u64>>,
    last_masquerade: u64,
    /// What each element had counted when it was read last; those that had counted nothing are left out.
    last_of_elements: HashMap<(IpAddr, IpAddr), u64>,
}

impl ConnectionCounts {
    /// Adds what `table` has counted since it was noted last.
    fn note(&mut self, table: &Observed) {
        let seen = table.masqueraded().unwrap_or_default();
        self.masquerade += growth(self.last_masquerade, seen);
        self.last_masquerade = seen;
        let last = std::mem::take(&mut self.last_of_elements);
        let exempt = table.set_in_use(AddressField::Destination);
        for element in exempt.map_or(&[][..], |set| &set.elements) {
            let Some(seen @ 1..) = element.connections else {
                continue;
            };
            let interval = (element.first, element.last);
            let before = last.get(&interval).copied().unwrap_or_default();
            self.last_of_elements.insert(interval, seen);
            self.add(growth(before, seen), &element.origin());
        }
    }

    fn note_gone(&mut self, counted: &[Counted]) {
        if counted.is_empty() {
            return;
        }
        let last = std::mem::take(&mut self.last_of_elements);
        for element in counted {
            let before = last.get(&(element.first, element.last)).copied();
            let origin = element.comment.clone();
            let origin =
                origin.unwrap_or_else(|| Addresses(element.first, element.last).to_string());
            self.add(
                growth(before.unwrap_or_default(), element.connections),
                &origin,
            );
        }
    }

    /// By CIDR only what is configured: a comment is anyone's to choose.
    fn add(&mut self, grown: u64, origin: &str) {
        self.non_masquerade += grown;
        if let Some(sum) = self.by_cidr.as_mut().and_then(|by| by.get_mut(origin)) {
            *sum += grown;
        }
    }

    fn keep_cidrs_of(&mut self, wanted: &Ruleset) {
        let Some(by_cidr) = &mut self.by_cidr else {
            return;
        };
        let exempt = wanted.set(AddressField::Destination);
        let elements = exempt.map_or(&[][..], |set| &set.elements);
        let cidrs: HashSet<String> = elements.iter().map(|element| element.origin()).collect();
        by_cidr.retain(|cidr, _| cidrs.contains(cidr));
        for cidr in cidrs {
            by_cidr.entry(cidr).or_default();
        }
    }
}

/// A counter that shows less than before has started at zero meanwhile.
fn growth(last: u64, seen: u64) -> u64 {
    seen.checked_sub(last).unwrap_or(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXEMPT: &str = "10.0.0.0/8";

    fn counted(connections: u64) -> Counted {
        Counted {
            first: "10.0.0.0".parse().unwrap(),
            last: "10.255.255.255".parse().unwrap(),
            comment: None,
            connections,
        }
    }

    /// As a reading of a set that has counted so many leaves it.
    fn read(connections: u64) -> ConnectionCounts {
        let mut counts = ConnectionCounts {
            by_cidr: Some([(EXEMPT.to_owned(), 0)].into()),
            ..ConnectionCounts::default()
        };
        counts.add(connections, EXEMPT);
        let element = counted(connections);
        let interval = (element.first, element.last);
        counts.last_of_elements.insert(interval, connections);
        counts
    }

    #[test]
    fn of_a_set_that_is_gone_what_was_not_read_yet_is_added() {
        let mut counts = read(7);
        counts.note_gone(&[counted(9)]);
        assert_eq!(counts.non_masquerade, 9);
        assert_eq!(counts.by_cidr.as_ref().unwrap()[EXEMPT], 9);
        // The next set counts from zero.
        counts.note_gone(&[counted(2)]);
        assert_eq!(counts.non_masquerade, 11);
    }

    #[test]
    fn what_anyone_writes_into_a_comment_is_no_cidr() {
        let mut counts = read(7);
        let comment = Some("anyone's".to_owned());
        counts.note_gone(&[Counted {
            comment,
            ..counted(9)
        }]);
        assert_eq!(counts.non_masquerade, 9);
        assert_eq!(counts.by_cidr.unwrap().len(), 1);
    }

    #[test]
    fn no_sum_goes_backwards_when_a_counter_starts_at_zero_again() {
        assert_eq!(growth(7, 9), 2);
        assert_eq!(growth(7, 3), 3);
    }
}
