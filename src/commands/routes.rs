//! The routes of the main table, as /proc tells them: it takes no privilege.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::proc;
use crate::ruleset::Family;

/// `RTF_UP`, `RTF_GATEWAY`, `RTF_REJECT`, linux/route.h; `RTF_LOCAL`, linux/ipv6_route.h.
const RTF_UP: u32 = 0x0001;
const RTF_GATEWAY: u32 = 0x0002;
const RTF_REJECT: u32 = 0x0200;
const RTF_LOCAL: u32 = 0x8000_0000;

/// A route by which packets leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) destination: IpNet,
    /// Of the same family; `None`: it leads to neighbours, or by a gateway of the other family.
    pub(super) gateway: Option<IpAddr>,
    pub(super) interface: String,
}

/// Where the kernel tells the routes of a family.
pub(super) fn path(family: Family) -> &'static str {
    match family {
        Family::Ip => "/proc/net/route",
        Family::Ip6 => "/proc/net/ipv6_route",
    }
}

/// The routes of a family.
pub(super) fn read(family: Family) -> io::Result<Vec<Route>> {
    let listing = proc::content(path(family))?;
    Ok(match family {
        Family::Ip => of_ipv4(&listing),
        Family::Ip6 => of_ipv6(&listing),
    })
}

/// Of /proc/net/route.
pub(super) fn of_ipv4(listing: &str) -> Vec<Route> {
    listing.lines().skip(1).filter_map(ipv4_route).collect()
}

/// Of /proc/net/ipv6_route.
pub(super) fn of_ipv6(listing: &str) -> Vec<Route> {
    listing.lines().filter_map(ipv6_route).collect()
}

/// `Iface Destination Gateway Flags RefCnt Use Metric Mask …`; addresses are hexadecimal, in the host's byte order.
fn ipv4_route(line: &str) -> Option<Route> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [interface, destination, gateway, flags, _, _, _, mask, ..] = fields.as_slice() else {
        return None;
    };
    let flags = u32::from_str_radix(flags, 16).ok()?;
    if flags & RTF_UP == 0 || flags & RTF_REJECT != 0 {
        return None;
    }
    let address = |hexadecimal: &str| {
        let bytes = u32::from_str_radix(hexadecimal, 16).ok()?.to_ne_bytes();
        Some(Ipv4Addr::from(bytes))
    };
    let gateway = address(gateway)?;
    Some(Route {
        destination: Ipv4Net::with_netmask(address(destination)?, address(mask)?)
            .ok()?
            .into(),
        gateway: (flags & RTF_GATEWAY != 0).then_some(gateway.into()),
        interface: (*interface).to_owned(),
    })
}

/// `destination length source length gateway metric references use flags interface`, all numbers hexadecimal.
fn ipv6_route(line: &str) -> Option<Route> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [
        destination,
        length,
        _,
        _,
        gateway,
        _,
        _,
        _,
        flags,
        interface,
    ] = fields.as_slice()
    else {
        return None;
    };
    let flags = u32::from_str_radix(flags, 16).ok()?;
    if flags & RTF_UP == 0 || flags & (RTF_REJECT | RTF_LOCAL) != 0 {
        return None;
    }
    let address = |hexadecimal: &str| {
        Some(Ipv6Addr::from_bits(
            u128::from_str_radix(hexadecimal, 16).ok()?,
        ))
    };
    let gateway = address(gateway)?;
    let length = u8::from_str_radix(length, 16).ok()?;
    Some(Route {
        destination: Ipv6Net::new(address(destination)?, length).ok()?.into(),
        gateway: (flags & RTF_GATEWAY != 0).then_some(gateway.into()),
        interface: (*interface).to_owned(),
    })
}
