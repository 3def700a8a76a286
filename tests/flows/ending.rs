//! `connections --end`, and a policy that existing connections follow, while thousands of connections begin.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use non_masquerade_daemon::kernel::conntrack::{Conntrack, Entry, Filter};
use non_masquerade_daemon::ruleset::Family;

use crate::DAEMON;
use crate::support::flows::{Counts, Flows};
use crate::support::judged::Judged;
use crate::support::lab::{self, Lab};
use crate::support::moments::{LATENESS, MOMENT};
use crate::support::outcome::Outcome;
use crate::support::probe::{Probe, Protocol};
use crate::support::turn::one_at_a_time;
use crate::support::{time_factor, wait_until};

const BEFORE: &str = "enableIPv6: true
nonMasqueradeCIDRs: [10.0.0.0/8, 172.16.0.0/12, 'fd00::/8']
";
/// 172.16.0.0/12 is exempt no more.
const AFTER: &str = "enableIPv6: true
nonMasqueradeCIDRs: [10.0.0.0/8, 'fd00::/8']
";
/// How many connections of TCP there are to each of the two.
const CONNECTIONS: u8 = 50;
const TCP: Option<u8> = Some(6);
/// Exempt throughout.
const EXEMPT: [&str; 2] = ["10.128.0.0/9", "fd00::/16"];

/// The entries of a protocol to these networks. An entry that takes the place of another one is not equal to it.
fn entries(lab: &Lab, protocol: Option<u8>, networks: &[&str]) -> Vec<Entry> {
    let mut found = Vec::new();
    lab.node.run(|| {
        let conntrack = Conntrack::open().unwrap();
        for network in networks {
            let to: IpNet = network.parse().unwrap();
            let filter = Filter {
                protocol,
                to: Some(to),
                ..Filter::default()
            };
            let read = |entry| found.push(entry);
            let family = Family::of(to.addr());
            conntrack.dump(family, &filter, read).unwrap();
        }
    });
    found.sort_by_key(|entry| (entry.original.destination, entry.original.source_port));
    found
}

fn parsed(networks: [&str; 2]) -> Vec<IpNet> {
    networks.map(|network| network.parse().unwrap()).to_vec()
}

#[test]
fn what_contradicts_is_ended_under_load_and_nothing_else() {
    let _turn = one_at_a_time();
    let judged = Judged::start(DAEMON, BEFORE, &[]).unwrap();
    let lab = &judged.lab;
    let probe = Probe::from_pod(lab).unwrap();
    for last in 1..=CONNECTIONS {
        for to in [
            Ipv4Addr::new(10, 1, 0, last),
            Ipv4Addr::new(172, 20, 0, last),
        ] {
            probe.seen_source(Protocol::Tcp, IpAddr::from(to)).unwrap();
        }
    }
    drop(probe);
    judged.change(AFTER).unwrap();
    judged.assert_comes_to_follow(AFTER);
    let pod = IpAddr::from(lab.addresses.pod);
    let is_old = |entry: &Entry| entry.reply.destination == pod;
    let [kept, old] = ["10.0.0.0/8", "172.0.0.0/8"].map(|to| entries(lab, TCP, &[to]));
    let old = old.into_iter().filter(is_old).count();
    assert_eq!(old, usize::from(CONNECTIONS));
    let flows = Flows {
        rate: 20_000,
        keep_source: parsed(EXEMPT),
        masqueraded: parsed(["100.64.0.0/10", "2001:db8:8000::/33"]),
    };
    let seen = std::thread::scope(|scope| {
        let running = scope.spawn(|| flows.run_for(lab, Duration::from_secs(3)).unwrap());
        std::thread::sleep(Duration::from_secs(1));
        let mut end = lab.node.command(DAEMON);
        end.arg("--config").arg(judged.daemon.config_file());
        let ended = Outcome::of(end.args(["connections", "--end", "--yes"]));
        ended.assert_code(0);
        assert!(ended.output.ends_with("\n50 ended.\n"), "{}", ended.output);
        running.join().unwrap()
    });
    println!("{seen}");
    assert_eq!((seen.wrong_source, seen.not_masqueraded), (0, 0), "{seen}");
    assert!(!entries(lab, TCP, &["172.0.0.0/8"]).iter().any(is_old));
    let left = entries(lab, TCP, &["10.0.0.0/8"]);
    let is_left = |entry: &&Entry| left.iter().any(|left| left.original == entry.original);
    assert_eq!(kept.iter().filter(is_left).count(), kept.len());
}

const CHANGES: usize = 12;
/// So long a policy is in force.
const PAUSE: Duration = Duration::from_millis(300);
/// Generous: only a test that fails waits so long.
const LIMIT: Duration = Duration::from_secs(10);
/// Flows a second that are sent; seven of eight go to what is exempt throughout.
const RATE: u32 = 26_000;
const LEAST_RATE: f64 = 20_000.0;
const PORT: u16 = 7_002;
/// Destinations that each change turns.
const TURNED: [&str; 2] = ["172.16.0.0/12", "2001:db8:8000::/33"];
/// Those of connections: a number comes behind each.
const TURNED_HOSTS: [&str; 2] = ["172.20.0.", "2001:db8:9000::"];
const STEADY_HOSTS: [&str; 4] = ["10.1.0.", "fd01::", "1.1.1.", "2606:4700::"];
const STEADY: [&str; 4] = ["10.1.0.0/24", "fd01::/16", "1.1.1.0/24", "2606:4700::/32"];
/// How many connections there are to each.
const OF_EACH: usize = 20;

fn followed(is_exempt: bool) -> String {
    let turned = if is_exempt {
        TURNED.join("', '")
    } else {
        "198.51.100.0/24".to_owned()
    };
    format!(
        "enableIPv6: true\nexistingConnections: follow\nnonMasqueradeCIDRs: [10.0.0.0/8, 'fd00::/8', '{turned}']\n"
    )
}

/// A connection of TCP from the pod to the outside: both of its ends.
struct Connection {
    near: TcpStream,
    far: TcpStream,
}

impl Connection {
    fn open(lab: &Lab, receiver: &TcpListener, to: &str) -> Self {
        let to: IpAddr = to.parse().unwrap();
        let near = lab.pod.run(|| TcpStream::connect((to, PORT))).unwrap();
        let (far, _) = receiver.accept().unwrap();
        far.set_read_timeout(Some(LIMIT * time_factor())).unwrap();
        Self { near, far }
    }

    fn open_all(lab: &Lab, receiver: &TcpListener, hosts: &[&str]) -> Vec<Self> {
        let numbers = (1..=OF_EACH).flat_map(|number| hosts.iter().map(move |host| (host, number)));
        let open = |(host, number)| Self::open(lab, receiver, &format!("{host}{number}"));
        numbers.map(open).collect()
    }

    /// What is sent arrives, as it does only from the source and the port that it had at first.
    #[track_caller]
    fn assert_goes_on(&mut self) {
        self.near.write_all(&[0]).unwrap();
        self.far.read_exact(&mut [0]).unwrap();
    }
}

/// A policy, from when it was asked for, and when it was in force and followed.
struct InForce {
    is_exempt: bool,
    asked: Instant,
    followed: Instant,
}

/// How many connections each change has ended, as the log has it.
fn ended(judged: &Judged) -> Vec<u64> {
    let log = judged.daemon.log();
    let lines = log
        .split("existing connections follow the policy: ")
        .skip(1);
    let number = |line: &str| line.split(' ').next().unwrap().parse().unwrap();
    lines.map(number).collect()
}

/// Changes the policy, and holds what became of the connections to it. They stay open: none says a word more.
fn change(judged: &Judged, receiver: &TcpListener, is_exempt: bool) -> (InForce, Vec<Connection>) {
    let (lab, lines) = (&judged.lab, ended(judged).len());
    let turned = Connection::open_all(lab, receiver, &TURNED_HOSTS);
    assert_eq!(entries(lab, TCP, &TURNED).len(), turned.len());
    let asked = Instant::now();
    judged.change(&followed(is_exempt)).unwrap();
    wait_until(LIMIT, || ended(judged).len() > lines).unwrap();
    let followed = Instant::now();
    let is_kept = |entry: &Entry| {
        let own = lab.addresses_of(lab::Family::of(entry.original.source));
        entry.reply.destination == own.pod
    };
    let mut contradicting = entries(lab, None, &TURNED);
    contradicting.retain(|entry| is_kept(entry) != is_exempt);
    assert_eq!(contradicting, []);
    let in_force = InForce {
        is_exempt,
        asked,
        followed,
    };
    (in_force, turned)
}

/// How many new flows to what turns came while one policy alone was right, and those that it was not that of.
fn new_flows(
    lab: &Lab,
    policies: &[InForce],
    counts: &Counts,
    started: Instant,
) -> (u64, Vec<String>) {
    let (mut number_judged, mut wrong) = (0, Vec::new());
    for (after, moment) in counts.moments.all() {
        let (begins, ends) = (started + after, started + after + MOMENT);
        let last = policies
            .iter()
            .rfind(|policy| policy.asked < ends + LATENESS);
        let Some(policy) = last.filter(|policy| begins >= policy.followed) else {
            continue;
        };
        for (source, number) in &moment.masqueraded_as {
            let own = lab.addresses_of(lab::Family::of(*source));
            let right = if policy.is_exempt {
                own.pod
            } else {
                own.node_uplink
            };
            number_judged += number;
            if *source != right {
                wrong.push(format!(
                    "after {after:?}: {number} from {source}, not {right}"
                ));
            }
        }
    }
    (number_judged, wrong)
}

/// How many of the flows the second of two policies can have turned: those that came after the first one.
fn most_turned(policies: &[InForce], counts: &Counts, started: Instant) -> u64 {
    let came = policies[0].asked - LATENESS..policies[1].followed;
    let moments = counts.moments.all();
    let moments = moments.filter(|(after, _)| came.contains(&(started + *after)));
    let flows: u64 = moments
        .flat_map(|(_, moment)| moment.masqueraded_as.values())
        .sum();
    flows + counts.lost()
}

#[test]
fn what_each_change_turns_is_ended_under_load_and_nothing_else() {
    let _turn = one_at_a_time();
    let judged = Judged::start(DAEMON, &followed(true), &[]).unwrap();
    let lab = &judged.lab;
    let receiver = || TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT)).unwrap();
    let receiver = lab.outside.run(receiver);
    let mut steady = Connection::open_all(lab, &receiver, &STEADY_HOSTS);
    steady.iter_mut().for_each(Connection::assert_goes_on);
    let before = entries(lab, TCP, &STEADY);
    assert_eq!(before.len(), steady.len());
    let flows = Flows {
        rate: RATE,
        keep_source: parsed(EXEMPT),
        // Every other policy masquerades them.
        masqueraded: parsed(TURNED),
    };
    let running = flows.start(lab).unwrap();
    let started = running.started;
    let mut policies = vec![InForce {
        is_exempt: true,
        asked: started,
        followed: started,
    }];
    let mut open = Vec::new();
    for number in 1..=CHANGES {
        std::thread::sleep(PAUSE * time_factor());
        let (policy, turned) = change(&judged, &receiver, number % 2 == 0);
        policies.push(policy);
        open.extend(turned);
        steady.iter_mut().for_each(Connection::assert_goes_on);
        assert_eq!(entries(lab, TCP, &STEADY), before);
    }
    let counts = running.stop(lab).unwrap();
    let (number, wrong) = new_flows(lab, &policies, &counts, started);
    let ended = ended(&judged);
    println!("{ended:?} ended; {number} new flows to what turns judged; {counts}");
    assert_eq!(ended.len(), CHANGES);
    for (ended, policies) in ended.iter().zip(policies.windows(2)) {
        let connections = (TURNED_HOSTS.len() * OF_EACH) as u64;
        let most = connections + most_turned(policies, &counts, started);
        assert!((connections..=most).contains(ended), "{ended} of {most}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(counts.wrong_source, 0, "{counts}");
    counts.assert_enough_arrived(LEAST_RATE);
}
