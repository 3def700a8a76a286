//! What the daemon finds in its table and did not write: a rule that only looks like its own, what the first edition left,
//! what stands where its next set is to stand. It takes the table over, and no packet is treated otherwise than the file
//! says.

use std::io;
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use crate::DAEMON;
use crate::support::daemon::{Daemon, WAIT_LIMIT};
use crate::support::flows::Flows;
use crate::support::judged::Judged;
use crate::support::lab::{Family, Lab};
use crate::support::listing::Listing;
use crate::support::nft::{Nft, TABLE};
use crate::support::probe::{Probe, Protocol};
use crate::support::turn::one_at_a_time;
use crate::support::{http, wait_until};

/// Flows to exempt destinations that a test must have seen each second.
const LEAST_RATE: f64 = 20_000.0;

/// Flows of 26,000 a second, of which seven of eight go to exempt destinations.
fn flows(exempt: &[&str], masqueraded: &[&str]) -> Flows {
    let prefixes = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    Flows {
        rate: 26_000,
        keep_source: prefixes(exempt),
        masqueraded: prefixes(masqueraded),
    }
}

fn is_ready(lab: &Lab) -> bool {
    http::get(&lab.node, "/readyz").is_ok_and(|answer| answer.status == 200)
}

/// A rule that libnftables lists as the daemon's own, and that matches no packet of its table's family.
mod hidden_rules {
    use super::*;

    const CONFIGURATION: &str = "enableIPv6: true\nnonMasqueradeCIDRs: [10.0.0.0/8, 'fd00::/8']\n";
    /// Of each family: its name, the other one's, and an exempt destination.
    const FAMILIES: [(Family, &str, &str); 2] = [
        (Family::V4, "ip6", "10.7.0.1"),
        (Family::V6, "ip", "fd00:7::1"),
    ];

    /// In both tables, in place of the rule that keeps the source address.
    fn hide(lab: &Lab) -> io::Result<()> {
        let probe = Probe::from_pod(lab)?;
        for (family, other, exempt) in FAMILIES {
            let before = Listing::of(family, &lab.node)?;
            let matches = format!("{} daddr @{} return", family.nft(), before.exempt_set());
            let handle = before.handle_of(&matches).unwrap();
            let hidden = format!(
                "replace rule {} {TABLE} {TABLE} handle {handle} meta protocol {other} {matches} comment \"keep the source address\"",
                family.nft()
            );
            Nft::host().apply(&lab.node, &hidden)?;
            // Not the table's flags: its owner may end meanwhile.
            let after = Listing::of(family, &lab.node)?;
            assert_eq!(chains(&after), chains(&before));
            let seen = probe.seen_source(Protocol::Udp, exempt.parse::<IpAddr>().unwrap())?;
            assert_eq!(seen.ip(), lab.addresses_of(family).node_uplink);
        }
        Ok(())
    }

    /// All of them, as they are listed.
    fn chains(listing: &Listing) -> &str {
        let (_, chains) = listing.0.split_once("chain ").unwrap();
        chains
    }

    fn is_undone_by_the_next_start(mut judged: Judged) {
        assert!(wait_until(WAIT_LIMIT, || is_ready(&judged.lab)).is_ok());
        judged.daemon.kill().unwrap();
        // What the worker owned is its own until it has ended.
        wait_until(WAIT_LIMIT, || hide(&judged.lab).is_ok()).unwrap();
        judged.daemon.kill_and_restart(DAEMON).unwrap();
        judged.assert_comes_to_follow(CONFIGURATION);
    }

    fn is_undone_by_the_next_worker(judged: &Judged) {
        assert!(wait_until(WAIT_LIMIT, || is_ready(&judged.lab)).is_ok());
        let lab = &judged.lab;
        judged.daemon.between_two_workers(|| hide(lab)).unwrap();
        judged.assert_comes_to_follow(CONFIGURATION);
    }

    fn judged() -> Judged {
        Judged::start(DAEMON, CONFIGURATION, &[]).unwrap()
    }

    #[test]
    fn what_hides_in_a_listing_is_undone_by_the_next_start() {
        is_undone_by_the_next_start(judged());
    }

    #[test]
    fn what_hides_in_a_listing_is_undone_by_the_next_worker() {
        is_undone_by_the_next_worker(&judged());
    }

    mod needs_root {
        use super::*;

        fn judged() -> Judged {
            Judged::start_on_debian_13(DAEMON, CONFIGURATION).unwrap()
        }

        #[test]
        fn what_hides_in_the_listing_of_an_owned_table_is_undone_by_the_next_start() {
            is_undone_by_the_next_start(judged());
        }

        #[test]
        fn what_hides_in_the_listing_of_an_owned_table_is_undone_by_the_next_worker() {
            is_undone_by_the_next_worker(&judged());
        }
    }
}

/// The first edition had one set of exempt destinations, one of sources, and a comment on each element.
mod upgrade {
    use super::*;

    /// What it made of this file, as nft listed it.
    const CONFIGURATION: &str = include_str!("first_edition/config.yaml");
    const PLAIN: &str = include_str!("first_edition/plain.nft");
    /// Its owner has ended.
    const PERSIST: &str = include_str!("first_edition/persist.nft");

    const EXEMPT: [&str; 4] = ["10.128.0.0/10", "172.16.0.0/12", "fd00:1::/32", "fd80::/9"];
    const MASQUERADED: [&str; 4] = [
        "10.99.0.0/16",
        "100.64.0.0/10",
        "fd00:99::/32",
        "2606:4700::/32",
    ];
    /// What goes wrong goes wrong for a moment.
    const UPGRADES: usize = 5;
    /// Flows are sent so long before and after each.
    const MARGIN: Duration = Duration::from_millis(500);

    fn mistreats_no_flow(nft: &Nft, tables: &str, start: fn(&Lab) -> Daemon) {
        let _turn = one_at_a_time();
        for _ in 0..UPGRADES {
            let lab = Lab::new().unwrap();
            nft.apply(&lab.node, tables).unwrap();
            let flows = flows(&EXEMPT, &MASQUERADED).start(&lab).unwrap();
            thread::sleep(MARGIN);
            let daemon = start(&lab);
            let ready = wait_until(WAIT_LIMIT, || is_ready(&lab));
            thread::sleep(MARGIN);
            let counts = flows.stop(&lab).unwrap();
            println!("{counts}");
            assert!(ready.is_ok(), "{}", daemon.log());
            counts.assert_no_flow_was_mistreated();
            counts.assert_enough_arrived(LEAST_RATE);
            for family in Family::BOTH {
                let listing = Listing::of(family, &lab.node).unwrap();
                assert!(listing.unused_sets().is_empty(), "{}", listing.0);
            }
            Judged::of(daemon, lab, &[]).assert_follows(CONFIGURATION);
        }
    }

    #[test]
    fn the_table_of_the_first_edition_is_taken_over_without_a_wrong_flow() {
        mistreats_no_flow(&Nft::host(), PLAIN, |lab| {
            Daemon::start(DAEMON, &lab.node, CONFIGURATION, &[]).unwrap()
        });
    }

    mod needs_root {
        use super::*;

        #[test]
        fn the_owned_table_of_the_first_edition_is_taken_over_without_a_wrong_flow() {
            mistreats_no_flow(&Nft::debian_13(), PERSIST, |lab| {
                Daemon::start_on_debian_13(DAEMON, &lab.node, CONFIGURATION, &[]).unwrap()
            });
        }
    }
}

/// Others have made something under each name that the next set may get.
mod next_set {
    use super::*;

    /// All but the last prefix is exempt at any time.
    const WITHOUT: &str = "nonMasqueradeCIDRs: [10.0.0.0/8, 172.16.0.0/12]\n";
    const WITH: &str = "nonMasqueradeCIDRs: [10.0.0.0/8, 172.16.0.0/12, 198.51.100.0/24]\n";
    const CHANGING: &str = "198.51.100.7";

    /// A leftover, other kinds of sets, a map; some held by a rule in a chain of their own or in one of the daemon's.
    const PLANTS: [&str; 7] = [
        "add set ip TABLE NAME { type ipv4_addr; flags interval; counter; elements = { 100.64.0.0/10 } }",
        "add set ip TABLE NAME { type inet_service; elements = { 80 } }",
        "add map ip TABLE NAME { type ipv4_addr : verdict; elements = { 192.0.2.9 : return } }",
        "add set ip TABLE NAME { type ipv4_addr; flags interval; }; add chain ip TABLE foreign; add rule ip TABLE foreign ip daddr @NAME counter",
        "add set ip TABLE NAME { type inet_service; }; insert rule ip TABLE TABLE tcp dport @NAME counter comment \"foreign\"",
        "add map ip TABLE NAME { type ipv4_addr : verdict; }; add rule ip TABLE TABLE ip daddr vmap @NAME comment \"foreign\"",
        "add set ip TABLE NAME { type ipv4_addr; flags interval; counter; }; insert rule ip TABLE postrouting ip daddr @NAME counter comment \"foreign\"",
    ];
    /// How often each is planted: what goes wrong goes wrong for a moment.
    const ROUNDS: usize = 5;
    /// Packets follow the changed file.
    const FOLLOWED_WITHIN: Duration = Duration::from_secs(1);

    /// In one transaction.
    fn plant(lab: &Lab, plant: &str) -> io::Result<()> {
        let names = Listing::of(Family::V4, &lab.node)?.idle_names();
        let of_each = names.iter().map(|name| plant.replace("NAME", name));
        let text: Vec<String> = of_each.map(|text| text.replace("TABLE", TABLE)).collect();
        Nft::host().apply(&lab.node, &text.join("\n"))
    }

    fn is_all_gone(lab: &Lab) -> bool {
        let listing = Listing::of(Family::V4, &lab.node).unwrap();
        let is_foreign = |line: &str| line.contains("foreign") || line.contains("\tmap ");
        listing.unused_sets().is_empty() && !listing.0.lines().any(is_foreign)
    }

    /// `at_once` does all that it is given before the daemon sees any of it.
    fn comes_whatever_is_planted(
        judged: &Judged,
        at_once: fn(&Daemon, &dyn Fn() -> io::Result<()>) -> io::Result<()>,
    ) {
        let _turn = one_at_a_time();
        let lab = &judged.lab;
        let exempt = ["10.0.0.0/8", "172.16.0.0/12"];
        let flows = flows(&exempt, &["100.64.0.0/10"]).start(lab).unwrap();
        let probe = Probe::from_pod(lab).unwrap();
        let own = lab.addresses_of(Family::V4);
        for (number, planted) in [PLANTS; ROUNDS].iter().flatten().enumerate() {
            let (file, expected) = match number % 2 {
                0 => (WITH, own.pod),
                _ => (WITHOUT, own.node_uplink),
            };
            let plant_and_change = || {
                plant(lab, planted)?;
                judged.daemon.replace_configuration(file)
            };
            at_once(&judged.daemon, &plant_and_change).unwrap();
            let changing: IpAddr = CHANGING.parse().unwrap();
            let followed = wait_until(FOLLOWED_WITHIN, || {
                probe.seen_source(Protocol::Udp, changing).unwrap().ip() == expected
            });
            assert!(followed.is_ok(), "{planted}\n{}", judged.daemon.log());
            let gone = wait_until(WAIT_LIMIT, || is_all_gone(lab));
            assert!(gone.is_ok(), "{planted}\n{}", judged.daemon.log());
        }
        let counts = flows.stop(lab).unwrap();
        println!("{counts}");
        counts.assert_no_flow_was_mistreated();
        counts.assert_enough_arrived(LEAST_RATE);
    }

    #[test]
    fn a_change_comes_whatever_stands_under_the_next_sets_name() {
        let judged = Judged::start(DAEMON, WITHOUT, &[]).unwrap();
        comes_whatever_is_planted(&judged, |daemon, hand| daemon.while_it_sleeps(hand));
    }

    mod needs_root {
        use super::*;

        #[test]
        fn a_change_of_an_owned_table_comes_whatever_stands_under_the_next_sets_name() {
            let judged = Judged::start_on_debian_13(DAEMON, WITHOUT).unwrap();
            comes_whatever_is_planted(&judged, |daemon, hand| daemon.between_two_workers(hand));
        }
    }
}
