//! How many connections met the table, as sums that never go backwards.
//!
//! The kernel's counters start at zero again where an element is added anew, or the table. So what is summed up is by
//! how much each has grown since the listing before. What was counted between a listing and the end of an element is
//! lost: nobody has read it.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::observed::{ObservedElement, ObservedTable};
use crate::ruleset::{Ruleset, names};

/// Connections of one family. Only the first packet of one passes a NAT chain, so that packets are connections.
#[derive(Debug, Clone, Default)]
pub struct ConnectionCounts {
    /// Those that were masqueraded.
    pub masquerade: u64,
    /// Those that kept their source address because a configured CIDR contains their destination.
    pub non_masquerade: u64,
    /// The same for each configured CIDR, by the comment of its elements; `None`: not asked for.
    pub by_cidr: Option<HashMap<String, u64>>,
    last_masquerade: u64,
    /// What each element had counted when it was listed last; those that had counted nothing are left out.
    last_of_elements: HashMap<(IpAddr, IpAddr), u64>,
}

impl ConnectionCounts {
    pub(super) fn new(counts_per_cidr: bool) -> Self {
        Self {
            by_cidr: counts_per_cidr.then(HashMap::new),
            ..Self::default()
        }
    }

    /// There is no table, so that the next one's counters start at zero.
    pub(super) fn table_is_missing(&mut self) {
        self.last_masquerade = 0;
        self.last_of_elements.clear();
    }

    /// Adds what `table` has counted since it was noted last. Of its elements only those that `wanted` has are counted
    /// by CIDR: a comment is anyone's to choose.
    pub(super) fn note(&mut self, table: &ObservedTable, wanted: &Ruleset) {
        let named = |counter: &&super::observed::ObservedCounter| {
            counter.name == names::MASQUERADED_COUNTER
        };
        let masqueraded = table.counters.iter().find(named);
        let seen = masqueraded.map_or(0, |counter| counter.packets);
        self.masquerade += growth(self.last_masquerade, seen);
        self.last_masquerade = seen;
        self.keep_cidrs_of(wanted);
        let exempt = table.sets.iter().find(|set| set.name == names::EXEMPT_SET);
        let elements = exempt.map_or(&[][..], |set| &set.elements);
        let last = std::mem::take(&mut self.last_of_elements);
        for element in elements {
            self.note_element(element, &last);
        }
    }

    fn note_element(&mut self, element: &ObservedElement, last: &HashMap<(IpAddr, IpAddr), u64>) {
        let Some(seen @ 1..) = element.connections else {
            return;
        };
        let interval = (element.first, element.last);
        let grown = growth(last.get(&interval).copied().unwrap_or(0), seen);
        self.last_of_elements.insert(interval, seen);
        self.non_masquerade += grown;
        if let (Some(by_cidr), Some(comment)) = (&mut self.by_cidr, &element.comment)
            && let Some(sum) = by_cidr.get_mut(comment)
        {
            *sum += grown;
        }
    }

    fn keep_cidrs_of(&mut self, wanted: &Ruleset) {
        let Some(by_cidr) = &mut self.by_cidr else {
            return;
        };
        let sets = wanted.sets.iter();
        let cidrs: HashSet<&str> = sets
            .filter(|set| set.name == names::EXEMPT_SET)
            .flat_map(|set| &set.elements)
            .map(|element| element.comment.as_str())
            .collect();
        by_cidr.retain(|cidr, _| cidrs.contains(cidr.as_str()));
        for cidr in cidrs {
            if !by_cidr.contains_key(cidr) {
                by_cidr.insert(cidr.to_owned(), 0);
            }
        }
    }
}

/// A counter that shows less than before has started at zero meanwhile.
fn growth(last: u64, seen: u64) -> u64 {
    seen.checked_sub(last).unwrap_or(seen)
}

#[cfg(test)]
mod tests {
    use ipnet::Ipv4Net;

    use super::*;
    use crate::config::Config;
    use crate::kernel::observed;
    use crate::policy::Policy;
    use crate::ruleset::{ChosenNames, Tables};

    fn wanted(cidrs: &[&str]) -> Ruleset {
        let config = Config {
            non_masquerade_cidrs: cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect(),
            ..Config::default()
        };
        let names = ChosenNames {
            table: "t".to_owned(),
            masq_chain: "m".to_owned(),
        };
        Tables::new(&Policy::new(&config), &names).ip
    }

    /// A table whose counter shows `masqueraded`, with elements as prefix length of 10.0.0.0, comment and count.
    fn table(masqueraded: u64, elements: &[(u8, &str, u64)]) -> ObservedTable {
        let elements = elements.iter().map(|(length, comment, packets)| {
            let cidr: Ipv4Net = format!("10.0.0.0/{length}").parse().unwrap();
            ObservedElement {
                first: cidr.network().into(),
                last: cidr.broadcast().into(),
                comment: Some((*comment).to_owned()),
                connections: Some(*packets),
            }
        });
        let listing = serde_json::json!({"nftables": [
            {"counter": {"name": "masqueraded", "packets": masqueraded}},
            {"set": {"name": "non-masquerade-cidrs"}},
        ]});
        let mut table = observed::read(&listing.to_string()).unwrap();
        table.sets[0].elements = elements.collect();
        table
    }

    fn sums(counts: &ConnectionCounts) -> (u64, u64) {
        (counts.masquerade, counts.non_masquerade)
    }

    #[test]
    fn sums_grow_by_what_the_kernel_has_counted_since_the_listing_before() {
        let (wanted, mut counts) = (wanted(&["10.0.0.0/8"]), ConnectionCounts::new(false));
        counts.note(&table(5, &[(8, "10.0.0.0/8", 7)]), &wanted);
        assert_eq!(sums(&counts), (5, 7), "what was there at the start counts");
        counts.note(&table(6, &[(8, "10.0.0.0/8", 9)]), &wanted);
        counts.note(&table(6, &[(8, "10.0.0.0/8", 9)]), &wanted);
        assert_eq!(sums(&counts), (6, 9));
    }

    #[test]
    fn no_sum_goes_backwards_when_elements_or_counters_start_at_zero_again() {
        let (wanted, mut counts) = (wanted(&["10.0.0.0/8"]), ConnectionCounts::new(true));
        counts.note(&table(5, &[(8, "10.0.0.0/8", 7)]), &wanted);
        counts.note(&table(0, &[]), &wanted);
        assert_eq!(sums(&counts), (5, 7));
        counts.note(&table(2, &[(8, "10.0.0.0/8", 3)]), &wanted);
        assert_eq!(sums(&counts), (7, 10));
        // Another interval of the same CIDR has a counter of its own.
        counts.note(&table(1, &[(9, "10.0.0.0/8", 4)]), &wanted);
        assert_eq!(sums(&counts), (8, 14));
        assert_eq!(counts.by_cidr.as_ref().unwrap()["10.0.0.0/8"], 14);
    }

    #[test]
    fn after_a_table_that_was_gone_all_that_the_next_one_shows_is_new() {
        let (wanted, mut counts) = (wanted(&["10.0.0.0/8"]), ConnectionCounts::new(false));
        counts.note(&table(5, &[(8, "10.0.0.0/8", 7)]), &wanted);
        counts.table_is_missing();
        counts.note(&table(6, &[(8, "10.0.0.0/8", 8)]), &wanted);
        assert_eq!(sums(&counts), (11, 15));
    }

    #[test]
    fn by_cidr_has_the_configured_ones_and_no_comment_of_others() {
        let mut counts = ConnectionCounts::new(true);
        let elements = [(8, "10.0.0.0/8", 7), (9, "anyone's", 1)];
        counts.note(&table(0, &elements), &wanted(&["10.0.0.0/8"]));
        let mut by_cidr: Vec<_> = counts.by_cidr.clone().unwrap().into_iter().collect();
        by_cidr.sort();
        let expected = [("10.0.0.0/8".to_owned(), 7), ("link-local".to_owned(), 0)];
        assert_eq!(by_cidr, expected);
        assert_eq!(counts.non_masquerade, 8);
        counts.note(&table(0, &elements), &wanted(&["192.0.2.0/24"]));
        assert!(!counts.by_cidr.unwrap().contains_key("10.0.0.0/8"));
    }
}
