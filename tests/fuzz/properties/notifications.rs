//! The readers of nf_tables' messages: notifications of new generations, and answers to requests.

use std::os::fd::AsRawFd;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};
use non_masquerade_daemon::kernel::netlink::{Commit, Elements, Netlink, commit_of};
use non_masquerade_daemon::ruleset::Family;

/// The most pieces of one answer; a socket holds them all.
const MOST_PIECES: usize = 8;

/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN`, linux/netfilter/nf_tables.h.
const NEW_GENERATION: u16 = 10 << 8 | 15;

/// A notification that can be read says the same when it is written out and read again. An answer that the kernel gives
/// in pieces, each behind its length in two bytes, comes to an end, the names in it hold no NUL, and elements are in order
/// and disjoint.
pub(super) fn hold(bytes: &[u8]) {
    if let Some(commit) = commit_of(bytes) {
        assert!(!commit.process_name.contains('\0'));
        assert_eq!(commit_of(&notification(&commit)), Some(commit));
    }
    if let Ok(names) = answered(bytes, |kernel| kernel.tables("ip")) {
        assert!(names.iter().all(|name| !name.contains('\0')));
    }
    for family in [Family::Ip, Family::Ip6] {
        for has_intervals in [false, true] {
            let ask = |kernel: &Netlink| finished(kernel.elements(family, "t", "s", has_intervals));
            if let Ok(elements) = answered(bytes, ask) {
                assert_are_in_order(&elements);
            }
        }
    }
    let _ = answered(bytes, |kernel| kernel.outline(Family::Ip, "t", ["c"]));
    let _ = answered(bytes, |kernel| kernel.table("ip6", "t"));
    let _ = answered(bytes, Netlink::generation);
    let _ = answered(bytes, |kernel| kernel.delete_table("inet", "t"));
}

fn assert_are_in_order(elements: &Elements) {
    let elements = &elements.readable;
    assert!(elements.iter().all(|element| element.first <= element.last));
    assert!(elements.is_sorted_by(|one, next| one.last < next.first));
    let mut comments = elements.iter().flat_map(|element| &element.comment);
    assert!(comments.all(|comment| !comment.contains('\0')));
}

/// What comes of a future that waits for nothing: it yields only.
fn finished<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return done;
        }
    }
}

/// What `ask` makes of an answer that has come already.
fn answered<T>(bytes: &[u8], ask: impl FnOnce(&Netlink) -> T) -> T {
    let (ours, kernels) = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
    )
    .unwrap();
    for piece in pieces(bytes) {
        send(kernels.as_raw_fd(), piece, MsgFlags::empty()).unwrap();
    }
    // The other end stays open meanwhile, though nobody reads the request there.
    ask(&Netlink::from(ours))
}

fn pieces(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    let pieces = std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk()?;
        let length = usize::from(u16::from_le_bytes(*length)).min(after.len());
        let (piece, after) = after.split_at(length);
        rest = after;
        Some(piece)
    });
    // An empty one is what a socket gives whose other end is closed.
    pieces.filter(|piece| !piece.is_empty()).take(MOST_PIECES)
}

fn notification(commit: &Commit) -> Vec<u8> {
    let name = [commit.process_name.as_bytes(), &[0]].concat();
    let attributes = [
        attribute(1, &commit.generation.to_be_bytes()),
        attribute(2, &commit.process_id.to_be_bytes()),
        attribute(3, &name),
    ]
    .concat();
    let length = u32::try_from(20 + attributes.len()).unwrap();
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(NEW_GENERATION.to_ne_bytes());
    message.extend([0; 14]);
    message.extend(attributes);
    message
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap();
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}
