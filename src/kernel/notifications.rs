//! The kernel's nftables notifications: who committed a new generation, in this network namespace.

use std::io;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::SockFlag;
use socket2::{SockFilter, SockRef};
use tokio::io::unix::AsyncFd;

use super::netlink::{Commit, NEW_GENERATION, Netlink, commit_of};

/// As a bit of `nl_groups`, netlink(7).
const NFTABLES_GROUP: u32 = 1 << (libc::NFNLGRP_NFTABLES - 1);
/// One notification has 44 bytes.
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
        // SAFETY: `Netlink` owns the one descriptor that it gives, which stays open until it is dropped.
        let socket = unsafe { AsyncFd::register(socket) }?;
        Ok(Self { socket })
    }

    /// Waits for notifications and takes all that have arrived.
    pub async fn arrived(&self) -> Arrived {
        match self.socket.readable().await {
            Ok(mut ready) => {
                let arrived = self.take();
                if arrived.commits.len() < MOST_AT_ONCE {
                    ready.clear_ready();
                }
                arrived
            }
            // The runtime is ending.
            Err(_) => std::future::pending().await,
        }
    }

    /// Takes all that have arrived, without waiting. A commit's notification can be read as soon as the commit
    /// has returned.
    pub fn take(&self) -> Arrived {
        let mut arrived = Arrived::default();
        let mut buffer = [0; NOTIFICATION_BYTES];
        while arrived.commits.len() < MOST_AT_ONCE {
            match self.socket.get_ref().receive(&mut buffer) {
                Ok(message) => match commit_of(message) {
                    Some(commit) => arrived.commits.push(commit),
                    None => arrived.some_were_lost = true,
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    arrived.some_were_lost = true;
                    // ENOBUFS is told once, and reading goes on behind it.
                    if error.raw_os_error() != Some(Errno::ENOBUFS as i32) {
                        break;
                    }
                }
            }
        }
        arrived
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
