//! The policy: what happens to a destination. A plain value; how the kernel is told stands in
//! [`crate::ruleset`].

pub mod prefix_table;

use std::fmt;

use ipnet::IpNet;

use crate::config::{Config, reserved_ranges};
use prefix_table::{Entry, ExemptInterval, Origin};

/// What happens to traffic that leaves the node and is not bound for a LOCAL address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// IPv4 destinations that keep their source address: disjoint, in ascending order. All other
    /// destinations are masqueraded.
    pub exempt_ipv4: Vec<ExemptInterval>,
    /// Masqueraded connections get a random source port (`masquerade fully-random`, nft(8)).
    pub random_fully: bool,
}

impl Policy {
    /// What `config` means for each destination: the longest prefix that contains it decides.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let listed = config.non_masquerade_cidrs.iter().map(|&prefix| Entry {
            prefix,
            origin: Origin::Listed,
        });
        // First, so that a listed prefix of the same length replaces it.
        let link_local = (!config.masq_link_local).then_some(Entry {
            prefix: IpNet::V4(reserved_ranges::LINK_LOCAL_IPV4),
            origin: Origin::LinkLocal,
        });
        let ipv4 = link_local
            .into_iter()
            .chain(listed)
            .filter(|entry| matches!(entry.prefix, IpNet::V4(_)));
        Self {
            exempt_ipv4: prefix_table::resolve(ipv4),
            random_fully: config.random_fully,
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut named: Vec<&ExemptInterval> = self.exempt_ipv4.iter().collect();
        named.sort_by_key(|interval| interval.prefix);
        named.dedup_by_key(|interval| interval.prefix);
        f.write_str("keep the source address to ")?;
        match named.as_slice() {
            [] => f.write_str("no destination")?,
            prefixes => write_prefixes(f, prefixes)?,
        }
        write!(
            f,
            "; masquerade all other traffic not bound for a LOCAL address{}",
            if self.random_fully {
                ", source ports fully random"
            } else {
                ""
            }
        )
    }
}

/// As many as a log line bears; `check` and `render` show all of them.
const PREFIXES_IN_ONE_LINE: usize = 16;

fn write_prefixes(f: &mut fmt::Formatter<'_>, prefixes: &[&ExemptInterval]) -> fmt::Result {
    for (index, interval) in prefixes.iter().take(PREFIXES_IN_ONE_LINE).enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        write!(f, "{separator}{}", interval.prefix)?;
        if interval.origin == Origin::LinkLocal {
            f.write_str(" (link-local)")?;
        }
    }
    match prefixes.len().saturating_sub(PREFIXES_IN_ONE_LINE) {
        0 => Ok(()),
        more => write!(f, " and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Flags, defaults};

    fn flags() -> Flags {
        Flags {
            nomasq_all_reserved_ranges: false,
            enable_ipv6: false,
            random_fully: true,
            to_ports: Vec::new(),
        }
    }

    #[test]
    fn the_defaults_exempt_rfc_1918_and_link_local() {
        let policy = Policy::new(&defaults(&flags()));
        let comments: Vec<String> = policy.exempt_ipv4.iter().map(|i| i.comment()).collect();
        assert_eq!(
            comments,
            [
                "10.0.0.0/8",
                "link-local",
                "172.16.0.0/12",
                "192.168.0.0/16"
            ]
        );
        assert_eq!(
            policy.to_string(),
            "keep the source address to 10.0.0.0/8, 169.254.0.0/16 (link-local), 172.16.0.0/12, \
             192.168.0.0/16; masquerade all other traffic not bound for a LOCAL address, source \
             ports fully random"
        );
    }

    #[test]
    fn masq_link_local_drops_only_the_link_local_default() {
        let mut config = defaults(&flags());
        config.masq_link_local = true;
        let policy = Policy::new(&config);
        assert_eq!(policy.exempt_ipv4.len(), 3);
        assert!(
            policy
                .exempt_ipv4
                .iter()
                .all(|i| i.origin == Origin::Listed)
        );
    }

    #[test]
    fn a_listed_prefix_beats_the_link_local_default_of_the_same_length() {
        let mut config = defaults(&flags());
        config.non_masquerade_cidrs = vec!["169.254.0.0/16".parse().unwrap()];
        let policy = Policy::new(&config);
        assert_eq!(policy.exempt_ipv4.len(), 1);
        assert_eq!(policy.exempt_ipv4[0].comment(), "169.254.0.0/16");
    }

    #[test]
    fn an_empty_list_masquerades_every_destination() {
        let mut config = defaults(&flags());
        config.non_masquerade_cidrs.clear();
        config.masq_link_local = true;
        let policy = Policy::new(&config);
        assert!(policy.exempt_ipv4.is_empty());
        assert!(policy.to_string().contains("to no destination;"));
    }
}
