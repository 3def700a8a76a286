//! The daemon as process 1 of a pid namespace, as in a pod, and commands as `kubectl exec` runs them there: their parent is
//! outside of it, so what they leave behind becomes the daemon's child.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;

use crate::DAEMON;
use crate::support::daemon::{Daemon, WAIT_LIMIT};
use crate::support::netns::{Namespace, succeed};
use crate::support::outcome::{Outcome, words};
use crate::support::wait_until;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::Pid;

/// Enough to tell what happens each time from what happens once.
const TIMES: usize = 20;
/// A daemon that is stopped does not answer, and a command need not wait for that.
const NOT_ASKED: &str = "--http-address=off";

/// A daemon that is process 1 of the pid namespace in which all further processes of this thread are.
struct Pod {
    namespace: Namespace,
    daemon: Daemon,
}

/// Has `work` use a pod, in a thread of its own.
fn in_pod(work: impl FnOnce(&Pod) + Send) {
    let namespace = Namespace::new().unwrap();
    let inside = || {
        unshare(CloneFlags::CLONE_NEWPID).unwrap();
        let daemon = Daemon::start(DAEMON, &namespace, "", &[]).unwrap();
        let pod = Pod {
            namespace: namespace.clone(),
            daemon,
        };
        pod.daemon.wait_for_log("applied and read back").unwrap();
        assert!(status(pod.daemon.process_id(), "NSpid").ends_with("\t1"));
        work(&pod);
    };
    thread::scope(|scope| scope.spawn(inside).join()).unwrap();
}

/// A field of /proc/PID/status.
fn status(process: Pid, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap().to_owned()
}

/// Running ones and those that have ended and were not waited for.
fn children(process: impl std::fmt::Display) -> Vec<String> {
    let path = format!("/proc/{process}/task/{process}/children");
    let children = fs::read_to_string(path).unwrap_or_default();
    children.split_whitespace().map(str::to_owned).collect()
}

impl Pod {
    fn command(&self, arguments: &str) -> Command {
        let mut command = words(self.namespace.command(DAEMON), arguments);
        command.env("NON_MASQUERADE_DAEMON_CONFIG", self.daemon.config_file());
        command
    }

    /// Starts `status` and kills it while it has a worker.
    fn kill_in_the_middle(&self) {
        let mut command = self.command("status");
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let kill_with_a_child = |mut status: Child| {
            let mut has_worker = false;
            wait_until(WAIT_LIMIT, || {
                has_worker = !children(status.id()).is_empty();
                has_worker || matches!(status.try_wait(), Ok(Some(_)))
            })
            .unwrap();
            status.kill().unwrap();
            status.wait().unwrap();
            has_worker
        };
        wait_until(WAIT_LIMIT, || kill_with_a_child(command.spawn().unwrap())).unwrap();
    }

    /// Leaves a process behind that ends after a moment.
    fn leave_one_behind(&self) {
        let mut shell = self.namespace.command("sh");
        succeed(shell.args(["-c", "sleep 0.05 >/dev/null 2>&1 &"])).unwrap();
    }

    fn has_the_worker_alone(&self) -> bool {
        let worker = self.daemon.worker().map(|worker| worker.to_string());
        worker.is_some() && children(self.daemon.process_id()) == Vec::from_iter(worker)
    }
}

#[test]
fn no_command_leaves_a_process_behind() {
    in_pod(|pod| {
        let run = |arguments: &str, code: i32| {
            let arguments = format!("{arguments} {NOT_ASKED}");
            Outcome::of(&mut pod.command(&arguments)).assert_code(code);
        };
        // It waits for nothing meanwhile.
        let left = pod.daemon.while_it_sleeps(|| {
            (0..TIMES).for_each(|_| run("status", 0));
            run("status --table absent", 1);
            run("status --format json", 0);
            run("explain 10.0.0.1 192.0.2.1", 0);
            run("doctor --format json", 0);
            run("check", 0);
            run("render", 0);
            run("run --once --table other", 0);
            // A daemon runs, which might put tables back.
            run("cleanup --table other", 1);
            Ok(children(pod.daemon.process_id()))
        });
        assert_eq!(left.unwrap().len(), 1, "its worker");
    });
}

#[test]
fn what_killed_commands_leave_behind_is_waited_for() {
    in_pod(|pod| {
        for _ in 0..TIMES {
            pod.kill_in_the_middle();
        }
        wait_until(WAIT_LIMIT, || pod.has_the_worker_alone()).unwrap();
        assert!(!pod.daemon.log().contains("WARN"), "{}", pod.daemon.log());
    });
}

#[test]
fn how_the_worker_ended_is_known_though_others_have_ended_with_it() {
    in_pod(|pod| {
        let both = || {
            (0..TIMES).for_each(|_| pod.leave_one_behind());
            let worker = pod.daemon.worker().unwrap();
            nix::sys::signal::kill(worker, nix::sys::signal::Signal::SIGKILL)?;
            (0..TIMES).for_each(|_| pod.leave_one_behind());
            let ended = |child: &String| status(Pid::from_raw(child.parse().unwrap()), "State");
            wait_until(WAIT_LIMIT, || {
                let children = children(pod.daemon.process_id());
                children.len() > 2 * TIMES && children.iter().all(|c| ended(c).contains('Z'))
            })
        };
        pod.daemon.while_it_sleeps(both).unwrap();
        pod.daemon.wait_for_log("was killed by SIGKILL").unwrap();
        wait_until(WAIT_LIMIT, || pod.has_the_worker_alone()).unwrap();
    });
}
