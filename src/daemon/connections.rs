//! How many connections met a table, as sums that never go backwards.
//!
//! The kernel's counters start at zero again with each set that takes the place of another, and with the table. So what is
//! summed up is by how much each has grown since the reading before; what a set has counted that is gone, the worker has
//! read before it went.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::IpAddr;

use nix::sys::socket::SockFlag;

use crate::kernel::difference::Difference;
use crate::kernel::netlink::Netlink;
use crate::kernel::observed::{Observed, ObservedElement};
use crate::kernel::pass::TablePass;
use crate::ruleset::{AddressField, Family, Ruleset, Tables};

/// What the kernel's table of a family has counted.
#[derive(Debug)]
pub(super) struct Counters {
    pub(super) family: Family,
    masqueraded: u64,
    dropped_invalid: u64,
    /// The elements of exempt destinations, less those that have counted nothing.
    elements: Vec<ObservedElement>,
}

/// Reads what the kernel's tables have counted, those of `tables` that are there. It takes some 100 ms for 100,000
/// elements, and several times that beside a neighbour that commits all the time.
///
/// # Errors
/// Where the kernel does not answer.
pub(super) fn read(tables: &Tables) -> io::Result<Vec<Counters>> {
    let netlink = Netlink::open(0, SockFlag::empty())?;
    let mut counters = Vec::new();
    for wanted in tables.wanted() {
        let chains = wanted.chains.iter().map(|chain| chain.name.as_str());
        let table = Observed::read(&netlink, wanted.family, &wanted.table, chains)?;
        counters.extend(table.map(|table| Counters::of(wanted.family, &table)));
    }
    Ok(counters)
}

impl Counters {
    fn of(family: Family, table: &Observed) -> Self {
        let exempt = table.set_in_use(AddressField::Destination);
        let elements = exempt.map_or(&[][..], |set| &set.elements).iter();
        let counted = elements.filter(|element| element.connections.is_some_and(|seen| seen > 0));
        Self {
            family,
            masqueraded: table.masqueraded().unwrap_or_default(),
            dropped_invalid: table.dropped_invalid().unwrap_or_default(),
            elements: counted.cloned().collect(),
        }
    }
}

/// Connections of one family. Only the first packet of one passes a NAT chain, so that packets are connections.
#[derive(Debug, Default)]
pub(super) struct ConnectionCounts {
    /// Those that were masqueraded.
    pub(super) masquerade: Sum,
    /// Packets that belong to none, and were dropped.
    pub(super) dropped_invalid: Sum,
    /// Those that kept their source address because a configured CIDR contains their destination.
    pub(super) non_masquerade: u64,
    /// The same for each configured CIDR, and `link-local`; `None`: not asked for.
    pub(super) by_cidr: Option<HashMap<String, u64>>,
    /// What each element had counted when it was read last; those that had counted nothing are left out.
    last_of_elements: HashMap<(IpAddr, IpAddr), u64>,
}

impl ConnectionCounts {
    pub(super) fn new(counts_per_cidr: bool) -> Self {
        Self {
            by_cidr: counts_per_cidr.then(HashMap::new),
            ..Self::default()
        }
    }

    /// This table is wanted from now on; none, where there is `None`. By CIDR only what is configured is counted.
    pub(super) fn keep_cidrs_of(&mut self, wanted: Option<&Ruleset>) {
        let Some(by_cidr) = &mut self.by_cidr else {
            return;
        };
        let exempt = wanted.and_then(|ruleset| ruleset.set(AddressField::Destination));
        let elements = exempt.map_or(&[][..], |set| &set.elements);
        let cidrs: HashSet<String> = elements.iter().map(|element| element.origin()).collect();
        by_cidr.retain(|cidr, _| cidrs.contains(cidr));
        for cidr in cidrs {
            by_cidr.entry(cidr).or_default();
        }
    }

    /// The counters were read.
    pub(super) fn read(&mut self, counters: &Counters) {
        self.masquerade.read(counters.masqueraded);
        self.dropped_invalid.read(counters.dropped_invalid);
        self.add_growth(&counters.elements);
        let elements = counters.elements.iter();
        let counted = elements.filter_map(|element| {
            let connections = element.connections?;
            Some(((element.first, element.last), connections))
        });
        self.last_of_elements = counted.collect();
    }

    /// A pass has ended: it tells what sets have counted that are gone, and where there was no table, the next one's
    /// counters start at zero.
    pub(super) fn passed(&mut self, pass: &TablePass) {
        if !pass.counted.is_empty() {
            self.add_growth(&pass.counted);
            self.last_of_elements.clear();
        }
        if let Ok(report) = &pass.result
            && report.differences.contains(&Difference::TableMissing)
        {
            self.masquerade.last = 0;
            self.dropped_invalid.last = 0;
            self.last_of_elements.clear();
        }
    }

    fn add_growth(&mut self, counted: &[ObservedElement]) {
        for element in counted {
            let before = self.last_of_elements.get(&(element.first, element.last));
            let grown = growth(
                before.copied().unwrap_or_default(),
                element.connections.unwrap_or_default(),
            );
            self.non_masquerade += grown;
            let Some(by_cidr) = &mut self.by_cidr else {
                continue;
            };
            // A comment is anyone's to choose: it need not be a CIDR that is configured.
            if let Some(sum) = by_cidr.get_mut(&element.origin()) {
                *sum += grown;
            }
        }
    }
}

/// What a named counter has counted in all.
#[derive(Debug, Default)]
pub(super) struct Sum {
    pub(super) total: u64,
    /// What it showed when it was read last.
    last: u64,
}

impl Sum {
    fn read(&mut self, seen: u64) {
        self.total += growth(self.last, seen);
        self.last = seen;
    }
}

/// A counter that shows less than before has started at zero meanwhile.
fn growth(last: u64, seen: u64) -> u64 {
    seen.checked_sub(last).unwrap_or(seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::pass::TableReport;

    const EXEMPT: &str = "10.0.0.0/8";

    fn counted(connections: u64) -> ObservedElement {
        ObservedElement {
            first: "10.0.0.0".parse().unwrap(),
            last: "10.255.255.255".parse().unwrap(),
            comment: None,
            connections: Some(connections),
        }
    }

    fn counters(masqueraded: u64, exempt: u64) -> Counters {
        Counters {
            family: Family::Ip,
            masqueraded,
            dropped_invalid: masqueraded,
            elements: vec![counted(exempt)],
        }
    }

    /// After the first reading.
    fn counts(masqueraded: u64, exempt: u64) -> ConnectionCounts {
        let mut counts = ConnectionCounts {
            by_cidr: Some([(EXEMPT.to_owned(), 0)].into()),
            ..ConnectionCounts::default()
        };
        counts.read(&counters(masqueraded, exempt));
        counts
    }

    /// A pass after which a set is gone that has counted this, or the table was there again.
    fn pass(counted: Vec<ObservedElement>, differences: Vec<Difference>) -> TablePass {
        let report = TableReport {
            differences,
            ..TableReport::default()
        };
        TablePass {
            family: Family::Ip,
            result: Ok(report),
            counted,
        }
    }

    #[test]
    fn of_a_set_that_is_gone_what_was_not_read_yet_is_added() {
        let mut counts = counts(0, 7);
        counts.passed(&pass(vec![counted(9)], Vec::new()));
        assert_eq!(counts.non_masquerade, 9);
        assert_eq!(counts.by_cidr.as_ref().unwrap()[EXEMPT], 9);
        // The next set counts from zero.
        counts.passed(&pass(vec![counted(2)], Vec::new()));
        assert_eq!(counts.non_masquerade, 11);
    }

    #[test]
    fn what_anyone_writes_into_a_comment_is_no_cidr() {
        let mut counts = counts(0, 7);
        let foreign = ObservedElement {
            comment: Some("anyone's".to_owned()),
            ..counted(9)
        };
        counts.passed(&pass(vec![foreign], Vec::new()));
        assert_eq!(counts.non_masquerade, 9);
        assert_eq!(counts.by_cidr.unwrap().len(), 1);
    }

    #[test]
    fn no_sum_goes_backwards_when_a_counter_starts_at_zero_again() {
        let mut counts = counts(5, 7);
        counts.read(&counters(6, 9));
        assert_eq!((counts.masquerade.total, counts.non_masquerade), (6, 9));
        counts.read(&counters(1, 3));
        assert_eq!((counts.masquerade.total, counts.non_masquerade), (7, 12));
        // The next table has counted more than the last one, since it is there again.
        counts.passed(&pass(Vec::new(), vec![Difference::TableMissing]));
        counts.read(&counters(4, 5));
        assert_eq!((counts.masquerade.total, counts.non_masquerade), (11, 17));
        assert_eq!(counts.dropped_invalid.total, 11);
    }
}
