//! Which of the node's addresses the kernel's `masquerade` takes.
//!
//! That of the interface by which the packet leaves, whatever `src` the route has (nf_nat_masquerade_ipv4 and _ipv6,
//! net/netfilter/nf_nat_masquerade.c): for IPv4 the first one that shares a network with the gateway, else the first one
//! (inet_select_addr, net/ipv4/devinet.c); for IPv6 one of them, by the rules of RFC 6724. Where the interface has none, the
//! kernel takes another interface's, without a word.

use std::fmt;
use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;

use super::routes;
use crate::in_words;
use crate::ruleset::Family;

/// How many addresses are named.
const ADDRESSES_NAMED: usize = 4;

/// An interface by which packets leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Uplink {
    pub(super) interface: String,
    /// Where the interface's packets go next, if it is of the same family.
    pub(super) gateway: Option<IpAddr>,
}

/// An address of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) interface: String,
    pub(super) network: IpNet,
}

/// The addresses of which masquerading takes one; empty: it takes none, and the packet is dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Taken {
    uplink: String,
    pub(super) addresses: Vec<IpAddr>,
    /// Whose they are.
    interface: String,
}

impl Taken {
    /// They are the uplink's own.
    pub(super) fn are_own(&self) -> bool {
        self.interface == self.uplink && !self.addresses.is_empty()
    }
}

/// `192.0.2.1 of eth0`, and what is wrong with it.
impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            uplink,
            addresses,
            interface,
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
        match addresses.is_empty() || self.are_own() {
            true => Ok(()),
            false => write!(f, ": {uplink}, by which it leaves, has none of that family"),
        }
    }
}

/// The addresses of this network namespace that are no interface's alone (loopback, link-local), in the kernel's order.
///
/// # Errors
/// Where the kernel does not answer.
pub(super) fn addresses() -> io::Result<Vec<Address>> {
    let ip = |address: Option<SockaddrStorage>| {
        let address = address?;
        let ipv4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        ipv4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    };
    let all = getifaddrs()?.filter_map(|listed| {
        let address = ip(listed.address)?;
        let is_link_local = match address {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        if address.is_loopback() || is_link_local {
            return None;
        }
        // A label of IPv4, `eth0:1`.
        let interface = listed.interface_name.split(':').next().unwrap_or_default();
        Some(Address {
            interface: interface.to_owned(),
            network: IpNet::with_netmask(address, ip(listed.netmask)?).ok()?,
        })
    });
    Ok(all.collect())
}

/// The interfaces of a family's default routes; of a route with several ways, IPv4 tells the first one.
///
/// # Errors
/// Where /proc cannot be read.
pub(super) fn uplinks(family: Family) -> io::Result<Vec<Uplink>> {
    let routes = routes::read(family)?.into_iter();
    let mut found: Vec<Uplink> = Vec::new();
    for route in routes.filter(|route| route.destination.prefix_len() == 0) {
        if !found
            .iter()
            .any(|uplink| uplink.interface == route.interface)
        {
            found.push(Uplink {
                interface: route.interface,
                gateway: route.gateway,
            });
        }
    }
    Ok(found)
}

/// What masquerading takes of `all` for packets of the family that leave by the uplink.
pub(super) fn taken(family: Family, uplink: &Uplink, all: &[Address]) -> Taken {
    let is_of_family = |address: &&Address| match family {
        Family::Ip => address.network.addr().is_ipv4(),
        Family::Ip6 => address.network.addr().is_ipv6(),
    };
    let of_family: Vec<&Address> = all.iter().filter(is_of_family).collect();
    let own = of_family
        .iter()
        .any(|address| address.interface == uplink.interface);
    let interface = match of_family.first() {
        Some(first) if !own => first.interface.clone(),
        _ => uplink.interface.clone(),
    };
    let mut candidates = of_family;
    candidates.retain(|address| address.interface == interface);
    if family == Family::Ip {
        let leads_to_gateway = |address: &&Address| {
            uplink
                .gateway
                .is_some_and(|of| address.network.contains(&of))
        };
        let shares = candidates
            .iter()
            .position(|address| leads_to_gateway(&address));
        candidates = candidates
            .into_iter()
            .skip(shares.unwrap_or_default())
            .take(1)
            .collect();
    }
    Taken {
        uplink: uplink.interface.clone(),
        addresses: candidates
            .iter()
            .map(|address| address.network.addr())
            .collect(),
        interface,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(family: Family, gateway: Option<&str>, addresses: &[(&str, &str)]) -> (String, bool) {
        let uplink = Uplink {
            interface: "eth0".to_owned(),
            gateway: gateway.map(|gateway| gateway.parse().unwrap()),
        };
        let address = |(interface, network): &(&str, &str)| Address {
            interface: (*interface).to_owned(),
            network: network.parse().unwrap(),
        };
        let all: Vec<Address> = addresses.iter().map(address).collect();
        let taken = taken(family, &uplink, &all);
        (taken.to_string(), taken.are_own())
    }

    #[test]
    fn masquerading_takes_the_uplink_s_address_that_is_near_the_gateway() {
        let all = [
            ("cni0", "10.244.1.1/24"),
            ("eth0", "198.51.100.7/32"),
            ("eth0", "192.0.2.1/24"),
            ("eth0", "2001:db8::1/64"),
            ("eth0", "2001:db8::2/64"),
        ];
        let own = |told: &str| (told.to_owned(), true);
        let near = told(Family::Ip, Some("192.0.2.254"), &all);
        assert_eq!(near, own("192.0.2.1 of eth0"));
        for gateway in [None, Some("203.0.113.1")] {
            assert_eq!(told(Family::Ip, gateway, &all), own("198.51.100.7 of eth0"));
        }
        let several = own("one of 2001:db8::1, 2001:db8::2 of eth0");
        assert_eq!(told(Family::Ip6, None, &all), several);
    }

    #[test]
    fn masquerading_takes_another_s_address_where_the_uplink_has_none() {
        let of_others = [("cni0", "10.244.1.1/24"), ("dummy0", "192.0.2.1/24")];
        let found = told(Family::Ip, Some("192.0.2.254"), &of_others);
        let words = "10.244.1.1 of cni0: eth0, by which it leaves, has none of that family";
        assert_eq!(found, (words.to_owned(), false));
        let none = told(Family::Ip6, None, &of_others);
        let words = "none: no interface has one, and what leaves by eth0 is dropped";
        assert_eq!(none, (words.to_owned(), false));
    }
}
