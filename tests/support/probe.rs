//! One real flow at a time, and which source the receiver saw.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, bind, connect, recvfrom, sendto,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::bind_soon;
use super::lab::{Addresses, Family, Lab};
use super::netns::Namespace;
use super::wire;

/// Port on which probes are received.
pub const PROBE_PORT: u16 = 7_000;
/// How long a probe may take: long enough for TCP to send a second SYN, after one second (RFC 6298, section 2).
const LIMIT: Duration = Duration::from_secs(3);

/// What a probe is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// One datagram.
    Udp,
    /// One connection, accepted.
    Tcp,
    /// One echo request; its identifier takes the place of the source port.
    Icmp,
    /// The first packet of an association, which nobody answers.
    Sctp,
    /// One packet of a protocol without ports; its call ID takes the place of the source port.
    Gre,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Udp, Self::Tcp, Self::Icmp, Self::Sctp, Self::Gre];
    /// Those whose source ports a range can be given for.
    pub const WITH_PORTS: [Self; 3] = [Self::Udp, Self::Tcp, Self::Sctp];
    /// Those that are received by a raw socket.
    const RAW: [Self; 3] = [Self::Icmp, Self::Sctp, Self::Gre];

    /// The protocol's number for a raw socket (IANA's protocol numbers).
    fn number(self, family: Family) -> u8 {
        match (self, family) {
            (Self::Udp, _) => 17,
            (Self::Tcp, _) => 6,
            (Self::Icmp, Family::V4) => 1,
            (Self::Icmp, Family::V6) => 58,
            (Self::Sctp, _) => 132,
            (Self::Gre, _) => 47,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Icmp => "ICMP",
            Self::Sctp => "SCTP",
            Self::Gre => "GRE",
        })
    }
}

/// One new connection.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// What it is made of.
    pub protocol: Protocol,
    /// Where the sender sends from. The port marks the flow.
    pub from: SocketAddr,
    /// Where the sender sends to: what a service translates need not be what the receiver is bound to.
    pub to: SocketAddr,
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {} to {}", self.protocol, self.from, self.to)
    }
}

/// Which of a lab's addresses a sender has.
type Source = fn(&Addresses<IpAddr>) -> IpAddr;

/// A sender and a receiver. The receiver's sockets are made once; every probe has a source port of its own.
#[derive(Debug)]
pub struct Probe<'lab> {
    lab: &'lab Lab,
    from: &'lab Namespace,
    source: Source,
    udp: UdpSocket,
    tcp: TcpListener,
    raw: Vec<(Protocol, Family, OwnedFd)>,
}

impl<'lab> Probe<'lab> {
    /// Probes through the node.
    pub fn from_pod(lab: &'lab Lab) -> io::Result<Self> {
        Self::new(lab, &lab.pod, |own| own.pod, &lab.outside)
    }

    /// Probes that the node itself sends.
    pub fn from_node(lab: &'lab Lab) -> io::Result<Self> {
        Self::new(lab, &lab.node, |own| own.node_uplink, &lab.outside)
    }

    /// Probes that end in the node: for its LOCAL addresses.
    pub fn from_pod_to_node(lab: &'lab Lab) -> io::Result<Self> {
        Self::new(lab, &lab.pod, |own| own.pod, &lab.node)
    }

    /// Probes that never leave the node: from one of its LOCAL addresses to another. Only such packets to LOCAL addresses
    /// pass POSTROUTING.
    pub fn from_node_to_itself(lab: &'lab Lab) -> io::Result<Self> {
        Self::new(lab, &lab.node, |own| own.pod_gateway, &lab.node)
    }

    /// Probes that the node sends back to where they came from: for a service whose endpoint is its client.
    pub fn from_pod_to_itself(lab: &'lab Lab) -> io::Result<Self> {
        Self::new(lab, &lab.pod, |own| own.pod, &lab.pod)
    }

    /// Probes of a client outside that the node forwards to the pod, by the pod's address or by a NodePort.
    pub fn from_outside_to_pod(lab: &'lab Lab) -> io::Result<Self> {
        Self::new(lab, &lab.outside, |own| own.client, &lab.pod)
    }

    fn new(
        lab: &'lab Lab,
        from: &'lab Namespace,
        source: Source,
        to: &Namespace,
    ) -> io::Result<Self> {
        to.run(|| {
            // IPv4 arrives here too, by IPv4-mapped addresses.
            let any = (Ipv6Addr::UNSPECIFIED, PROBE_PORT);
            let udp = bind_soon(|| UdpSocket::bind(any))?;
            udp.set_read_timeout(Some(LIMIT))?;
            let tcp = bind_soon(|| TcpListener::bind(any))?;
            setsockopt(&tcp, sockopt::ReceiveTimeout, &limit())?;
            let mut raw = Vec::new();
            for family in Family::BOTH {
                for protocol in Protocol::RAW {
                    let socket = raw_socket(protocol, family)?;
                    setsockopt(&socket, sockopt::ReceiveTimeout, &limit())?;
                    raw.push((protocol, family, socket));
                }
            }
            Ok(Self {
                lab,
                from,
                source,
                udp,
                tcp,
                raw,
            })
        })
    }

    /// Sends one new flow to `destination` and returns the source that the receiver saw.
    pub fn seen_source(
        &self,
        protocol: Protocol,
        destination: impl Into<IpAddr>,
    ) -> io::Result<SocketAddr> {
        let to = SocketAddr::new(destination.into(), PROBE_PORT);
        self.seen_source_at(protocol, to)
    }

    /// The same to a port that is not the receiver's: a service's.
    pub fn seen_source_at(&self, protocol: Protocol, to: SocketAddr) -> io::Result<SocketAddr> {
        let source = (self.source)(&self.lab.addresses_of(Family::of(to.ip())));
        let from = SocketAddr::new(source, self.lab.unused_port());
        self.seen_source_of(Flow { protocol, from, to })
    }

    /// The same from an address that the sender would not take by itself.
    pub fn seen_source_from(
        &self,
        source: impl Into<IpAddr>,
        protocol: Protocol,
        destination: impl Into<IpAddr>,
    ) -> io::Result<SocketAddr> {
        self.seen_source_of(Flow {
            protocol,
            from: SocketAddr::new(source.into(), self.lab.unused_port()),
            to: SocketAddr::new(destination.into(), PROBE_PORT),
        })
    }

    /// Sends this flow and returns the source that the receiver saw.
    pub fn seen_source_of(&self, flow: Flow) -> io::Result<SocketAddr> {
        match flow.protocol {
            Protocol::Udp => self.udp_source(flow),
            Protocol::Tcp => self.tcp_source(flow),
            Protocol::Icmp | Protocol::Sctp | Protocol::Gre => self.raw_source(flow),
        }
        .map(|seen| SocketAddr::new(seen.ip().to_canonical(), seen.port()))
        .map_err(|error| io::Error::new(error.kind(), format!("{flow}: {error}")))
    }

    fn udp_source(&self, flow: Flow) -> io::Result<SocketAddr> {
        let mark = flow.from.port().to_be_bytes();
        self.from.run(|| {
            let socket = UdpSocket::bind(flow.from)?;
            socket.set_broadcast(true)?;
            socket.send_to(&mark, flow.to)
        })?;
        let mut datagram = [0; 2];
        until_limit(|| {
            let (_, source) = self.udp.recv_from(&mut datagram)?;
            Ok((datagram == mark).then_some(source))
        })
    }

    fn tcp_source(&self, flow: Flow) -> io::Result<SocketAddr> {
        let mark = flow.from.port().to_be_bytes();
        let mut stream = self.from.run(|| tcp_connect(flow))?;
        stream.write_all(&mark)?;
        let mut received = [0; 2];
        until_limit(|| {
            let (mut accepted, source) = self.tcp.accept()?;
            accepted.set_read_timeout(Some(LIMIT))?;
            accepted.read_exact(&mut received)?;
            Ok((received == mark).then_some(source))
        })
    }

    fn raw_source(&self, flow: Flow) -> io::Result<SocketAddr> {
        let family = Family::of(flow.to.ip());
        self.from.run(|| send_raw(flow))?;
        let receiver = self
            .raw
            .iter()
            .find(|(protocol, of, _)| (*protocol, *of) == (flow.protocol, family))
            .map(|(_, _, socket)| socket)
            .expect("a raw socket for each protocol and family");
        let mut packet = [0; 256];
        until_limit(|| {
            let (bytes, source) = recvfrom::<SockaddrStorage>(receiver.as_raw_fd(), &mut packet)?;
            let source = source
                .as_ref()
                .and_then(ip_address)
                .ok_or_else(|| io::Error::other("a packet without a source"))?;
            let port = received_port(flow, family, &packet[..bytes]);
            Ok(port.map(|port| SocketAddr::new(source, port)))
        })
    }
}

/// Takes what arrives until it is what was asked for. Each attempt ends by itself at the socket's limit.
fn until_limit<T>(mut attempt: impl FnMut() -> io::Result<Option<T>>) -> io::Result<T> {
    let started = Instant::now();
    while started.elapsed() < LIMIT {
        match attempt() {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::TimedOut,
        "sent, but it did not arrive",
    ))
}

fn limit() -> TimeVal {
    TimeVal::milliseconds(LIMIT.as_millis() as i64)
}

fn ip_address(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

/// A connection from a chosen source, which the standard library cannot make.
fn tcp_connect(flow: Flow) -> io::Result<TcpStream> {
    let stream = socket(
        address_family(Family::of(flow.from.ip())),
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    // The send timeout is connect's too.
    setsockopt(&stream, sockopt::SendTimeout, &limit())?;
    bind(stream.as_raw_fd(), &SockaddrStorage::from(flow.from))?;
    connect(stream.as_raw_fd(), &SockaddrStorage::from(flow.to))?;
    Ok(stream.into())
}

/// Raw sockets know no ports, neither where they are bound nor where they send to.
fn send_raw(flow: Flow) -> io::Result<()> {
    let family = Family::of(flow.from.ip());
    let port = flow.from.port();
    let packet = match flow.protocol {
        Protocol::Sctp => wire::sctp_init(port, flow.to.port()),
        Protocol::Icmp => wire::echo_request(family, port),
        Protocol::Gre => wire::gre(port).to_vec(),
        Protocol::Udp | Protocol::Tcp => return Err(io::Error::other("not sent raw")),
    };
    let socket = raw_socket(flow.protocol, family)?;
    let portless = |address: SocketAddr| SockaddrStorage::from(SocketAddr::new(address.ip(), 0));
    bind(socket.as_raw_fd(), &portless(flow.from))?;
    sendto(
        socket.as_raw_fd(),
        &packet,
        &portless(flow.to),
        MsgFlags::empty(),
    )?;
    Ok(())
}

/// The source port that a packet shows, if it is this flow's.
fn received_port(flow: Flow, family: Family, packet: &[u8]) -> Option<u16> {
    let payload = match family {
        Family::V4 => wire::behind_ipv4_header(packet)?,
        Family::V6 => packet,
    };
    let mark = flow.from.port();
    match flow.protocol {
        Protocol::Icmp => wire::echo_identifier(family, payload, mark),
        Protocol::Sctp => wire::sctp_source_port(payload, mark),
        Protocol::Gre => wire::gre_call_id(payload, mark),
        Protocol::Udp | Protocol::Tcp => None,
    }
}

fn raw_socket(protocol: Protocol, family: Family) -> io::Result<OwnedFd> {
    let domain = match family {
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: no pointer is passed. Crate nix has no protocols by their number.
    let descriptor = unsafe { libc::socket(domain, kind, protocol.number(family).into()) };
    let descriptor = Errno::result(descriptor)?;
    // SAFETY: the descriptor is new, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
