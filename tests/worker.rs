//! A worker that is killed, hangs, exits or crashes is an error value; the daemon lives and heals.

#![allow(clippy::unwrap_used, clippy::panic)] // in a test, what cannot be unwrapped is a failure

mod support;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use non_masquerade_daemon::config::{self, Flags};
use non_masquerade_daemon::kernel::Kernel;
use non_masquerade_daemon::kernel::ownership::TableOwner;
use non_masquerade_daemon::kernel::worker::{WORKER_ARGUMENT, Worker, WorkerError};
use non_masquerade_daemon::policy::Policy;
use non_masquerade_daemon::ruleset::{ChosenNames, Tables};
use support::daemon::{Daemon, TemporaryDirectory};
use support::netns::Namespace;
use support::nft::{Nft, TABLE};
use support::{poison, wait_until};

const DAEMON: &str = env!("CARGO_BIN_EXE_non-masquerade-daemon");
const LIST: &str = r#"{"nftables":[{"list":{"table":{"family":"ip","name":"t"}}}]}"#;
const ADD: &str = r#"{"nftables":[{"add":{"table":{"family":"ip","name":"t"}}}]}"#;
const DELETE: &str = r#"{"nftables":[{"delete":{"table":{"family":"ip","name":"t"}}}]}"#;
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
    let path = directory.path().join("worker");
    // Written by another process: a daemon that a test beside this one is just starting may hold a copy of what is open
    // here, and then the script could not be run (ETXTBSY, execve(2)).
    let write = r#"printf '#!/bin/sh\n%s\n' "$1" > "$0"; chmod 755 "$0""#;
    let mut writer = std::process::Command::new("sh");
    support::netns::succeed(writer.args(["-c", write]).arg(&path).arg(text)).unwrap();
    path
}

fn error_of(program: impl AsRef<Path>) -> WorkerError {
    let mut worker = Worker::new(program.as_ref().to_owned());
    block_on(worker.run(LIST)).unwrap_err()
}

#[test]
fn an_answer_carries_what_libnftables_said() {
    let namespace = Namespace::new().unwrap();
    namespace.run(|| {
        block_on(async {
            let mut worker = Worker::new(PathBuf::from(DAEMON));
            let missing = worker.run(LIST).await.unwrap();
            assert!(!missing.succeeded);
            assert!(
                missing.error.contains("No such file or directory"),
                "{missing:?}"
            );
            assert!(worker.run(ADD).await.unwrap().succeeded);
            let listed = worker.run(LIST).await.unwrap();
            assert!(listed.succeeded && listed.error.is_empty());
            assert!(listed.output.contains(r#""name": "t""#), "{listed:?}");
        });
    });
}

fn documents<const N: usize>(
    documents: [&str; N],
) -> impl ExactSizeIterator<Item = serde_json::Result<String>> {
    documents
        .map(|document| Ok(document.to_owned()))
        .into_iter()
}

/// Rules must not come in force without the sets before them.
#[test]
fn after_a_refusal_the_rest_of_a_request_is_not_run() {
    let namespace = Namespace::new().unwrap();
    namespace.run(|| {
        block_on(async {
            let mut worker = Worker::new(PathBuf::from(DAEMON));
            let refused = r#"{"nftables":[{"delete":{"table":{"family":"ip","name":"missing"}}}]}"#;
            let said = worker.run_all(documents([ADD, refused, ADD_SECOND])).await;
            let said: Vec<bool> = said.unwrap().iter().map(|said| said.succeeded).collect();
            assert_eq!(said, [true, false]);
            assert!(worker.run(LIST).await.unwrap().succeeded);
            let tables = worker.run(r#"{"nftables":[{"list":{"tables":{}}}]}"#).await;
            let tables = tables.unwrap().output;
            assert!(!tables.contains(r#""name": "second""#), "{tables}");
        });
    });
}

#[test]
fn a_document_of_several_lines_is_not_taken_for_several_documents() {
    let namespace = Namespace::new().unwrap();
    namespace.run(|| {
        block_on(async {
            let mut worker = Worker::new(PathBuf::from(DAEMON));
            let refused = worker.run(&format!("\n{ADD}")).await.unwrap_err();
            assert!(refused.to_string().contains("several lines"), "{refused}");
            let missing = worker.run(LIST).await.unwrap();
            assert!(missing.error.contains("No such file"), "{missing:?}");
        });
    });
}

/// A daemon that is killed while it writes leaves a line that is cut.
#[test]
fn a_document_whose_line_does_not_end_is_not_run() {
    let namespace = Namespace::new().unwrap();
    let mut worker = namespace.command(DAEMON);
    worker.arg(WORKER_ARGUMENT).stdin(Stdio::piped());
    let mut worker = worker.stdout(Stdio::piped()).spawn().unwrap();
    let mut requests = worker.stdin.take().unwrap();
    let request = r#"{"id":1,"mode":"full","documents":2}"#;
    write!(requests, "{request}\n{ADD}\n{ADD_SECOND}").unwrap();
    drop(requests);
    let output = worker.wait_with_output().unwrap();
    assert!(
        output.status.success() && output.stdout.is_empty(),
        "{output:?}"
    );
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
            match worker.run(&document).await {
                Err(WorkerError::Ended { status, .. }) => assert_eq!(status.code(), Some(2)),
                Ok(said) => assert!(!said.succeeded),
                Err(other) => panic!("{other}"),
            }
            let missing = worker.run(LIST).await.unwrap();
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
    assert!(message.contains("it said: no memory"), "{message}");
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

/// A table, of which each listing ends the worker by `end`: how long the daemon's syncs of it, ten a second, leave it as it
/// is before they make it anew, and how many they are.
fn syncs_until_the_table_is_made_anew(end: &str) -> (u32, Duration) {
    let namespace = Namespace::new().unwrap();
    let directory = TemporaryDirectory::new().unwrap();
    // All but a listing is for the real one.
    let text = format!(
        r#"read -r head; read -r first; case $first in *'"list"'*) {end};; esac; {{ echo "$head"; echo "$first"; cat; }} | {DAEMON} "$@""#
    );
    let worker = script(&directory, &text);
    let left = format!("add table ip {TABLE}; add chain ip {TABLE} left");
    Nft::host().apply(&namespace, &left).unwrap();
    let is_left = || {
        let table = Nft::host().list_table_text(&namespace, TABLE).unwrap();
        table.contains("chain left")
    };
    namespace.run(|| {
        let mut kernel = Kernel::new(worker, TableOwner::Off);
        let policy = Policy::new(&config::defaults(&Flags::default()));
        let names = ChosenNames {
            table: TABLE.to_owned(),
            masq_chain: "m".to_owned(),
        };
        let ruleset = Tables::new(&policy, &names).ip;
        let (started, mut syncs) = (Instant::now(), 0);
        while is_left() {
            assert!(started.elapsed() < Duration::from_secs(20), "{end}");
            thread::sleep(Duration::from_millis(100));
            syncs += 1;
            let _ = block_on(kernel.sync(&ruleset));
        }
        (syncs, started.elapsed())
    })
}

#[test]
fn a_table_of_which_the_worker_crashes_is_made_anew_at_the_third_time() {
    let (syncs, _) = syncs_until_the_table_is_made_anew("kill -SEGV $$");
    assert_eq!(syncs, 3);
}

/// That the other family's requests are answered at once says nothing of those that need longer.
#[test]
fn what_needs_longer_in_one_family_gets_longer_whatever_succeeds_in_the_other() {
    let namespace = Namespace::new().unwrap();
    let directory = TemporaryDirectory::new().unwrap();
    let text = format!(
        r#"while IFS= read -r line; do
               case $line in *'"list"'*'"ip6"'*) [ "$slept" ] || sleep 5.5; slept=1;; esac
               printf '%s\n' "$line"
           done | {DAEMON} "$@""#
    );
    let worker = script(&directory, &text);
    let left = format!("add table ip6 {TABLE}; add chain ip6 {TABLE} left");
    Nft::host().apply(&namespace, &left).unwrap();
    namespace.run(|| {
        let mut kernel = Kernel::new(worker, TableOwner::Off);
        let flags = Flags {
            enable_ipv6: true,
            ..Flags::default()
        };
        let names = ChosenNames {
            table: TABLE.to_owned(),
            masq_chain: "m".to_owned(),
        };
        let tables = Tables::new(&Policy::new(&config::defaults(&flags)), &names);
        let ip6 = tables.ip6.as_ref().unwrap();
        block_on(async {
            let hung = kernel.sync(ip6).await.unwrap_err().to_string();
            assert!(hung.contains("no answer within 5 s"), "{hung}");
            kernel.sync(&tables.ip).await.unwrap();
            kernel.sync(ip6).await.unwrap();
        });
    });
}

/// What is made anew is not in force for a moment.
#[test]
fn a_table_is_not_made_anew_because_memory_is_short_for_seconds() {
    let aborts_as_rust_does = "echo memory allocation of 8 bytes failed >&2; kill -ABRT $$";
    let ends = ["kill -KILL $$", "exit 2", aborts_as_rust_does]
        .map(|end| thread::spawn(move || syncs_until_the_table_is_made_anew(end).1));
    for end in ends {
        let passed = end.join().unwrap();
        assert!(passed > Duration::from_secs(10), "{passed:?}");
    }
}

/// libnftables 1.0.6 says something each time that it lists a rule with an anonymous chain: after 64 KiB that nobody reads,
/// the worker would hang.
#[test]
fn a_worker_that_says_much_besides_its_answers_neither_hangs_nor_loses_its_last_words() {
    let directory = TemporaryDirectory::new().unwrap();
    let answer = r#"{"id":ID,"said":[{"succeeded":true,"output":"","error":""}]}"#;
    let says_much = "head -c 200000 /dev/zero | tr '\\0' x >&2";
    let answers = ["1", "2"].map(|id| {
        let answer = answer.replace("ID", id);
        format!("read line; read line; {says_much}; echo '{answer}'; ")
    });
    let dies = format!("read line; {says_much}; echo no memory >&2; exit 2");
    let program = script(&directory, &format!("{}{dies}", answers.concat()));
    block_on(async {
        let mut worker = Worker::new(program);
        for _ in answers {
            assert!(worker.run(LIST).await.unwrap().succeeded);
        }
        let message = worker.run(LIST).await.unwrap_err().to_string();
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
        r#"{"id":1,"said":[]}"#,
        r#"{"id":7,"said":[{"succeeded":true,"output":"","error":""}]}"#,
    ] {
        let program = script(
            &directory,
            &format!("read line; echo '{answer}'; read line"),
        );
        let error = error_of(program);
        assert!(matches!(error, WorkerError::Answer(_)), "{answer}: {error}");
    }
    let cut = script(&directory, r#"read line; printf '{"id":1,'"#);
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

/// In a user namespace of its own, libnftables cannot send so much at once (EMSGSIZE).
mod needs_root {
    use super::*;

    /// The kernel refuses each message of elements in one that holds it, and libnftables before 1.1.5 makes no room for
    /// thousands: what it has not read, it takes for the answer to the next request.
    #[test]
    fn what_follows_a_refusal_of_thousands_of_elements_has_its_own_answer() {
        let namespace = Namespace::new().unwrap();
        let mut owner = Nft::host().session(&namespace).unwrap();
        owner.say("add table ip owned { flags owner; }").unwrap();
        wait_until(HEALING, || {
            Nft::host().list_table_text(&namespace, "owned").is_ok()
        })
        .unwrap();
        let elements: Vec<String> = (0..20_000)
            .map(|number: u32| format!(r#""10.{}.{}.1""#, number / 256, number % 256))
            .collect();
        let set = format!(
            r#"{{"nftables":[{{"add":{{"set":{{"family":"ip","table":"owned","name":"s","type":"ipv4_addr","flags":["interval"],"elem":[{}]}}}}}}]}}"#,
            elements.join(",")
        );
        namespace.run(|| {
            block_on(async {
                for refusals in 1..=3 {
                    let mut worker = Worker::new(PathBuf::from(DAEMON));
                    for _ in 0..refusals {
                        let refused = worker.run(&set).await.unwrap();
                        assert!(
                            !refused.succeeded && refused.error.contains("Could not process rule"),
                            "{refused:?}"
                        );
                    }
                    let added = worker.run(ADD).await.unwrap();
                    assert!(added.succeeded, "{refusals}: {added:?}");
                    let listed = worker.run(LIST).await.unwrap();
                    assert!(
                        listed.output.contains(r#""name": "t""#),
                        "{refusals}: {listed:?}"
                    );
                    assert!(worker.run(DELETE).await.unwrap().succeeded);
                }
            });
        });
    }
}
