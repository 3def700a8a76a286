//! As much of nfnetlink as libnftables does not tell or may die of: the generation of the ruleset, who
//! committed it, a table's flags and owner, and its end.
//!
//! By hand, not by a crate: a few fixed requests of one attribute, against a dozen more crates that
//! cover nf_tables only in part.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    socket,
};

/// `NFNL_SUBSYS_NFTABLES`, linux/netfilter/nfnetlink.h.
const SUBSYSTEM: u16 = 10;
/// `NFNL_MSG_BATCH_BEGIN` and `NFNL_MSG_BATCH_END`, around the messages of a transaction.
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
/// Messages of linux/netfilter/nf_tables.h.
const NFT_MSG_NEWTABLE: u16 = 0;
const NFT_MSG_GETTABLE: u16 = 1;
const NFT_MSG_DELTABLE: u16 = 2;
const NFT_MSG_NEWGEN: u16 = 15;
const NFT_MSG_GETGEN: u16 = 16;
/// Attributes of linux/netfilter/nf_tables.h.
const NFTA_TABLE_NAME: u16 = 1;
const NFTA_TABLE_FLAGS: u16 = 2;
const NFTA_TABLE_OWNER: u16 = 7;
const NFTA_GEN_ID: u16 = 1;
const NFTA_GEN_PROC_PID: u16 = 2;
const NFTA_GEN_PROC_NAME: u16 = 3;
/// `NLA_TYPE_MASK`, linux/netlink.h: the attribute's type without its two flags.
const TYPE_MASK: u16 = 0x3fff;
/// `NLM_F_REQUEST`, `NLM_F_ACK`, `NLM_F_DUMP`, `NLM_F_DUMP_INTR`, `NLMSG_ERROR` and `NLMSG_DONE`, linux/netlink.h.
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// `struct nlmsghdr`: length, type, flags, sequence, port.
const MESSAGE_HEADER_BYTES: usize = 16;
/// `struct nfgenmsg`: family, version, resource.
const FAMILY_HEADER_BYTES: usize = 4;
/// `struct nlattr`: length, type.
const ATTRIBUTE_HEADER_BYTES: usize = 4;
/// Larger than any answer to these requests: a table's user data are at most 256 bytes
/// (`NFT_USERDATA_MAXLEN`).
const ANSWER_BYTES: usize = 4096;
/// The kernel puts at most so much of a dump into one piece, whatever the buffer (netlink_recvmsg in
/// net/netlink/af_netlink.c).
const DUMP_BYTES: usize = 32 * 1024;

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
}

/// What the kernel says of a table besides its contents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TableHeader {
    /// `NFT_TABLE_F_*`, linux/netfilter/nf_tables.h.
    pub flags: u32,
    /// The netlink port id of the socket that owns it.
    pub owner: Option<u32>,
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
        self.send(&message(kind, 0, protocol(family)?, &table_name(name))?)?;
        let mut answer = [0; ANSWER_BYTES];
        let answer = self.receive(&mut answer)?;
        if type_of(answer) != Some(SUBSYSTEM << 8 | NFT_MSG_NEWTABLE) {
            let refusal = refusal_of(answer);
            let is_missing = refusal.raw_os_error() == Some(Errno::ENOENT as i32);
            return if is_missing { Ok(None) } else { Err(refusal) };
        }
        let mut header = TableHeader::default();
        for (kind, value) in attributes_of(answer) {
            match kind {
                NFTA_TABLE_FLAGS => header.flags = big_endian(value).unwrap_or_default(),
                NFTA_TABLE_OWNER => header.owner = big_endian(value),
                _ => {}
            }
        }
        Ok(Some(header))
    }

    /// The names of a family's tables. `family` as nft(8) names it.
    ///
    /// # Errors
    /// Where the kernel does not answer; `Interrupted` where someone has changed the ruleset meanwhile.
    pub fn tables(&self, family: &str) -> io::Result<Vec<String>> {
        let kind = SUBSYSTEM << 8 | NFT_MSG_GETTABLE;
        self.send(&message(kind, NLM_F_DUMP, protocol(family)?, &[])?)?;
        let mut names = Vec::new();
        let mut is_interrupted = false;
        let mut piece = vec![0; DUMP_BYTES];
        loop {
            let mut rest = self.receive(&mut piece)?;
            while let Some((message, after)) = first_of(rest) {
                is_interrupted |= flags_of(message) & NLM_F_DUMP_INTR != 0;
                match type_of(message) {
                    Some(NLMSG_DONE) if is_interrupted => {
                        return Err(io::Error::from(io::ErrorKind::Interrupted));
                    }
                    Some(NLMSG_DONE) => return Ok(names),
                    Some(NLMSG_ERROR) => return Err(refusal_of(message)),
                    _ => names.extend(name_of(message)),
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
        let kind = SUBSYSTEM << 8 | NFT_MSG_DELTABLE;
        let deletion = message(kind, NLM_F_ACK, protocol(family)?, &table_name(name))?;
        let transaction = [
            message(BATCH_BEGIN, 0, 0, &[])?,
            deletion,
            message(BATCH_END, 0, 0, &[])?,
        ];
        self.send(&transaction.concat())?;
        let mut answer = [0; ANSWER_BYTES];
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

/// A request. Sequence and port are 0: one request at a time, so there is nothing to tell apart.
fn message(kind: u16, flags: u16, family: u8, attributes: &[u8]) -> io::Result<Vec<u8>> {
    let length = MESSAGE_HEADER_BYTES + FAMILY_HEADER_BYTES + attributes.len();
    let length = u32::try_from(length).map_err(io::Error::other)?;
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((NLM_F_REQUEST | flags).to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family, 0]);
    // The resource, by which a transaction says whom it is for; in other messages it says nothing.
    bytes.extend(SUBSYSTEM.to_be_bytes());
    bytes.extend_from_slice(attributes);
    Ok(bytes)
}

/// `NFPROTO_*`, linux/netfilter.h, by nft's names of those families that have chains of type nat.
fn protocol(family: &str) -> io::Result<u8> {
    match family {
        "inet" => Ok(1),
        "ip" => Ok(2),
        "ip6" => Ok(10),
        _ => Err(io::Error::from(io::ErrorKind::Unsupported)),
    }
}

fn table_name(name: &str) -> Vec<u8> {
    attribute(NFTA_TABLE_NAME, &[name.as_bytes(), &[0]].concat())
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
            NFTA_GEN_PROC_NAME => {
                let name = value.split(|&byte| byte == 0).next().unwrap_or_default();
                process_name = String::from_utf8_lossy(name).into_owned();
            }
            _ => {}
        }
    }
    Some(Commit {
        generation: generation?,
        process_id,
        process_name,
    })
}

fn name_of(table: &[u8]) -> Option<String> {
    let mut attributes = attributes_of(table);
    let (_, value) = attributes.find(|(kind, _)| *kind == NFTA_TABLE_NAME)?;
    let name = value.split(|&byte| byte == 0).next().unwrap_or_default();
    Some(String::from_utf8_lossy(name).into_owned())
}

/// The first message, and what comes after it.
fn first_of(messages: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(*messages.first_chunk()?)).ok()?;
    if length < MESSAGE_HEADER_BYTES {
        return None;
    }
    let message = messages.get(..length)?;
    // NLMSG_ALIGN, linux/netlink.h.
    let after = messages.get(length.next_multiple_of(4)..);
    Some((message, after.unwrap_or_default()))
}

fn flags_of(message: &[u8]) -> u16 {
    let flags = message.get(6..).and_then(|flags| flags.first_chunk());
    flags.map_or(0, |flags| u16::from_ne_bytes(*flags))
}

fn type_of(message: &[u8]) -> Option<u16> {
    Some(u16::from_ne_bytes(*message.get(4..)?.first_chunk()?))
}

/// What the kernel said in place of an answer.
fn refusal_of(message: &[u8]) -> io::Error {
    let code = message
        .get(MESSAGE_HEADER_BYTES..)
        .and_then(|body| body.first_chunk())
        .map(|code| i32::from_ne_bytes(*code));
    match (type_of(message), code) {
        (Some(NLMSG_ERROR), Some(code)) => io::Error::from_raw_os_error(code.saturating_neg()),
        _ => io::Error::other("an answer of nf_tables that is none to the request"),
    }
}

/// The attributes of the first message, as type and value; what is cut ends them.
fn attributes_of(message: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let length = message
        .first_chunk()
        .map(|length| u32::from_ne_bytes(*length));
    let length = length.and_then(|length| usize::try_from(length).ok());
    let end = length.unwrap_or_default().min(message.len());
    let start = MESSAGE_HEADER_BYTES + FAMILY_HEADER_BYTES;
    let mut remaining = message.get(start..end).unwrap_or_default();
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*remaining.first_chunk()?));
        let kind = u16::from_ne_bytes(*remaining.get(2..)?.first_chunk()?);
        let value = remaining.get(ATTRIBUTE_HEADER_BYTES..length)?;
        let next = length.next_multiple_of(ATTRIBUTE_HEADER_BYTES);
        remaining = remaining.get(next..).unwrap_or_default();
        Some((kind & TYPE_MASK, value))
    })
}

/// nf_tables has its numbers in network byte order.
fn big_endian(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*value.first_chunk()?))
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = ATTRIBUTE_HEADER_BYTES + value.len();
    // Names are checked to be short.
    let length_field = u16::try_from(length).unwrap_or(u16::MAX);
    let mut bytes = [length_field.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend_from_slice(value);
    bytes.resize(length.next_multiple_of(ATTRIBUTE_HEADER_BYTES), 0);
    bytes
}

#[cfg(test)]
mod tests;
