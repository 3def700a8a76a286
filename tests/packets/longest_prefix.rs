//! The longest prefix decides: policy, ruleset and kernel against a naive oracle, at every edge of every prefix.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Stdio;

use crate::DAEMON;
use crate::support::lab::Family;
use crate::support::netns::Namespace;
use crate::support::nft::{Nft, TABLE, set_in_use};
use crate::support::programmed::Programmed;
use ipnet::IpNet;
use non_masquerade_daemon::config::{Config, Flags, defaults};
use non_masquerade_daemon::policy::Policy;
use non_masquerade_daemon::policy::prefix_table::Verdict;
use non_masquerade_daemon::ruleset::{self, ChosenNames, Element, Ruleset, Tables, names};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// RFC 3927 and RFC 4291.
const LINK_LOCAL: [&str; 2] = ["169.254.0.0/16", "fe80::/10"];

/// Random lists, nested and repeated.
#[derive(Debug, Clone)]
struct Lists {
    non_masquerade: Vec<IpNet>,
    /// None that is in the other list.
    masquerade: Vec<IpNet>,
    masq_link_local: [bool; 2],
}

/// Where prefixes crowd, so that they nest and touch: both ends of the address space, the link-local range, one more.
const PLACES: [[&str; 4]; 2] = [
    ["0.0.0.0", "255.255.255.0", "169.254.0.0", "10.1.2.0"],
    [
        "::",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff00",
        "fe80::",
        "fd00:1::",
    ],
];

fn prefix(is_ipv4: bool, place: usize, low: u8, shorter: u8) -> IpNet {
    match PLACES[usize::from(!is_ipv4)][place].parse().unwrap() {
        IpAddr::V4(place) => {
            let address = Ipv4Addr::from_bits(place.to_bits() | u32::from(low));
            IpNet::new(address.into(), 32_u8.saturating_sub(shorter))
        }
        IpAddr::V6(place) => {
            let address = Ipv6Addr::from_bits(place.to_bits() | u128::from(low));
            IpNet::new(address.into(), 128_u8.saturating_sub(shorter))
        }
    }
    .unwrap()
    .trunc()
}

fn lists() -> impl Strategy<Value = Lists> {
    // By how much the prefix is shorter than an address. 16 of 32 and 118 of 128 is what link-local is.
    let shorter = prop_oneof![6 => 0..=8_u8, 2 => 0..=128_u8, 1 => Just(16), 1 => Just(118)];
    let entry = (any::<bool>(), 0..4_usize, any::<u8>(), shorter, 0..5_u8);
    let entries = prop::collection::vec(entry, 0..16);
    (entries, any::<[bool; 2]>()).prop_map(|(entries, masq_link_local)| {
        let of = |is_wanted: fn(u8) -> bool| {
            let of = entries.iter().filter(move |(.., list)| is_wanted(*list));
            of.map(|&(is_ipv4, place, low, shorter, _)| prefix(is_ipv4, place, low, shorter))
        };
        let non_masquerade: Vec<IpNet> = of(|list| list < 3).collect();
        Lists {
            masquerade: of(|list| list >= 3)
                .filter(|prefix| !non_masquerade.contains(prefix))
                .collect(),
            non_masquerade,
            masq_link_local,
        }
    })
}

impl Lists {
    fn policy(&self) -> Policy {
        let flags = Flags {
            enable_ipv6: true,
            ..Flags::default()
        };
        Policy::new(&Config {
            non_masquerade_cidrs: self.non_masquerade.clone(),
            masquerade_cidrs: self.masquerade.clone(),
            masq_link_local: self.masq_link_local[0],
            masq_link_local_ipv6: self.masq_link_local[1],
            ..defaults(&flags)
        })
    }

    /// Every prefix with its verdict and what is said of it, in the order in which they win at equal length.
    fn prefixes(&self) -> Vec<(IpNet, Verdict, String)> {
        let listed = |list: &[IpNet], verdict| {
            let named = list.iter().map(move |p| (*p, verdict, p.to_string()));
            named.collect::<Vec<_>>()
        };
        let link_local = std::iter::zip(LINK_LOCAL, self.masq_link_local)
            .filter(|(_, masquerades)| !masquerades)
            .map(|(p, _)| {
                (
                    p.parse().unwrap(),
                    Verdict::NonMasquerade,
                    "link-local".to_owned(),
                )
            });
        let mut all = listed(&self.non_masquerade, Verdict::NonMasquerade);
        all.extend(listed(&self.masquerade, Verdict::Masquerade));
        all.extend(link_local);
        all
    }
}

/// The longest of `prefixes` that contains the destination; of equal ones the first.
fn oracle(
    prefixes: &[(IpNet, Verdict, String)],
    destination: IpAddr,
) -> Option<&(IpNet, Verdict, String)> {
    let mut longest: Option<&(IpNet, Verdict, String)> = None;
    for candidate in prefixes {
        let is_longer = longest.is_none_or(|(l, ..)| candidate.0.prefix_len() > l.prefix_len());
        if candidate.0.contains(&destination) && is_longer {
            longest = Some(candidate);
        }
    }
    longest
}

/// Of every prefix the address before it, its first, its last and the one after it; the ends of both families.
fn edges(prefixes: &[(IpNet, Verdict, String)]) -> BTreeSet<IpAddr> {
    let whole = ["0.0.0.0/0", "::/0"].map(|prefix| prefix.parse().unwrap());
    let all = prefixes.iter().map(|(prefix, ..)| *prefix).chain(whole);
    all.flat_map(|prefix| match prefix {
        IpNet::V4(prefix) => {
            let (first, last) = (prefix.network().to_bits(), prefix.broadcast().to_bits());
            let (before, after) = (first.checked_sub(1), last.checked_add(1));
            [before, Some(first), Some(last), after]
                .map(|bits| bits.map(|bits| IpAddr::from(Ipv4Addr::from_bits(bits))))
        }
        IpNet::V6(prefix) => {
            let (first, last) = (prefix.network().to_bits(), prefix.broadcast().to_bits());
            let (before, after) = (first.checked_sub(1), last.checked_add(1));
            [before, Some(first), Some(last), after]
                .map(|bits| bits.map(|bits| IpAddr::from(Ipv6Addr::from_bits(bits))))
        }
    })
    .flatten()
    .collect()
}

fn rulesets(policy: &Policy) -> [Ruleset; 2] {
    let Tables { ip, ip6 } = Tables::new(policy, &ChosenNames::default());
    [ip, ip6.unwrap()]
}

fn elements_with(ruleset: &Ruleset, address: IpAddr) -> Vec<&Element> {
    let elements = ruleset.sets[0].elements.iter();
    elements
        .filter(|element| element.first <= address && address <= element.last)
        .collect()
}

#[test]
fn policy_and_sets_agree_with_the_naive_longest_prefix_at_every_edge() {
    let mut runner = TestRunner::new(ProptestConfig::with_cases(10_000));
    let agrees = |lists: Lists| {
        let prefixes = lists.prefixes();
        let policy = lists.policy();
        let [ipv4, ipv6] = rulesets(&policy);
        for ruleset in [&ipv4, &ipv6] {
            for pair in ruleset.sets[0].elements.windows(2) {
                prop_assert!(pair[0].last < pair[1].first, "{pair:?}");
            }
        }
        for address in edges(&prefixes) {
            let expected = oracle(&prefixes, address);
            let decided = policy.decision(address);
            prop_assert_eq!(
                decided.map(|entry| (entry.prefix, entry.origin.verdict())),
                expected.map(|(prefix, verdict, _)| (*prefix, *verdict)),
                "at {}",
                address
            );
            let ruleset = if address.is_ipv4() { &ipv4 } else { &ipv6 };
            let found = elements_with(ruleset, address).into_iter();
            let expected = expected.filter(|(_, verdict, _)| *verdict == Verdict::NonMasquerade);
            prop_assert_eq!(
                found.map(Element::origin).collect::<Vec<_>>(),
                expected
                    .iter()
                    .map(|(.., origin)| origin.clone())
                    .collect::<Vec<_>>(),
                "at {}",
                address
            );
        }
        Ok(())
    };
    runner.run(&lists(), agrees).unwrap();
}

/// Of `addresses`, those that the kernel finds in the set: each is asked for by itself, as a lookup does it.
fn found(namespace: &Namespace, family: Family, addresses: &[IpAddr]) -> HashSet<IpAddr> {
    let table = Nft::host().list_table_text_of(family, namespace, TABLE);
    let table = table.unwrap();
    let set = set_in_use(&table, names::EXEMPT_SET).unwrap();
    let family = family.nft();
    // An interactive nft goes on after an address that is not there.
    let mut nft = namespace
        .command("nft")
        .arg("--interactive")
        .env("HOME", "/nonexistent")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = nft.stdin.take().unwrap();
    let questions: String = addresses
        .iter()
        .map(|a| format!("get element {family} {TABLE} {set} {{ {a} }}\n"))
        .collect();
    let writer = std::thread::spawn(move || input.write_all(questions.as_bytes()).unwrap());
    let answers = nft.wait_with_output().unwrap();
    writer.join().unwrap();
    let errors = String::from_utf8(answers.stderr).unwrap();
    // An error shows the question again, below the reason.
    let missing: HashSet<IpAddr> = errors
        .lines()
        .filter_map(|line| {
            line.strip_prefix("get element ")?
                .split_whitespace()
                .nth_back(1)
        })
        .map(|address| address.parse().unwrap())
        .collect();
    let reasons = errors.matches("Error: ").count();
    assert_eq!(
        reasons,
        errors.matches("No such file or directory").count(),
        "{errors}"
    );
    assert_eq!(reasons, missing.len(), "{errors}");
    let output = String::from_utf8(answers.stdout).unwrap();
    let found = output.matches("elements = {").count();
    assert_eq!(found + missing.len(), addresses.len(), "{output}\n{errors}");
    let is_found = |address: &&IpAddr| !missing.contains(address);
    addresses.iter().filter(is_found).copied().collect()
}

/// From each random configuration to the next in place.
#[test]
fn the_kernel_s_sets_agree_with_the_naive_longest_prefix_at_every_edge() {
    let programmed = RefCell::new(Programmed::new(DAEMON).unwrap());
    let agrees = |lists: Lists| {
        let prefixes = lists.prefixes();
        let edges = edges(&prefixes);
        let programmed = &mut *programmed.borrow_mut();
        for ruleset in rulesets(&lists.policy()) {
            programmed.sync(&ruleset).unwrap();
            let family = match ruleset.family {
                ruleset::Family::Ip => Family::V4,
                ruleset::Family::Ip6 => Family::V6,
            };
            let of_family: Vec<IpAddr> = edges
                .iter()
                .filter(|edge| Family::of(**edge) == family)
                .copied()
                .collect();
            let is_exempt = |address: &&IpAddr| {
                oracle(&prefixes, **address).is_some_and(|(_, v, _)| *v == Verdict::NonMasquerade)
            };
            let expected: HashSet<IpAddr> = of_family.iter().filter(is_exempt).copied().collect();
            let found = found(&programmed.namespace, family, &of_family);
            prop_assert_eq!(found, expected, "{}", family);
        }
        Ok(())
    };
    let mut runner = TestRunner::new(ProptestConfig::with_cases(250));
    runner.run(&lists(), agrees).unwrap();
}
