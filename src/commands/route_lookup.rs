//! The route to an address, as the kernel would choose it for what this host sends: asked by rtnetlink(7), which takes no
//! privilege.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::libc;
use nix::net::if_::if_indextoname;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    socket,
};

/// `RTN_LOCAL`, linux/rtnetlink.h.
const LOCAL: u8 = 2;
/// `struct nlmsghdr`: length, type, flags, sequence, port.
const MESSAGE_HEADER_BYTES: usize = 16;
/// `struct rtmsg`: family, lengths, table, protocol, scope, type, flags.
const ROUTE_BYTES: usize = 12;
/// Offset of `rtm_type` in it.
const TYPE_OFFSET: usize = 7;
/// `struct rtattr`: length, type.
const ATTRIBUTE_HEADER_BYTES: usize = 4;
/// Larger than any answer.
const ANSWER_BYTES: usize = 4096;

/// How packets to an address go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Way {
    /// The address is one of this host's, as `fib daddr type local` has it.
    pub(super) is_local: bool,
    /// By which interface they leave.
    pub(super) interface: Option<String>,
    /// Of the same family; `None`: the address is a neighbour's, or the gateway is of the other family.
    pub(super) gateway: Option<IpAddr>,
}

/// Whether the address is LOCAL in this network namespace.
///
/// # Errors
/// Where the kernel does not answer. An address without a route is not LOCAL.
pub(super) fn is_local(address: IpAddr) -> io::Result<bool> {
    Ok(way_to(address)?.is_some_and(|way| way.is_local))
}

/// The way to the address; `None`: there is no route.
///
/// # Errors
/// Where the kernel does not answer.
pub(super) fn way_to(address: IpAddr) -> io::Result<Option<Way>> {
    // To the kernel a route to it is the default route.
    if address.is_unspecified() {
        return Ok(None);
    }
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    send(socket.as_raw_fd(), &request(address)?, MsgFlags::empty())?;
    let mut answer = [0; ANSWER_BYTES];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    way(answer.get(..length).unwrap_or_default())
}

/// `RTM_GETROUTE` of one address.
fn request(address: IpAddr) -> io::Result<Vec<u8>> {
    let (family, octets) = match address {
        IpAddr::V4(v4) => (libc::AF_INET, v4.octets().to_vec()),
        IpAddr::V6(v6) => (libc::AF_INET6, v6.octets().to_vec()),
    };
    let family = u8::try_from(family).map_err(io::Error::other)?;
    let bits = u8::try_from(8 * octets.len()).map_err(io::Error::other)?;
    let attribute = u16::try_from(ATTRIBUTE_HEADER_BYTES + octets.len());
    let attribute = attribute.map_err(io::Error::other)?;
    let length = MESSAGE_HEADER_BYTES + ROUTE_BYTES + usize::from(attribute);
    let length = u32::try_from(length).map_err(io::Error::other)?;
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(libc::RTM_GETROUTE.to_ne_bytes());
    // NLM_F_REQUEST, linux/netlink.h; then sequence and port: there is one request.
    bytes.extend(1_u16.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family, bits, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend(attribute.to_ne_bytes());
    bytes.extend(libc::RTA_DST.to_ne_bytes());
    bytes.extend(octets);
    Ok(bytes)
}

/// What an answer says; none where there is no route.
fn way(answer: &[u8]) -> io::Result<Option<Way>> {
    let strange = || io::Error::other("an answer of rtnetlink that is none to the request");
    let kind = answer.get(4..).and_then(|rest| rest.first_chunk());
    let kind = u16::from_ne_bytes(*kind.ok_or_else(strange)?);
    let body = answer.get(MESSAGE_HEADER_BYTES..).ok_or_else(strange)?;
    if kind == libc::RTM_NEWROUTE {
        let kind = body.get(TYPE_OFFSET).ok_or_else(strange)?;
        let attributes = body.get(ROUTE_BYTES..).unwrap_or_default();
        let interface = attribute(attributes, libc::RTA_OIF).and_then(|index| index.first_chunk());
        let name = interface.and_then(|index| if_indextoname(u32::from_ne_bytes(*index)).ok());
        return Ok(Some(Way {
            is_local: *kind == LOCAL,
            interface: name.map(|name| name.to_string_lossy().into_owned()),
            gateway: attribute(attributes, libc::RTA_GATEWAY).and_then(address_of),
        }));
    }
    let code = i32::from_ne_bytes(*body.first_chunk().ok_or_else(strange)?);
    match Errno::from_raw(code.saturating_neg()) {
        // The families' words for: there is no route.
        Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::EACCES | Errno::EINVAL => Ok(None),
        other => Err(other.into()),
    }
}

/// The value of the first attribute of this type.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(*attributes.first_chunk()?));
        let kind = u16::from_ne_bytes(*attributes.get(2..)?.first_chunk()?);
        let value = attributes.get(ATTRIBUTE_HEADER_BYTES..length)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(ATTRIBUTE_HEADER_BYTES)..)?;
    }
}

fn address_of(octets: &[u8]) -> Option<IpAddr> {
    let ipv4 = || Some(IpAddr::from(<[u8; 4]>::try_from(octets).ok()?));
    let ipv6 = || Some(IpAddr::from(<[u8; 16]>::try_from(octets).ok()?));
    ipv4().or_else(ipv6)
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
            assert_eq!(
                is_local(address.parse().unwrap()).unwrap(),
                expected,
                "{address}"
            );
        }
    }

    #[test]
    fn an_answer_that_is_cut_is_an_error() {
        assert!(way(&[0; 7]).is_err());
        assert!(way(&[]).is_err());
    }
}
