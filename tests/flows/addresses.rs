//! New flows get the address that `snatAddressCIDRs` leads to while the node's addresses come, go and are deprecated.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::DAEMON;
use crate::support::flows::Flows;
use crate::support::judged::Judged;
use crate::support::lab::{Family, Lab};
use crate::support::moments::MOMENT;
use crate::support::netns::Namespace;
use crate::support::time_factor;
use crate::support::turn::one_at_a_time;
use non_masquerade_daemon::kernel::notifications::{AddressNotifications, Notifications};

const CONFIGURATION: &str = "
enableIPv6: true
nonMasqueradeCIDRs: [10.0.0.0/8, 'fd00::/8']
snatAddressCIDRs: [198.51.100.0/24, 192.0.2.0/24, '2001:db8:51::/64', '2001:db8::/64']
";
const CHANGES: usize = 200;
const CHANGE_EVERY: Duration = Duration::from_millis(60);
/// Flows a second that are sent: one batch of eight is to be masqueraded.
const RATE: u32 = 26_000;
/// Flows a second that must have arrived.
const LEAST_RATE: f64 = 20_000.0;
/// So long after the notification of a change, flows may still get the address from before.
const GRACE: Duration = Duration::from_millis(20);

/// What the node's first choice is.
const FIRST: [&str; 2] = ["198.51.100.9", "2001:db8:51::9"];

/// What is done to an address, one after the other, and whether it is the choice then.
const STEPS: [(&str, bool); 4] = [
    ("add ADDRESS dev uplink0 nodad", true),
    ("change ADDRESS dev uplink0 preferred_lft 0", false),
    ("change ADDRESS dev uplink0 preferred_lft forever", true),
    ("delete ADDRESS dev uplink0", false),
];

/// A change of the choice of one family.
#[derive(Debug, Clone, Copy)]
struct Change {
    family: Family,
    /// Before it was asked for.
    asked: Instant,
    notified: Instant,
    committed: Instant,
    /// The choice from then on.
    chosen: IpAddr,
}

/// Moments at which the kernel told of addresses and of commits.
#[derive(Debug, Default)]
struct Told {
    addresses: Vec<Instant>,
    commits: Vec<Instant>,
}

/// Listens in the namespace until it is told to end.
fn listen(node: &Namespace, end: Arc<AtomicBool>) -> JoinHandle<Told> {
    let node = node.clone();
    let (tell, subscribed) = std::sync::mpsc::channel();
    let listening = std::thread::spawn(move || {
        node.enter().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let addresses = AddressNotifications::subscribe().unwrap();
            let commits = Notifications::subscribe().unwrap();
            let all = ["0.0.0.0/0", "::/0"].map(|cidr| cidr.parse().unwrap());
            tell.send(()).unwrap();
            let mut told = Told::default();
            while !end.load(Ordering::Acquire) {
                tokio::select! {
                    () = addresses.changed(&all) => told.addresses.push(Instant::now()),
                    _ = commits.arrived() => told.commits.push(Instant::now()),
                    () = tokio::time::sleep(CHANGE_EVERY) => {}
                }
            }
            told
        })
    });
    subscribed.recv().unwrap();
    listening
}

/// The longest, and the middle one, of the times from notification to commit.
struct Times(Vec<Duration>);

impl Times {
    fn of(changes: &[Change]) -> Self {
        let times = changes
            .iter()
            .map(|change| change.committed.saturating_duration_since(change.notified));
        let mut times: Vec<Duration> = times.collect();
        times.sort();
        Self(times)
    }

    fn longest(&self) -> Duration {
        *self.0.last().unwrap()
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (longest, middle) = (self.longest(), self.0[self.0.len() / 2]);
        write!(
            f,
            "{} changes; from an address's notification to the commit {longest:.1?} at most, {middle:.1?} in the middle",
            self.0.len()
        )
    }
}

/// Changes the choice of each family in turn, and tells when.
fn change(lab: &Lab) -> Vec<(Family, Instant, IpAddr)> {
    let started = Instant::now();
    let mut changes = Vec::new();
    for number in 0..CHANGES {
        let family = Family::BOTH[number / STEPS.len() % 2];
        let first = FIRST[number / STEPS.len() % 2];
        let (words, is_choice) = STEPS[number % STEPS.len()];
        let mut words = format!("address {}", words.replace("ADDRESS", first));
        if family == Family::V4 {
            words = words.replace(" nodad", "");
        }
        let asked = Instant::now();
        lab.node.ip(&words).unwrap();
        let chosen = match is_choice {
            true => first.parse().unwrap(),
            false => lab.addresses_of(family).node_uplink,
        };
        changes.push((family, asked, chosen));
        let due = CHANGE_EVERY * time_factor() * (u32::try_from(number).unwrap() + 1);
        std::thread::sleep(due.saturating_sub(started.elapsed()));
    }
    changes
}

/// Each change with what the kernel told of it.
fn with_moments(changes: &[(Family, Instant, IpAddr)], told: &Told) -> Vec<Change> {
    let after = |moments: &[Instant], from: Instant| {
        let next = moments.iter().copied().find(|moment| *moment >= from);
        next.expect("the kernel tells of each change")
    };
    let changes = changes.iter().map(|(family, asked, chosen)| {
        let notified = after(&told.addresses, *asked);
        Change {
            family: *family,
            asked: *asked,
            notified,
            // The one may be read before the other, as both are there.
            committed: after(&told.commits, *asked),
            chosen: *chosen,
        }
    });
    changes.collect()
}

#[test]
fn addresses_that_come_and_go_mistreat_no_flow_from_20_ms_on() {
    let _turn = one_at_a_time();
    let judged = Judged::start(DAEMON, CONFIGURATION, &[]).unwrap();
    let lab = &judged.lab;
    let parsed = |prefixes: [&str; 2]| prefixes.map(|prefix| prefix.parse().unwrap()).to_vec();
    let flows = Flows {
        rate: RATE,
        keep_source: parsed(["10.0.0.0/8", "fd00::/8"]),
        masqueraded: parsed(["100.64.0.0/10", "2001:db8:8000::/33"]),
    };
    let end = Arc::new(AtomicBool::new(false));
    let listening = listen(&lab.node, end.clone());
    let running = flows.start(lab).unwrap();
    let started = running.started;
    std::thread::sleep(CHANGE_EVERY);
    let changes = change(lab);
    let counts = running.stop(lab).unwrap();
    end.store(true, Ordering::Release);
    let changes = with_moments(&changes, &listening.join().unwrap());
    let times = Times::of(&changes);
    let (mut judged_flows, mut in_grace, mut wrong) = (0, 0, Vec::new());
    for (after, moment) in counts.moments.all() {
        let (begins, ends) = (started + after, started + after + MOMENT);
        for (source, number) in &moment.masqueraded_as {
            let family = Family::of(*source);
            let mut right = vec![lab.addresses_of(family).node_uplink];
            for change in changes.iter().filter(|change| change.family == family) {
                if change.asked >= ends {
                    break;
                }
                if begins >= change.notified + GRACE * time_factor() {
                    right.clear();
                }
                right.push(change.chosen);
            }
            judged_flows += number;
            in_grace += if right.len() > 1 { *number } else { 0 };
            if !right.contains(source) {
                wrong.push(format!(
                    "after {after:?}: {number} from {source}, not {right:?}"
                ));
            }
        }
    }
    println!(
        "{times}; {judged_flows} flows with the node's addresses, {in_grace} of them in the 20 ms after a change, {} wrong; {counts}",
        wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(counts.wrong_source, 0, "{counts}");
    counts.assert_enough_arrived(LEAST_RATE * 7.0 / 8.0);
    assert!(judged_flows > 10_000 && in_grace * 2 < judged_flows);
}
