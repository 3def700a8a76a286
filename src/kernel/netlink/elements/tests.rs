//! Elements as the kernel dumps them, and what is none.

use proptest::prelude::*;

use super::super::message::{NFTA_COUNTER_PACKETS, attribute, message};
use super::*;

fn key(address: &str) -> Vec<u8> {
    let octets = match address.parse().unwrap() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    attribute(NFTA_SET_ELEM_KEY, &attribute(NFTA_DATA_VALUE, &octets))
}

fn end(address: &str) -> Vec<u8> {
    let flags = NFT_SET_ELEM_INTERVAL_END.to_be_bytes();
    [key(address), attribute(NFTA_SET_ELEM_FLAGS, &flags)].concat()
}

/// The userdata that libnftables writes for a comment.
fn comment(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len() + 1).unwrap();
    let datum = [&[COMMENT, length], text.as_bytes(), &[0]].concat();
    attribute(NFTA_SET_ELEM_USERDATA, &datum)
}

fn statement(name: &[u8], packets: u64) -> Vec<u8> {
    let counter = attribute(NFTA_COUNTER_PACKETS, &packets.to_be_bytes());
    let members = [
        attribute(NFTA_EXPR_NAME, name),
        attribute(NFTA_EXPR_DATA, &counter),
    ];
    attribute(NFTA_SET_ELEM_EXPR, &members.concat())
}

fn dump(elements: &[Vec<u8>]) -> Vec<u8> {
    let elements: Vec<u8> = elements.iter().flat_map(|one| attribute(1, one)).collect();
    let list = attribute(NFTA_SET_ELEM_LIST_ELEMENTS, &elements);
    message(0, 0, 0, &list).unwrap()
}

fn read(family: Family, elements: &[Vec<u8>]) -> Elements {
    let mut bounds = Bounds::new(family);
    bounds.read(&dump(elements));
    bounds.elements(true)
}

fn intervals(elements: &Elements) -> Vec<(String, String)> {
    let interval = |e: &ObservedElement| (e.first.to_string(), e.last.to_string());
    elements.readable.iter().map(interval).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(first, last): &(&str, &str)| ((*first).to_owned(), (*last).to_owned());
    expected.iter().map(owned).collect()
}

#[test]
fn an_interval_is_read_with_its_comment_and_count() {
    let start = [
        key("10.0.0.0"),
        comment("10.0.0.0/8"),
        statement(b"counter\0", 7),
    ];
    let elements = read(Family::Ip, &[end("11.0.0.0"), start.concat()]);
    let expected = ObservedElement {
        first: "10.0.0.0".parse().unwrap(),
        last: "10.255.255.255".parse().unwrap(),
        comment: Some("10.0.0.0/8".to_owned()),
        connections: Some(7),
    };
    assert_eq!((elements.readable, elements.strange), (vec![expected], 0));
}

#[test]
fn the_last_interval_has_no_end_where_no_address_is_behind_it() {
    let elements = read(
        Family::Ip,
        &[
            key("224.0.0.0"),
            end("0.0.0.0"),
            key("1.0.0.0"),
            end("1.0.0.1"),
        ],
    );
    let expected = [("1.0.0.0", "1.0.0.0"), ("224.0.0.0", "255.255.255.255")];
    assert_eq!(intervals(&elements), pairs(&expected));
    let elements = read(Family::Ip6, &[key("::")]);
    let highest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    assert_eq!(intervals(&elements), pairs(&[("::", highest)]));
}

#[test]
fn an_interval_ends_where_the_next_one_begins() {
    let elements = [
        key("10.0.0.0"),
        key("10.1.0.0"),
        end("10.1.0.0"),
        end("10.2.0.0"),
    ];
    let expected = [("10.0.0.0", "10.0.255.255"), ("10.1.0.0", "10.1.255.255")];
    assert_eq!(intervals(&read(Family::Ip, &elements)), pairs(&expected));
    assert_eq!(
        intervals(&read(
            Family::Ip,
            &[&elements[..2], &elements[3..]].concat()
        )),
        pairs(&expected)
    );
}

#[test]
fn an_element_of_a_set_without_intervals_is_one_address() {
    let mut bounds = Bounds::new(Family::Ip6);
    bounds.read(&dump(&[key("fd00::1")]));
    assert_eq!(
        intervals(&bounds.elements(false)),
        pairs(&[("fd00::1", "fd00::1")])
    );
}

#[test]
fn what_is_no_lasting_interval_of_addresses_with_a_counter_at_most_is_strange() {
    let catch_all = attribute(NFTA_SET_ELEM_FLAGS, &2_u32.to_be_bytes());
    let with = |kind: u16| [key("10.0.0.0"), attribute(kind, &[0; 8])].concat();
    let elements = [
        key("fd00::"),
        catch_all,
        Vec::new(),
        [key("10.0.0.0"), statement(b"limit\0", 0)].concat(),
        [key("10.0.0.0"), attribute(NFTA_SET_ELEM_EXPR, &[])].concat(),
        // NFTA_SET_ELEM_DATA, _TIMEOUT, _EXPIRATION, _OBJREF, _KEY_END and _EXPRESSIONS
        with(2),
        with(4),
        with(5),
        with(9),
        with(10),
        with(11),
    ];
    let read = read(Family::Ip, &elements);
    assert_eq!((read.readable, read.strange), (Vec::new(), elements.len()));
}

#[test]
fn a_comment_is_found_among_other_data() {
    let comment = |userdata: &[u8]| comment_in(userdata);
    assert_eq!(
        comment(&[1, 4, 0, 0, 0, 1, COMMENT, 2, b'c', 0]).as_deref(),
        Some("c")
    );
    assert_eq!(comment(&[COMMENT, 9, b'c']), None);
    assert_eq!(comment(&[1]), None);
}

proptest! {
    /// However the kernel orders them, and with or without what libnftables writes before the first interval.
    #[test]
    fn disjoint_intervals_are_read_as_they_were_written(
        bounds in prop::collection::btree_set(any::<u32>(), 1..40),
        has_lead in any::<bool>(),
        seed in any::<prop::sample::Selector>(),
    ) {
        let bounds: Vec<u32> = bounds.into_iter().collect();
        let mut elements = Vec::new();
        let mut expected = Vec::new();
        for pair in bounds.chunks(2) {
            let first = Ipv4Addr::from_bits(pair[0]);
            let behind = pair.get(1).map(|behind| Ipv4Addr::from_bits(*behind));
            elements.push(key(&first.to_string()));
            elements.extend(behind.map(|behind| end(&behind.to_string())));
            let last = behind.map_or(u32::MAX, |behind| behind.to_bits() - 1);
            expected.push((first.to_string(), Ipv4Addr::from_bits(last).to_string()));
        }
        if has_lead {
            elements.push(end("0.0.0.0"));
        }
        let mut shuffled = Vec::new();
        while !elements.is_empty() {
            let (index, _) = seed.select(elements.iter().enumerate());
            shuffled.push(elements.swap_remove(index));
        }
        prop_assert_eq!(intervals(&read(Family::Ip, &shuffled)), expected);
    }

    #[test]
    fn no_bytes_crash_the_reader_and_what_it_reads_is_in_order_and_disjoint(
        pieces in prop::collection::vec(
            prop_oneof![
                any::<[u8; 4]>().prop_map(|bytes| bytes.to_vec()),
                (0_u8..12, prop::collection::vec(any::<u8>(), 0..20))
                    .prop_map(|(kind, value)| attribute(kind.into(), &value)),
                any::<u32>().prop_map(|bits| key(&Ipv4Addr::from_bits(bits).to_string())),
            ],
            0..40,
        ),
        has_intervals in any::<bool>(),
    ) {
        let mut bounds = Bounds::new(Family::Ip);
        bounds.read(&pieces.concat());
        bounds.read(&dump(&pieces));
        let elements = bounds.elements(has_intervals).readable;
        prop_assert!(elements.iter().all(|element| element.first <= element.last));
        prop_assert!(elements.is_sorted_by(|one, next| one.last < next.first));
    }
}
