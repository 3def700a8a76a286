//! Messages as the kernel writes them, and what is none.

use nix::sys::socket::socketpair;
use proptest::prelude::*;

use super::*;

fn message(kind: c_int, attributes: &[u8]) -> Vec<u8> {
    super::message::message(kind, 0, 0, attributes).unwrap()
}

#[test]
fn a_notification_names_the_generation_and_the_process() {
    let attributes = [
        attribute(NFTA_GEN_ID, &7_u32.to_be_bytes()),
        attribute(NFTA_GEN_PROC_PID, &4711_u32.to_be_bytes()),
        attribute(NFTA_GEN_PROC_NAME, b"nft\0"),
    ];
    let commit = commit_of(&message(NEW_GENERATION, &attributes.concat())).unwrap();
    assert_eq!((commit.generation, commit.process_id), (7, 4711));
    assert_eq!(commit.process_name, "nft");
    assert_eq!(commit.port, 0, "the request's");
    assert_eq!(
        commit_of(&message(NEW_GENERATION + 1, &attributes.concat())),
        None
    );
    assert_eq!(commit_of(&message(NEW_GENERATION, &[])), None);
}

#[test]
fn the_messages_of_a_dump_are_read_one_by_one() {
    let table = |name: &str| {
        let name = [name.as_bytes(), &[0]].concat();
        message(
            of_nf_tables(libc::NFT_MSG_NEWTABLE),
            &attribute(NFTA_TABLE_NAME, &name),
        )
    };
    let dump = [table("nat"), table("filter")].concat();
    let (first, rest) = first_of(&dump).unwrap();
    let (second, nothing) = first_of(rest).unwrap();
    assert_eq!(
        [first, second].map(|table| value_of(table, NFTA_TABLE_NAME).map(text)),
        [Some("nat".to_owned()), Some("filter".to_owned())]
    );
    assert_eq!(first_of(nothing), None);
}

fn socket_pair() -> (Netlink, OwnedFd) {
    let flags = SockFlag::empty();
    let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags);
    let (own, other) = pair.unwrap();
    (Netlink::from(own), other)
}

/// A dump would wait for its end for ever.
#[test]
fn a_socket_that_is_at_its_end_is_an_error() {
    let (own, other) = socket_pair();
    send(other.as_raw_fd(), &[0; 20], MsgFlags::empty()).unwrap();
    nix::sys::socket::shutdown(other.as_raw_fd(), nix::sys::socket::Shutdown::Write).unwrap();
    let mut buffer = [0; 64];
    assert_eq!(own.receive(&mut buffer).unwrap().len(), 20);
    let end = own.receive(&mut buffer).unwrap_err();
    assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
}

proptest! {
    #[test]
    fn no_bytes_crash_the_reader(
        head in prop::collection::vec(any::<u8>(), 0..8),
        tail in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let _ = (commit_of(&tail), first_of(&tail), value_of(&tail, NFTA_TABLE_NAME));
        let mut bytes = message(NEW_GENERATION, &tail);
        let _ = (commit_of(&bytes), end_of_answer(&bytes));
        bytes.splice(0..head.len().min(bytes.len()), head.iter().copied());
        let _ = (commit_of(&bytes), end_of_answer(&bytes));
    }
}
