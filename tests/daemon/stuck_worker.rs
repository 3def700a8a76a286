//! A worker that cannot be killed, as one in uninterruptible sleep: a tracer holds it where it ends (ptrace(2),
//! `PTRACE_O_TRACEEXIT`). The daemon says so, answers, ends when it is told to, and waits with the next worker.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::DAEMON;
use crate::support::daemon::workers_of;
use crate::support::http;
use crate::support::judged::Judged;
use crate::support::lab::Family;
use crate::support::nft::{Nft, TABLE};
use crate::support::wait_until;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

const BEFORE: &str = "nonMasqueradeCIDRs: [10.0.0.0/8]\n";
const AFTER: &str = "nonMasqueradeCIDRs: [10.0.0.0/8, 198.51.100.0/24]\n";

/// How long the worker may take for an answer at first; then it is killed.
const DEADLINE: Duration = Duration::from_secs(5);
/// So long after that, the daemon says that it does not end.
const SAID_WITHIN: Duration = Duration::from_secs(1);
/// The daemon promises to end within one second, but for a commit under way.
const ENDED_WITHIN: Duration = Duration::from_secs(2);
/// How long the number of workers is watched.
const WATCHED_FOR: Duration = Duration::from_secs(4);
/// So long after the worker has ended at last, all is well.
const RECOVERY: Duration = Duration::from_secs(30);

/// A worker that does nothing, and that does not end when it is killed. It ends when this is dropped.
struct Held {
    worker: Pid,
    is_killed: Receiver<()>,
    hold: Option<Sender<()>>,
    tracer: Option<JoinHandle<nix::Result<()>>>,
}

impl Held {
    /// A thread alone can be a tracer: it seizes the worker, and holds it until the channel is closed.
    fn new(worker: Pid) -> Self {
        let (stopped, is_stopped) = channel();
        let (killed, is_killed) = channel();
        let (hold, is_held) = channel::<()>();
        let tracer = thread::spawn(move || {
            ptrace::seize(worker, Options::PTRACE_O_TRACEEXIT)?;
            ptrace::interrupt(worker)?;
            waitpid(worker, None)?;
            // Nobody listens any more where a test has failed.
            let _ = stopped.send(());
            let ended = waitpid(worker, None)?;
            let is_at_its_exit = matches!(ended, WaitStatus::PtraceEvent(_, _, event) if event == libc::PTRACE_EVENT_EXIT);
            if is_at_its_exit {
                let _ = killed.send(());
                let _ = is_held.recv();
            }
            // What is still traced goes on when the tracer ends.
            Ok(())
        });
        is_stopped.recv().unwrap();
        Self {
            worker,
            is_killed,
            hold: Some(hold),
            tracer: Some(tracer),
        }
    }

    /// Waits until somebody has killed it.
    fn wait_for_kill(&self) {
        let waited = self.is_killed.recv_timeout(2 * DEADLINE);
        assert!(waited.is_ok(), "nobody has killed the worker that hangs");
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !thread::panicking() {
            // Otherwise it may wait for a kill that does not come; the worker ends with the tracer's process.
            drop(self.hold.take());
            self.tracer.take().unwrap().join().unwrap().unwrap();
        }
    }
}

/// A daemon whose worker is held and was asked for something.
struct Stuck {
    held: Held,
    judged: Judged,
    asked: Instant,
    /// Lines of its log before that.
    lines_before: usize,
}

impl Stuck {
    fn new(judged: Judged, ask: fn(&Judged)) -> Self {
        let ready = wait_until(RECOVERY, || status(&judged, "/readyz") == 200);
        ready.unwrap();
        let lines_before = judged.daemon.log().lines().count();
        let held = Held::new(judged.daemon.worker().unwrap());
        ask(&judged);
        Self {
            held,
            judged,
            asked: Instant::now(),
            lines_before,
        }
    }

    /// Waits until the daemon has said in its log and at `/readyz` that it is the worker.
    fn wait_until_it_is_said(&self) {
        self.held.wait_for_kill();
        let log = || {
            let log = self.judged.daemon.log();
            let new: Vec<String> = log
                .lines()
                .skip(self.lines_before)
                .map(str::to_owned)
                .collect();
            new
        };
        let ready = || http::get(&self.judged.lab.node, "/readyz").unwrap();
        let left = (DEADLINE + SAID_WITHIN).saturating_sub(self.asked.elapsed());
        let said = wait_until(left, || {
            let is_logged = log().iter().any(|line| line.contains("worker"));
            let ready = ready();
            is_logged && ready.status == 503 && ready.body.contains("worker")
        });
        assert!(said.is_ok(), "{:?}\n{}", ready(), log().join("\n"));
        assert_eq!(status(&self.judged, "/healthz"), 200);
    }
}

fn status(judged: &Judged, path: &str) -> u16 {
    http::get(&judged.lab.node, path).unwrap().status
}

/// Others delete the table.
fn by_deletion(judged: &Judged) {
    let deletion = format!("delete table ip {TABLE}");
    Nft::host().apply(&judged.lab.node, &deletion).unwrap();
}

/// The file changes.
fn by_change(judged: &Judged) {
    judged.daemon.replace_configuration(AFTER).unwrap();
}

fn it_is_said_and_ends_when_told_to(stuck: Stuck) {
    stuck.wait_until_it_is_said();
    let Stuck { held, judged, .. } = stuck;
    let ended = judged.daemon.terminate_within(ENDED_WITHIN).unwrap();
    assert!(ended.success(), "{ended}");
    drop(held);
}

fn the_next_worker_waits_and_all_goes_on(stuck: Stuck, configuration: &str) {
    stuck.wait_until_it_is_said();
    let Stuck { held, judged, .. } = stuck;
    let daemon = judged.daemon.process_id();
    let watched = Instant::now();
    while watched.elapsed() < WATCHED_FOR {
        let workers: Vec<Pid> = workers_of(daemon).collect();
        assert_eq!(workers, [held.worker], "{}", judged.daemon.log());
        assert_eq!(status(&judged, "/healthz"), 200);
        assert_eq!(status(&judged, "/readyz"), 503);
        thread::sleep(Duration::from_millis(20));
    }
    drop(held);
    let ready = wait_until(RECOVERY, || status(&judged, "/readyz") == 200);
    assert!(ready.is_ok(), "{}", judged.daemon.log());
    // It was the daemon itself that killed it.
    let log = judged.daemon.log();
    assert!(
        log.contains("stuck in the kernel has ended; it is replaced"),
        "{log}"
    );
    assert!(!log.contains("while it was idle"), "{log}");
    judged.assert_family_comes_to_follow(configuration, &[Family::V4]);
    assert!(
        judged
            .daemon
            .terminate_within(ENDED_WITHIN)
            .unwrap()
            .success()
    );
}

#[test]
fn a_worker_that_cannot_be_killed_is_said_and_does_not_delay_the_end() {
    let judged = Judged::start(DAEMON, BEFORE, &[]).unwrap();
    it_is_said_and_ends_when_told_to(Stuck::new(judged, by_deletion));
}

#[test]
fn the_next_worker_waits_for_the_end_of_one_that_cannot_be_killed_and_then_all_goes_on() {
    let judged = Judged::start(DAEMON, BEFORE, &[]).unwrap();
    the_next_worker_waits_and_all_goes_on(Stuck::new(judged, by_deletion), BEFORE);
}

#[test]
fn a_change_of_the_file_waits_for_the_end_of_a_worker_that_cannot_be_killed() {
    let judged = Judged::start(DAEMON, BEFORE, &[]).unwrap();
    the_next_worker_waits_and_all_goes_on(Stuck::new(judged, by_change), AFTER);
}

mod needs_root {
    use super::*;

    /// The table is its own until it has ended.
    #[test]
    fn a_change_waits_for_the_end_of_an_owner_that_cannot_be_killed() {
        let judged = Judged::start_on_debian_13(DAEMON, BEFORE).unwrap();
        the_next_worker_waits_and_all_goes_on(Stuck::new(judged, by_change), AFTER);
    }

    #[test]
    fn an_owner_that_cannot_be_killed_does_not_delay_the_end() {
        let judged = Judged::start_on_debian_13(DAEMON, BEFORE).unwrap();
        it_is_said_and_ends_when_told_to(Stuck::new(judged, by_change));
    }
}
