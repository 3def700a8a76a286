//! Packets of no connection: how each is built, sent through the node, and seen by its receiver.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    MsgFlags, SockaddrStorage, bind, recvfrom, sendto, setsockopt, sockopt::ReceiveTimeout,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::support::lab::{Family, Lab};
use crate::support::netns::Namespace;
use crate::support::wire::{behind_ipv4_header, internet_checksum, sctp};

/// Flags of a segment (RFC 9293, section 3.1).
pub(super) const FIN: u8 = 1;
pub(super) const SYN: u8 = 2;
pub(super) const RST: u8 = 4;
pub(super) const PSH: u8 = 8;
pub(super) const ACK: u8 = 16;
pub(super) const URG: u8 = 32;

/// A packet, by what a connection is begun or gone on with.
#[derive(Clone, Copy, Debug)]
pub(in crate::packets) enum Packet {
    /// A segment of TCP with these flags.
    Segment(u8),
    /// The one chunk of a packet of SCTP, by its type, behind this verification tag (RFC 9260, section 3.2).
    Chunk(u8, u32),
    /// An INIT of SCTP with a wrong checksum.
    DamagedInit,
    /// The answer to an echo request that nobody sent.
    EchoReply,
    /// That a packet is not delivered which nobody sent.
    Unreachable,
    EchoRequest,
}

use Packet::{Chunk, DamagedInit, EchoReply, EchoRequest, Segment, Unreachable};

const INIT: Packet = Chunk(1, 0);

/// What begins no connection and belongs to none, of each protocol, and what begins one.
pub(in crate::packets) const INVALID: [(&[Packet], Packet); 3] = [
    (TCP, Segment(SYN)),
    // An ABORT and an INIT that names an association.
    (&[Chunk(6, 7), Chunk(1, 7), DamagedInit], INIT),
    (&[EchoReply, Unreachable], EchoRequest),
];

/// Where all are sent to.
pub(super) const PORT: u16 = 7_001;

const TCP: &[Packet] = &[
    Segment(RST),
    Segment(RST | ACK),
    Segment(FIN | ACK),
    Segment(SYN | ACK),
];

/// A segment of TCP without data, whose sequence number is its mark: masquerading changes the port.
fn segment(from: SocketAddr, to: SocketAddr, flags: u8, mark: u32) -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend(from.port().to_be_bytes());
    segment.extend(to.port().to_be_bytes());
    segment.extend(mark.to_be_bytes());
    segment.extend(1_u32.to_be_bytes());
    // Five words of header, then the flags, the window, checksum and urgent pointer.
    segment.extend([5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    // Conntrack takes a segment with a wrong checksum for invalid, whatever it is.
    let mut summed = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => [from.octets(), to.octets()].concat(),
        (IpAddr::V6(from), IpAddr::V6(to)) => [from.octets(), to.octets()].concat(),
        _ => unreachable!("two addresses of one family"),
    };
    summed.extend([0, 6, 0, 20]);
    summed.extend(&segment);
    let sum = internet_checksum(&summed).to_be_bytes();
    segment[16..18].copy_from_slice(&sum);
    segment
}

impl Packet {
    fn protocol(self, family: Family) -> i32 {
        match (self, family) {
            (Segment(_), _) => libc::IPPROTO_TCP,
            (Chunk(..) | DamagedInit, _) => libc::IPPROTO_SCTP,
            (EchoReply | Unreachable | EchoRequest, Family::V4) => libc::IPPROTO_ICMP,
            (EchoReply | Unreachable | EchoRequest, Family::V6) => libc::IPPROTO_ICMPV6,
        }
    }

    /// With the mark at its end, but for a segment.
    fn bytes(self, from: SocketAddr, to: SocketAddr, mark: u32) -> Vec<u8> {
        let family = Family::of(from.ip());
        let marked = |head: &[u8]| [head, &mark.to_be_bytes()].concat();
        let types = match family {
            Family::V4 => [0, 3, 8],
            Family::V6 => [129, 1, 128],
        };
        let [echo_reply, unreachable, echo_request] = types;
        let [high, low] = from.port().to_be_bytes();
        match self {
            Segment(flags) => segment(from, to, flags, mark),
            Chunk(kind, tag) => {
                // As long as an INIT, whose first sequence number comes last.
                let head = [kind, 0, 0, 20, 0, 0, 0, 1, 0, 0, 255, 255, 0, 1, 0, 1];
                sctp(from.port(), to.port(), tag, &marked(&head))
            }
            DamagedInit => {
                let mut packet = INIT.bytes(from, to, mark);
                packet[8] ^= 1;
                packet
            }
            EchoReply => icmp(family, &marked(&[echo_reply, 0, 0, 0, high, low, 0, 1])),
            EchoRequest => icmp(family, &marked(&[echo_request, 0, 0, 0, high, low, 0, 1])),
            Unreachable => {
                let head = [unreachable, 0, 0, 0, 0, 0, 0, 0].to_vec();
                let head = [head, datagram_head(to, from)].concat();
                icmp(family, &marked(&head))
            }
        }
    }
}

/// In IPv6 the kernel adds the checksum (RFC 3542, section 3.1).
fn icmp(family: Family, message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    if family == Family::V4 {
        let sum = internet_checksum(&message).to_be_bytes();
        message[2..4].copy_from_slice(&sum);
    }
    message
}

/// The headers of IP and UDP of a datagram with four bytes.
fn datagram_head(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let [[f1, f2], [t1, t2]] = [from, to].map(|end| end.port().to_be_bytes());
    let udp = [f1, f2, t1, t2, 0, 12, 0, 0];
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let head = [0x45, 0, 0, 32, 0, 1, 0, 0, 64, 17, 0, 0];
            let mut head = [&head[..], &from.octets(), &to.octets()].concat();
            let sum = internet_checksum(&head).to_be_bytes();
            head[10..12].copy_from_slice(&sum);
            [head, udp.to_vec()].concat()
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let head = [0x60, 0, 0, 0, 0, 12, 17, 64];
            [&head[..], &from.octets(), &to.octets(), &udp].concat()
        }
        _ => unreachable!("two addresses of one family"),
    }
}

pub(in crate::packets) fn raw_socket(family: Family, protocol: i32) -> io::Result<OwnedFd> {
    let domain = match family {
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    // SAFETY: no pointer is passed.
    let socket = unsafe { libc::socket(domain, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
    // SAFETY: the descriptor is new, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(Errno::result(socket)?) })
}

/// From whom to whom packets go.
#[derive(Clone, Copy)]
pub(in crate::packets) struct Way<'lab> {
    pub(super) sender: &'lab Namespace,
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
    pub(super) receiver: &'lab Namespace,
}

impl<'lab> Way<'lab> {
    /// Through the node to the outside.
    pub(in crate::packets) fn from_pod(lab: &'lab Lab, to: IpAddr) -> Self {
        let from = lab.addresses_of(Family::of(to)).pod;
        Self {
            sender: &lab.pod,
            from,
            to,
            receiver: &lab.outside,
        }
    }

    /// The node itself sends to the outside.
    pub(super) fn from_node(lab: &'lab Lab, to: IpAddr) -> Self {
        Self {
            sender: &lab.node,
            from: lab.addresses_of(Family::of(to)).node_uplink,
            ..Self::from_pod(lab, to)
        }
    }

    /// A client outside sends through the node to an address of the pod.
    pub(super) fn from_client(lab: &'lab Lab, to: IpAddr) -> Self {
        Self {
            sender: &lab.outside,
            from: lab.addresses_of(Family::of(to)).client,
            to,
            receiver: &lab.pod,
        }
    }
}

/// Sends each of these packets of one protocol, none of a connection that is there, and `last`, which begins one. Gives the
/// source that the receiver saw of each; `None`: it did not arrive, although the one behind it did.
pub(in crate::packets) fn seen(
    lab: &Lab,
    way: Way<'_>,
    packets: &[Packet],
    last: Packet,
) -> Vec<Option<IpAddr>> {
    let family = Family::of(way.to);
    let protocol = last.protocol(family);
    let receiver = way.receiver.run(|| raw_socket(family, protocol)).unwrap();
    setsockopt(&receiver, ReceiveTimeout, &TimeVal::seconds(5)).unwrap();
    let to = SocketAddr::new(way.to, PORT);
    let first_mark = u32::from(lab.unused_port()) << 16;
    let all: Vec<Packet> = packets.iter().copied().chain([last]).collect();
    way.sender.run(|| {
        let socket = raw_socket(family, protocol).unwrap();
        let portless = |address| SockaddrStorage::from(SocketAddr::new(address, 0));
        bind(socket.as_raw_fd(), &portless(way.from)).unwrap();
        for (mark, packet) in (first_mark..).zip(&all) {
            let from = SocketAddr::new(way.from, lab.unused_port());
            let bytes = packet.bytes(from, to, mark);
            let to = portless(to.ip());
            sendto(socket.as_raw_fd(), &bytes, &to, MsgFlags::empty()).unwrap();
        }
    });
    let mut sources = vec![None; all.len()];
    let mut packet = [0; 256];
    while sources.last() == Some(&None) {
        let (bytes, from) = recvfrom::<SockaddrStorage>(receiver.as_raw_fd(), &mut packet).unwrap();
        let packet = match family {
            Family::V4 => behind_ipv4_header(&packet[..bytes]).unwrap(),
            Family::V6 => &packet[..bytes],
        };
        let mark = match last {
            Segment(_) => packet[4..8].try_into().unwrap(),
            _ => *packet.last_chunk().unwrap(),
        };
        let index = u32::from_be_bytes(mark).wrapping_sub(first_mark) as usize;
        if let Some(seen) = sources.get_mut(index) {
            let from = from.unwrap();
            let v4 = from.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            *seen = v4.or_else(|| from.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())));
        }
    }
    assert!(sources.pop().unwrap().is_some());
    sources
}
