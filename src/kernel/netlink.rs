//! nfnetlink: what the kernel has, who commits, and the end of objects.
//!
//! By hand, not by a crate: a few fixed requests of one attribute or two, against a dozen more crates that
//! cover nf_tables only in part.

mod elements;
mod message;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, getsockname,
    recv, send, socket,
};

use crate::ruleset::Family;
pub use elements::Elements;
use message::{
    NLM_F_ACK, NLM_F_DUMP, SUBSYSTEM, end_of_dump, first_of, is_interrupted, message, port_of,
    refusal_of,
};
pub(super) use message::{
    attribute, attributes_in, attributes_of, big_endian, number_of, packets_of, text,
    text_attribute, type_of, value_of,
};

/// `NFNL_MSG_BATCH_BEGIN` and `NFNL_MSG_BATCH_END`, around the messages of a transaction.
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
/// Messages of linux/netfilter/nf_tables.h. That which answers a `GET` stands right before it.
const NFT_MSG_GETTABLE: u16 = 1;
const NFT_MSG_DELTABLE: u16 = 2;
pub(super) const NFT_MSG_GETCHAIN: u16 = 4;
pub(super) const NFT_MSG_DELCHAIN: u16 = 5;
pub(super) const NFT_MSG_GETRULE: u16 = 7;
pub(super) const NFT_MSG_GETSET: u16 = 10;
pub(super) const NFT_MSG_DELSET: u16 = 11;
const NFT_MSG_GETSETELEM: u16 = 13;
const NFT_MSG_NEWGEN: u16 = 15;
const NFT_MSG_GETGEN: u16 = 16;
pub(super) const NFT_MSG_GETOBJ: u16 = 19;
pub(super) const NFT_MSG_DELOBJ: u16 = 20;
pub(super) const NFT_MSG_GETFLOWTABLE: u16 = 23;
pub(super) const NFT_MSG_DELFLOWTABLE: u16 = 24;
/// Attributes of linux/netfilter/nf_tables.h.
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
/// Larger than any answer to these requests: a table's user data are at most 256 bytes
/// (`NFT_USERDATA_MAXLEN`).
const ANSWER_BYTES: usize = 4096;
/// The kernel puts at most so much of a dump into one piece, whatever the buffer (netlink_recvmsg in
/// net/netlink/af_netlink.c).
const DUMP_BYTES: usize = 32 * 1024;
/// How often what others commit to meanwhile is read again before it is taken as it is. Their commit leads to another look.
const MOST_READINGS: usize = 3;

/// The type of a notification of a new generation, as it stands in a message.
pub(super) const NEW_GENERATION: u16 = SUBSYSTEM << 8 | NFT_MSG_NEWGEN;

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
    /// Where there is no socket, or CAP_NET_ADMIN for the groups is missing.
    pub fn open(groups: u32, flags: SockFlag) -> io::Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            flags | SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkNetFilter,
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
    /// Where the kernel does not answer.
    pub fn generation(&self) -> io::Result<u32> {
        self.send(&message(SUBSYSTEM << 8 | NFT_MSG_GETGEN, 0, 0, &[])?)?;
        let mut answer = [0; ANSWER_BYTES];
        let answer = self.receive(&mut answer)?;
        match commit_of(answer) {
            Some(commit) => Ok(commit.generation),
            None => Err(refusal_of(answer)),
        }
    }

    /// The flags and the owner of a table; `None`: there is no such table. `family` as nft(8) names it.
    ///
    /// # Errors
    /// Where the kernel does not answer.
    pub fn table(&self, family: &str, name: &str) -> io::Result<Option<TableHeader>> {
        let kind = SUBSYSTEM << 8 | NFT_MSG_GETTABLE;
        let mut answer = [0; ANSWER_BYTES];
        let name = text_attribute(NFTA_TABLE_NAME, name);
        let Some(answer) = self.get(kind, protocol(family)?, &name, &mut answer)? else {
            return Ok(None);
        };
        let mut header = TableHeader::default();
        for (kind, value) in attributes_of(answer) {
            match kind {
                NFTA_TABLE_FLAGS => header.flags = big_endian(value).unwrap_or_default(),
                NFTA_TABLE_USE => header.uses = big_endian(value).unwrap_or_default(),
                NFTA_TABLE_OWNER => header.owner = big_endian(value),
                _ => {}
            }
        }
        Ok(Some(header))
    }

    /// The names of a family's tables. `family` as nft(8) names it.
    ///
    /// # Errors
    /// Where the kernel does not answer.
    pub fn tables(&self, family: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for _ in 0..MOST_READINGS {
            names.clear();
            let read = |table: &[u8]| names.extend(value_of(table, NFTA_TABLE_NAME).map(text));
            if self.dump(NFT_MSG_GETTABLE, protocol(family)?, &[], read)? {
                break;
            }
        }
        Ok(names)
    }

    /// The elements of a set, which has intervals or single addresses; none where there is no such set.
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
        let protocol = protocol(family.name())?;
        let mut elements = Elements::default();
        for _ in 0..MOST_READINGS {
            let mut bounds = elements::Bounds::new(family);
            let read = |message: &[u8]| bounds.read(message);
            match self.dump(NFT_MSG_GETSETELEM, protocol, &attributes, read) {
                Ok(is_consistent) => elements = bounds.elements(has_intervals, is_consistent),
                Err(error) if is_missing(&error) => return Ok(Elements::default()),
                Err(error) => return Err(error),
            }
            if elements.is_consistent {
                break;
            }
        }
        Ok(elements)
    }

    /// Has the answer to a request for one object read; false: there is none.
    pub(super) fn read_one(
        &self,
        kind: u16,
        protocol: u8,
        attributes: &[u8],
        read: impl FnOnce(&[u8]),
    ) -> io::Result<bool> {
        let mut answer = [0; ANSWER_BYTES];
        let found = self.get(SUBSYSTEM << 8 | kind, protocol, attributes, &mut answer)?;
        Ok(found.map(read).is_some())
    }

    /// The answer to a request for one object; `None`: there is none.
    fn get<'a>(
        &self,
        kind: u16,
        protocol: u8,
        attributes: &[u8],
        answer: &'a mut [u8],
    ) -> io::Result<Option<&'a [u8]>> {
        self.send(&message(kind, 0, protocol, attributes)?)?;
        let answer = self.receive(answer)?;
        if type_of(answer) == kind.checked_sub(1) {
            return Ok(Some(answer));
        }
        let refusal = refusal_of(answer);
        if is_missing(&refusal) {
            Ok(None)
        } else {
            Err(refusal)
        }
    }

    /// Has each message of the answer read. False: someone has changed the ruleset meanwhile.
    pub(super) fn dump(
        &self,
        kind: u16,
        protocol: u8,
        attributes: &[u8],
        mut read: impl FnMut(&[u8]),
    ) -> io::Result<bool> {
        self.send(&message(
            SUBSYSTEM << 8 | kind,
            NLM_F_DUMP,
            protocol,
            attributes,
        )?)?;
        let (mut piece, mut is_consistent) = (vec![0; DUMP_BYTES], true);
        loop {
            let mut rest = self.receive(&mut piece)?;
            while let Some((message, after)) = first_of(rest) {
                is_consistent &= !is_interrupted(message);
                match end_of_dump(message) {
                    Some(end) => return end.map(|()| is_consistent),
                    None => read(message),
                }
                rest = after;
            }
            if !rest.is_empty() {
                return Err(io::Error::other("an answer of nf_tables that is cut"));
            }
        }
    }

    /// Deletes a table with all that stands in it. `family` as nft(8) names it.
    ///
    /// # Errors
    /// Where the kernel refuses: there is none (ENOENT), or another owns it (EPERM).
    pub fn delete_table(&self, family: &str, name: &str) -> io::Result<()> {
        let table = text_attribute(NFTA_TABLE_NAME, name);
        self.delete(NFT_MSG_DELTABLE, protocol(family)?, &table)
    }

    /// Deletes one object, in a transaction of its own.
    pub(super) fn delete(&self, kind: u16, protocol: u8, attributes: &[u8]) -> io::Result<()> {
        let transaction = [
            message(BATCH_BEGIN, 0, 0, &[])?,
            message(SUBSYSTEM << 8 | kind, NLM_F_ACK, protocol, attributes)?,
            message(BATCH_END, 0, 0, &[])?,
        ];
        self.send(&transaction.concat())?;
        let mut answer = [0; ANSWER_BYTES];
        // The kernel has answered when the request has returned (nfnetlink_rcv_batch).
        let answer = refusal_of(self.receive(&mut answer)?);
        if answer.raw_os_error() == Some(0) {
            return Ok(());
        }
        Err(answer)
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

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        send(self.socket.as_raw_fd(), bytes, MsgFlags::empty())?;
        Ok(())
    }
}

/// `NFPROTO_*`, linux/netfilter.h, by nft's names of those families that have chains of type nat.
pub(super) fn protocol(family: &str) -> io::Result<u8> {
    match family {
        "inet" => Ok(1),
        "ip" => Ok(2),
        "ip6" => Ok(10),
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
    let mut generation = None;
    let mut process_id = 0;
    let mut process_name = String::new();
    for (kind, value) in attributes_of(message) {
        match kind {
            NFTA_GEN_ID => generation = big_endian(value),
            NFTA_GEN_PROC_PID => process_id = big_endian(value).unwrap_or_default(),
            NFTA_GEN_PROC_NAME => process_name = text(value),
            _ => {}
        }
    }
    Some(Commit {
        generation: generation?,
        process_id,
        process_name,
        port: port_of(message),
    })
}

fn is_missing(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ENOENT as i32)
}

#[cfg(test)]
mod tests;
