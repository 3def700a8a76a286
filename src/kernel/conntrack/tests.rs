//! Entries as the kernel writes them, and what is none.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use super::entry::CTA_IP_V4_DST;
use super::*;
use crate::kernel::netlink::request;

fn nested(kind: u16, attributes: &[Vec<u8>]) -> Vec<u8> {
    attribute(NESTED | kind, &attributes.concat())
}

/// A tuple of TCP.
fn tuple(kind: u16, source: [u8; 4], destination: [u8; 4], ports: [u16; 2]) -> Vec<u8> {
    let addresses = [
        attribute(CTA_IP_V4_SRC, &source),
        attribute(CTA_IP_V4_DST, &destination),
    ];
    let of_protocol = [
        attribute(CTA_PROTO_NUM, &[6]),
        attribute(2, &ports[0].to_be_bytes()),
        attribute(3, &ports[1].to_be_bytes()),
    ];
    let parts = [
        nested(CTA_TUPLE_IP, &addresses),
        nested(CTA_TUPLE_PROTO, &of_protocol),
    ];
    nested(kind, &parts)
}

/// What a connection from 10.244.1.2 to 1.1.1.1 is that got the address 192.0.2.1.
fn attributes() -> Vec<Vec<u8>> {
    vec![
        tuple(CTA_TUPLE_ORIG, [10, 244, 1, 2], [1, 1, 1, 1], [4711, 443]),
        tuple(CTA_TUPLE_REPLY, [1, 1, 1, 1], [192, 0, 2, 1], [443, 5000]),
        attribute(3, &0x18a_u32.to_be_bytes()),
        attribute(18, &7_u16.to_be_bytes()),
        nested(20, &[attribute(1, &1_500_000_000_u64.to_be_bytes())]),
        attribute(12, &0xdead_beef_u32.to_be_bytes()),
    ]
}

fn message(attributes: &[Vec<u8>]) -> Vec<u8> {
    let body = [&[2, 0, 0, 0][..], &attributes.concat()].concat();
    request(of_conntrack(0), 0, &body).unwrap()
}

fn entry() -> Entry {
    entry_of(&message(&attributes())).unwrap()
}

#[test]
fn an_entry_is_read_with_all_that_finds_it_again() {
    let read = entry();
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let original = Tuple {
        source: address("10.244.1.2"),
        destination: address("1.1.1.1"),
        source_port: Some(4711),
        destination_port: Some(443),
    };
    let reply = Tuple {
        source: address("1.1.1.1"),
        destination: address("192.0.2.1"),
        source_port: Some(443),
        destination_port: Some(5000),
    };
    assert_eq!((read.protocol, read.zone), (6, 7));
    assert_eq!((read.original, read.reply), (original, reply));
    assert!(read.is_answered());
    let started = SystemTime::UNIX_EPOCH + Duration::from_millis(1_500);
    assert_eq!(read.started, Some(started));
    let [original, _, _, zone, _, id] = attributes().try_into().unwrap();
    assert_eq!(read.identity(), [original, zone, id].concat());
}

/// A zone of one direction stands in its tuple.
#[test]
fn the_zone_of_the_original_direction_counts() {
    let with_zone = |kind, zone: u16| {
        let mut whole = tuple(kind, [10, 0, 0, 1], [10, 0, 0, 2], [1, 2]);
        let inner = [&whole.split_off(4)[..], &attribute(3, &zone.to_be_bytes())].concat();
        attribute(NESTED | kind, &inner)
    };
    let zones = [with_zone(CTA_TUPLE_ORIG, 3), with_zone(CTA_TUPLE_REPLY, 4)];
    assert_eq!(entry_of(&message(&zones)).unwrap().zone, 3);
}

#[test]
fn a_filter_is_judged_here_too_and_by_what_the_connection_became() {
    let entry = entry();
    let net = |text: &str| Some(text.parse::<IpNet>().unwrap());
    let admits = |filter: Filter| filter.admits(&entry);
    let any = Filter::default();
    assert!(admits(any.clone()));
    for (from, to, protocol, is_admitted) in [
        (net("10.244.0.0/16"), net("1.1.1.1/32"), Some(6), true),
        (net("10.245.0.0/16"), None, None, false),
        (None, net("1.1.1.0/31"), None, true),
        (None, net("fd00::/8"), None, false),
        (None, None, Some(17), false),
    ] {
        let filter = Filter { protocol, from, to };
        assert_eq!(admits(filter.clone()), is_admitted, "{filter:?}");
    }
}

/// Whatever the bytes are: what is left of a cut message tells of no entry, or of the part that is whole.
#[test]
fn what_is_cut_or_changed_never_panics() {
    let whole = message(&attributes());
    for length in 0..whole.len() {
        let _ = entry_of(whole.get(..length).unwrap());
        for byte in [0, 1, 0x7f, 0xff] {
            let mut changed = whole.clone();
            *changed.get_mut(length).unwrap() = byte;
            let _ = entry_of(&changed);
        }
    }
    assert_eq!(
        entry_of(&message(&attributes()[1..])),
        None,
        "no original tuple"
    );
    assert_eq!(
        entry_of(&message(&attributes()[..1])),
        None,
        "no reply tuple"
    );
}

/// The kernel says the same of any subsystem that it lacks. This number is nobody's.
#[test]
fn where_ctnetlink_is_missing_its_name_and_the_remedy_are_said() {
    const NO_SUBSYSTEM: c_int = 0x7f << 8;
    let netlink = Netlink::open(0, SockFlag::empty()).unwrap();
    let answered = netlink.ask_subsystem(NO_SUBSYSTEM, libc::NLM_F_DUMP, Family::Ip, &[], |_| {});
    let error = unsupported(answered.unwrap_err());
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    assert_eq!(
        error.to_string(),
        "this kernel lacks ctnetlink (CONFIG_NF_CT_NETLINK): load nf_conntrack_netlink, or run one that has it"
    );
    let refused = unsupported(Errno::EPERM.into());
    assert_eq!(refused.raw_os_error(), Some(Errno::EPERM as i32));
    Conntrack::open().unwrap().require().unwrap();
}
