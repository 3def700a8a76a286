//! `dropInvalid`: what belongs to no connection does not leave with the pod's address, by packets of TCP, SCTP and ICMP of
//! each kind.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    MsgFlags, SockaddrStorage, bind, recvfrom, sendto, setsockopt, sockopt::ReceiveTimeout,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::DAEMON;
use crate::support::judged::Judged;
use crate::support::lab::{Family, Lab};
use crate::support::nft::Nft;
use crate::support::outcome::Outcome;
use crate::support::wire::{behind_ipv4_header, internet_checksum, sctp};

/// Flags of a segment (RFC 9293, section 3.1).
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// A packet, by what a connection is begun or gone on with.
#[derive(Clone, Copy, Debug)]
pub(super) enum Packet {
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
pub(super) const INVALID: [(&[Packet], Packet); 3] = [
    (TCP, Segment(SYN)),
    // An ABORT and an INIT that names an association.
    (&[Chunk(6, 7), Chunk(1, 7), DamagedInit], INIT),
    (&[EchoReply, Unreachable], EchoRequest),
];

/// Of all protocols.
const KINDS: usize = 9;

const TCP: &[Packet] = &[
    Segment(RST),
    Segment(RST | ACK),
    Segment(FIN | ACK),
    Segment(SYN | ACK),
];

const CONFIGURATION: &str = "
enableIPv6: true
nonMasqueradeCIDRs: [10.0.0.0/8, 'fd00::/8']
masqueradeCIDRs: [10.1.0.0/16, 'fd00:1::/32']
";

fn start(more: &str) -> Judged {
    Judged::start(DAEMON, &format!("{CONFIGURATION}{more}"), &[]).unwrap()
}

fn destination(family: Family, is_exempt: bool) -> IpAddr {
    let text = match (family, is_exempt) {
        (Family::V4, true) => "10.7.0.1",
        (Family::V4, false) => "1.1.1.1",
        (Family::V6, true) => "fd00:7::1",
        (Family::V6, false) => "2606:4700::1",
    };
    text.parse().unwrap()
}

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

pub(super) fn raw_socket(family: Family, protocol: i32) -> io::Result<OwnedFd> {
    let domain = match family {
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    // SAFETY: no pointer is passed.
    let socket = unsafe { libc::socket(domain, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
    // SAFETY: the descriptor is new, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(Errno::result(socket)?) })
}

/// Who sends.
#[derive(Clone, Copy)]
pub(super) enum Sender {
    Pod,
    Node,
}

/// Sends each of these packets of one protocol, none of a connection that is there, and `last`, which begins one. Gives the
/// source that the receiver saw of each; `None`: it did not arrive, although the one behind it did.
pub(super) fn seen(
    lab: &Lab,
    sender: Sender,
    to: IpAddr,
    packets: &[Packet],
    last: Packet,
) -> Vec<Option<IpAddr>> {
    let family = Family::of(to);
    let own = lab.addresses_of(family);
    let (namespace, source) = match sender {
        Sender::Pod => (&lab.pod, own.pod),
        Sender::Node => (&lab.node, own.node_uplink),
    };
    let protocol = last.protocol(family);
    let receiver = lab.outside.run(|| raw_socket(family, protocol)).unwrap();
    setsockopt(&receiver, ReceiveTimeout, &TimeVal::seconds(5)).unwrap();
    let to = SocketAddr::new(to, 7_001);
    let first_mark = u32::from(lab.unused_port()) << 16;
    let all: Vec<Packet> = packets.iter().copied().chain([last]).collect();
    namespace.run(|| {
        let socket = raw_socket(family, protocol).unwrap();
        let portless = |address| SockaddrStorage::from(SocketAddr::new(address, 0));
        bind(socket.as_raw_fd(), &portless(source)).unwrap();
        for (mark, packet) in (first_mark..).zip(&all) {
            let from = SocketAddr::new(source, lab.unused_port());
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

/// The same of what is invalid, of each protocol.
fn invalid_seen(lab: &Lab, sender: Sender, to: IpAddr) -> Vec<Option<IpAddr>> {
    let of_protocols = INVALID.iter();
    of_protocols
        .flat_map(|(packets, last)| seen(lab, sender, to, packets, *last))
        .collect()
}

#[test]
fn without_it_each_kind_leaves_with_the_pod_s_address() {
    let judged = start("");
    for family in Family::BOTH {
        let pod = judged.lab.addresses_of(family).pod;
        for is_exempt in [false, true] {
            let seen = invalid_seen(&judged.lab, Sender::Pod, destination(family, is_exempt));
            assert_eq!(seen, [Some(pod); KINDS], "{family}");
        }
    }
}

#[test]
fn with_it_none_leaves_for_masqueraded_destinations_and_all_for_exempt_ones() {
    let judged = start("dropInvalid: true\n");
    for family in Family::BOTH {
        let own = judged.lab.addresses_of(family);
        let to = |is_exempt| destination(family, is_exempt);
        let of_pod = |is_exempt| invalid_seen(&judged.lab, Sender::Pod, to(is_exempt));
        assert_eq!(of_pod(false), [None; KINDS], "{family}");
        assert_eq!(of_pod(true), [Some(own.pod); KINDS], "{family}");
        let of_node = invalid_seen(&judged.lab, Sender::Node, to(false));
        assert_eq!(of_node, [Some(own.node_uplink); KINDS], "{family}");
        // What begins a connection, or goes on with one that conntrack has lost, is masqueraded as ever.
        let valid = [Segment(SYN), Segment(ACK)];
        let valid = seen(&judged.lab, Sender::Pod, to(false), &valid, Segment(SYN));
        assert_eq!(valid, [Some(own.node_uplink); 2], "{family}");
    }
    judged.assert_follows(CONFIGURATION);
    let mut status = judged.lab.node.command(DAEMON);
    status
        .arg("status")
        .arg("--config")
        .arg(judged.daemon.config_file());
    let status = Outcome::of(&mut status);
    status.assert_code(0);
    let told = status.output;
    assert_eq!(
        told.matches(&format!("invalid, dropped   {KINDS} packets"))
            .count(),
        2,
        "{told}"
    );
}

/// With nf_conntrack_tcp_loose conntrack takes a plain segment for the middle of a connection that it has not seen.
#[test]
fn a_connection_that_conntrack_has_lost_goes_on_as_the_kernel_is_set() {
    for (is_on, loose, is_seen) in [(true, "1", true), (true, "0", false), (false, "0", true)] {
        let judged = start(&format!("dropInvalid: {is_on}\n"));
        let sysctl = "net/netfilter/nf_conntrack_tcp_loose";
        judged.lab.node.sysctl(sysctl, loose).unwrap();
        for family in Family::BOTH {
            let to = destination(family, false);
            let seen = seen(&judged.lab, Sender::Pod, to, &[Segment(ACK)], Segment(SYN));
            let [seen] = seen.try_into().unwrap();
            assert_eq!(seen.is_some(), is_seen, "{family}, {is_on}, {loose}");
        }
    }
}

#[test]
fn it_is_narrowed_by_sources_and_interfaces_as_masquerading_is() {
    for more in [
        "sourceCIDRs: [10.245.0.0/16, 'fd00:10:245::/48']\n",
        "outputInterfaces: [eth*, pod0]\n",
    ] {
        let judged = start(&format!("dropInvalid: true\n{more}"));
        for family in Family::BOTH {
            let pod = judged.lab.addresses_of(family).pod;
            let seen = invalid_seen(&judged.lab, Sender::Pod, destination(family, false));
            assert_eq!(seen, [Some(pod); KINDS], "{family}, {more}");
        }
    }
    let judged = start("dropInvalid: true\noutputInterfaces: [eth*, uplink*]\n");
    for family in Family::BOTH {
        let seen = invalid_seen(&judged.lab, Sender::Pod, destination(family, false));
        assert_eq!(seen, [None; KINDS], "{family}");
    }
}

#[test]
fn it_goes_on_and_off_at_run_time() {
    let judged = start("");
    let nft = Nft::host();
    for is_on in [true, false, true] {
        judged
            .change(&format!("{CONFIGURATION}dropInvalid: {is_on}\n"))
            .unwrap();
        let table = || nft.list_table_text(&judged.lab.node, "non-masquerade-daemon");
        let is_as_wanted = || table().is_ok_and(|table| table.contains("drop-invalid") == is_on);
        crate::support::wait_until(std::time::Duration::from_secs(5), is_as_wanted).unwrap();
        let seen = invalid_seen(&judged.lab, Sender::Pod, destination(Family::V4, false));
        assert_eq!(seen.iter().all(Option::is_none), is_on, "{seen:?}");
        judged.assert_comes_to_follow(CONFIGURATION);
    }
}
