//! New flows get the address that `snatAddressCIDRs` leads to while the node's addresses come, go and are deprecated, one at a
//! time and several at once.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::DAEMON;
use crate::support::flows::{Counts, Flows};
use crate::support::judged::Judged;
use crate::support::lab::{Family, Lab};
use crate::support::moments::{LATENESS, MOMENT};
use crate::support::netlink::generation;
use crate::support::netns::Namespace;
use crate::support::nft::{Nft, TABLE};
use crate::support::turn::one_at_a_time;
use crate::support::{time_factor, wait_until};
use non_masquerade_daemon::kernel::notifications::{AddressNotifications, Notifications};

const CONFIGURATION: &str = "
enableIPv6: true
nonMasqueradeCIDRs: [10.0.0.0/8, 'fd00::/8']
snatAddressCIDRs: [198.51.100.0/24, 198.51.200.0/24, 192.0.2.0/24, '2001:db8:51::/64', '2001:db8:52::/64', '2001:db8::/64']
";
const CHANGES: usize = 200;
/// So long after a change and its commit the next one comes.
const PAUSE: Duration = Duration::from_millis(50);
/// Generous: only a test that fails waits so long.
const LIMIT: Duration = Duration::from_secs(4);
/// Flows a second that are sent.
const RATE: u32 = 26_000;
/// Flows a second that must have arrived.
const LEAST_RATE: f64 = 20_000.0;
/// So long after the notification of a change, flows may still get the address from before.
const GRACE: Duration = Duration::from_millis(20);

/// Addresses of the node beside that of the uplink, which is its last choice.
#[derive(Debug, Clone, Copy)]
enum Choice {
    First,
    Second,
    Uplink,
}

use Choice::{First, Second, Uplink};

/// What is done to the first or the second address, and which is the choice then; `None`: the same as before.
type Step = (&'static str, Choice, &'static str, Option<Choice>);

const ADD: &str = "nodad";
const DEPRECATE: &str = "preferred_lft 0";
const RENEW: &str = "preferred_lft forever";

/// One after the other. No choice is both the last one and the next one, so that one that is out of date is seen.
const ONE_AT_A_TIME: [&[Step]; 12] = [
    &[("add", Second, ADD, Some(Second))],
    &[("add", First, ADD, Some(First))],
    &[("delete", Second, "", None)],
    &[("delete", First, "", Some(Uplink))],
    &[("add", Second, ADD, Some(Second))],
    &[("add", First, ADD, Some(First))],
    &[("change", Second, DEPRECATE, None)],
    &[("change", First, DEPRECATE, Some(Uplink))],
    &[("change", Second, RENEW, Some(Second))],
    &[("change", First, RENEW, Some(First))],
    &[("delete", Second, "", None)],
    &[("delete", First, "", Some(Uplink))],
];

/// Several within 20 ms. After each the choice is another one than before.
const BURSTS: [&[Step]; 6] = [
    &[
        ("add", Second, ADD, Some(Second)),
        ("add", First, ADD, Some(First)),
    ],
    &[
        ("delete", First, "", Some(Second)),
        ("delete", Second, "", Some(Uplink)),
    ],
    &[
        ("add", First, ADD, Some(First)),
        ("add", Second, ADD, None),
        ("change", First, DEPRECATE, Some(Second)),
    ],
    &[
        ("delete", Second, "", Some(Uplink)),
        ("change", First, RENEW, Some(First)),
    ],
    &[
        ("change", First, DEPRECATE, Some(Uplink)),
        ("add", Second, ADD, Some(Second)),
    ],
    &[
        ("delete", Second, "", Some(Uplink)),
        ("delete", First, "", None),
    ],
];
/// So many milliseconds lie between the steps of a burst. 0: one `ip -batch`; else a pass may be under way.
const APART: [u64; 4] = [0, 1, 3, 6];

fn address(lab: &Lab, family: Family, choice: Choice) -> IpAddr {
    let text = match (family, choice) {
        (Family::V4, First) => "198.51.100.9",
        (Family::V4, Second) => "198.51.200.9",
        (Family::V6, First) => "2001:db8:51::9",
        (Family::V6, Second) => "2001:db8:52::9",
        (_, Uplink) => return lab.addresses_of(family).node_uplink,
    };
    text.parse().unwrap()
}

/// A change of the choice of one family, asked for and made.
#[derive(Debug, Clone)]
struct Asked {
    family: Family,
    /// Before it was asked for.
    asked: Instant,
    /// Choices on the way to it.
    passing: Vec<IpAddr>,
    /// The choice from then on.
    chosen: IpAddr,
    /// The rules were seen to have it. Unlike a notification, which may be read late, that is never before the commit.
    in_force: Instant,
}

/// The same with what the kernel told of it.
#[derive(Debug)]
struct Change {
    of: Asked,
    notified: Instant,
    committed: Instant,
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
                    () = tokio::time::sleep(PAUSE) => {}
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

    fn middle(&self) -> Duration {
        self.0[self.0.len() / 2]
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (longest, middle) = (self.longest(), self.middle());
        write!(
            f,
            "{} changes of the choice; from an address's notification to the commit {longest:.1?} at most, {middle:.1?} in the middle",
            self.0.len()
        )
    }
}

/// Changes addresses of each family in turn, by bursts of one step or several. Gives when the choice became another.
fn change(lab: &Lab, bursts: &[&[Step]]) -> Vec<Asked> {
    let mut changes = Vec::new();
    for number in 0..CHANGES {
        let family = Family::BOTH[number / bursts.len() % 2];
        let steps = bursts[number % bursts.len()];
        let before = generation(&lab.node).unwrap();
        let asked = Instant::now();
        make(
            lab,
            family,
            steps,
            APART[number / bursts.len() / 2 % APART.len()],
        );
        let choices = steps.iter().filter_map(|(.., choice)| *choice);
        let mut choices: Vec<IpAddr> = choices.map(|choice| address(lab, family, choice)).collect();
        if let Some(chosen) = choices.pop() {
            // The next one comes when this one has its commit.
            let rule = format!(" snat to {chosen} ");
            let is_committed = || {
                generation(&lab.node).unwrap() != before
                    && Nft::host()
                        .list_table_text_of(family, &lab.node, TABLE)
                        .is_ok_and(|table| table.contains(&rule))
            };
            wait_until(LIMIT, is_committed).unwrap();
            changes.push(Asked {
                family,
                asked,
                passing: choices,
                chosen,
                in_force: Instant::now(),
            });
        }
        std::thread::sleep(PAUSE * time_factor());
    }
    changes
}

fn make(lab: &Lab, family: Family, steps: &[Step], apart: u64) {
    let line = |(verb, of, how, _): &Step| {
        let own = address(lab, family, *of);
        let how = match family {
            Family::V4 => how.trim_start_matches(ADD),
            Family::V6 => how,
        };
        format!("address {verb} {own} dev uplink0 {how}")
    };
    let lines: Vec<String> = steps.iter().map(line).collect();
    if apart == 0 {
        return lab.node.ip_batch(&lines).unwrap();
    }
    for (number, line) in lines.iter().enumerate() {
        if number > 0 {
            std::thread::sleep(Duration::from_millis(apart));
        }
        lab.node.ip(line).unwrap();
    }
}

/// Each change with what the kernel told of it until the next one: of a burst with choices on the way, the last of it.
fn with_moments(changes: Vec<Asked>, told: &Told) -> Vec<Change> {
    let ends = changes.iter().skip(1).map(|next| next.asked);
    let ends: Vec<Instant> = ends.chain([Instant::now()]).collect();
    let changes = changes.into_iter().zip(ends).map(|(of, end)| {
        let one = |moments: &[Instant]| {
            let mut after = moments.iter().filter(|moment| **moment >= of.asked);
            let until_next = after.clone().take_while(|moment| **moment < end);
            let last = until_next.last().filter(|_| !of.passing.is_empty());
            *last
                .or(after.next())
                .expect("the kernel tells of each change")
        };
        // The one may be read before the other, as both are there.
        let (notified, committed) = (one(&told.addresses), one(&told.commits));
        Change {
            of,
            notified,
            committed,
        }
    });
    changes.collect()
}

/// What became of the flows that were to get one of the node's addresses.
#[derive(Debug, Default)]
struct Judgement {
    flows: u64,
    /// Those sent while either of two addresses was right.
    in_between: u64,
    wrong: u64,
    mistakes: Vec<String>,
}

/// Each flow by the moment in which it was sent; the choice before a change, and those on the way to it, are right until
/// `is_followed`.
fn judged(
    lab: &Lab,
    changes: &[Change],
    counts: &Counts,
    started: Instant,
    is_followed: impl Fn(&Change) -> Instant,
) -> Judgement {
    let mut judgement = Judgement::default();
    for (after, moment) in counts.moments.all() {
        let (begins, ends) = (started + after, started + after + MOMENT);
        for (source, number) in &moment.masqueraded_as {
            let family = Family::of(*source);
            let mut right = vec![lab.addresses_of(family).node_uplink];
            let of_family = changes.iter().filter(|change| change.of.family == family);
            for change in of_family.take_while(|change| change.of.asked < ends + LATENESS) {
                if begins >= is_followed(change) {
                    right.clear();
                } else {
                    right.extend(&change.of.passing);
                }
                right.push(change.of.chosen);
            }
            judgement.flows += number;
            if right.len() > 1 {
                judgement.in_between += number;
            }
            if !right.contains(source) {
                judgement.wrong += number;
                let mistake = format!("after {after:?}: {number} from {source}, not {right:?}");
                judgement.mistakes.push(mistake);
            }
        }
    }
    judgement
}

#[test]
fn addresses_that_come_and_go_mistreat_no_flow_from_the_commit_on() {
    let (late, times) = assert_followed(&ONE_AT_A_TIME, "");
    // That takes a machine without other work.
    assert!(late * 10 <= CHANGES, "{late} of them are late: {times}");
}

#[test]
fn of_several_changes_within_20_ms_the_last_state_counts_from_the_commit_on() {
    // The pass for the first of them may have to end before.
    assert_followed(&BURSTS, "");
}

/// Connections are ended for each change meanwhile, tens of thousands of them: no pass waits for that.
#[test]
fn nor_does_one_while_existing_connections_follow() {
    let (_, times) = assert_followed(&ONE_AT_A_TIME, "existingConnections: follow\n");
    assert!(times.middle() < GRACE * time_factor(), "{times}");
}

/// From the commit on, whenever that is. Tells how many came later than 20 ms after the notification.
fn assert_followed(bursts: &[&[Step]], more: &str) -> (usize, Times) {
    let _turn = one_at_a_time();
    let daemon = Judged::start(DAEMON, &format!("{CONFIGURATION}{more}"), &[]).unwrap();
    let lab = &daemon.lab;
    let parsed = |prefixes: [&str; 2]| prefixes.map(|prefix| prefix.parse().unwrap()).to_vec();
    let flows = Flows {
        rate: RATE,
        keep_source: Vec::new(),
        masqueraded: parsed(["100.64.0.0/10", "2001:db8:8000::/33"]),
    };
    let end = Arc::new(AtomicBool::new(false));
    let listening = listen(&lab.node, end.clone());
    let running = flows.start(lab).unwrap();
    let started = running.started;
    std::thread::sleep(PAUSE);
    let changes = change(lab, bursts);
    let counts = running.stop(lab).unwrap();
    end.store(true, Ordering::Release);
    let changes = with_moments(changes, &listening.join().unwrap());
    let times = Times::of(&changes);
    let in_time = |change: &Change| change.notified + GRACE * time_factor();
    let from_20_ms = judged(lab, &changes, &counts, started, in_time);
    let from_commit = judged(lab, &changes, &counts, started, |change| {
        in_time(change).max(change.of.in_force)
    });
    println!(
        "{times}; {} flows with the node's addresses, {} of them near a change, {} wrong later than that, {} wrong after the commit; {counts}",
        from_20_ms.flows, from_20_ms.in_between, from_20_ms.wrong, from_commit.wrong
    );
    assert!(from_commit.mistakes.is_empty(), "{from_commit:#?}");
    let rate = counts.received as f64 / counts.elapsed.as_secs_f64();
    assert!(rate >= LEAST_RATE / f64::from(time_factor()), "{counts}");
    assert!(counts.lost() * 1_000 <= counts.sent, "{counts}");
    let is_late = |change: &&Change| change.committed > in_time(change);
    (changes.iter().filter(is_late).count(), times)
}
