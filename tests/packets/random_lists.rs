//! Random nested lists, beside any values of all other keys, judged by packets. The seed is printed; `RANDOM_LISTS_SEED` repeats a run.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::drop_invalid::{INVALID, Packet, Way, seen};
use crate::DAEMON;
use crate::support::judged::Judged;
use crate::support::lab::Family;
use crate::support::probe::Protocol;
use crate::support::wait_until;
use ipnet::IpNet;

const CONFIGURATIONS: usize = 30;
/// Destinations that are judged of each configuration.
const EDGES: usize = 20;
/// Of these, what belongs to no connection is sent to so many.
const INVALID_EDGES: usize = 4;
/// Generous: only a test that fails waits so long.
const LIMIT: Duration = Duration::from_secs(4);

/// SplitMix64 (Steele, Lea, Flood, 2014): small, and good enough to draw prefixes.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit).unwrap()).unwrap()
    }

    fn is_heads(&mut self) -> bool {
        self.next() & 1 == 1
    }

    fn wide(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }
}

/// A prefix somewhere: of any length in IPv4; in IPv6 global unicast or unique local.
fn anywhere(random: &mut Random, family: Family) -> IpNet {
    let (address, shortest, longest): (IpAddr, u8, u8) = match family {
        Family::V4 => {
            let bits = u32::try_from(random.next() >> 32).unwrap();
            (Ipv4Addr::from_bits(bits).into(), 0, 32)
        }
        Family::V6 => {
            let first = [0x2 << 124, 0xfd << 120][random.below(2)];
            let bits = first | random.wide() >> 8;
            (Ipv6Addr::from_bits(bits).into(), 4, 128)
        }
    };
    let length = random.below(usize::from(longest - shortest) + 1);
    let length = shortest + u8::try_from(length).unwrap();
    IpNet::new(address, length).unwrap().trunc()
}

/// A longer prefix within another, if there is one.
fn within(random: &mut Random, outer: IpNet) -> Option<IpNet> {
    let free = usize::from(outer.max_prefix_len() - outer.prefix_len());
    if free == 0 {
        return None;
    }
    let length = outer.prefix_len() + 1 + u8::try_from(random.below(free)).unwrap();
    let bits = random.wide();
    let address: IpAddr = match outer {
        IpNet::V4(net) => {
            let host = u32::try_from(bits >> 96).unwrap() & net.hostmask().to_bits();
            Ipv4Addr::from_bits(net.network().to_bits() | host).into()
        }
        IpNet::V6(net) => {
            let host = bits & net.hostmask().to_bits();
            Ipv6Addr::from_bits(net.network().to_bits() | host).into()
        }
    };
    Some(IpNet::new(address, length).unwrap().trunc())
}

/// Prefixes of both families, nested more often than not, each with whether it is masqueraded.
fn lists(random: &mut Random) -> BTreeMap<IpNet, bool> {
    let mut lists = BTreeMap::new();
    for family in Family::BOTH {
        let mut drawn: Vec<IpNet> = Vec::new();
        for _ in 0..=random.below(10) {
            let outer = (!drawn.is_empty() && random.below(4) > 0)
                .then(|| drawn[random.below(drawn.len())]);
            let inner = outer.and_then(|outer| within(random, outer));
            let prefix = inner.unwrap_or_else(|| anywhere(random, family));
            drawn.push(prefix);
            // In one list only: the same prefix in both is an error.
            lists.entry(prefix).or_insert_with(|| random.is_heads());
        }
    }
    lists
}

fn configuration(random: &mut Random) -> String {
    let lists = lists(random);
    let listed = |masqueraded: bool| {
        let prefixes = lists.iter().filter(|(_, is)| **is == masqueraded);
        let texts: Vec<String> = prefixes.map(|(prefix, _)| format!("'{prefix}'")).collect();
        texts.join(", ")
    };
    let lists = format!(
        "enableIPv6: true\nmasqLinkLocal: {}\nnonMasqueradeCIDRs: [{}]\nmasqueradeCIDRs: [{}]\n",
        random.is_heads(),
        listed(false),
        listed(true)
    );
    lists + &other_keys(random)
}

/// Each key beside the lists of destinations, with a value of these or left out.
fn other_keys(random: &mut Random) -> String {
    const KEYS: [(&str, &[&str]); 8] = [
        (
            "sourceCIDRs",
            &[
                "[10.244.0.0/16, 'fd00:10:244::/48']",
                "[10.245.0.0/16, 192.0.2.0/24, 'fd00:10:245::/48']",
                "[0.0.0.0/0, '::/0']",
            ],
        ),
        (
            "outputInterfaces",
            &["[uplink*]", "[eth0, uplink0]", "['*', eth*]", "[pod0]"],
        ),
        (
            "snatAddressCIDRs",
            &[
                "[192.0.2.0/24, '2001:db8::/64']",
                "[203.0.113.0/24, 10.244.1.1/32, 192.0.2.1/32]",
                "['fd00::/8', '2001:db8::1/128']",
                "[0.0.0.0/0, '::/0']",
                "[203.0.113.0/24, 'fd00:1::/64']",
            ],
        ),
        ("masqNodeTraffic", &["true", "false"]),
        ("randomFully", &["true", "false"]),
        ("toPorts", &["50000-59999", "1024-29999,32768-65535"]),
        ("enforce", &["true", "false"]),
        ("dropInvalid", &["true", "false"]),
    ];
    let mut text = String::new();
    for (key, values) in KEYS {
        // One in so many leaves it out.
        if let Some(value) = values.get(random.below(values.len() + 2)) {
            text += &format!("{key}: {value}\n");
        }
    }
    text
}

fn seed() -> u64 {
    let given = std::env::var("RANDOM_LISTS_SEED").ok();
    given.map_or_else(
        || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            u64::from(since.unwrap().subsec_nanos())
        },
        |seed| seed.parse().expect("RANDOM_LISTS_SEED is a number"),
    )
}

/// All that is not as the configuration says with packets that belong to no connection.
fn mistakes_with_invalid(
    judged: &Judged,
    configuration: &str,
    edges: &[IpAddr],
    (packets, last): (&[Packet], Packet),
) -> Vec<String> {
    let (lab, oracle) = (&judged.lab, judged.oracle(configuration).unwrap());
    let outside = |to: &&IpAddr| !lab.is_pod(**to) && !lab.is_local(**to);
    let mut mistakes = Vec::new();
    for to in edges.iter().filter(outside).take(INVALID_EDGES) {
        let pod = lab.addresses_of(Family::of(*to)).pod;
        let expected = (!oracle.drops_invalid(lab, pod, *to)).then_some(pod);
        let seen = seen(lab, Way::from_pod(lab, *to), packets, last);
        if seen.iter().any(|seen| *seen != expected) {
            mistakes.push(format!(
                "{packets:?} to {to} came from {seen:?}, not from {expected:?}"
            ));
        }
    }
    mistakes
}

#[test]
fn random_nested_lists_are_followed_by_packets() {
    let seed = seed();
    println!("RANDOM_LISTS_SEED={seed}");
    let mut random = Random(seed);
    let judged = Judged::start(DAEMON, "enableIPv6: true\n", &[]).unwrap();
    // One of the addresses that may be chosen.
    for own in Family::BOTH.map(|family| judged.lab.addresses_of(family)) {
        let route = format!(
            "route add {} via {} dev eth0 onlink",
            own.pod_gateway, own.node_uplink
        );
        judged.lab.outside.ip(&route).unwrap();
    }
    let mut judged_edges = 0;
    for number in 0..CONFIGURATIONS {
        let configuration = configuration(&mut random);
        let mut edges = judged.oracle(&configuration).unwrap().edges();
        while edges.len() > EDGES {
            edges.swap_remove(random.below(edges.len()));
        }
        judged_edges += edges.len();
        let protocol = Protocol::ALL[number % Protocol::ALL.len()];
        judged.change(&configuration).unwrap();
        let mut mistakes = Vec::new();
        let waited = wait_until(LIMIT, || {
            mistakes = judged.mistakes_at(&configuration, &edges, &[protocol]);
            let invalid = INVALID[number % INVALID.len()];
            mistakes.extend(mistakes_with_invalid(
                &judged,
                &configuration,
                &edges,
                invalid,
            ));
            mistakes.is_empty()
        });
        assert!(waited.is_ok(), "{configuration}\n{}", mistakes.join("\n"));
    }
    println!("{judged_edges} edges of {CONFIGURATIONS} configurations");
}
