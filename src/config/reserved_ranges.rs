//! Address ranges that RFCs reserve: the default lists and the link-local ranges.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The default non-masquerade CIDRs: private address space (RFC 1918, section 3).
pub const RFC_1918: [Ipv4Net; 3] = [
    ipv4(10, 0, 0, 0, 8),
    ipv4(172, 16, 0, 0, 12),
    ipv4(192, 168, 0, 0, 16),
];

/// The default non-masquerade CIDRs with `--nomasq-all-reserved-ranges`: every IPv4 range that an
/// RFC reserves and that a pod may meet as a destination (ip-masq-agent's list).
pub const ALL_RESERVED: [Ipv4Net; 11] = [
    ipv4(10, 0, 0, 0, 8),      // RFC 1918: private use
    ipv4(172, 16, 0, 0, 12),   // RFC 1918: private use
    ipv4(192, 168, 0, 0, 16),  // RFC 1918: private use
    ipv4(100, 64, 0, 0, 10),   // RFC 6598: shared address space of carriers
    ipv4(192, 0, 0, 0, 24),    // RFC 6890: IETF protocol assignments
    ipv4(192, 0, 2, 0, 24),    // RFC 5737: documentation, TEST-NET-1
    ipv4(192, 88, 99, 0, 24),  // RFC 7526: 6to4 relay anycast, deprecated
    ipv4(198, 18, 0, 0, 15),   // RFC 2544: benchmarks (RFC 6815 restricts them to it)
    ipv4(198, 51, 100, 0, 24), // RFC 5737: documentation, TEST-NET-2
    ipv4(203, 0, 113, 0, 24),  // RFC 5737: documentation, TEST-NET-3
    ipv4(240, 0, 0, 0, 4),     // RFC 1112, section 4: reserved, the former class E
];

/// IPv4 link-local addresses (RFC 3927, section 2.1).
pub const LINK_LOCAL_IPV4: Ipv4Net = ipv4(169, 254, 0, 0, 16);

/// IPv6 link-local unicast addresses (RFC 4291, section 2.5.6).
pub const LINK_LOCAL_IPV6: Ipv6Net =
    Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10);

/// The list that holds where no file gives `nonMasqueradeCIDRs`.
pub fn default_non_masquerade_cidrs(all_reserved_ranges: bool) -> Vec<IpNet> {
    let ranges: &[Ipv4Net] = if all_reserved_ranges {
        &ALL_RESERVED
    } else {
        &RFC_1918
    };
    ranges.iter().copied().map(IpNet::V4).collect()
}

/// A range known when this is compiled: a prefix length over 32 does not compile.
const fn ipv4(a: u8, b: u8, c: u8, d: u8, prefix_length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix_length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_is_aligned_to_its_prefix_length() {
        for range in RFC_1918
            .iter()
            .chain(&ALL_RESERVED)
            .chain([&LINK_LOCAL_IPV4])
        {
            assert_eq!(*range, range.trunc());
        }
        assert_eq!(LINK_LOCAL_IPV6, LINK_LOCAL_IPV6.trunc());
    }

    #[test]
    fn all_reserved_ranges_hold_the_private_ones_and_do_not_overlap() {
        assert!(RFC_1918.iter().all(|range| ALL_RESERVED.contains(range)));
        for (i, a) in ALL_RESERVED.iter().enumerate() {
            for b in &ALL_RESERVED[i + 1..] {
                assert!(!a.contains(b) && !b.contains(a), "{a} and {b}");
            }
        }
    }

    #[test]
    fn the_lists_are_those_of_the_rfcs() {
        let written =
            |ranges: Vec<IpNet>| ranges.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            written(default_non_masquerade_cidrs(false)),
            ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]
        );
        let mut all = written(default_non_masquerade_cidrs(true));
        all.sort();
        assert_eq!(
            all,
            [
                "10.0.0.0/8",
                "100.64.0.0/10",
                "172.16.0.0/12",
                "192.0.0.0/24",
                "192.0.2.0/24",
                "192.168.0.0/16",
                "192.88.99.0/24",
                "198.18.0.0/15",
                "198.51.100.0/24",
                "203.0.113.0/24",
                "240.0.0.0/4",
            ]
        );
        assert_eq!(LINK_LOCAL_IPV4.to_string(), "169.254.0.0/16");
        assert_eq!(LINK_LOCAL_IPV6.to_string(), "fe80::/10");
    }
}
