//! Which of the node's addresses the kernel's `masquerade` takes.
//!
//! That of the interface by which the packet leaves, whatever `src` the route has (nf_nat_masquerade_ipv4 and _ipv6,
//! net/netfilter/nf_nat_masquerade.c): for IPv4 the first one that shares a network with the gateway, else the first one
//! (inet_select_addr, net/ipv4/devinet.c); for IPv6 one of them, by the rules of RFC 6724, a deprecated one last. Where the
//! interface has none, the kernel takes another interface's, without a word.

use std::fmt;
use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use crate::config::Finding;
use crate::in_words;
use crate::kernel::routing::{self, Address, Route};
use crate::policy::Policy;
use crate::policy::interfaces::Interfaces;
use crate::policy::node_address::{NodeAddress, SnatAddress};
use crate::ruleset::Family;

/// How many addresses are named.
const ADDRESSES_NAMED: usize = 4;

/// The addresses of which masquerading takes one; none: the packet is dropped. Names of fields are a contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Taken {
    /// The interface by which the packet leaves.
    pub(super) uplink: String,
    addresses: Vec<IpAddr>,
    /// Whose they are.
    interface: String,
    /// `snatAddressCIDRs` leads to it, whatever the uplink.
    pub(super) is_configured: bool,
}

impl Taken {
    /// They are the uplink's own, or what is asked for.
    pub(super) fn are_as_meant(&self) -> bool {
        self.is_configured || self.interface == self.uplink && !self.addresses.is_empty()
    }
}

/// The address that masqueraded connections of the family get here; `None`: the family is left alone.
pub(super) fn snat_address_of(policy: &Policy, family: Family) -> Option<&SnatAddress> {
    let of_family = match family {
        Family::Ip => Some(&policy.ipv4),
        Family::Ip6 => policy.ipv6.as_ref(),
    };
    let of_family = of_family.filter(|of_family| !of_family.is_left_alone());
    of_family.map(|of_family| &of_family.snat_address)
}

/// `192.0.2.1 of eth0`, and what is wrong with it.
impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            uplink,
            addresses,
            interface,
            is_configured,
        } = self;
        let named = in_words::first(addresses, ADDRESSES_NAMED, ", ");
        match addresses.as_slice() {
            [] => write!(
                f,
                "none: no interface has one, and what leaves by {uplink} is dropped"
            ),
            [_] => write!(f, "{named} of {interface}"),
            _ => write!(f, "one of {named} of {interface}"),
        }?;
        match addresses.is_empty() || self.are_as_meant() {
            true if *is_configured => f.write_str(" (snatAddressCIDRs)"),
            true => Ok(()),
            false => write!(f, ": {uplink}, by which it leaves, has none of that family"),
        }
    }
}

/// The families of which anything is looked at, each with its name for people.
pub(super) fn families(policy: &Policy) -> impl Iterator<Item = (&'static str, Family)> {
    let both = [("IPv4", Family::Ip), ("IPv6", Family::Ip6)];
    let is_looked_at = |(_, family): &(_, Family)| snat_address_of(policy, *family).is_some();
    both.into_iter().filter(is_looked_at)
}

/// What is likely not meant by `outputInterfaces` on this machine.
///
/// # Errors
/// Where the kernel does not tell.
pub(super) fn warnings(policy: &Policy) -> io::Result<Vec<Finding>> {
    let mut warnings = Vec::new();
    // A node that speaks BGP has many routes to read.
    if policy.output_interfaces == Interfaces::Any {
        return Ok(warnings);
    }
    for (name, family) in families(policy) {
        let ways = of_default_routes(family, None)?;
        warnings.extend(warning(policy, name, &ways));
    }
    Ok(warnings)
}

/// The same of the default routes of one family.
pub(super) fn warning(policy: &Policy, family: &str, ways: &[Taken]) -> Option<Finding> {
    let mut uplinks: Vec<&str> = ways.iter().map(|taken| taken.uplink.as_str()).collect();
    uplinks.dedup();
    policy.output_interfaces.warning(family, &uplinks)
}

/// What masquerading takes for each way of the family's default routes. `chosen`: by `snatAddressCIDRs`.
///
/// # Errors
/// Where the kernel does not tell.
pub(super) fn of_default_routes(
    family: Family,
    chosen: Option<&NodeAddress>,
) -> io::Result<Vec<Taken>> {
    let addresses = routing::addresses(family)?;
    let mut routes = routing::routes(family)?;
    routes.retain(|route| route.destination.prefix_len() == 0);
    routes.sort_by(|one, other| one.interface.cmp(&other.interface));
    let taken = routes
        .iter()
        .map(|route| taken_by(route, &addresses, chosen));
    let mut taken: Vec<Taken> = taken.collect();
    taken.dedup();
    Ok(taken)
}

/// What it takes for packets that go this way; `None`: the kernel does not tell.
pub(super) fn on_the_way(route: &Route, chosen: Option<&NodeAddress>) -> Option<Taken> {
    let addresses = routing::addresses(Family::of(route.destination.addr())).ok()?;
    Some(taken_by(route, &addresses, chosen))
}

/// `all`: those of the route's family.
fn taken_by(route: &Route, all: &[Address], chosen: Option<&NodeAddress>) -> Taken {
    let uplink = &route.interface;
    if let Some(chosen) = chosen {
        return Taken {
            uplink: uplink.clone(),
            addresses: vec![chosen.address],
            interface: chosen.interface.clone(),
            is_configured: true,
        };
    }
    let has_own = all.iter().any(|address| address.interface == *uplink);
    let interface = match all.first() {
        Some(first) if !has_own => &first.interface,
        _ => uplink,
    };
    let of_interface = all.iter().filter(|address| address.interface == *interface);
    let mut candidates: Vec<&Address> = of_interface.collect();
    match route.destination {
        IpNet::V4(_) => {
            let is_near = |address: &&&Address| {
                let mut gateway = route.gateway.iter();
                gateway.any(|gateway| address.network.contains(gateway))
            };
            let near = candidates.iter().find(is_near).or(candidates.first());
            candidates = near.copied().into_iter().collect();
        }
        IpNet::V6(_) if candidates.iter().all(|address| address.is_deprecated) => {}
        IpNet::V6(_) => candidates.retain(|address| !address.is_deprecated),
    }
    Taken {
        uplink: uplink.clone(),
        addresses: candidates.iter().map(|address| address.address).collect(),
        interface: interface.clone(),
        is_configured: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of a default route by eth0. An address that ends in `!` is deprecated.
    fn told(destination: &str, gateway: Option<&str>, all: &[(&str, &str)]) -> (String, bool) {
        let addresses = all.iter().map(|(interface, listed)| {
            let network: IpNet = listed.trim_end_matches('!').parse().unwrap();
            Address {
                interface: (*interface).to_owned(),
                address: network.addr(),
                network,
                is_deprecated: listed.ends_with('!'),
            }
        });
        let route = Route {
            destination: destination.parse().unwrap(),
            is_local: false,
            interface: "eth0".to_owned(),
            gateway: gateway.map(|gateway| gateway.parse().unwrap()),
        };
        let taken = taken_by(&route, &addresses.collect::<Vec<_>>(), None);
        (taken.to_string(), taken.are_as_meant())
    }

    const IPV4: &str = "0.0.0.0/0";
    const IPV6: &str = "::/0";

    #[test]
    fn masquerading_takes_the_uplink_s_address_that_is_near_the_gateway() {
        let all = [
            ("cni0", "10.244.1.1/24"),
            ("eth0", "198.51.100.7/32"),
            ("eth0", "192.0.2.1/24"),
        ];
        let own = |told: &str| (told.to_owned(), true);
        let near = told(IPV4, Some("192.0.2.254"), &all);
        assert_eq!(near, own("192.0.2.1 of eth0"));
        for gateway in [None, Some("203.0.113.1")] {
            assert_eq!(told(IPV4, gateway, &all), own("198.51.100.7 of eth0"));
        }
    }

    #[test]
    fn a_deprecated_address_is_taken_where_there_is_no_other_of_the_uplink() {
        let [first, second, old] = ["2001:db8::1/64", "2001:db8::2/64", "2001:db8::9/128!"];
        for (addresses, words) in [
            (
                vec![first, old, second],
                "one of 2001:db8::1, 2001:db8::2 of eth0",
            ),
            (vec![old], "2001:db8::9 of eth0"),
        ] {
            let of_eth0: Vec<(&str, &str)> = addresses.iter().map(|one| ("eth0", *one)).collect();
            let all = [of_eth0.as_slice(), &[("cni0", "fd00::1/64")]].concat();
            assert_eq!(told(IPV6, None, &all), (words.to_owned(), true));
        }
    }

    #[test]
    fn what_is_asked_for_is_taken_whatever_the_uplink_has() {
        let chosen = NodeAddress {
            address: "198.51.100.7".parse().unwrap(),
            interface: "eth1".to_owned(),
            kind: None,
            is_usable: true,
            is_secondary: false,
            is_single: false,
            since: 0,
        };
        let route = Route {
            destination: IPV4.parse().unwrap(),
            is_local: false,
            interface: "eth0".to_owned(),
            gateway: None,
        };
        let taken = taken_by(&route, &[], Some(&chosen));
        assert_eq!(taken.to_string(), "198.51.100.7 of eth1 (snatAddressCIDRs)");
        assert!(taken.are_as_meant());
    }

    #[test]
    fn masquerading_takes_another_s_address_where_the_uplink_has_none() {
        let of_others = [("cni0", "10.244.1.1/24"), ("dummy0", "192.0.2.1/24")];
        let found = told(IPV4, Some("192.0.2.254"), &of_others);
        let words = "10.244.1.1 of cni0: eth0, by which it leaves, has none of that family";
        assert_eq!(found, (words.to_owned(), false));
        let none = told(IPV6, None, &[]);
        let words = "none: no interface has one, and what leaves by eth0 is dropped";
        assert_eq!(none, (words.to_owned(), false));
    }
}
