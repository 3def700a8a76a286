//! TCP connections in progress: while conntrack loses them, and while the daemon is restarted.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;

use super::{destination, set_loose, start};
use crate::DAEMON;
use crate::support::lab::{Family, Lab};
use crate::support::netns::succeed;
use crate::support::wait_until;
use End::{Other, Pod};
use Met::{Answer, Reset, Silence};
use Route::{FromClient, ToExempt, ToMasqueraded};

/// Generous for what is to come; who hears of nothing for this long meets silence.
const LIMIT: Duration = Duration::from_secs(2);

/// Who began the connection, and with whom.
#[derive(Clone, Copy, Debug)]
enum Route {
    ToMasqueraded,
    ToExempt,
    /// A client outside, who is not exempt, knows the pod's own address.
    FromClient,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Pod,
    Other,
}

/// What becomes of what an end sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Met {
    Answer,
    Reset,
    Silence,
}

/// What the end meets that speaks first after `conntrack -F`, as daemon-config/README.md tells: with
/// `nf_conntrack_tcp_loose`; without it; and without it, but with `dropInvalid`.
const AFTER_A_FLUSH: [(Route, End, [Met; 3]); 6] = [
    // Loose: a new entry gets another port, unless that is kept (`randomFully: false`).
    (ToMasqueraded, Pod, [Reset, Reset, Silence]),
    // The node has no connection of its own at that port.
    (ToMasqueraded, Other, [Reset, Reset, Reset]),
    // Loose: the pod begins a connection, which is masqueraded.
    (FromClient, Pod, [Reset, Answer, Silence]),
    (FromClient, Other, [Answer, Answer, Silence]),
    (ToExempt, Pod, [Answer, Answer, Answer]),
    (ToExempt, Other, [Answer, Answer, Answer]),
];

fn met_after_a_flush(
    (route, speaker, met): (Route, End, [Met; 3]),
    is_loose: bool,
    drop_invalid: bool,
    random_fully: bool,
) -> Met {
    let [loose, strict, dropped] = met;
    match (is_loose, drop_invalid) {
        (true, _) if !random_fully && matches!((route, speaker), (ToMasqueraded, Pod)) => Answer,
        (true, _) => loose,
        (false, false) => strict,
        (false, true) => dropped,
    }
}

/// Both ends of one connection.
struct Connection {
    family: Family,
    route: Route,
    pod: TcpStream,
    other: TcpStream,
}

impl Connection {
    fn begin(lab: &Lab, family: Family, route: Route) -> Self {
        let (client, server, to) = match route {
            ToMasqueraded => (&lab.pod, &lab.outside, destination(family, false)),
            ToExempt => (&lab.pod, &lab.outside, destination(family, true)),
            FromClient => (&lab.outside, &lab.pod, lab.addresses_of(family).pod),
        };
        let listener = server
            .run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)))
            .unwrap();
        let to = SocketAddr::new(to, listener.local_addr().unwrap().port());
        let of_client = client
            .run(|| TcpStream::connect_timeout(&to, LIMIT))
            .unwrap();
        let (of_server, _) = listener.accept().unwrap();
        for stream in [&of_client, &of_server] {
            stream.set_nonblocking(true).unwrap();
            // A byte is not held back for an ACK.
            stream.set_nodelay(true).unwrap();
        }
        let (pod, other) = match route {
            ToMasqueraded | ToExempt => (of_client, of_server),
            FromClient => (of_server, of_client),
        };
        Self {
            family,
            route,
            pod,
            other,
        }
    }

    /// What an end meets that sends a byte, which the other end sends back if it comes.
    fn met_by(&self, speaker: End) -> Met {
        let (mut speaker, mut other) = match speaker {
            Pod => (&self.pod, &self.other),
            Other => (&self.other, &self.pod),
        };
        speaker.write_all(b"?").unwrap();
        let mut byte = [0];
        let mut met = Silence;
        // A wait that is too long is the silence that is looked for.
        let _ = wait_until(LIMIT, || {
            if other.read(&mut byte).is_ok_and(|bytes| bytes == 1) {
                other.write_all(&byte).unwrap();
            }
            met = match speaker.read(&mut byte) {
                Ok(1) => Answer,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => Reset,
                Err(error) if error.kind() == ErrorKind::WouldBlock => Silence,
                ended => panic!("{ended:?}"),
            };
            met != Silence
        });
        met
    }

    fn assert_goes_on(&self, case: &str) {
        for speaker in [Pod, Other] {
            self.assert_meets(speaker, Answer, case);
        }
    }

    fn assert_meets(&self, speaker: End, expected: Met, case: &str) {
        let Self { family, route, .. } = self;
        let met = self.met_by(speaker);
        assert_eq!(
            met, expected,
            "{family}, {route:?}, {speaker:?} speaks, {case}"
        );
    }

    /// Waits until each end has acknowledged all: an ACK that comes late would be the first to speak.
    fn come_to_rest(&self) {
        for stream in [&self.pod, &self.other] {
            wait_until(LIMIT, || unacknowledged(stream) == 0).unwrap();
        }
    }
}

/// Bytes that the other end has not acknowledged: SIOCOUTQ, tcp(7).
fn unacknowledged(stream: &TcpStream) -> i32 {
    let mut bytes = 0;
    // SAFETY: the one argument is an integer that outlives the call.
    Errno::result(unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) })
        .unwrap();
    bytes
}

/// `dropInvalid` and `randomFully`, each on and off.
const KEYS: [(bool, bool); 4] = [(false, true), (false, false), (true, true), (true, false)];

#[test]
fn what_a_flush_of_conntrack_does_to_connections_is_as_told() {
    for (drop_invalid, random_fully) in KEYS {
        let keys = format!("dropInvalid: {drop_invalid}\nrandomFully: {random_fully}\n");
        let judged = start(&keys);
        let lab = &judged.lab;
        for is_loose in [true, false] {
            set_loose(lab, is_loose);
            let begin =
                |family| AFTER_A_FLUSH.map(|row| (Connection::begin(lab, family, row.0), row));
            let begun = Family::BOTH.map(begin);
            for (connection, _) in begun.iter().flatten() {
                connection.assert_goes_on("before");
            }
            for (connection, _) in begun.iter().flatten() {
                connection.come_to_rest();
            }
            succeed(lab.node.command("conntrack").arg("--flush")).unwrap();
            let case = &format!("loose: {is_loose}, {keys}");
            // All at once: silence takes its time.
            std::thread::scope(|scope| {
                for (connection, row) in begun.iter().flatten() {
                    scope.spawn(move || {
                        let met = met_after_a_flush(*row, is_loose, drop_invalid, random_fully);
                        connection.assert_meets(row.1, met, case);
                    });
                }
            });
        }
    }
}

#[test]
fn no_connection_notices_a_restart_of_the_daemon() {
    for (drop_invalid, random_fully) in KEYS {
        let keys = format!("dropInvalid: {drop_invalid}\nrandomFully: {random_fully}\n");
        for is_loose in [true, false] {
            let mut judged = start(&keys);
            set_loose(&judged.lab, is_loose);
            let routes = [ToMasqueraded, ToExempt, FromClient];
            let begin = |family| routes.map(|route| Connection::begin(&judged.lab, family, route));
            let begun = Family::BOTH.map(begin);
            let all_go_on = |when: &str| {
                let case = format!("{when}, loose: {is_loose}, {keys}");
                for connection in begun.iter().flatten() {
                    connection.assert_goes_on(&case);
                }
            };
            all_go_on("before");
            judged.daemon.kill().unwrap();
            all_go_on("without a daemon");
            judged.daemon.kill_and_restart(DAEMON).unwrap();
            let written = judged.daemon.wait_for_log("rules written once more");
            written.unwrap();
            all_go_on("after");
        }
    }
}
