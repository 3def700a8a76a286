//! One who adds an element to every set of the daemon's table, and to one of its own there, as fast as it can.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use super::netlink::{
    DELETE_ELEMENT, NEW_ELEMENT, NEW_SET, attribute, commit, commit_on, name, open, sets_of,
};
use super::netns::Namespace;
use super::nft::TABLE;

/// The name by which the kernel tells who it is.
pub const NAME: &str = "adds-elements";

/// Attributes of linux/netfilter/nf_tables.h.
const NFTA_SET_TABLE: u16 = 1;
const NFTA_SET_NAME: u16 = 2;
const NFTA_SET_FLAGS: u16 = 3;
const NFTA_SET_KEY_TYPE: u16 = 4;
const NFTA_SET_KEY_LEN: u16 = 5;
const NFTA_SET_ID: u16 = 10;
const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
const NFTA_SET_ELEM_LIST_SET: u16 = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_FLAGS: u16 = 3;
const NFTA_DATA_VALUE: u16 = 1;
const NFT_SET_INTERVAL: u32 = 4;
const NFT_SET_ELEM_INTERVAL_END: u32 = 1;
/// nft's number of the type `ipv4_addr`, and its length.
const TYPE_IPV4_ADDR: u32 = 7;
const IPV4_ADDR_BYTES: u32 = 4;
/// A set that no rule uses.
const OWN_SET: &str = "theirs";
/// An interval of one public address, and the address behind it.
const ELEMENT: [[u8; 4]; 2] = [[8, 8, 8, 8], [8, 8, 8, 9]];

/// Adds until it is stopped, or dropped.
#[derive(Debug)]
pub struct Opponent {
    go_on: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<u64>>>,
}

impl Opponent {
    /// Starts in a thread of its name.
    pub fn start(namespace: &Namespace) -> io::Result<Self> {
        let socket = open(namespace)?;
        let go_on = Arc::new(AtomicBool::new(true));
        let told = Arc::clone(&go_on);
        let thread = thread::Builder::new().name(NAME.to_owned());
        let thread = thread.spawn(move || {
            let mut commits = 0;
            while told.load(Ordering::Relaxed) {
                commits += add_everywhere(&socket)?;
            }
            Ok(commits)
        })?;
        Ok(Self {
            go_on,
            thread: Some(thread),
        })
    }

    /// Stops it; says how many of its transactions the kernel has taken.
    pub fn stop(mut self) -> io::Result<u64> {
        self.go_on.store(false, Ordering::Relaxed);
        let thread = self
            .thread
            .take()
            .expect("a thread that nobody has stopped");
        thread.join().expect("the opponent's thread")
    }
}

impl Drop for Opponent {
    fn drop(&mut self) {
        self.go_on.store(false, Ordering::Relaxed);
    }
}

/// Empties a set of the table.
pub fn empty(namespace: &Namespace, set: &str) -> io::Result<()> {
    // Without elements, all are meant.
    commit(namespace, &[(DELETE_ELEMENT, of_set(set))])
}

/// A set may be gone by the time that its turn comes.
fn add_everywhere(socket: &OwnedFd) -> io::Result<u64> {
    // The daemon may be deleting the table's foreign sets at this moment.
    let _ = commit_on(socket, &[(NEW_SET, own_set())]);
    let sets = sets_of(socket, TABLE)?;
    let added = sets.iter().map(|set| {
        let elements = attribute(NFTA_SET_ELEM_LIST_ELEMENTS, &interval());
        commit_on(socket, &[(NEW_ELEMENT, [of_set(set), elements].concat())])
    });
    Ok(added.filter(Result::is_ok).count() as u64)
}

fn own_set() -> Vec<u8> {
    [
        name(NFTA_SET_TABLE, TABLE),
        name(NFTA_SET_NAME, OWN_SET),
        attribute(NFTA_SET_FLAGS, &NFT_SET_INTERVAL.to_be_bytes()),
        attribute(NFTA_SET_KEY_TYPE, &TYPE_IPV4_ADDR.to_be_bytes()),
        attribute(NFTA_SET_KEY_LEN, &IPV4_ADDR_BYTES.to_be_bytes()),
        attribute(NFTA_SET_ID, &1_u32.to_be_bytes()),
    ]
    .concat()
}

fn of_set(set: &str) -> Vec<u8> {
    [
        name(NFTA_SET_ELEM_LIST_TABLE, TABLE),
        name(NFTA_SET_ELEM_LIST_SET, set),
    ]
    .concat()
}

fn interval() -> Vec<u8> {
    let [first, behind] = ELEMENT.map(|address| {
        let value = attribute(NFTA_DATA_VALUE, &address);
        attribute(NFTA_SET_ELEM_KEY, &value)
    });
    let is_end = attribute(
        NFTA_SET_ELEM_FLAGS,
        &NFT_SET_ELEM_INTERVAL_END.to_be_bytes(),
    );
    [
        attribute(NFTA_LIST_ELEM, &first),
        attribute(NFTA_LIST_ELEM, &[behind, is_end].concat()),
    ]
    .concat()
}
