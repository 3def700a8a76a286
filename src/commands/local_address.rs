//! Whether an address is one of this host's (LOCAL, as `fib daddr type local` has it): the kernel is asked for the route
//! to it, rtnetlink(7), which takes no privilege.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::libc;
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

/// Whether the address is LOCAL in this network namespace.
///
/// # Errors
/// Where the kernel does not answer. An address without a route is not LOCAL.
pub(super) fn is_local(address: IpAddr) -> io::Result<bool> {
    // To the kernel a route to it is the default route.
    if address.is_unspecified() {
        return Ok(false);
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
    route_type(answer.get(..length).unwrap_or_default()).map(|kind| kind == Some(LOCAL))
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

/// `rtm_type` of an answer; none where there is no route.
fn route_type(answer: &[u8]) -> io::Result<Option<u8>> {
    let strange = || io::Error::other("an answer of rtnetlink that is none to the request");
    let kind = answer.get(4..).and_then(|rest| rest.first_chunk());
    let kind = u16::from_ne_bytes(*kind.ok_or_else(strange)?);
    let body = answer.get(MESSAGE_HEADER_BYTES..).ok_or_else(strange)?;
    if kind == libc::RTM_NEWROUTE {
        return body.get(TYPE_OFFSET).copied().map(Some).ok_or_else(strange);
    }
    let code = i32::from_ne_bytes(*body.first_chunk().ok_or_else(strange)?);
    match Errno::from_raw(code.saturating_neg()) {
        // The families' words for: there is no route.
        Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::EACCES | Errno::EINVAL => Ok(None),
        other => Err(other.into()),
    }
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
        assert!(route_type(&[0; 7]).is_err());
        assert!(route_type(&[]).is_err());
    }
}
