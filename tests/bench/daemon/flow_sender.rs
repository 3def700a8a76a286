//! New flows of the pod, as fast as one CPU sends them, and what they cost.
//!
//! veth hands a packet on at once: the CPU that sends it forwards it in the node and receives it outside before sendmmsg(2)
//! returns. So on a CPU of its own, the time of the call is what the packets cost on their whole way.

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, sendmmsg};
use nix::unistd::Pid;

use crate::support::lab::Lab;

/// Flows of one system call; one socket sends to each of so many destinations once.
pub(crate) const BATCH: usize = 64;
/// Batches whose time counts, each by a socket of its own.
const BATCHES: usize = 8;
/// Flows whose time counts.
pub(crate) const FLOWS: usize = BATCH * BATCHES;
/// With those of one batch more, sent before: what they find in the CPU's caches is another node's.
pub(crate) const ALL_FLOWS: usize = FLOWS + BATCH;

/// The sockets of a pod.
pub(crate) struct FlowSender {
    warm_up: UdpSocket,
    sockets: Vec<UdpSocket>,
}

impl FlowSender {
    pub(crate) fn new(lab: &Lab) -> io::Result<Self> {
        let bind = || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0));
        lab.pod.run(|| {
            Ok(Self {
                warm_up: bind()?,
                sockets: (0..BATCHES).map(|_| bind()).collect::<io::Result<_>>()?,
            })
        })
    }

    /// Sends [`ALL_FLOWS`] flows: how long one of those took whose time counts.
    pub(crate) fn send(&self, destinations: &Destinations) -> io::Result<Duration> {
        let payload = [IoSlice::new(&[0])];
        let payloads = [payload; BATCH];
        let mut headers = MultiHeaders::preallocate(BATCH, None);
        let mut send = |socket: &UdpSocket, batch: &[Option<SockaddrIn>]| {
            let (socket, flags) = (socket.as_raw_fd(), MsgFlags::empty());
            let sent = sendmmsg(socket, &mut headers, &payloads, batch, [], flags)?.count();
            match sent {
                BATCH => Ok(()),
                _ => Err(io::Error::other(format!("{sent} of {BATCH} flows sent"))),
            }
        };
        let mut batches = destinations.0.chunks_exact(BATCH);
        let first = batches.next().unwrap_or_default();
        send(&self.warm_up, first)?;
        let started = Instant::now();
        for (socket, batch) in self.sockets.iter().zip(batches) {
            send(socket, batch)?;
        }
        Ok(started.elapsed() / u32::try_from(FLOWS).map_err(io::Error::other)?)
    }
}

/// Where [`ALL_FLOWS`] flows go.
pub(crate) struct Destinations(Vec<Option<SockaddrIn>>);

impl Destinations {
    /// The flow of a number goes to the address that `address` says. Within a batch, all have to differ.
    pub(crate) fn new(port: u16, address: impl Fn(usize) -> Ipv4Addr) -> Self {
        let to = |flow| Some(SocketAddrV4::new(address(flow), port).into());
        Self((0..ALL_FLOWS).map(to).collect())
    }
}

/// Keeps the calling thread on one CPU, the last that it may use.
pub(crate) fn stay_on_one_cpu() -> io::Result<()> {
    let this_thread = Pid::from_raw(0);
    let allowed = sched_getaffinity(this_thread)?;
    let last = (0..CpuSet::count()).rfind(|cpu| allowed.is_set(*cpu).unwrap_or(false));
    let mut chosen = CpuSet::new();
    chosen.set(last.ok_or_else(|| io::Error::other("no CPU may be used"))?)?;
    Ok(sched_setaffinity(this_thread, &chosen)?)
}
