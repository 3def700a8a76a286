//! The kernel's notifications, in this network namespace: who committed a new generation of nftables, and that addresses have
//! come, changed or gone.

use std::io;

use ipnet::IpNet;
use nix::errno::Errno;
use nix::libc::{self, c_int};
use nix::sys::socket::{SockFlag, SockProtocol};
use socket2::{SockFilter, SockRef};
use tokio::io::unix::AsyncFd;

use super::netlink::{Commit, NEW_GENERATION, Netlink, commit_of};
use super::routing::address_of;

/// As a bit of `nl_groups`, netlink(7).
const NFTABLES_GROUP: u32 = 1 << (libc::NFNLGRP_NFTABLES - 1);
/// The same of rtnetlink(7).
const ADDRESS_GROUPS: c_int = libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;
/// One notification of a generation has 44 bytes, one of an address less than 200.
const NOTIFICATION_BYTES: usize = 256;
/// How many notifications are taken before other events get their turn.
const MOST_AT_ONCE: usize = 256;

/// Notifications of new generations.
pub struct Notifications {
    socket: AsyncFd<Netlink>,
}

/// What has arrived.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Arrived {
    /// In order.
    pub commits: Vec<Commit>,
    /// Some were lost, or cannot be read: look.
    pub some_were_lost: bool,
}

impl Notifications {
    /// Subscribes to commits in this network namespace.
    ///
    /// # Errors
    /// Where CAP_NET_ADMIN is missing, or a socket is.
    pub fn subscribe() -> io::Result<Self> {
        let socket = Netlink::open(NFTABLES_GROUP, SockFlag::SOCK_NONBLOCK)?;
        pass_new_generations_only(&socket)?;
        Ok(Self {
            socket: registered(socket)?,
        })
    }

    /// Waits for notifications and takes all that have arrived.
    pub async fn arrived(&self) -> Arrived {
        wait_and(&self.socket, || self.take_some()).await
    }

    /// Takes all that have arrived, without waiting. A commit's notification can be read as soon as the commit
    /// has returned.
    pub fn take(&self) -> Arrived {
        self.take_some().0
    }

    fn take_some(&self) -> (Arrived, bool) {
        let mut commits = Vec::new();
        let mut some_are_unread = false;
        let taken = take(self.socket.get_ref(), |message| match commit_of(message) {
            Some(commit) => commits.push(commit),
            None => some_are_unread = true,
        });
        let arrived = Arrived {
            commits,
            some_were_lost: taken.some_were_lost || some_are_unread,
        };
        (arrived, taken.are_all)
    }
}

/// Notifications of addresses.
pub struct AddressNotifications {
    socket: AsyncFd<Netlink>,
}

impl AddressNotifications {
    /// Subscribes to addresses of both families in this network namespace.
    ///
    /// # Errors
    /// Where there is no socket.
    pub fn subscribe() -> io::Result<Self> {
        let groups = u32::try_from(ADDRESS_GROUPS).map_err(io::Error::other)?;
        let route = SockProtocol::NetlinkRoute;
        let socket = Netlink::open_of(route, groups, SockFlag::SOCK_NONBLOCK)?;
        Ok(Self {
            socket: registered(socket)?,
        })
    }

    /// Waits until an address that lies in any of `cidrs` has come, changed or gone, or a notification was lost. Others are
    /// many: each pod that comes or goes brings some.
    pub async fn changed(&self, cidrs: &[IpNet]) {
        let is_asked_for = |message: &[u8]| {
            let address = address_of(message);
            address.is_none_or(|address| cidrs.iter().any(|cidr| cidr.contains(&address)))
        };
        let take_some = || {
            let mut is_any_asked_for = false;
            let taken = take(self.socket.get_ref(), |message| {
                is_any_asked_for |= is_asked_for(message);
            });
            (taken.some_were_lost || is_any_asked_for, taken.are_all)
        };
        while !wait_and(&self.socket, take_some).await {}
    }
}

fn registered(socket: Netlink) -> io::Result<AsyncFd<Netlink>> {
    // SAFETY: `Netlink` owns the one descriptor that it gives, which stays open until it is dropped.
    Ok(unsafe { AsyncFd::register(socket) }?)
}

/// Waits until there is something to be read, and has it taken; `take` tells whether it has taken all.
async fn wait_and<T>(socket: &AsyncFd<Netlink>, take: impl Fn() -> (T, bool)) -> T {
    match socket.readable().await {
        Ok(mut ready) => {
            let (taken, is_all) = take();
            if is_all {
                ready.clear_ready();
            }
            taken
        }
        // The runtime is ending.
        Err(_) => std::future::pending().await,
    }
}

struct Taken {
    are_all: bool,
    some_were_lost: bool,
}

/// Has the notifications read that have arrived.
fn take(socket: &Netlink, mut read: impl FnMut(&[u8])) -> Taken {
    let mut buffer = [0; NOTIFICATION_BYTES];
    let mut some_were_lost = false;
    for _ in 0..MOST_AT_ONCE {
        match socket.receive(&mut buffer) {
            Ok(message) => read(message),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let is_end = error.kind() == io::ErrorKind::WouldBlock;
                some_were_lost |= !is_end;
                // ENOBUFS is told once, and reading goes on behind it.
                if error.raw_os_error() != Some(Errno::ENOBUFS as i32) {
                    return Taken {
                        are_all: true,
                        some_were_lost,
                    };
                }
            }
        }
    }
    Taken {
        are_all: false,
        some_were_lost,
    }
}

/// A classic BPF filter, linux/filter.h: `ldh [4]; jeq NEWGEN, pass, drop`. Without it a neighbour's 1,000-rule
/// transaction is 1,000 messages, which overflow the socket's buffer.
fn pass_new_generations_only(socket: &Netlink) -> io::Result<()> {
    /// Offset of `nlmsg_type` in `struct nlmsghdr`.
    const TYPE_OFFSET: u32 = 4;
    // BPF_LD | BPF_H | BPF_ABS loads in network byte order what stands there in the host's.
    let wanted = u16::try_from(NEW_GENERATION).map_err(io::Error::other)?;
    let wanted = u32::from(wanted.to_be());
    let instruction = |code: u32, jump_if_false, k| {
        SockFilter::new(u16::try_from(code).unwrap_or_default(), 0, jump_if_false, k)
    };
    SockRef::from(socket).attach_filter(&[
        instruction(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 0, TYPE_OFFSET),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, wanted),
        instruction(libc::BPF_RET | libc::BPF_K, 0, u32::MAX),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0),
    ])
}
