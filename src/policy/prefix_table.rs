//! Prefixes to disjoint intervals: the longest prefix that contains an address decides.
//!
//! An interval set of nftables holds no overlapping elements (libnftables refuses them with
//! "conflicting intervals specified"; `auto-merge` would lose which prefix an interval came from,
//! and libnftables 1.0.6 ignores it in JSON). So nested prefixes are resolved here, once, and the
//! kernel does one lookup.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Why a prefix is exempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// It stands in `nonMasqueradeCIDRs`, or in the default list.
    Listed,
    /// The link-local default, RFC 3927 or RFC 4291.
    LinkLocal,
}

/// One exempt prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Host bits zero.
    pub prefix: IpNet,
    /// Where it comes from.
    pub origin: Origin,
}

/// Consecutive addresses for which the same prefix decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ExemptInterval {
    /// The first address in it.
    pub first: IpAddr,
    /// The last address in it, of the same family.
    pub last: IpAddr,
    /// The configured prefix that decides.
    pub prefix: IpNet,
    /// Where that prefix comes from.
    pub origin: Origin,
}

impl ExemptInterval {
    /// What an operator reads beside the element: the configured CIDR, or `link-local`.
    #[must_use]
    pub fn comment(&self) -> String {
        match self.origin {
            Origin::Listed => self.prefix.to_string(),
            Origin::LinkLocal => "link-local".to_owned(),
        }
    }
}

/// Resolves `entries`, all of one family, nested and repeated as they may be, into disjoint
/// intervals in ascending order. Of equal prefixes the last one counts. O(n log n).
#[must_use]
pub fn resolve(entries: impl IntoIterator<Item = Entry>) -> Vec<ExemptInterval> {
    let mut entries: Vec<Entry> = entries.into_iter().collect();
    // By first address, the shorter prefix first: each prefix comes after all that contain it.
    // The sort is stable, so that of equal prefixes the last one is found last.
    entries.sort_by_key(|entry| entry.prefix);
    entries.reverse();
    entries.dedup_by_key(|entry| entry.prefix);
    entries.reverse();
    let mut sweep = Sweep::default();
    for entry in entries {
        sweep.open(entry);
    }
    sweep.finish()
}

/// A walk over the addresses in ascending order.
#[derive(Default)]
struct Sweep {
    intervals: Vec<ExemptInterval>,
    /// The prefixes that contain the current address, the longest last.
    containing: Vec<Entry>,
    /// The first address that no interval has settled; `None` past the last address of all.
    unsettled: Option<u128>,
}

impl Sweep {
    fn open(&mut self, entry: Entry) {
        let first = number(entry.prefix.network());
        while let Some(&longest) = self.containing.last() {
            if number(longest.prefix.broadcast()) >= first {
                if let Some(before) = first.checked_sub(1) {
                    self.settle_up_to(before, longest);
                }
                break;
            }
            self.close(longest);
        }
        self.unsettled = Some(first);
        self.containing.push(entry);
    }

    fn close(&mut self, longest: Entry) {
        self.settle_up_to(number(longest.prefix.broadcast()), longest);
        self.containing.pop();
    }

    fn settle_up_to(&mut self, last: u128, entry: Entry) {
        let Some(first) = self.unsettled.filter(|&first| first <= last) else {
            return;
        };
        self.intervals.push(ExemptInterval {
            first: address(first, entry.prefix),
            last: address(last, entry.prefix),
            prefix: entry.prefix,
            origin: entry.origin,
        });
        self.unsettled = last.checked_add(1);
    }

    fn finish(mut self) -> Vec<ExemptInterval> {
        while let Some(&longest) = self.containing.last() {
            self.close(longest);
        }
        self.intervals
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The address of `family_of`'s family that `number` made a number of.
fn address(number: u128, family_of: IpNet) -> IpAddr {
    match family_of {
        // An IPv4 address never gives a larger number than 32 bits hold.
        IpNet::V4(_) => Ipv4Addr::from_bits(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        IpNet::V6(_) => Ipv6Addr::from_bits(number).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn listed(prefixes: &[&str]) -> Vec<Entry> {
        prefixes
            .iter()
            .map(|prefix| Entry {
                prefix: prefix.parse().unwrap(),
                origin: Origin::Listed,
            })
            .collect()
    }

    fn shown(prefixes: &[&str]) -> Vec<String> {
        resolve(listed(prefixes))
            .iter()
            .map(|i| format!("{}-{} by {}", i.first, i.last, i.prefix))
            .collect()
    }

    #[test]
    fn nothing_resolves_to_nothing() {
        assert!(resolve([]).is_empty());
    }

    #[test]
    fn the_whole_address_space_is_one_interval() {
        assert_eq!(
            shown(&["0.0.0.0/0"]),
            ["0.0.0.0-255.255.255.255 by 0.0.0.0/0"]
        );
        assert_eq!(
            shown(&["::/0"]),
            ["::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff by ::/0"]
        );
    }

    #[test]
    fn a_nested_prefix_splits_the_one_around_it() {
        assert_eq!(
            shown(&["10.1.0.0/16", "10.0.0.0/8"]),
            [
                "10.0.0.0-10.0.255.255 by 10.0.0.0/8",
                "10.1.0.0-10.1.255.255 by 10.1.0.0/16",
                "10.2.0.0-10.255.255.255 by 10.0.0.0/8",
            ]
        );
    }

    #[test]
    fn nested_prefixes_that_share_an_edge_leave_no_empty_interval() {
        assert_eq!(
            shown(&[
                "10.0.0.0/8",
                "10.0.0.0/16",
                "10.255.255.255/32",
                "255.255.255.255/32",
                "255.0.0.0/8"
            ]),
            [
                "10.0.0.0-10.0.255.255 by 10.0.0.0/16",
                "10.1.0.0-10.255.255.254 by 10.0.0.0/8",
                "10.255.255.255-10.255.255.255 by 10.255.255.255/32",
                "255.0.0.0-255.255.255.254 by 255.0.0.0/8",
                "255.255.255.255-255.255.255.255 by 255.255.255.255/32",
            ]
        );
    }

    #[test]
    fn adjacent_prefixes_stay_apart_so_that_each_keeps_its_counter() {
        assert_eq!(
            shown(&["10.128.0.0/9", "10.0.0.0/9"]),
            [
                "10.0.0.0-10.127.255.255 by 10.0.0.0/9",
                "10.128.0.0-10.255.255.255 by 10.128.0.0/9",
            ]
        );
    }

    #[test]
    fn of_equal_prefixes_the_last_one_counts() {
        let prefix = "169.254.0.0/16".parse().unwrap();
        let both = [Origin::LinkLocal, Origin::Listed].map(|origin| Entry { prefix, origin });
        let intervals = resolve(both);
        assert_eq!(intervals.len(), 1);
        assert_eq!(intervals[0].origin, Origin::Listed);
    }

    /// The longest prefix that contains `address`, found the naive way.
    fn oracle(entries: &[Entry], address: IpAddr) -> Option<IpNet> {
        entries
            .iter()
            .filter(|entry| entry.prefix.contains(&address))
            .max_by_key(|entry| entry.prefix.prefix_len())
            .map(|entry| entry.prefix)
    }

    /// Each edge of each prefix and its neighbours, where these exist.
    fn edges(entries: &[Entry]) -> Vec<IpAddr> {
        let mut addresses = Vec::new();
        for entry in entries {
            let (first, last) = (
                number(entry.prefix.network()),
                number(entry.prefix.broadcast()),
            );
            let largest = if entry.prefix.addr().is_ipv4() {
                u128::from(u32::MAX)
            } else {
                u128::MAX
            };
            addresses.extend([first, last].map(|n| address(n, entry.prefix)));
            addresses.extend(first.checked_sub(1).map(|n| address(n, entry.prefix)));
            addresses.extend((last < largest).then(|| address(last + 1, entry.prefix)));
        }
        addresses
    }

    /// Prefixes crowded into few address bits at either end, so that they nest and touch.
    fn crowded(is_ipv4: bool) -> impl Strategy<Value = Vec<Entry>> {
        let bits = if is_ipv4 { 32 } else { 128 };
        let prefix = (any::<u8>(), any::<bool>(), 0..=8_u32, 0..=2_u8).prop_map(
            move |(low, at_the_end, keep, kind)| {
                let base = if at_the_end {
                    u128::MAX >> (128 - bits) << 8
                } else {
                    0
                };
                let family = if is_ipv4 { "0.0.0.0/0" } else { "::/0" };
                let ip = address(
                    (base & (u128::MAX >> (128 - bits))) | u128::from(low),
                    family.parse().unwrap(),
                );
                let length = match kind {
                    0 => 0,
                    _ => bits - keep,
                };
                let net = IpNet::new(ip, u8::try_from(length).unwrap())
                    .unwrap()
                    .trunc();
                Entry {
                    prefix: net,
                    origin: Origin::Listed,
                }
            },
        );
        prop::collection::vec(prefix, 0..24)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn agrees_with_the_naive_longest_prefix_at_every_edge(
            entries in prop::bool::ANY.prop_flat_map(crowded)
        ) {
            let intervals = resolve(entries.iter().copied());
            for pair in intervals.windows(2) {
                prop_assert!(pair[0].last < pair[1].first, "{pair:?} overlap or stand in the wrong order");
            }
            for address in edges(&entries) {
                let found: Vec<IpNet> = intervals
                    .iter()
                    .filter(|i| i.first <= address && address <= i.last)
                    .map(|i| i.prefix)
                    .collect();
                prop_assert_eq!(found, Vec::from_iter(oracle(&entries, address)), "at {}", address);
            }
        }
    }
}
