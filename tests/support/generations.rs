//! The kernel's own word for "a transaction took effect": a notification for each new generation.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};

use super::netlink::SUBSYSTEM_NFTABLES;
use super::netns::Namespace;

/// `NFNLGRP_NFTABLES` of linux/netfilter/nfnetlink.h.
const GROUP_NFTABLES: u32 = 7;
/// `NFT_MSG_NEWGEN` of linux/netfilter/nf_tables.h.
const NEW_GENERATION: u16 = 15;
/// Where a netlink message has its type: `struct nlmsghdr` of linux/netlink.h.
const TYPE_OFFSET: u32 = 4;

/// A socket that hears of each transaction in a namespace, whoever made it.
#[derive(Debug)]
pub struct Generations {
    socket: OwnedFd,
}

impl Generations {
    /// Hears of the transactions from now on.
    pub fn of(namespace: &Namespace) -> io::Result<Self> {
        let socket = namespace.run(|| {
            socket(
                AddressFamily::Netlink,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
                SockProtocol::NetlinkNetFilter,
            )
        })?;
        // Before any message can come: one for each of 10,000 elements would overflow the buffer.
        let generations_only = filter_for(SUBSYSTEM_NFTABLES << 8 | NEW_GENERATION);
        attach(&socket, &generations_only)?;
        bind(
            socket.as_raw_fd(),
            &NetlinkAddr::new(0, 1 << (GROUP_NFTABLES - 1)),
        )?;
        Ok(Self { socket })
    }

    /// Takes what has arrived: how many transactions.
    pub fn take(&self) -> io::Result<usize> {
        let mut message = [0; 256];
        for taken in 0.. {
            match recv(self.socket.as_raw_fd(), &mut message, MsgFlags::empty()) {
                Ok(_) => {}
                Err(Errno::EAGAIN) => return Ok(taken),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(0)
    }
}

impl AsFd for Generations {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Passes messages of one type. The filter loads in network byte order, the type stands in the host's.
fn filter_for(kind: u16) -> [libc::sock_filter; 4] {
    let step = |code: u32, jt, jf, k| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    [
        step(
            libc::BPF_LD | libc::BPF_H | libc::BPF_ABS,
            0,
            0,
            TYPE_OFFSET,
        ),
        step(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            0,
            1,
            u32::from(kind.to_be()),
        ),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
    ]
}

fn attach(socket: &OwnedFd, filter: &[libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).expect("a short filter"),
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: the program and its filter live during the call, which copies and never writes them; the
    // length is the program's.
    let attached = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    Errno::result(attached)?;
    Ok(())
}
