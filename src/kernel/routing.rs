//! The routes and addresses of this network namespace, by rtnetlink(7): that takes no privilege, and no /proc.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use nix::libc::{self, c_int};
use nix::net::if_::{if_indextoname, if_nametoindex};
use nix::sys::socket::{SockFlag, SockProtocol};

use super::netlink::{Netlink, attribute, body_of, is_interrupted, request, text, value_in};
use crate::policy::node_address::NodeAddress;
use crate::ruleset::Family;

/// linux/rtnetlink.h.
const ROUTE_BYTES: usize = 12; // struct rtmsg
const NEXT_HOP_BYTES: usize = 8; // struct rtnexthop
const RTN_UNICAST: u8 = 1;
const RTN_LOCAL: u8 = 2;
const RTN_BROADCAST: u8 = 3;
const RTN_ANYCAST: u8 = 4;
const RTN_MULTICAST: u8 = 5;
const RTM_F_CLONED: u32 = 0x200;
const RTA_MULTIPATH: u16 = 9;
/// linux/if_addr.h.
const ADDRESS_BYTES: usize = 8; // struct ifaddrmsg
const IFA_FLAGS: u16 = 8;
const IFA_F_SECONDARY: u32 = 0x01; // of IPv6: IFA_F_TEMPORARY
const IFA_F_OPTIMISTIC: u32 = 0x04;
const IFA_F_DADFAILED: u32 = 0x08;
const IFA_F_DEPRECATED: u32 = 0x20;
const IFA_F_TENTATIVE: u32 = 0x40;
/// linux/if_link.h.
const LINK_BYTES: usize = 16; // struct ifinfomsg
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
/// How often what changes meanwhile is read before it is taken as it is.
const MOST_READINGS: usize = 10;

/// One way by which packets leave. A route with several next hops is several of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where they go.
    pub destination: IpNet,
    /// It is one of this host's addresses, as `fib daddr type local` has it.
    pub is_local: bool,
    /// By which interface.
    pub interface: String,
    /// Of the same family; `None`: it leads to neighbours, or by a gateway of the other family.
    pub gateway: Option<IpAddr>,
}

/// An address that the host may send from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Whose it is.
    pub interface: String,
    /// The address.
    pub address: IpAddr,
    /// Its neighbours; of a point-to-point link, the peer.
    pub network: IpNet,
    /// Taken only where the interface has no other (RFC 6724, rule 3): `preferred_lft 0`.
    pub is_deprecated: bool,
}

/// The way that the kernel chooses for what this host sends to the address; `None`: there is no route.
///
/// # Errors
/// Where the kernel does not answer.
pub fn route_to(address: IpAddr) -> io::Result<Option<Route>> {
    chosen(address, None, None)
}

/// The way of what comes from `source`, also by rules that look at where it comes from (ip-rule(8): `from`, `iif`; those by mark
/// are not known). Where the kernel lets nothing through from there, the way to the destination.
///
/// # Errors
/// Where the kernel does not answer.
pub fn route_from(source: IpAddr, destination: IpAddr) -> io::Result<Option<Route>> {
    let Some(back) = route_to(source)? else {
        return route_to(destination);
    };
    let came_by = match back.is_local {
        true => None,
        false => Some(if_nametoindex(back.interface.as_str())?),
    };
    match chosen(destination, Some(source), came_by) {
        Ok(Some(way)) => Ok(Some(way)),
        _ => route_to(destination),
    }
}

/// `came_by`: the index of the interface by which the host has got it; `None`: it sends it itself.
fn chosen(
    destination: IpAddr,
    source: Option<IpAddr>,
    came_by: Option<u32>,
) -> io::Result<Option<Route>> {
    // To the kernel a route to it is the default route.
    if destination.is_unspecified() {
        return Ok(None);
    }
    let length = |address: IpAddr| IpNet::from(address).prefix_len();
    let mut body = vec![
        family_number(Family::of(destination)),
        length(destination),
        source.map_or(0, length),
    ];
    body.resize(ROUTE_BYTES, 0);
    body.extend(address_attribute(libc::RTA_DST, destination));
    body.extend(source.map_or_else(Vec::new, |source| address_attribute(libc::RTA_SRC, source)));
    body.extend(came_by.map_or_else(Vec::new, |index| {
        attribute(libc::RTA_IIF, &index.to_ne_bytes())
    }));
    let mut found = None;
    let answered = asked(&request(libc::RTM_GETROUTE.into(), 0, &body)?, |answer| {
        found = ways(answer).into_iter().next();
    });
    match answered.as_ref().err().and_then(io::Error::raw_os_error) {
        // The families' words for: there is no route.
        Some(
            libc::ENETUNREACH
            | libc::EHOSTUNREACH
            | libc::EACCES
            | libc::EINVAL
            // A kernel without the family, as by ipv6.disable=1.
            | libc::EOPNOTSUPP
            | libc::EAFNOSUPPORT,
        ) => Ok(None),
        _ => answered.map(|()| found),
    }
}

fn address_attribute(kind: u16, address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => attribute(kind, &v4.octets()),
        IpAddr::V6(v6) => attribute(kind, &v6.octets()),
    }
}

/// The ways of the family's main table.
///
/// # Errors
/// Where the kernel does not answer.
pub fn routes(family: Family) -> io::Result<Vec<Route>> {
    dumped(libc::RTM_GETROUTE, family, ROUTE_BYTES, |answer| {
        let ways = is_of_main(answer).then(|| ways(answer));
        ways.into_iter().flatten()
    })
}

/// What the family's table `local` says, which is looked at before all others: the destinations that are this host's, and
/// those that are several hosts', each with whether it is this host's alone. Routes of the kind `local` in other tables are
/// not meant: those of transparent proxies are for marked packets only.
///
/// # Errors
/// Where the kernel does not answer.
pub fn local_table(family: Family) -> io::Result<Vec<(IpNet, bool)>> {
    dumped(libc::RTM_GETROUTE, family, ROUTE_BYTES, local_route)
}

fn local_route(answer: &[u8]) -> Option<(IpNet, bool)> {
    let (header, attributes) = parts(answer, ROUTE_BYTES);
    let &[_, length, _, _, _, _, _, kind, ..] = header else {
        return None;
    };
    let is_meant = [RTN_LOCAL, RTN_BROADCAST, RTN_ANYCAST, RTN_MULTICAST].contains(&kind);
    let destination = value_in(attributes, libc::RTA_DST).and_then(ip)?;
    let destination = IpNet::new(destination, length).ok()?;
    (is_meant && table_of(answer) == Some(libc::RT_TABLE_LOCAL.into()))
        .then_some((destination, kind == RTN_LOCAL))
}

/// The addresses of which the kernel's `masquerade` may take one, in the order in which it looks at them
/// (inet_select_addr, net/ipv4/devinet.c; ipv6_dev_get_saddr, net/ipv6/addrconf.c).
///
/// # Errors
/// Where the kernel does not answer.
pub fn addresses(family: Family) -> io::Result<Vec<Address>> {
    dumped(libc::RTM_GETADDR, family, ADDRESS_BYTES, address_in)
}

/// All addresses of the host that lie in any of `cidrs`, in the order in which `ip address` lists them.
///
/// # Errors
/// Where the kernel does not answer.
pub fn addresses_within(cidrs: &[IpNet]) -> io::Result<Vec<NodeAddress>> {
    let mut found = Vec::new();
    for family in Family::ALL {
        let is_of_family = |cidr: &&IpNet| Family::of(cidr.addr()) == family;
        let cidrs: Vec<&IpNet> = cidrs.iter().filter(is_of_family).collect();
        if cidrs.is_empty() {
            continue;
        }
        let is_within = |told: &Told| cidrs.iter().any(|cidr| cidr.contains(&told.address()));
        let within = |answer: &[u8]| Told::of(answer).filter(is_within);
        let told = dumped(libc::RTM_GETADDR, family, ADDRESS_BYTES, within)?;
        found.extend(told.iter().filter_map(Told::of_node));
    }
    Ok(found)
}

/// The address that a notification tells of.
pub(super) fn address_of(notification: &[u8]) -> Option<IpAddr> {
    Some(Told::of(notification)?.address())
}

/// What is read of each answer; read once more where something has changed meanwhile, so that some may be missing.
fn dumped<T, I: IntoIterator<Item = T>>(
    kind: u16,
    family: Family,
    header_bytes: usize,
    read: impl Fn(&[u8]) -> I,
) -> io::Result<Vec<T>> {
    let number = family_number(family);
    let mut body = vec![number];
    body.resize(header_bytes, 0);
    let request = request(kind.into(), libc::NLM_F_DUMP, &body)?;
    let mut readings = 1;
    loop {
        let (mut found, mut is_whole) = (Vec::new(), true);
        asked(&request, |answer| {
            is_whole &= !is_interrupted(answer);
            // Where nobody answers for IPv6 (ipv6.disable=1), the kernel tells what all others have.
            if parts(answer, header_bytes).0.first() == Some(&number) {
                found.extend(read(answer));
            }
        })?;
        if is_whole || readings == MOST_READINGS {
            return Ok(found);
        }
        readings += 1;
    }
}

fn asked(request: &[u8], read: impl FnMut(&[u8])) -> io::Result<()> {
    let socket = Netlink::open_of(SockProtocol::NetlinkRoute, 0, SockFlag::empty())?;
    socket.ask(request, read)
}

fn family_number(family: Family) -> u8 {
    let number: c_int = match family {
        Family::Ip => libc::AF_INET,
        Family::Ip6 => libc::AF_INET6,
    };
    number.to_le_bytes()[0]
}

/// The ways that an `RTM_NEWROUTE` tells of; none of a route that refuses or multicasts.
fn ways(answer: &[u8]) -> Vec<Route> {
    let (header, attributes) = parts(answer, ROUTE_BYTES);
    let &[
        family,
        length,
        _,
        _,
        _,
        _,
        _,
        kind @ (RTN_UNICAST | RTN_LOCAL),
        ..,
    ] = header
    else {
        return Vec::new();
    };
    let destination = match value_in(attributes, libc::RTA_DST) {
        Some(address) => ip(address),
        None => Some(unspecified(family)),
    };
    let destination = destination.and_then(|address| IpNet::new(address, length).ok());
    let Some(destination) = destination else {
        return Vec::new();
    };
    let hops = match value_in(attributes, RTA_MULTIPATH) {
        Some(hops) => next_hops(hops),
        None => vec![(number(value_in(attributes, libc::RTA_OIF)), attributes)],
    };
    let way = |(index, attributes): (Option<u32>, &[u8])| {
        Some(Route {
            destination,
            is_local: kind == RTN_LOCAL,
            interface: interface(index?)?,
            gateway: value_in(attributes, libc::RTA_GATEWAY).and_then(ip),
        })
    };
    hops.into_iter().filter_map(way).collect()
}

/// `struct rtnexthop` each, length, flags, hops and interface, and its attributes.
fn next_hops(mut hops: &[u8]) -> Vec<(Option<u32>, &[u8])> {
    let mut found = Vec::new();
    while let Some(length) = hops.first_chunk().map(|length| u16::from_ne_bytes(*length)) {
        let length = usize::from(length);
        let Some(attributes) = hops.get(NEXT_HOP_BYTES..length) else {
            break;
        };
        found.push((number(hops.get(4..)), attributes));
        hops = hops.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// It stands in the main table, and was not learnt for one destination from a route that does.
fn is_of_main(answer: &[u8]) -> bool {
    let (header, _) = parts(answer, ROUTE_BYTES);
    let is_cloned = number(header.get(8..)).is_some_and(|flags| flags & RTM_F_CLONED != 0);
    table_of(answer) == Some(libc::RT_TABLE_MAIN.into()) && !is_cloned
}

fn table_of(route: &[u8]) -> Option<u32> {
    let (header, attributes) = parts(route, ROUTE_BYTES);
    let table = number(value_in(attributes, libc::RTA_TABLE));
    table.or(header.get(4).copied().map(u32::from))
}

/// `None`: masquerading never takes it.
fn address_in(answer: &[u8]) -> Option<Address> {
    let told = Told::of(answer)?;
    let is_never_taken = told.near.is_ipv4() && told.has(IFA_F_SECONDARY);
    (told.may_be_sent_from() && !is_never_taken).then_some(Address {
        interface: interface(told.interface)?,
        address: told.address(),
        network: IpNet::new(told.near, told.length).ok()?,
        is_deprecated: told.has(IFA_F_DEPRECATED),
    })
}

/// What the kernel tells of an address.
struct Told {
    interface: u32,
    scope: u8,
    flags: u32,
    /// The address, or on a point-to-point link the peer's.
    near: IpAddr,
    length: u8,
    own: Option<IpAddr>,
    /// In hundredths of a second since the node was booted.
    since: u32,
}

impl Told {
    fn of(answer: &[u8]) -> Option<Self> {
        let (header, attributes) = parts(answer, ADDRESS_BYTES);
        let &[_, length, flags, scope, ..] = header else {
            return None;
        };
        Some(Self {
            interface: number(header.get(4..))?,
            scope,
            flags: number(value_in(attributes, IFA_FLAGS)).unwrap_or(flags.into()),
            near: value_in(attributes, libc::IFA_ADDRESS).and_then(ip)?,
            length,
            own: value_in(attributes, libc::IFA_LOCAL).and_then(ip),
            // `cstamp` of struct ifa_cacheinfo.
            since: value_in(attributes, libc::IFA_CACHEINFO)
                .and_then(|times| number(times.get(8..)))
                .unwrap_or_default(),
        })
    }

    fn address(&self) -> IpAddr {
        self.own.unwrap_or(self.near)
    }

    fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Beyond one link, and nobody else may have it (RFC 4862; an optimistic one, of RFC 4429, may be used meanwhile).
    fn may_be_sent_from(&self) -> bool {
        let waits = self.has(IFA_F_TENTATIVE) && !self.has(IFA_F_OPTIMISTIC);
        !waits && !self.has(IFA_F_DADFAILED) && self.scope == libc::RT_SCOPE_UNIVERSE
    }

    fn of_node(&self) -> Option<NodeAddress> {
        Some(NodeAddress {
            address: self.address(),
            interface: interface(self.interface)?,
            kind: kind(self.interface),
            is_usable: self.may_be_sent_from() && !self.has(IFA_F_DEPRECATED),
            is_secondary: self.has(IFA_F_SECONDARY),
            is_single: self.length == IpNet::from(self.near).max_prefix_len(),
            since: self.since,
        })
    }
}

/// The header that comes before the attributes, and the attributes.
fn parts(answer: &[u8], header_bytes: usize) -> (&[u8], &[u8]) {
    body_of(answer)
        .split_at_checked(header_bytes)
        .unwrap_or_default()
}

/// rtnetlink has its numbers in the host's byte order.
fn number(value: Option<&[u8]>) -> Option<u32> {
    Some(u32::from_ne_bytes(*value?.first_chunk()?))
}

fn ip(octets: &[u8]) -> Option<IpAddr> {
    let ipv4 = || Some(IpAddr::from(<[u8; 4]>::try_from(octets).ok()?));
    let ipv6 = || Some(IpAddr::from(<[u8; 16]>::try_from(octets).ok()?));
    ipv4().or_else(ipv6)
}

fn unspecified(family: u8) -> IpAddr {
    match c_int::from(family) {
        libc::AF_INET => Ipv4Addr::UNSPECIFIED.into(),
        _ => Ipv6Addr::UNSPECIFIED.into(),
    }
}

fn interface(index: u32) -> Option<String> {
    let name = if_indextoname(index).ok()?;
    Some(name.to_string_lossy().into_owned())
}

/// As `ip -details link` has it; `None`: the interface has none, or has gone.
fn kind(interface: u32) -> Option<String> {
    let mut body = vec![0; LINK_BYTES];
    body.get_mut(4..8)?
        .copy_from_slice(&interface.to_ne_bytes());
    let request = request(libc::RTM_GETLINK.into(), 0, &body).ok()?;
    let mut found = None;
    asked(&request, |answer| {
        let (_, attributes) = parts(answer, LINK_BYTES);
        let info = value_in(attributes, IFLA_LINKINFO).unwrap_or_default();
        found = value_in(info, IFLA_INFO_KIND).map(text);
    })
    .ok()?;
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_local_and_a_documentation_address_is_not() {
        for (address, expected) in [
            ("127.0.0.1", true),
            ("127.255.0.7", true),
            ("192.0.2.1", false),
            ("::1", true),
            ("2001:db8::1", false),
            ("0.0.0.0", false),
            ("::", false),
        ] {
            let route = route_to(address.parse().unwrap()).unwrap();
            let is_local = route.is_some_and(|route| route.is_local);
            assert_eq!(is_local, expected, "{address}");
        }
    }

    /// Whatever the bytes are; a next hop of no length does not go on for ever.
    #[test]
    fn an_answer_that_is_cut_tells_of_nothing() {
        let body = [&[2, 0, 0, 0, 254, 0, 0, RTN_UNICAST, 0, 0, 0, 0][..]].concat();
        let hops = attribute(RTA_MULTIPATH, &[0; 16]);
        let whole = request(libc::RTM_NEWROUTE.into(), 0, &[body, hops].concat()).unwrap();
        for length in 0..=whole.len() {
            let cut = whole.get(..length).unwrap();
            assert_eq!(ways(cut), []);
            assert_eq!(local_route(cut), None);
            assert_eq!(address_in(cut), None);
        }
    }
}
