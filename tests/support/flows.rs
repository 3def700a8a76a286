//! Many new flows a second from the pod, in both families, and what the outside saw of them.
//!
//! Every packet is a flow of its own (another destination or source port), because only the first
//! packet of a connection passes a NAT chain.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use nix::errno::Errno;
use nix::sys::socket::{
    MsgFlags, MultiHeaders, SockaddrIn6, recvmmsg, sendmmsg, setsockopt, sockopt,
};

use super::destinations::Row;
use super::lab::{Family, Lab, mapped};
use super::moments::{Moment, Moments};
use super::{bind_soon, time_factor};

/// Port on which the outside receives the flows.
const FLOWS_PORT: u16 = 7_001;
/// Packets a system call.
const BATCH: usize = 64;
/// Source ports, all distinct from those of probes.
const SOURCE_PORTS: std::ops::Range<u16> = 2_000..2_064;
/// Destination address, IPv4-mapped if it is one of IPv4, then 1 if the flow must be masqueraded, then the number of the
/// moment in which it was sent.
const PAYLOAD_BYTES: usize = 21;
/// Room for about 80,000 small packets, more than three seconds of 20,000 a second.
const RECEIVE_BUFFER_BYTES: usize = 64 << 20;
/// How long the receiver waits for the last packets.
const GRACE: Duration = Duration::from_millis(300);
/// Wrong flows that are shown.
const EXAMPLES: usize = 5;
/// One batch of so many goes to the list that must be masqueraded, if both lists are given.
const MASQUERADED_EVERY: u64 = 8;

/// Which flows to send.
#[derive(Clone, Debug)]
pub struct Flows {
    /// Flows a second to aim at.
    pub rate: u32,
    /// Destinations whose flows must keep the pod's address.
    pub keep_source: Vec<IpNet>,
    /// Destinations whose flows must come with the node's address.
    pub masqueraded: Vec<IpNet>,
}

/// What became of the flows.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Packets handed to the pod's kernel.
    pub sent: u64,
    /// Packets that arrived outside.
    pub received: u64,
    /// Those of them that had to keep the pod's address.
    pub to_exempt: u64,
    /// Packets that arrived by IPv6, of either kind.
    pub by_ipv6: u64,
    /// Flows that had to keep the pod's address and came with another.
    pub wrong_source: u64,
    /// Flows that had to come with the node's address and came with another.
    pub not_masqueraded: u64,
    /// Time of sending.
    pub elapsed: Duration,
    /// All of it by when it was sent.
    pub moments: Moments,
    /// Failures that conntrack counted in the node: `insert_failed`, `drop` and `early_drop`.
    pub conntrack_failures: u64,
}

impl Counts {
    /// Flows that were sent and never arrived.
    pub fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }

    /// New flows a second to exempt destinations.
    pub fn exempt_rate(&self) -> f64 {
        self.to_exempt as f64 / self.elapsed.as_secs_f64()
    }

    /// Fails if a flow came with a wrong source.
    #[track_caller]
    pub fn assert_no_flow_was_mistreated(&self) {
        assert_eq!(self.wrong_source, 0, "{self}");
        assert_eq!(self.not_masqueraded, 0, "{self}");
    }

    /// Fails unless there were at least so many a second to exempt destinations, and hardly any was dropped: such a flow
    /// has no source to be judged by.
    #[track_caller]
    pub fn assert_enough_arrived(&self, least_rate: f64) {
        let least_rate = least_rate / f64::from(time_factor());
        assert!(self.exempt_rate() >= least_rate, "{self}");
        assert!(self.lost() * 1_000 <= self.sent, "{self}");
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} flows ({} of IPv6) in {:.1} s, {:.0}/s to exempt destinations: {} with a wrong source, {} not masqueraded, {} lost, {} conntrack failures",
            self.received,
            self.by_ipv6,
            self.elapsed.as_secs_f64(),
            self.exempt_rate(),
            self.wrong_source,
            self.not_masqueraded,
            self.lost(),
            self.conntrack_failures,
        )?;
        for wrong in self.moments.wrong_flows().take(EXAMPLES) {
            write!(f, "\n  {wrong}")?;
        }
        Ok(())
    }
}

/// Flows on their way; [`Running::stop`] ends them and counts.
#[derive(Debug)]
pub struct Running {
    /// The moments are counted from here.
    pub started: Instant,
    stop: Arc<AtomicBool>,
    sender: JoinHandle<io::Result<Moments>>,
    receiver: JoinHandle<io::Result<Counts>>,
    conntrack_failures_before: u64,
}

impl Flows {
    /// Starts one sender in the pod and one receiver outside.
    pub fn start(self, lab: &Lab) -> io::Result<Running> {
        // One packet a flow: an entry is of no use a second later, and a full table drops packets.
        lab.node
            .sysctl("net/netfilter/nf_conntrack_udp_timeout", "1")?;
        let stop = Arc::new(AtomicBool::new(false));
        let sent_all = Arc::new(AtomicBool::new(false));
        let socket = lab.outside.run(receive_socket)?;
        let receiver = {
            let (sent_all, judge) = (sent_all.clone(), Judge::of(lab));
            std::thread::spawn(move || receive(&socket, &judge, &sent_all))
        };
        let sockets = lab.pod.run(|| {
            SOURCE_PORTS
                .map(|port| bind_soon(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))))
                .collect::<io::Result<Vec<_>>>()
        })?;
        let started = Instant::now();
        let sender = {
            let stop = stop.clone();
            std::thread::spawn(move || {
                let result = send(&self, &sockets, started, &stop);
                sent_all.store(true, Ordering::Release);
                result
            })
        };
        Ok(Running {
            started,
            stop,
            sender,
            receiver,
            conntrack_failures_before: conntrack_failures(lab)?,
        })
    }

    /// Sends for `time` and counts.
    pub fn run_for(self, lab: &Lab, time: Duration) -> io::Result<Counts> {
        let running = self.start(lab)?;
        std::thread::sleep(time);
        running.stop(lab)
    }
}

impl Running {
    /// Ends the flows, waits for the last ones and counts.
    pub fn stop(self, lab: &Lab) -> io::Result<Counts> {
        self.stop.store(true, Ordering::Release);
        let sent = self.sender.join().expect("the sender's thread")?;
        let elapsed = self.started.elapsed();
        let mut counts = self.receiver.join().expect("the receiver's thread")?;
        counts.moments.add(sent);
        Ok(Counts {
            sent: counts.moments.sum(|moment| moment.sent),
            elapsed,
            conntrack_failures: conntrack_failures(lab)?
                .saturating_sub(self.conntrack_failures_before),
            ..counts
        })
    }
}

fn send(
    flows: &Flows,
    sockets: &[UdpSocket],
    started: Instant,
    stop: &AtomicBool,
) -> io::Result<Moments> {
    let mut exempt = Row::of_each_family(&flows.keep_source);
    let mut masqueraded = Row::of_each_family(&flows.masqueraded);
    let mut moments = Moments::default();
    let mut sent = 0;
    let mut headers = MultiHeaders::<SockaddrIn6>::preallocate(BATCH, None);
    for batch in 1_u64.. {
        if stop.load(Ordering::Acquire) {
            break;
        }
        let masquerade = match (exempt.is_empty(), masqueraded.is_empty()) {
            (true, true) => return Err(io::Error::other("no destinations")),
            (false, false) => batch.is_multiple_of(MASQUERADED_EVERY),
            (false, true) => false,
            (true, false) => true,
        };
        let rows = if masquerade {
            &mut masqueraded
        } else {
            &mut exempt
        };
        // The family that has sent less.
        let row = rows.iter_mut().min_by_key(|row| row.taken).expect("a row");
        let moment = Moment::after(started.elapsed());
        let of_batch = send_batch(row, u8::from(masquerade), moment, sockets, &mut headers)?;
        moments.at(moment).sent += of_batch;
        sent += of_batch;
        let due = Duration::from_secs_f64(sent as f64 / f64::from(flows.rate / time_factor()));
        std::thread::sleep(due.saturating_sub(started.elapsed()));
    }
    Ok(moments)
}

fn send_batch(
    row: &mut Row,
    must_be_masqueraded: u8,
    moment: u32,
    sockets: &[UdpSocket],
    headers: &mut MultiHeaders<SockaddrIn6>,
) -> io::Result<u64> {
    let (destinations, round) = row.next_batch(BATCH as u64);
    let socket = sockets.get(round).ok_or_else(|| {
        io::Error::other("too few destinations: every new flow has been sent once")
    })?;
    let payloads: Vec<[u8; PAYLOAD_BYTES]> = destinations
        .iter()
        .map(|destination| {
            let mut payload = [must_be_masqueraded; PAYLOAD_BYTES];
            payload[..16].copy_from_slice(&destination.octets());
            payload[17..].copy_from_slice(&moment.to_be_bytes());
            payload
        })
        .collect();
    let slices: Vec<[IoSlice<'_>; 1]> = payloads.iter().map(|p| [IoSlice::new(p)]).collect();
    let addresses: Vec<Option<SockaddrIn6>> = destinations
        .iter()
        .map(|destination| Some(SocketAddrV6::new(*destination, FLOWS_PORT, 0, 0).into()))
        .collect();
    let (socket, flags) = (socket.as_raw_fd(), MsgFlags::empty());
    let sent = sendmmsg(socket, headers, &slices, &addresses, [], flags)?;
    Ok(sent.count() as u64)
}

fn receive_socket() -> io::Result<UdpSocket> {
    let socket = bind_soon(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, FLOWS_PORT)))?;
    // Beyond net.core.rmem_max only root of the host may go; others take what the limit gives.
    if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES).is_err() {
        setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER_BYTES)?;
    }
    socket.set_read_timeout(Some(GRACE))?;
    Ok(socket)
}

fn receive(socket: &UdpSocket, judge: &Judge, sent_all: &AtomicBool) -> io::Result<Counts> {
    let mut counts = Counts::default();
    let mut headers = MultiHeaders::preallocate(BATCH, None);
    loop {
        match receive_batch(socket, &mut headers) {
            Ok(batch) => {
                for (source, payload) in batch {
                    judge.count(&mut counts, source, payload);
                }
            }
            // Nothing for the time of grace.
            Err(Errno::EAGAIN) if sent_all.load(Ordering::Acquire) => return Ok(counts),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// What has arrived, each packet with its source.
fn receive_batch(
    socket: &UdpSocket,
    headers: &mut MultiHeaders<SockaddrIn6>,
) -> nix::Result<Vec<(Ipv6Addr, [u8; PAYLOAD_BYTES])>> {
    let mut payloads = [[0; PAYLOAD_BYTES]; BATCH];
    let mut slices: Vec<[IoSliceMut<'_>; 1]> =
        payloads.iter_mut().map(|p| [IoSliceMut::new(p)]).collect();
    let flags = MsgFlags::MSG_WAITFORONE;
    let sources: Vec<Ipv6Addr> =
        recvmmsg(socket.as_raw_fd(), headers, slices.iter_mut(), flags, None)?
            .map(|message| message.address.map_or(Ipv6Addr::UNSPECIFIED, |a| a.ip()))
            .collect();
    Ok(sources.into_iter().zip(payloads).collect())
}

/// Which sources are right, IPv4 first, then IPv6.
struct Judge {
    pod: [Ipv6Addr; 2],
    node: [Ipv6Addr; 2],
}

impl Judge {
    fn of(lab: &Lab) -> Self {
        let own = Family::BOTH.map(|family| lab.addresses_of(family));
        Self {
            pod: own.map(|own| mapped(own.pod)),
            node: own.map(|own| mapped(own.node_uplink)),
        }
    }

    fn count(&self, counts: &mut Counts, source: Ipv6Addr, payload: [u8; PAYLOAD_BYTES]) {
        let [payload @ .., m1, m2, m3, m4] = payload;
        let [octets @ .., must_be_masqueraded] = payload;
        let destination = Ipv6Addr::from(octets);
        let is_ipv6 = destination.to_ipv4_mapped().is_none();
        let family = usize::from(is_ipv6);
        counts.received += 1;
        counts.by_ipv6 += u64::from(is_ipv6);
        let wrong = if must_be_masqueraded == 1 {
            let wrong = source != self.node[family];
            counts.not_masqueraded += u64::from(wrong);
            wrong
        } else {
            let wrong = source != self.pod[family];
            counts.to_exempt += 1;
            counts.wrong_source += u64::from(wrong);
            wrong
        };
        let moment = counts.moments.at(u32::from_be_bytes([m1, m2, m3, m4]));
        moment.received += 1;
        if must_be_masqueraded == 1 {
            let source = source.to_canonical();
            *moment.masqueraded_as.entry(source).or_default() += 1;
        }
        if wrong {
            moment.is_wrong(source.to_canonical(), destination.to_canonical());
        }
    }
}

/// Packets that the node's conntrack refused, all CPUs together.
fn conntrack_failures(lab: &Lab) -> io::Result<u64> {
    let output = super::netns::succeed(lab.node.command("conntrack").arg("--stats"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .split_whitespace()
        .filter_map(|word| word.split_once('='))
        .filter(|(name, _)| ["insert_failed", "drop", "early_drop"].contains(name))
        .filter_map(|(_, value)| value.parse::<u64>().ok())
        .sum())
}
