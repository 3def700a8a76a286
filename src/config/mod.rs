//! The configuration: as written, then as meant.

/// The configuration as meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Destinations that keep their source address, in the order written; host bits are zero.
    pub non_masquerade_cidrs: Vec<ipnet::IpNet>,
    /// True: no file gave the list, it is the default list.
    pub non_masquerade_cidrs_are_default: bool,
    /// See the README.
    pub masq_link_local: bool,
    /// See the README.
    pub masq_link_local_ipv6: bool,
    /// See the README.
    pub random_fully: bool,
    /// See the README.
    pub resync_interval: std::time::Duration,
}
/// What the command line contributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flags {
    /// See the README.
    pub nomasq_all_reserved_ranges: bool,
    /// See the README.
    pub random_fully: bool,
}
/// temporary
pub mod reserved_ranges {
    use ipnet::Ipv4Net;
    use std::net::Ipv4Addr;
    /// RFC 3927
    pub const LINK_LOCAL_IPV4: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16);
}
/// temporary
pub fn defaults(flags: &Flags) -> Config {
    Config {
        non_masquerade_cidrs: ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]
            .iter()
            .filter_map(|c| c.parse().ok())
            .collect(),
        non_masquerade_cidrs_are_default: true,
        masq_link_local: false,
        masq_link_local_ipv6: false,
        random_fully: flags.random_fully,
        resync_interval: std::time::Duration::from_secs(60),
    }
}
