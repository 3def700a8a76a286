//! One real flow at a time, and which source the receiver saw.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, bind, connect, recv,
    sendto, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::bind_soon;
use super::lab::Lab;
use super::netns::Namespace;

/// Port on which probes are received.
const PROBE_PORT: u16 = 7_000;
/// How long a probe may take.
const LIMIT: Duration = Duration::from_secs(1);
/// Type of an ICMP echo request, RFC 792.
const ECHO_REQUEST: u8 = 8;
/// ICMP header before the data of an echo request, RFC 792.
const ECHO_HEADER_BYTES: usize = 8;

/// What a probe is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// One datagram.
    Udp,
    /// One connection, accepted.
    Tcp,
    /// One echo request.
    Icmp,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Udp, Self::Tcp, Self::Icmp];
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Icmp => "ICMP",
        })
    }
}

/// A sender and a receiver. The receiver's sockets are made once; every probe has a source port of its own.
#[derive(Debug)]
pub struct Probe<'lab> {
    lab: &'lab Lab,
    from: &'lab Namespace,
    udp: UdpSocket,
    tcp: TcpListener,
    icmp: OwnedFd,
}

impl<'lab> Probe<'lab> {
    /// Probes through the node.
    pub fn from_pod(lab: &'lab Lab) -> io::Result<Self> {
        Self::new(lab, &lab.pod, &lab.outside)
    }

    /// Probes that the node itself sends.
    pub fn from_node(lab: &'lab Lab) -> io::Result<Self> {
        Self::new(lab, &lab.node, &lab.outside)
    }

    /// Probes that end in the node: for its LOCAL addresses.
    pub fn from_pod_to_node(lab: &'lab Lab) -> io::Result<Self> {
        Self::new(lab, &lab.pod, &lab.node)
    }

    fn new(lab: &'lab Lab, from: &'lab Namespace, to: &Namespace) -> io::Result<Self> {
        to.run(|| {
            let any = (Ipv4Addr::UNSPECIFIED, PROBE_PORT);
            let udp = bind_soon(|| UdpSocket::bind(any))?;
            udp.set_read_timeout(Some(LIMIT))?;
            let tcp = bind_soon(|| TcpListener::bind(any))?;
            let limit = TimeVal::milliseconds(LIMIT.as_millis() as i64);
            setsockopt(&tcp, sockopt::ReceiveTimeout, &limit)?;
            let icmp = raw_icmp()?;
            setsockopt(&icmp, sockopt::ReceiveTimeout, &limit)?;
            Ok(Self {
                lab,
                from,
                udp,
                tcp,
                icmp,
            })
        })
    }

    /// Sends one new flow to `destination` and returns the source that the receiver saw. The port of
    /// an ICMP source is its identifier.
    pub fn seen_source(
        &self,
        protocol: Protocol,
        destination: Ipv4Addr,
    ) -> io::Result<SocketAddrV4> {
        let port = self.lab.unused_port();
        match protocol {
            Protocol::Udp => self.udp_source(destination, port),
            Protocol::Tcp => self.tcp_source(destination, port),
            Protocol::Icmp => self.icmp_source(destination, port),
        }
        .map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("{protocol} to {destination} from port {port}: {error}"),
            )
        })
    }

    fn udp_source(&self, destination: Ipv4Addr, port: u16) -> io::Result<SocketAddrV4> {
        let mark = port.to_be_bytes();
        self.from.run(|| {
            UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?
                .send_to(&mark, (destination, PROBE_PORT))
        })?;
        let mut datagram = [0; 2];
        until_limit(|| {
            let (_, source) = self.udp.recv_from(&mut datagram)?;
            Ok((datagram == mark).then_some(source))
        })
        .and_then(v4)
    }

    fn tcp_source(&self, destination: Ipv4Addr, port: u16) -> io::Result<SocketAddrV4> {
        let mark = port.to_be_bytes();
        let mut stream = self.from.run(|| tcp_connect(destination, port))?;
        stream.write_all(&mark)?;
        let mut received = [0; 2];
        until_limit(|| {
            let (mut accepted, source) = self.tcp.accept()?;
            accepted.set_read_timeout(Some(LIMIT))?;
            accepted.read_exact(&mut received)?;
            Ok((received == mark).then_some(source))
        })
        .and_then(v4)
    }

    fn icmp_source(&self, destination: Ipv4Addr, identifier: u16) -> io::Result<SocketAddrV4> {
        let request = echo_request(identifier);
        self.from.run(|| -> io::Result<()> {
            let to = SockaddrIn::from(SocketAddrV4::new(destination, 0));
            sendto(raw_icmp()?.as_raw_fd(), &request, &to, MsgFlags::empty())?;
            Ok(())
        })?;
        let mut packet = [0; 128];
        until_limit(|| {
            let bytes = recv(self.icmp.as_raw_fd(), &mut packet, MsgFlags::empty())?;
            Ok(echo_source(&packet[..bytes], identifier))
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

fn v4(address: SocketAddr) -> io::Result<SocketAddrV4> {
    match address {
        SocketAddr::V4(address) => Ok(address),
        SocketAddr::V6(address) => Err(io::Error::other(format!("{address} is not IPv4"))),
    }
}

/// A connection from a chosen source port, which the standard library cannot make.
fn tcp_connect(destination: Ipv4Addr, port: u16) -> io::Result<TcpStream> {
    let stream = socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    // The send timeout is connect's too.
    let limit = TimeVal::milliseconds(LIMIT.as_millis() as i64);
    setsockopt(&stream, sockopt::SendTimeout, &limit)?;
    let local = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port));
    bind(stream.as_raw_fd(), &local)?;
    let to = SockaddrIn::from(SocketAddrV4::new(destination, PROBE_PORT));
    connect(stream.as_raw_fd(), &to)?;
    Ok(stream.into())
}

fn raw_icmp() -> io::Result<OwnedFd> {
    Ok(socket(
        AddressFamily::Inet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::Icmp,
    )?)
}

/// Masquerading changes the identifier, so the data repeat it.
fn echo_request(identifier: u16) -> [u8; ECHO_HEADER_BYTES + 2] {
    let [high, low] = identifier.to_be_bytes();
    let mut packet = [ECHO_REQUEST, 0, 0, 0, high, low, 0, 1, high, low];
    let [sum_high, sum_low] = internet_checksum(&packet).to_be_bytes();
    packet[2] = sum_high;
    packet[3] = sum_low;
    packet
}

/// RFC 1071, over an even number of bytes.
fn internet_checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

/// The source of an IPv4 packet that is the echo request of this probe.
fn echo_source(packet: &[u8], identifier: u16) -> Option<SocketAddrV4> {
    let header_words = usize::from(packet.first()? & 0x0f);
    let source = <[u8; 4]>::try_from(packet.get(12..16)?).ok()?;
    let echo = packet.get(header_words * 4..)?;
    let seen_identifier = u16::from_be_bytes([*echo.get(4)?, *echo.get(5)?]);
    let ours = *echo.first()? == ECHO_REQUEST
        && echo.get(ECHO_HEADER_BYTES..) == Some(identifier.to_be_bytes().as_slice());
    ours.then(|| SocketAddrV4::new(source.into(), seen_identifier))
}
