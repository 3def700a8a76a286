//! What the node sends to several hosts, multicast and broadcast, leaves as without the key: OSPF, VRRP, IGMP and DHCPv6 are
//! protocols of the link, whose receivers know the sender by its interface's address.

use std::io;
use std::net::{SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::net::if_::if_nametoindex;
use nix::sys::socket::sockopt::{BindToDevice, Broadcast, ReceiveTimeout};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, recv, sendto,
    setsockopt, socket,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::*;
use crate::packets::drop_invalid::raw_socket;
use crate::support::probe::PROBE_PORT;
use crate::support::wire::behind_ipv4_header;

/// IANA, "Protocol Numbers".
const IGMP: u8 = 2;
const UDP: u8 = 17;
const OSPF: u8 = 89;
const VRRP: u8 = 112;

/// The uplink's first address, one that it shares with a network, and its link-local one.
const UPLINK: &str = "192.0.2.1";
const NEAR: &str = "172.31.7.1";
const LINK_LOCAL: &str = "fe80::ff:fe00:3";
const UPLINK_6: &str = "2001:db8::1";

/// Protocol, source and destination of what the node sends.
const SENT: [(u8, &str, &str); 10] = [
    (OSPF, UPLINK, "224.0.0.5"),
    (VRRP, UPLINK, "224.0.0.18"),
    (IGMP, UPLINK, "224.0.0.22"),
    (UDP, UPLINK, "239.255.255.250"),
    (UDP, UPLINK, "255.255.255.255"),
    (UDP, NEAR, "172.31.7.255"),
    (OSPF, LINK_LOCAL, "ff02::5"),
    (VRRP, LINK_LOCAL, "ff02::12"),
    // DHCPv6: to agents on the link, and to the servers of a site.
    (UDP, LINK_LOCAL, "ff02::1:2"),
    (UDP, UPLINK_6, "ff05::1:3"),
];

/// All packets that come to the outside, whoever they are for.
fn receiver(lab: &Lab) -> OwnedFd {
    let kind = SockType::Datagram;
    let all = || {
        socket(
            AddressFamily::Packet,
            kind,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::EthAll,
        )
    };
    let receiver = lab.outside.run(all).unwrap();
    let limit = TimeVal::seconds(LIMIT.as_secs() as i64);
    setsockopt(&receiver, ReceiveTimeout, &limit).unwrap();
    receiver
}

/// A packet by the uplink with nothing in it but `mark`, which UDP has for its source port too.
fn send(lab: &Lab, protocol: u8, from: IpAddr, to: IpAddr, mark: u16) {
    lab.node.run(|| {
        let scope = if_nametoindex("uplink0").unwrap();
        let at = |address, port| match address {
            IpAddr::V4(_) => SocketAddr::new(address, port),
            IpAddr::V6(address) => SocketAddrV6::new(address, port, 0, scope).into(),
        };
        let (socket, port): (OwnedFd, u16) = match protocol {
            UDP => (UdpSocket::bind(at(from, mark)).unwrap().into(), PROBE_PORT),
            _ => {
                let socket = raw_socket(Family::of(from), protocol.into()).unwrap();
                bind(socket.as_raw_fd(), &SockaddrStorage::from(at(from, 0))).unwrap();
                (socket, 0)
            }
        };
        setsockopt(&socket, BindToDevice, &"uplink0".into()).unwrap();
        setsockopt(&socket, Broadcast, &true).unwrap();
        let to = SockaddrStorage::from(at(to, port));
        sendto(
            socket.as_raw_fd(),
            &mark.to_be_bytes(),
            &to,
            MsgFlags::empty(),
        )
        .unwrap();
    });
}

/// Source address, and source port where there are ports, of the packet that was sent so.
fn seen(receiver: &OwnedFd, protocol: u8, to: IpAddr, mark: u16) -> (IpAddr, Option<u16>) {
    let mut packet = [0; 2048];
    loop {
        let received = recv(receiver.as_raw_fd(), &mut packet, MsgFlags::empty());
        let bytes = received.unwrap_or_else(|error| panic!("{protocol} to {to}: {error}"));
        let Some((of, source, destination, payload)) = parts(&packet[..bytes]) else {
            continue;
        };
        if (of, destination) != (protocol, to) || !payload.ends_with(&mark.to_be_bytes()) {
            continue;
        }
        let port = (protocol == UDP).then(|| u16::from_be_bytes([payload[0], payload[1]]));
        return (source, port);
    }
}

/// Protocol, source, destination, and what follows the header (RFC 791, RFC 8200). The outside sees other packets too.
fn parts(packet: &[u8]) -> Option<(u8, IpAddr, IpAddr, &[u8])> {
    let address = |range: std::ops::Range<usize>| -> Option<IpAddr> {
        let bytes = packet.get(range)?;
        match bytes.len() {
            4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
            _ => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        }
    };
    let (protocol, from, to, payload) = match packet.first()? >> 4 {
        4 => (9, 12..16, 16..20, behind_ipv4_header(packet)?),
        6 => (6, 8..24, 24..40, packet.get(40..)?),
        _ => return None,
    };
    Some((
        *packet.get(protocol)?,
        address(from)?,
        address(to)?,
        payload,
    ))
}

/// The chosen address is on `lo`, so that no interface gives it by itself.
fn lab_with_chosen_addresses() -> Lab {
    let lab = lab();
    for family in Family::BOTH {
        address(&lab.node, "add", first_choice(family), "lo", "");
    }
    let near = format!("address add {NEAR}/24 broadcast + dev uplink0");
    lab.node.ip(&near).unwrap();
    lab
}

fn assert_unicast_gets(lab: &Lab, expected: fn(&Lab, Family) -> IpAddr) {
    for probe in [Probe::from_pod, Probe::from_node] {
        let probe = probe(lab).unwrap();
        for family in Family::BOTH {
            let seen = probe.seen_source(Protocol::Udp, public(family)).unwrap();
            assert_eq!(seen.ip(), expected(lab, family));
        }
    }
}

#[test]
fn multicast_and_broadcast_keep_the_interface_s_address() -> io::Result<()> {
    let without = CONFIGURATION.replace("snatAddressCIDRs", "#");
    let uplink: fn(&Lab, Family) -> IpAddr = |lab, family| lab.addresses_of(family).node_uplink;
    let chosen: fn(&Lab, Family) -> IpAddr = |_, family| first_choice(family);
    for (configuration, more, ports, of_unicast) in [
        (&*without, "", 0..=u16::MAX, uplink),
        (CONFIGURATION, "", 0..=u16::MAX, chosen),
        (CONFIGURATION, "randomFully: false\n", 0..=u16::MAX, chosen),
        (
            CONFIGURATION,
            "toPorts: 50000-50999,60000-60999\n",
            50_000..=60_999,
            chosen,
        ),
        (
            CONFIGURATION,
            "toPorts: 61000-61009\nenforce: true\ndropInvalid: true\noutputInterfaces: [uplink*]\n",
            61_000..=61_009,
            chosen,
        ),
    ] {
        let configuration = format!("{configuration}{more}");
        let lab = lab_with_chosen_addresses();
        let judged = Judged::start_in(lab, DAEMON, &configuration, &[])?;
        let lab = &judged.lab;
        assert_unicast_gets(lab, of_unicast);
        let receiver = receiver(lab);
        for (protocol, from, to) in SENT {
            let (from, to, mark) = (parsed(from), parsed(to), lab.unused_port());
            send(lab, protocol, from, to, mark);
            let (source, port) = seen(&receiver, protocol, to, mark);
            let said = format!("{protocol} to {to} of {configuration}");
            assert_eq!(source, from, "{said}");
            assert!(
                port.is_none_or(|port| ports.contains(&port)),
                "{port:?}, {said}"
            );
        }
    }
    Ok(())
}
