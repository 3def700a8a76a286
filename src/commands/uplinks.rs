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
use serde::Serialize;

use super::route_lookup::{self, Way};
use super::routes::{self, Route};
use crate::in_words;
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

/// What masquerading takes for each interface that has a default route of the family; of a route with several ways, IPv4
/// tells the first one.
///
/// # Errors
/// Where the kernel does not tell.
pub(super) fn of_default_routes(family: Family) -> io::Result<Vec<Taken>> {
    let addresses = addresses()?;
    let routes = routes::read(family)?.into_iter();
    let mut routes: Vec<Route> = routes
        .filter(|of| of.destination.prefix_len() == 0)
        .collect();
    routes.sort_by(|one, other| one.interface.cmp(&other.interface));
    routes.dedup_by(|one, other| one.interface == other.interface);
    let taken = routes.into_iter();
    Ok(taken
        .map(|route| taken_by(family, route.interface, route.gateway, &addresses))
        .collect())
}

/// What it takes for packets to this address; `None`: there is no route, or the kernel does not tell.
pub(super) fn on_the_way_to(destination: IpAddr) -> Option<Taken> {
    let Way {
        interface, gateway, ..
    } = route_lookup::way_to(destination).ok()??;
    Some(taken_by(
        Family::of(destination),
        interface?,
        gateway,
        &addresses().ok()?,
    ))
}

/// An address with its interface.
type Address = (String, IpNet);

/// The addresses of this network namespace that masquerading may take, in the kernel's order.
fn addresses() -> io::Result<Vec<Address>> {
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
        let network = IpNet::with_netmask(address, ip(listed.netmask)?).ok()?;
        // IPv4 has labels, `eth0:1`.
        let interface = listed.interface_name.split(':').next()?.to_owned();
        (!address.is_loopback() && !is_link_local).then_some((interface, network))
    });
    Ok(all.collect())
}

fn taken_by(family: Family, uplink: String, gateway: Option<IpAddr>, all: &[Address]) -> Taken {
    let of_family = all.iter().filter(|(_, of)| Family::of(of.addr()) == family);
    let mut candidates: Vec<&Address> = of_family.collect();
    let has_own = candidates.iter().any(|(of, _)| *of == uplink);
    let interface = match candidates.first() {
        Some((first, _)) if !has_own => first.clone(),
        _ => uplink.clone(),
    };
    candidates.retain(|(of, _)| *of == interface);
    if family == Family::Ip {
        let is_near = |(_, of): &&Address| gateway.is_some_and(|gateway| of.contains(&gateway));
        let near = candidates.iter().copied().find(is_near);
        candidates = near.or(candidates.first().copied()).into_iter().collect();
    }
    Taken {
        uplink,
        addresses: candidates.iter().map(|(_, of)| of.addr()).collect(),
        interface,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(family: Family, gateway: Option<&str>, addresses: &[(&str, &str)]) -> (String, bool) {
        let address = |(interface, network): &(&str, &str)| {
            ((*interface).to_owned(), network.parse().unwrap())
        };
        let all: Vec<Address> = addresses.iter().map(address).collect();
        let gateway = gateway.map(|gateway| gateway.parse().unwrap());
        let taken = taken_by(family, "eth0".to_owned(), gateway, &all);
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
