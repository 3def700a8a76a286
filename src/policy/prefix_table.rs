//! Prefixes to disjoint intervals: the longest prefix that contains an address decides.
//!
//! An interval set of nftables holds no overlapping elements (libnftables refuses them with
//! "conflicting intervals specified"; `auto-merge` would lose which prefix an interval came from,
//! and libnftables 1.0.6 ignores it in JSON). So nested prefixes are resolved here, once, and the
//! kernel does one lookup.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// What happens to a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It keeps the packet's source address.
    NonMasquerade,
    /// The packet gets the node's address.
    Masquerade,
}

/// Where a prefix comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The link-local default, RFC 3927 or RFC 4291.
    LinkLocal,
    /// `nonMasqueradeCIDRs`, or the default list.
    NonMasqueradeCidrs,
    /// `masqueradeCIDRs`.
    MasqueradeCidrs,
}

impl Origin {
    /// What happens to destinations in such a prefix.
    #[must_use]
    pub fn verdict(self) -> Verdict {
        match self {
            Self::LinkLocal | Self::NonMasqueradeCidrs => Verdict::NonMasquerade,
            Self::MasqueradeCidrs => Verdict::Masquerade,
        }
    }
}

/// As the file calls it.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LinkLocal => "link-local",
            Self::NonMasqueradeCidrs => "nonMasqueradeCIDRs",
            Self::MasqueradeCidrs => "masqueradeCIDRs",
        })
    }
}

/// One configured prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Host bits zero.
    pub prefix: IpNet,
    /// Where it comes from.
    pub origin: Origin,
}

/// Consecutive addresses for which the same prefix decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Interval {
    /// The first address in it.
    pub first: IpAddr,
    /// The last address in it, of the same family.
    pub last: IpAddr,
    /// What decides: the longest prefix that contains it.
    pub decided_by: Entry,
}

/// Resolves `entries`, all of one family, nested and repeated as they may be, into disjoint
/// intervals in ascending order. Of equal prefixes the last one counts. O(n log n).
#[must_use]
pub fn resolve(entries: impl IntoIterator<Item = Entry>) -> Vec<Interval> {
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
    intervals: Vec<Interval>,
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
        self.intervals.push(Interval {
            first: address(first, entry.prefix),
            last: address(last, entry.prefix),
            decided_by: entry,
        });
        self.unsettled = last.checked_add(1);
    }

    fn finish(mut self) -> Vec<Interval> {
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
    use std::time::{Duration, Instant};

    use super::*;

    fn shown_of(entries: impl IntoIterator<Item = Entry>) -> Vec<String> {
        resolve(entries)
            .iter()
            .map(|i| format!("{}-{} by {}", i.first, i.last, i.decided_by.prefix))
            .collect()
    }

    fn entries<'a>(prefixes: &'a [&str], origin: Origin) -> impl Iterator<Item = Entry> + 'a {
        prefixes.iter().map(move |prefix| Entry {
            prefix: prefix.parse().unwrap(),
            origin,
        })
    }

    fn shown(prefixes: &[&str]) -> Vec<String> {
        shown_of(entries(prefixes, Origin::NonMasqueradeCidrs))
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
        let listed = [Origin::NonMasqueradeCidrs, Origin::MasqueradeCidrs];
        for origin in listed {
            let both = [Origin::LinkLocal, origin].map(|origin| Entry { prefix, origin });
            let intervals = resolve(both);
            assert_eq!(intervals.len(), 1);
            assert_eq!(intervals[0].decided_by.origin, origin);
        }
    }

    #[test]
    fn a_masqueraded_prefix_is_an_interval_as_well() {
        let exempt = entries(&["10.0.0.0/8", "10.1.2.0/24"], Origin::NonMasqueradeCidrs);
        let masqueraded = entries(&["10.1.0.0/16"], Origin::MasqueradeCidrs);
        assert_eq!(
            shown_of(exempt.chain(masqueraded)),
            [
                "10.0.0.0-10.0.255.255 by 10.0.0.0/8",
                "10.1.0.0-10.1.1.255 by 10.1.0.0/16",
                "10.1.2.0-10.1.2.255 by 10.1.2.0/24",
                "10.1.3.0-10.1.255.255 by 10.1.0.0/16",
                "10.2.0.0-10.255.255.255 by 10.0.0.0/8",
            ]
        );
    }

    /// As deep as prefixes nest, and so many that a quadratic walk would take minutes.
    #[test]
    fn a_hundred_thousand_nested_prefixes_take_less_than_200_ms() {
        let deep = (0..=128).map(|length| (0, length));
        let wide = (0..100_000_u128).map(|n| (n << 100, 28 + u8::try_from(n % 100).unwrap()));
        let entries: Vec<Entry> = deep
            .chain(wide)
            .map(|(bits, length)| Entry {
                prefix: IpNet::new(Ipv6Addr::from_bits(bits).into(), length)
                    .unwrap()
                    .trunc(),
                origin: Origin::NonMasqueradeCidrs,
            })
            .collect();
        // The best of three: others may have the processor for a while.
        let took = (0..3).map(|_| {
            let started = Instant::now();
            assert!(resolve(entries.iter().copied()).len() > 100_000);
            started.elapsed()
        });
        let took = took.min().unwrap();
        assert!(took < Duration::from_millis(200), "{took:?}");
    }
}
