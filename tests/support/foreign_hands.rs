//! Every kind of change that others make to the daemon's table, and a neighbour that changes its own all the time.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::socket::SockFlag;
use non_masquerade_daemon::kernel::netlink::Netlink;
use non_masquerade_daemon::kernel::observed::Observed;
use non_masquerade_daemon::ruleset::{AddressField, Family};

use super::daemon::{Daemon, WAIT_LIMIT};
use super::netns::Namespace;
use super::nft::{Nft, TABLE};
use super::wait_until;

/// The set of exempt destinations in a table in which none was replaced yet.
pub const FIRST_SET: &str = "non-masquerade-cidrs-1";

const FOREIGN_HANDS: [&str; 36] = [
    "flush chain ip TABLE TABLE; delete set ip TABLE non-masquerade-cidrs-1; add map ip TABLE non-masquerade-cidrs-1 { type ipv4_addr : verdict; }",
    "add table ip TABLE { flags dormant; }",
    "delete table ip TABLE",
    "flush ruleset",
    "flush table ip TABLE",
    "flush chain ip TABLE postrouting",
    "flush set ip TABLE non-masquerade-cidrs-1",
    "delete element ip TABLE non-masquerade-cidrs-1 { 10.0.0.0/8 }",
    "add element ip TABLE non-masquerade-cidrs-1 { 8.8.8.0/24 }",
    "delete element ip TABLE non-masquerade-cidrs-1 { 10.0.0.0/8 }; add element ip TABLE non-masquerade-cidrs-1 { 10.0.0.0/9 }",
    "insert rule ip TABLE TABLE accept",
    "add rule ip TABLE postrouting counter masquerade",
    "add chain ip TABLE foreign; add rule ip TABLE TABLE jump foreign; add rule ip TABLE foreign accept",
    "add chain ip TABLE a; add chain ip TABLE b; add rule ip TABLE a jump b; add map ip TABLE m { type ipv4_addr : verdict; }; add element ip TABLE m { 1.2.3.4 : jump b }; add rule ip TABLE TABLE ip daddr vmap @m",
    "add chain ip TABLE first { type nat hook postrouting priority -5; }; add rule ip TABLE first masquerade",
    "add set ip TABLE foreign { type ipv4_addr; elements = { 1.2.3.4 } }; insert rule ip TABLE TABLE ip daddr @foreign accept",
    "add counter ip TABLE foreign; add quota ip TABLE foreign { 10 mbytes }; add limit ip TABLE foreign { rate 10/second }",
    "add ct expectation ip TABLE foreign { protocol tcp; dport 9876; timeout 2m; size 12; l3proto ip; }",
    "add ct timeout ip TABLE foreign { protocol tcp; policy = { established: 100 }; }; add synproxy ip TABLE foreign { mss 1460; wscale 7; }; add ct helper ip TABLE foreign { type \"ftp\" protocol tcp; }",
    "flush chain ip TABLE TABLE; delete counter ip TABLE masqueraded",
    "flush chain ip TABLE postrouting; delete chain ip TABLE postrouting",
    "flush chain ip TABLE postrouting; delete chain ip TABLE postrouting; add chain ip TABLE postrouting { type nat hook postrouting priority 5; }",
    "flush chain ip TABLE postrouting; delete chain ip TABLE postrouting; add chain ip TABLE postrouting { type filter hook output priority 0; }; add rule ip TABLE postrouting accept",
    "add chain ip TABLE postrouting { policy drop; }",
    "flush chain ip TABLE TABLE; delete set ip TABLE non-masquerade-cidrs-1; add set ip TABLE non-masquerade-cidrs-1 { type ipv4_addr; }; add rule ip TABLE TABLE ip daddr @non-masquerade-cidrs-1 accept",
    "flush chain ip TABLE TABLE; delete set ip TABLE non-masquerade-cidrs-1; add set ip TABLE non-masquerade-cidrs-1 { type ipv4_addr; flags interval; counter; policy memory; }",
    "flush chain ip TABLE TABLE; delete set ip TABLE non-masquerade-cidrs-1; add set ip TABLE non-masquerade-cidrs-1 { type ipv4_addr; flags interval; counter; comment \"foreign\"; }",
    "flush chain ip TABLE TABLE; delete counter ip TABLE masqueraded; add counter ip TABLE masqueraded { comment \"foreign\"; }",
    "insert rule ip TABLE TABLE ip daddr { 1.2.3.4, 5.6.7.8 } accept",
    "flush chain ip TABLE postrouting; add rule ip TABLE postrouting fib daddr type != local jump TABLE comment \"foreign\"",
    "flush chain ip TABLE TABLE; delete counter ip TABLE masqueraded; add chain ip TABLE foreign",
    "insert rule ip TABLE postrouting jump { accept; }",
    "insert rule ip TABLE TABLE goto { counter accept; }",
    "add chain ip TABLE foreign; add rule ip TABLE foreign jump { accept; }; insert rule ip TABLE TABLE jump { jump foreign; }",
    "flush chain ip TABLE TABLE; delete counter ip TABLE masqueraded; add counter ip TABLE masqueraded { comment \"foreign\"; }; add map ip TABLE m { type ipv4_addr : counter; elements = { 1.2.3.4 : \"masqueraded\" }; }; add rule ip TABLE TABLE counter name ip daddr map @m",
    "flush chain ip TABLE postrouting; delete chain ip TABLE postrouting; add chain ip TABLE postrouting { type filter hook forward priority 0; }; add chain ip TABLE z; add map ip TABLE m { type ipv4_addr : verdict; flags constant; elements = { 1.2.3.4 : jump z }; }; add rule ip TABLE TABLE ip daddr vmap @m",
];

/// What a foreign hand does, as nft text, to a table in which no set was replaced yet; the set is expected to hold
/// 10.0.0.0/8.
pub fn foreign_hands() -> impl Iterator<Item = String> {
    let hands = FOREIGN_HANDS.iter().map(|hand| (*hand).to_owned());
    let hands = hands.chain([a_rule_that_no_listing_shows()]);
    hands.map(|hand| hand.replace("TABLE", TABLE))
}

/// Its dump is larger than the 32 KiB that the kernel has room for.
fn a_rule_that_no_listing_shows() -> String {
    let counter = "a".repeat(255);
    let counters = format!("counter name {counter} ").repeat(120);
    format!("add counter ip TABLE {counter}; add rule ip TABLE postrouting {counters} masquerade")
}

/// The same for the set that is in use now.
pub fn on_the_set_in_use(hand: &str, namespace: &Namespace) -> io::Result<String> {
    Ok(hand.replace(FIRST_SET, &exempt_set(namespace)?))
}

/// Has the host's nft do all that foreign hands do to the tables of daemons that `start` starts, and holds that each is undone,
/// by `contents`, and named in the log.
pub fn are_undone_and_named(
    namespace: &Namespace,
    start: impl Fn() -> Daemon,
    contents: impl Fn() -> String,
) {
    let hands: Vec<String> = foreign_hands().collect();
    // A daemon says the first five repairs one by one, and sums up those that come soon after.
    for hands in hands.chunks(5) {
        let daemon = start();
        let expected = contents();
        for (number, hand) in hands.iter().enumerate() {
            let hand = on_the_set_in_use(hand, namespace).unwrap();
            Nft::host().apply(namespace, &hand).unwrap();
            let undone = wait_until(WAIT_LIMIT, || contents() == expected);
            undone.unwrap_or_else(|error| {
                panic!("{hand}: {error}\n{}\n{}", contents(), daemon.log())
            });
            let is_said = || daemon.log().matches("changed by nft (pid ").count() > number;
            let said = wait_until(WAIT_LIMIT, is_said);
            said.unwrap_or_else(|error| panic!("{hand}: {error}\n{}", daemon.log()));
        }
        assert!(daemon.terminate().unwrap().success());
    }
}

/// The name of the set of exempt destinations that rules look up: two names take turns.
pub fn exempt_set(namespace: &Namespace) -> io::Result<String> {
    set_in_use(namespace, Family::Ip, AddressField::Destination)
}

/// The name of the set that rules look this address up in.
pub fn set_in_use(
    namespace: &Namespace,
    family: Family,
    field: AddressField,
) -> io::Result<String> {
    namespace.run(|| {
        let netlink = Netlink::open(0, SockFlag::empty())?;
        let observed = Observed::read(&netlink, family, TABLE, std::iter::empty())?;
        let observed = observed.unwrap_or_default();
        let name = observed.set_in_use(field).map(|set| set.name.clone());
        name.ok_or_else(|| io::Error::other(format!("no set {}", field.set())))
    })
}

/// A neighbour that commits to a table of its own, until it is dropped.
pub fn neighbour_commits(
    namespace: &Namespace,
    commits: usize,
    pause: Duration,
    go_on: &AtomicBool,
) {
    let mut neighbour = Nft::host().session(namespace).unwrap();
    for _ in 0..commits {
        if !go_on.load(Ordering::Relaxed) {
            break;
        }
        neighbour
            .say("add table ip neighbour; delete table ip neighbour")
            .unwrap();
        thread::sleep(pause);
    }
    neighbour.end().unwrap();
}

/// Says so when it is dropped, also by a test that fails.
pub struct Stop<'a>(pub &'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}
