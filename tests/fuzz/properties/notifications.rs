//! The readers of netfilter's messages: notifications of new generations, answers to requests, a whole table among them, and
//! entries of conntrack.

use std::os::fd::AsRawFd;
use std::sync::LazyLock;

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};
use non_masquerade_daemon::config::{Flags, judge};
use non_masquerade_daemon::kernel::conntrack::entry_of;
use non_masquerade_daemon::kernel::difference::{Comparison, RulesAre};
use non_masquerade_daemon::kernel::netlink::{Commit, Elements, Netlink, commit_of};
use non_masquerade_daemon::kernel::observed::{Observed, ObservedElement};
use non_masquerade_daemon::policy::Policy;
use non_masquerade_daemon::ruleset::json::{self, Form};
use non_masquerade_daemon::ruleset::transaction::Command;
use non_masquerade_daemon::ruleset::{ChosenNames, Family, Ruleset, Tables};
use serde_json::Value;

/// The most pieces of one answer; a socket holds them all.
const MOST_PIECES: usize = 8;

/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN`, linux/netfilter/nf_tables.h.
const NEW_GENERATION: u16 = 10 << 8 | 15;

/// Those that a table is compared with: of two configurations, IPv4 and IPv6.
static WANTED: LazyLock<Vec<Ruleset>> = LazyLock::new(|| {
    let files = [
        include_str!("../../golden/nested.yaml"),
        include_str!("../../golden/everything.yaml"),
    ];
    let rulesets = files.iter().flat_map(|file| {
        let judged = judge("f", file.as_bytes(), &Flags::default()).unwrap();
        let tables = Tables::new(&Policy::new(&judged.config), &ChosenNames::default());
        [tables.ip].into_iter().chain(tables.ip6)
    });
    rulesets.collect()
});

/// A notification that can be read says the same when it is written out and read again. An answer that the kernel gives
/// in pieces, each behind its length in two bytes, comes to an end, the names in it hold no NUL, and elements are in order
/// and disjoint. What an entry of conntrack tells of is of one family. A table that can be read can be compared, and where it differs there is something to do.
pub(super) fn hold(bytes: &[u8]) {
    if let Some(commit) = commit_of(bytes) {
        assert!(!commit.process_name.contains('\0'));
        assert_eq!(commit_of(&notification(&commit)), Some(commit));
    }
    if let Some(entry) = entry_of(bytes) {
        let [one, other] = [entry.original, entry.reply].map(|tuple| tuple.source.is_ipv4());
        assert_eq!(one, other);
    }
    if let Ok(names) = answered(bytes, |kernel| kernel.tables("ip")) {
        assert!(names.iter().all(|name| !name.contains('\0')));
    }
    for family in [Family::Ip, Family::Ip6] {
        for has_intervals in [false, true] {
            let ask = |kernel: &Netlink| kernel.elements(family, "t", "s", has_intervals);
            if let Ok(Elements { readable, .. }) = answered(bytes, ask) {
                assert_are_in_order(&readable);
            }
        }
        let ask = |kernel: &Netlink| Observed::read(kernel, family, "t", ["c"].into_iter());
        if let Ok(Some(table)) = answered(bytes, ask) {
            assert_can_be_compared(&table);
        }
    }
    let _ = answered(bytes, |kernel| kernel.table("ip6", "t"));
    let _ = answered(bytes, Netlink::generation);
    let _ = answered(bytes, |kernel| kernel.delete_table("inet", "t"));
}

fn assert_are_in_order(elements: &[ObservedElement]) {
    assert!(elements.iter().all(|element| element.first <= element.last));
    assert!(elements.is_sorted_by(|one, next| one.last < next.first));
    let mut comments = elements.iter().flat_map(|element| &element.comment);
    assert!(comments.all(|comment| !comment.contains('\0')));
}

fn assert_can_be_compared(table: &Observed) {
    for set in &table.sets {
        assert!(!set.name.contains('\0'));
        assert_are_in_order(&set.elements);
    }
    for ruleset in WANTED.iter() {
        for rules_are in [RulesAre::Right, RulesAre::Other, RulesAre::Unknown] {
            let comparison = Comparison::new(ruleset, table, false, |_, _| rules_are);
            let has_something_to_do = table.header.is_dormant()
                || comparison.rules_are_to_be_written
                || !comparison.sets_to_make.is_empty()
                || !comparison.unnamed_sets.is_empty()
                || !comparison.objects_to_delete.is_empty();
            assert_eq!(comparison.is_in_step(), !has_something_to_do);
            assert_can_be_made(ruleset, table, &comparison);
        }
    }
}

/// No set that a rule looks up is made anew, and the transactions can be written.
fn assert_can_be_made(ruleset: &Ruleset, table: &Observed, comparison: &Comparison<'_>) {
    for set in &comparison.sets_to_make {
        let name = comparison.set_names.of(set.field);
        assert!(!table.names_in_rules().contain(name));
    }
    let sets = comparison.sets_to_make.iter().copied();
    let commands = sets.map(Command::AddSet).collect();
    let declaration = ruleset.transaction(&comparison.set_names, commands);
    let document = json::document([&declaration], Form::Portable).unwrap();
    assert!(serde_json::from_str::<Value>(&document).is_ok());
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
    message.extend([0; 6]);
    message.extend(commit.port.to_ne_bytes());
    message.extend([0; 4]);
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
