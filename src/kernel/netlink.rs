//! nfnetlink: what the kernel has, who commits, and the end of objects.
//!
//! By hand, not by a crate: a few fixed requests of one attribute or two, against a dozen more crates that
//! cover nf_tables only in part.

mod elements;
mod message;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::libc::{self, c_int};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, getsockname,
    recv, send, socket,
};

use crate::ruleset::Family;
pub use elements::Elements;
pub(super) use message::{
    append_attribute, attribute, attributes_in, attributes_of, big_endian, body_of, is_interrupted,
    number_of, packets_of, request, text, text_attribute, text_of, type_of, value_in, value_of,
};
use message::{
    end_of_answer, first_of, is_one_of_several, message, no_answer, of_nf_tables, port_of,
};

/// Attributes of linux/netfilter/nf_tables.h, of which libc has none.
const NFTA_TABLE_NAME: u16 = 1;
const NFTA_TABLE_FLAGS: u16 = 2;
const NFTA_TABLE_USE: u16 = 3;
const NFTA_TABLE_OWNER: u16 = 7;
/// The same in all that stands in a table.
pub(super) const NFTA_TABLE: u16 = 1;
const NFTA_SET_ELEM_LIST_SET: u16 = 2;
const NFTA_GEN_ID: u16 = 1;
const NFTA_GEN_PROC_PID: u16 = 2;
const NFTA_GEN_PROC_NAME: u16 = 3;
/// The kernel puts at most so much of an answer into one piece, whatever the buffer (netlink_recvmsg in
/// net/netlink/af_netlink.c).
const PIECE_BYTES: usize = 32 * 1024;
/// How often what others commit to meanwhile is read before it is taken as it is. Their commit leads to another look.
const MOST_READINGS: usize = 3;

/// The type of a notification of a new generation, as it stands in a message.
pub(super) const NEW_GENERATION: c_int = of_nf_tables(libc::NFT_MSG_NEWGEN);

/// What an error of kind `Unsupported` says, in place of a reason of the kernel's that names nothing.
const NO_NF_TABLES: &str =
    "this kernel lacks nf_tables (CONFIG_NF_TABLES): load its module, or run one that has it";

/// A netlink socket of the netfilter family in this network namespace.
pub struct Netlink {
    socket: OwnedFd,
}

/// A generation of the ruleset, and who committed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Grows by one with each commit, and wraps around.
    pub generation: u32,
    /// The process id in the initial pid namespace, which need not be this one.
    pub process_id: u32,
    /// The process's name, at most 15 bytes.
    pub process_name: String,
    /// The netlink port id of the socket that it was committed on.
    pub port: u32,
}

/// What the kernel says of a table besides its contents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TableHeader {
    /// `NFT_TABLE_F_*`, linux/netfilter/nf_tables.h.
    pub flags: u32,
    /// The netlink port id of the socket that owns it.
    pub owner: Option<u32>,
    /// How many chains, sets, objects and flowtables stand in it.
    pub uses: u32,
}

impl TableHeader {
    /// `NFT_TABLE_F_DORMANT`: its base chains are not hooked.
    #[must_use]
    pub fn is_dormant(self) -> bool {
        self.flags & 1 != 0
    }

    /// `NFT_TABLE_F_PERSIST`: it outlives its owner.
    #[must_use]
    pub fn is_persistent(self) -> bool {
        self.flags & 4 != 0
    }
}

impl Netlink {
    /// Opens a socket that receives the answers to its requests, and notifications to the multicast
    /// `groups` (a bit for each).
    ///
    /// # Errors
    /// Where there is no socket, or CAP_NET_ADMIN for the groups is missing. `Unsupported`: the kernel has no nf_tables.
    pub fn open(groups: u32, flags: SockFlag) -> io::Result<Self> {
        let opened = Self::open_of(SockProtocol::NetlinkNetFilter, groups, flags);
        opened.map_err(|error| unsupported_if(error, Errno::EPROTONOSUPPORT))
    }

    pub(super) fn open_of(
        protocol: SockProtocol,
        groups: u32,
        flags: SockFlag,
    ) -> io::Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            flags | SockFlag::SOCK_CLOEXEC,
            protocol,
        )?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        Ok(Self { socket })
    }

    /// The netlink port id of the socket; 0 before the first message is sent on it.
    ///
    /// # Errors
    /// Where it is no netlink socket.
    pub fn port(&self) -> io::Result<u32> {
        Ok(getsockname::<NetlinkAddr>(self.socket.as_raw_fd())?.pid())
    }

    /// The generation of the ruleset.
    ///
    /// # Errors
    /// Where the kernel does not answer. `Unsupported`: it has no nf_tables, for nothing in this request can be invalid
    /// (nfnetlink_rcv_msg in net/netfilter/nfnetlink.c).
    pub fn generation(&self) -> io::Result<u32> {
        let mut commit = None;
        let request = message(of_nf_tables(libc::NFT_MSG_GETGEN), 0, 0, &[])?;
        let answered = self.ask(&request, |answer| commit = commit_of(answer));
        answered.map_err(|error| unsupported_if(error, Errno::EINVAL))?;
        Ok(commit.ok_or_else(no_answer)?.generation)
    }

    /// What is read while nobody commits: read once more where someone has, a few times.
    ///
    /// # Errors
    /// Where the kernel does not answer, or reading fails although nobody commits.
    pub fn while_nobody_commits<T>(&self, read: impl Fn() -> io::Result<T>) -> io::Result<T> {
        let mut readings = 1;
        loop {
            let before = self.generation()?;
            let result = read();
            if readings == MOST_READINGS || self.generation()? == before {
                return result;
            }
            readings += 1;
        }
    }

    /// The flags and the owner of a table; `None`: there is no such table. `family` as nft(8) names it.
    ///
    /// # Errors
    /// Where the kernel does not answer.
    pub fn table(&self, family: &str, name: &str) -> io::Result<Option<TableHeader>> {
        let mut header = TableHeader::default();
        let name = text_attribute(NFTA_TABLE_NAME, name);
        let is_there = self.get(libc::NFT_MSG_GETTABLE, family, &name, |table| {
            header = TableHeader {
                flags: number_of(table, NFTA_TABLE_FLAGS),
                owner: value_of(table, NFTA_TABLE_OWNER).and_then(big_endian),
                uses: number_of(table, NFTA_TABLE_USE),
            };
        })?;
        Ok(is_there.then_some(header))
    }

    /// The names of a family's tables. `family` as nft(8) names it.
    ///
    /// # Errors
    /// Where the kernel does not answer.
    pub fn tables(&self, family: &str) -> io::Result<Vec<String>> {
        self.while_nobody_commits(|| {
            let mut names = Vec::new();
            self.dump(libc::NFT_MSG_GETTABLE, family, &[], |table| {
                names.push(text_of(table, NFTA_TABLE_NAME));
            })?;
            Ok(names)
        })
    }

    /// The elements of a set, which has intervals or single addresses; none where there is no such set. Some may be missing
    /// where someone commits meanwhile: see [`Self::while_nobody_commits`].
    ///
    /// # Errors
    /// Where the kernel does not answer.
    pub fn elements(
        &self,
        family: Family,
        table: &str,
        set: &str,
        has_intervals: bool,
    ) -> io::Result<Elements> {
        let attributes = [
            text_attribute(NFTA_TABLE, table),
            text_attribute(NFTA_SET_ELEM_LIST_SET, set),
        ]
        .concat();
        let mut bounds = elements::Bounds::new(family);
        let read = |message: &[u8]| bounds.read(message);
        match self.dump(libc::NFT_MSG_GETSETELEM, family.name(), &attributes, read) {
            Err(error) if is_missing(&error) => Ok(Elements::default()),
            result => result.map(|()| bounds.elements(has_intervals)),
        }
    }

    /// Has the one object read that is asked for, in a family that is named as nft(8) has it; false: there is none.
    pub(super) fn get(
        &self,
        kind: c_int,
        family: &str,
        attributes: &[u8],
        read: impl FnMut(&[u8]),
    ) -> io::Result<bool> {
        let request = message(of_nf_tables(kind), 0, protocol(family)?, attributes)?;
        match self.ask(&request, read) {
            Err(error) if is_missing(&error) => Ok(false),
            result => result.map(|()| true),
        }
    }

    /// Has each object of a kind read.
    pub(super) fn dump(
        &self,
        kind: c_int,
        family: &str,
        attributes: &[u8],
        read: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        let (kind, family) = (of_nf_tables(kind), protocol(family)?);
        self.ask(&message(kind, libc::NLM_F_DUMP, family, attributes)?, read)
    }

    /// Deletes a table with all that stands in it. `family` as nft(8) names it.
    ///
    /// # Errors
    /// Where the kernel refuses: there is none (ENOENT), or another owns it (EPERM).
    pub fn delete_table(&self, family: &str, name: &str) -> io::Result<()> {
        let table = text_attribute(NFTA_TABLE_NAME, name);
        self.delete(libc::NFT_MSG_DELTABLE, family, &table)
    }

    /// Deletes one object, in a transaction of its own.
    pub(super) fn delete(&self, kind: c_int, family: &str, attributes: &[u8]) -> io::Result<()> {
        let (kind, family) = (of_nf_tables(kind), protocol(family)?);
        let transaction = [
            message(libc::NFNL_MSG_BATCH_BEGIN, 0, 0, &[])?,
            message(kind, libc::NLM_F_ACK, family, attributes)?,
            message(libc::NFNL_MSG_BATCH_END, 0, 0, &[])?,
        ];
        // The kernel has answered when the request has returned (nfnetlink_rcv_batch).
        self.ask(&transaction.concat(), |_| {})
    }

    /// Asks another subsystem of netfilter, whose number stands in `kind`.
    pub(super) fn ask_subsystem(
        &self,
        kind: c_int,
        flags: c_int,
        family: Family,
        attributes: &[u8],
        read: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        let family = protocol(family.name())?;
        self.ask(&message(kind, flags, family, attributes)?, read)
    }

    /// Sends a request and has each message of its answer read, up to the end.
    pub(super) fn ask(&self, request: &[u8], mut read: impl FnMut(&[u8])) -> io::Result<()> {
        send(self.socket.as_raw_fd(), request, MsgFlags::empty())?;
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let mut rest = self.receive(&mut piece)?;
            while let Some((message, after)) = first_of(rest) {
                if let Some(end) = end_of_answer(message) {
                    return end;
                }
                read(message);
                if !is_one_of_several(message) {
                    return Ok(());
                }
                rest = after;
            }
            if !rest.is_empty() {
                return Err(io::Error::other("an answer of the kernel that is cut"));
            }
        }
    }

    /// The next message, whole.
    ///
    /// # Errors
    /// `WouldBlock` where there is none and the socket does not block; `ENOBUFS` where some were lost.
    pub fn receive<'a>(&self, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
        let length = recv(self.socket.as_raw_fd(), buffer, MsgFlags::empty())?;
        if length == 0 {
            // No netlink socket says that; one that did would have a dump wait for its end for ever.
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        Ok(buffer.get(..length).unwrap_or_default())
    }
}

/// By nft's names of those families that have chains of type nat.
fn protocol(family: &str) -> io::Result<c_int> {
    match family {
        "inet" => Ok(libc::NFPROTO_INET),
        "ip" => Ok(libc::NFPROTO_IPV4),
        "ip6" => Ok(libc::NFPROTO_IPV6),
        _ => Err(io::Error::from(io::ErrorKind::Unsupported)),
    }
}

/// A socket that is open already: messages come and go whole on it.
impl From<OwnedFd> for Netlink {
    fn from(socket: OwnedFd) -> Self {
        Self { socket }
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Netlink {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.socket.as_raw_fd()
    }
}

/// Whether a generation comes after the other. They wrap around, as sequence numbers do (RFC 1982).
#[must_use]
pub fn is_after(generation: u32, other: u32) -> bool {
    let ahead = generation.wrapping_sub(other);
    ahead != 0 && ahead <= u32::MAX / 2
}

/// The commit that a message tells of, if it does.
#[must_use]
pub fn commit_of(message: &[u8]) -> Option<Commit> {
    if type_of(message) != Some(NEW_GENERATION) {
        return None;
    }
    Some(Commit {
        generation: value_of(message, NFTA_GEN_ID).and_then(big_endian)?,
        process_id: number_of(message, NFTA_GEN_PROC_PID),
        process_name: text_of(message, NFTA_GEN_PROC_NAME),
        port: port_of(message),
    })
}

fn unsupported_if(error: io::Error, reason: Errno) -> io::Error {
    match error.raw_os_error() == Some(reason as i32) {
        true => io::Error::new(io::ErrorKind::Unsupported, NO_NF_TABLES),
        false => error,
    }
}

fn is_missing(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ENOENT as i32)
}

#[cfg(test)]
mod tests;
