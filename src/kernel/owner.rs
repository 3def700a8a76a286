//! Which process owns a table: nf_tables knows it by the port id of its netlink socket only.

use std::fmt;
use std::fs;
use std::path::Path;

use super::serve::WORKER_NAME;

/// `NETLINK_NETFILTER`, linux/netlink.h.
const PROTOCOL: &str = "12";

/// What is said of an owner that [`with_port`] does not find.
pub const UNSEEN: &str = "a process that is not to be seen from here";

/// A process, as `nft (pid 4711)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// At most 15 bytes, escaped: anyone's to choose.
    pub name: String,
    /// In this pid namespace.
    pub id: u32,
}

impl Process {
    /// It is the worker of a daemon.
    #[must_use]
    pub fn is_a_worker(&self) -> bool {
        WORKER_NAME.to_str() == Ok(self.name.as_str())
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.name, self.id)
    }
}

/// Who has the netlink socket of this port id; `None`: it is not to be seen from this pid namespace, or not by this user.
#[must_use]
pub fn with_port(port: u32) -> Option<Process> {
    let sockets = fs::read_to_string("/proc/net/netlink").ok()?;
    let link = format!("socket:[{}]", inode_of_port(&sockets, port)?);
    let processes = fs::read_dir("/proc").ok()?;
    let owner = processes
        .flatten()
        .map(|entry| entry.path())
        .find(|process| has_open(process, &link))?;
    let name = fs::read_to_string(owner.join("comm")).ok()?;
    Some(Process {
        name: name.trim_end().escape_debug().to_string(),
        id: owner.file_name()?.to_str()?.parse().ok()?,
    })
}

/// Whether the owner with this port id may be about to end: a worker ends a moment after its daemon, and a process that is
/// not to be seen may have closed its files already.
#[must_use]
pub fn may_be_ending(port: u32) -> bool {
    with_port(port).is_none_or(|process| process.is_a_worker())
}

/// The inode of the socket in the listing of proc_net(5): `sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode`, where
/// `Eth` is the protocol and `Pid` the port id.
fn inode_of_port(sockets: &str, port: u32) -> Option<&str> {
    let port = port.to_string();
    sockets.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        match fields.as_slice() {
            [_, PROTOCOL, found, .., inode] if *found == port => Some(*inode),
            _ => None,
        }
    })
}

fn has_open(process: &Path, link: &str) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else {
        return false;
    };
    descriptors.flatten().any(|descriptor| {
        fs::read_link(descriptor.path()).is_ok_and(|target| target == Path::new(link))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_found_by_protocol_and_port() {
        let sockets = "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n\
                       00000000a1a1a1a1 0   4711       00000000 0        0        0     2        0        100\n\
                       00000000b2b2b2b2 12  4294963000 00000000 0        0        0     2        0        200\n\
                       00000000c3c3c3c3 12  4711       00000040 0        0        0     2        0        300\n";
        assert_eq!(inode_of_port(sockets, 4711), Some("300"));
        assert_eq!(inode_of_port(sockets, 4_294_963_000), Some("200"));
        assert_eq!(inode_of_port(sockets, 1), None);
    }
}
