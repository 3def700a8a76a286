//! A worker that is killed, hangs, exits or crashes is an error value; the daemon lives and heals.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::DAEMON;
use crate::support::daemon::{Daemon, TemporaryDirectory};
use crate::support::hand::{Hand, written_script};
use crate::support::netns::Namespace;
use crate::support::nft::{Nft, TABLE};
use crate::support::programmed::Programmed;
use crate::support::{poison, wait_until};
use ipnet::IpNet;
use nix::sys::signal::{Signal, kill};
use non_masquerade_daemon::config::{self, Flags};
use non_masquerade_daemon::daemon::worker::{Worker, WorkerError};
use non_masquerade_daemon::kernel::libnftables::Mode;
use non_masquerade_daemon::kernel::serve::{Request, WORKER_ARGUMENT};
use non_masquerade_daemon::policy::Policy;
use non_masquerade_daemon::ruleset::{ChosenNames, Ruleset, Tables};

const LIST: &str = r#"{"nftables":[{"list":{"table":{"family":"ip","name":"t"}}}]}"#;
const ADD: &str = r#"{"nftables":[{"add":{"table":{"family":"ip","name":"t"}}}]}"#;
const ADD_SECOND: &str = r#"{"nftables":[{"add":{"table":{"family":"ip","name":"second"}}}]}"#;
/// Retries come within 100 ms at first; a test that waits longer has failed.
const HEALING: Duration = Duration::from_secs(5);

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// A program in place of the worker.
fn script(directory: &TemporaryDirectory, text: &str) -> PathBuf {
    written_script(directory, "worker", &format!("#!/bin/sh\n{text}\n")).unwrap()
}

fn error_of(program: impl AsRef<Path>) -> WorkerError {
    let mut worker = Worker::new(program.as_ref().to_owned());
    block_on(worker.take(LIST, Mode::Full)).unwrap_err()
}

fn ruleset(cidrs: &[String]) -> Ruleset {
    let mut config = config::defaults(&Flags::default());
    let more = cidrs.iter().map(|cidr| cidr.parse::<IpNet>().unwrap());
    config.non_masquerade_cidrs.extend(more);
    Tables::new(&Policy::new(&config), &ChosenNames::default()).ip
}

#[test]
fn an_answer_carries_what_libnftables_said() {
    let namespace = Namespace::new().unwrap();
    namespace.run(|| {
        block_on(async {
            let mut worker = Worker::new(PathBuf::from(DAEMON));
            let missing = worker.take(LIST, Mode::Full).await.unwrap();
            assert!(!missing.succeeded);
            assert!(
                missing.error.contains("No such file or directory"),
                "{missing:?}"
            );
            assert!(worker.take(ADD, Mode::Full).await.unwrap().succeeded);
            let listed = worker.take(LIST, Mode::Full).await.unwrap();
            assert!(listed.succeeded && listed.error.is_empty());
            assert!(listed.output.contains(r#""name": "t""#), "{listed:?}");
        });
    });
}

/// A request is one line, whatever is in it.
#[test]
fn a_document_of_several_lines_is_one_document() {
    let namespace = Namespace::new().unwrap();
    namespace.run(|| {
        block_on(async {
            let mut worker = Worker::new(PathBuf::from(DAEMON));
            let lines = format!("\n{}\n", ADD.replace(',', ",\n"));
            assert!(worker.take(&lines, Mode::Full).await.unwrap().succeeded);
            assert!(worker.take(LIST, Mode::Full).await.unwrap().succeeded);
        });
    });
}

/// A daemon that is killed while it writes leaves a line that is cut.
#[test]
fn a_request_whose_line_does_not_end_is_not_run() {
    let namespace = Namespace::new().unwrap();
    let mut worker = namespace.command(DAEMON);
    worker.arg(WORKER_ARGUMENT).stdin(Stdio::piped());
    let mut worker = worker.stdout(Stdio::piped()).spawn().unwrap();
    let mut requests = worker.stdin.take().unwrap();
    let [whole, cut] = [ADD, ADD_SECOND].map(|document| {
        let request = Request::Take(document.to_owned(), Mode::Full);
        serde_json::to_string(&request).unwrap()
    });
    write!(requests, "{whole}\n{cut}").unwrap();
    drop(requests);
    let output = worker.wait_with_output().unwrap();
    let answers = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    assert_eq!(answers.lines().count(), 1, "{answers}");
    Nft::host().list_table_text(&namespace, "t").unwrap();
    let second = Nft::host().list_table_text(&namespace, "second");
    second.expect_err("it is there");
}

#[test]
fn an_exit_inside_of_libnftables_is_an_error_and_the_next_request_has_an_answer() {
    // libnftables 1.0.6 calls exit(2) for a comment that does not fit into the user data of a rule.
    // Later versions may refuse it; neither may take the caller along.
    let comment = "c".repeat(300);
    let document = format!(
        r#"{{"nftables":[{{"add":{{"table":{{"family":"ip","name":"t"}}}}}},
        {{"add":{{"chain":{{"family":"ip","table":"t","name":"c"}}}}}},
        {{"add":{{"rule":{{"family":"ip","table":"t","chain":"c","expr":[{{"accept":null}}],"comment":"{comment}"}}}}}}]}}"#
    )
    .replace('\n', "");
    let namespace = Namespace::new().unwrap();
    namespace.run(|| {
        block_on(async {
            let mut worker = Worker::new(PathBuf::from(DAEMON));
            match worker.take(&document, Mode::Full).await {
                Err(WorkerError::Ended { status, .. }) => assert_eq!(status.code(), Some(2)),
                Ok(said) => assert!(!said.succeeded),
                Err(other) => panic!("{other}"),
            }
            let missing = worker.take(LIST, Mode::Full).await.unwrap();
            assert!(missing.error.contains("No such file"), "{missing:?}");
        });
    });
}

#[test]
fn each_way_to_end_says_what_happened() {
    let directory = TemporaryDirectory::new().unwrap();
    let exits = script(&directory, "read line; echo no memory >&2; exit 2");
    let message = error_of(exits).to_string();
    assert!(message.contains("exit status 2"), "{message}");
    assert!(message.contains("its last words: no memory"), "{message}");
    let crashes = script(&directory, "read line; kill -SEGV $$");
    let message = error_of(crashes).to_string();
    assert!(
        message.contains("SIGSEGV") && message.contains("newer nftables"),
        "{message}"
    );
    let killed = script(&directory, "read line; kill -KILL $$");
    assert!(error_of(killed).to_string().contains("killed by SIGKILL"));
    let message = error_of("/nonexistent/program").to_string();
    assert!(message.contains("did not start"), "{message}");
}

/// What others have made in the table: something that a rule holds, so that libnftables has to be asked first.
const HELD: &str = "add set ip TABLE foreign { type ipv4_addr; }; add chain ip TABLE c; \
    add rule ip TABLE c ip daddr @foreign accept";

/// A table with this in it, as long as which libnftables ends the worker by `end`, whatever it is asked. Gives its handle
/// too.
fn beside(something: &str, end: &str) -> (Programmed, u64) {
    let namespace = Namespace::new().unwrap();
    let left = format!("add table ip {TABLE}; {something}").replace("TABLE", TABLE);
    Nft::host().apply(&namespace, &left).unwrap();
    let handle = Nft::host().table_handle(&namespace, TABLE).unwrap();
    let does = format!("nft list table ip {TABLE} | grep -q foreign || exit 0; {end}");
    let hand = Hand::before("nftables", &does).times(u32::MAX >> 1);
    let programmed = Programmed::with_a_hand_within(namespace, DAEMON, hand).unwrap();
    (programmed, handle)
}

/// libnftables dies of some sets whatever it is asked, and then they can be deleted only without it.
#[test]
fn a_set_of_others_that_no_rule_holds_is_gone_before_libnftables_is_asked() {
    let set = "add set ip TABLE foreign { type ipv4_addr; }";
    let (mut programmed, before) = beside(set, "kill -SEGV $PPID");
    programmed.sync(&ruleset(&[])).unwrap();
    assert_eq!(programmed.worker_starts(), 1);
    let after = Nft::host().table_handle(&programmed.namespace, TABLE);
    assert_eq!(after.unwrap(), before);
}

/// What is made anew is not in force for a moment.
#[test]
fn a_table_is_not_made_anew_however_often_workers_end() {
    let aborts_as_rust_does = "echo memory allocation of 8 bytes failed >&2; kill -ABRT $PPID";
    for end in [
        "kill -SEGV $PPID",
        "kill -KILL $PPID",
        "exit 2",
        aborts_as_rust_does,
    ] {
        let (mut programmed, before) = beside(HELD, end);
        for _ in 0..6 {
            let failed = programmed.sync(&ruleset(&[])).unwrap_err();
            assert!(matches!(failed, WorkerError::Ended { .. }), "{failed}");
        }
        let after = Nft::host().table_handle(&programmed.namespace, TABLE);
        assert_eq!(after.unwrap(), before, "{end}");
        // And then the worker, which is another one, makes it right.
        let freed = format!("flush chain ip {TABLE} c; delete set ip {TABLE} foreign");
        Nft::host().apply(&programmed.namespace, &freed).unwrap();
        programmed.sync(&ruleset(&[])).unwrap();
    }
}

/// A deadline that never grew would kill each worker before it is done.
#[test]
fn what_needs_longer_than_the_deadline_gets_longer() {
    let hand = Hand::before(r#""add""#, "sleep 5.5");
    let mut programmed = Programmed::with_a_hand(DAEMON, hand).unwrap();
    let hung = programmed.sync(&ruleset(&[])).unwrap_err().to_string();
    assert!(hung.contains("no answer within 5 s"), "{hung}");
    assert!(
        hung.contains(&format!("changing table ip {TABLE}")),
        "{hung}"
    );
    programmed.sync(&ruleset(&[])).unwrap();
    assert_eq!(programmed.worker_starts(), 2);
}

/// libnftables 1.0.6 says something each time that it lists a rule with an anonymous chain: after 64 KiB that nobody reads,
/// the worker would hang.
#[test]
fn a_worker_that_says_much_besides_its_answers_neither_hangs_nor_loses_its_last_words() {
    let directory = TemporaryDirectory::new().unwrap();
    let answer = r#"{"Said":{"succeeded":true,"output":"","error":""}}"#;
    let says_much = "head -c 200000 /dev/zero | tr '\\0' x >&2";
    let answers = [0, 1].map(|_| format!("read line; {says_much}; echo '{answer}'; "));
    let dies = format!("read line; {says_much}; echo no memory >&2; exit 2");
    let program = script(&directory, &format!("{}{dies}", answers.concat()));
    block_on(async {
        let mut worker = Worker::new(program);
        for _ in answers {
            assert!(worker.take(LIST, Mode::Full).await.unwrap().succeeded);
        }
        let message = worker.take(LIST, Mode::Full).await.unwrap_err().to_string();
        assert!(message.contains("exit status 2"), "{message}");
        assert!(message.ends_with("no memory"), "{message}");
        assert!(message.len() < 8 * 1024, "{}", message.len());
    });
}

#[test]
fn an_answer_that_is_none_is_an_error() {
    let directory = TemporaryDirectory::new().unwrap();
    for answer in [
        "hello",
        "{}",
        r#"{"Said":{}}"#,
        r#"{"Said":{"succeeded":true,"output":"","error":""}} {}"#,
        r#"{"Pass":{"tables":[],"port":null,"libnftables":null}}"#,
    ] {
        let program = script(
            &directory,
            &format!("read line; echo '{answer}'; read line"),
        );
        let error = error_of(program);
        assert!(matches!(error, WorkerError::Answer(_)), "{answer}: {error}");
    }
    let cut = script(&directory, r#"read line; printf '{"Said":'"#);
    assert!(matches!(error_of(cut), WorkerError::Ended { .. }));
}

#[test]
fn a_worker_ends_when_the_daemon_is_killed() {
    let namespace = Namespace::new().unwrap();
    let mut daemon = Daemon::start(DAEMON, &namespace, "", &[]).unwrap();
    daemon.wait_for_table().unwrap();
    let worker = daemon.worker().unwrap();
    daemon.kill().unwrap();
    wait_until(HEALING, || has_ended(worker)).unwrap();
}

/// A process that has ended may still be waited for: a zombie has no memory.
fn has_ended(process: nix::unistd::Pid) -> bool {
    let statm = fs::read_to_string(format!("/proc/{process}/statm"));
    statm.map_or(true, |statm| statm.starts_with("0 "))
}

fn heals(daemon: &mut Daemon, namespace: &Namespace) {
    Nft::host()
        .apply(namespace, "delete table ip non-masquerade-daemon")
        .unwrap();
    daemon.reload().unwrap();
    daemon.wait_for_table_within(2 * HEALING).unwrap();
    assert!(!daemon.has_ended());
}

#[test]
fn a_killed_worker_is_replaced() {
    let namespace = Namespace::new().unwrap();
    let mut daemon = Daemon::start(DAEMON, &namespace, "", &[]).unwrap();
    daemon.wait_for_table().unwrap();
    let worker = daemon.worker().unwrap();
    kill(worker, Signal::SIGKILL).unwrap();
    heals(&mut daemon, &namespace);
    assert_ne!(daemon.worker(), Some(worker));
    assert!(daemon.terminate().unwrap().success());
}

#[test]
fn a_hanging_worker_is_replaced_and_does_not_delay_the_end() {
    let namespace = Namespace::new().unwrap();
    let mut daemon = Daemon::start(DAEMON, &namespace, "", &[]).unwrap();
    daemon.wait_for_table().unwrap();
    kill(daemon.worker().unwrap(), Signal::SIGSTOP).unwrap();
    heals(&mut daemon, &namespace);
    daemon.wait_for_log("gave no answer within 5 s").unwrap();
    kill(daemon.worker().unwrap(), Signal::SIGSTOP).unwrap();
    daemon.reload().unwrap();
    let asked = Instant::now();
    assert!(daemon.terminate().unwrap().success());
    assert!(asked.elapsed() < Duration::from_secs(1));
}

#[test]
fn a_set_that_crashes_libnftables_is_named_and_the_daemon_heals_when_it_is_gone() {
    let namespace = Namespace::new().unwrap();
    let mut daemon = Daemon::start(DAEMON, &namespace, "", &[]).unwrap();
    daemon.wait_for_table().unwrap();
    poison::plant(&namespace).unwrap();
    let host_crashes = Nft::host()
        .apply(
            &namespace,
            "add chain ip non-masquerade-daemon x; add rule ip non-masquerade-daemon x accept",
        )
        .is_err();
    // By raw netlink, because nft itself may crash now.
    poison::delete_table(&namespace, TABLE).unwrap();
    daemon.reload().unwrap();
    if host_crashes {
        daemon.wait_for_log("SIGSEGV").unwrap();
        assert!(!daemon.has_ended());
        poison::remove(&namespace).unwrap();
    }
    daemon.wait_for_table_within(2 * HEALING).unwrap();
    assert!(daemon.terminate().unwrap().success());
}

/// Where a table has one flag, libnftables before 1.1.0 frees it before it prints the table in JSON (`table_flags_json`,
/// src/json.c): beside so many, a worker that listed tables was killed each time, and nothing was programmed.
#[test]
fn tables_of_others_that_have_one_flag_corrupt_no_worker() {
    let namespace = Namespace::new().unwrap();
    for number in 0..60 {
        let asleep = format!(
            "table ip t{number} {{ flags dormant; chain c {{ ip daddr 10.1.2.3 masquerade; }}; }}"
        );
        Nft::host().apply(&namespace, &asleep).unwrap();
    }
    let mut daemon = Daemon::start(DAEMON, &namespace, "", &[]).unwrap();
    daemon.wait_for_table().unwrap();
    assert!(!daemon.log().contains("the worker"), "{}", daemon.log());
}

/// In a user namespace of its own, libnftables cannot send so much at once (EMSGSIZE), and there is no other user.
mod needs_root {
    use super::*;
    use crate::support::daemon::limited_to_processes;
    use crate::support::outcome::Outcome;

    #[test]
    fn where_no_process_can_be_started_the_limit_is_named() {
        let namespace = Namespace::new().unwrap();
        let directory = TemporaryDirectory::new().unwrap();
        for command in ["doctor", "run --once"] {
            let limits = (65531, 1);
            let mut limited = limited_to_processes(&namespace, &directory, DAEMON, limits).unwrap();
            limited.args(command.split_whitespace());
            let limited = Outcome::of(limited.arg("--config=/nonexistent"));
            limited.assert_code(1);
            let said = limited.output + &limited.errors;
            let reason = "the limit of processes is reached (podPidsLimit, RLIMIT_NPROC)";
            assert!(said.contains(reason), "{command}: {said}");
            assert!(!said.contains("mount"), "{command}: {said}");
        }
    }

    /// The kernel refuses each message of elements, and libnftables before 1.1.5 makes no room for thousands of answers:
    /// those that it has not read it would take for answers to the next request.
    #[test]
    fn what_follows_a_refusal_of_thousands_of_elements_has_its_own_answer() {
        // Someone owns the table between the look and the declaration, for two seconds.
        let does = format!(
            "nft 'delete table ip {TABLE}'
             (echo 'add table ip {TABLE} {{ flags owner; }}'; sleep 2) | nft -i >/dev/null 2>&1 &
             until nft list table ip {TABLE} >/dev/null 2>&1; do sleep 0.01; done"
        );
        let hand = Hand::before(r#""elem":"#, &does);
        let mut programmed = Programmed::with_a_hand(DAEMON, hand).unwrap();
        let namespace = programmed.namespace.clone();
        let plain = format!("add table ip {TABLE}");
        Nft::host().apply(&namespace, &plain).unwrap();
        let cidrs: Vec<String> = (0..20_000)
            .map(|number: u32| format!("172.{}.{}.0/25", 32 + number / 256, number % 256))
            .collect();
        let wanted = ruleset(&cidrs);
        let owned = programmed.sync(&wanted).unwrap_err().to_string();
        assert!(owned.contains("owned by nft"), "{owned}");
        wait_until(HEALING, || {
            Nft::host().list_table_text(&namespace, TABLE).is_err()
        })
        .unwrap();
        programmed.sync(&wanted).unwrap();
        let report = programmed.sync(&wanted).unwrap();
        assert_eq!(
            (report.differences, report.rules_were_unknown),
            (vec![], false)
        );
        assert_eq!(programmed.worker_starts(), 1);
    }
}
