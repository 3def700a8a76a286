//! What others do to the node and to the daemon for a while: each of these is the work of a condition.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::conditions::Span;
use crate::dice::Dice;
use crate::log::fill;
use crate::support::http::{connect, exchange, get, nonsense};
use crate::support::netlink::{DELETE_TABLE, NEW_TABLE, commit, name};
use crate::support::netns::Namespace;
use crate::support::nft::Nft;
use crate::support::poison;

/// Attribute of linux/netfilter/nf_tables.h.
const NFTA_TABLE_NAME: u16 = 1;

/// Commits to a table of its own, again and again, up to some 1,000 times a second.
pub(crate) fn neighbour(span: &Span, namespace: &Namespace, pause: Duration) -> io::Result<()> {
    let table = name(NFTA_TABLE_NAME, "neighbour");
    while !span.is_over() {
        let there_and_back = [(NEW_TABLE, table.clone()), (DELETE_TABLE, table.clone())];
        commit(namespace, &there_and_back)?;
        std::thread::sleep(pause);
    }
    Ok(())
}

/// Writes large tables, each in one transaction.
pub(crate) fn large_transactions(
    span: &Span,
    namespace: &Namespace,
    elements: u32,
) -> io::Result<()> {
    let addresses: Vec<String> = (0..elements)
        .map(|n| std::net::Ipv4Addr::from(0x1700_0000 + n * 2).to_string())
        .collect();
    let addresses = addresses.join(", ");
    let text = format!(
        "table ip large {{ set s {{ type ipv4_addr; elements = {{ {addresses} }} }}
            chain c {{ ip saddr {{ {addresses} }} counter }} }}
        delete table ip large"
    );
    while !span.is_over() {
        // Not so beside a poisonous set, of which this nft dies.
        let _ = Nft::host().apply(namespace, &text);
        span.sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// A set of which libnftables dies.
pub(crate) fn poisonous_set(span: &Span, namespace: &Namespace) -> io::Result<()> {
    poison::plant(namespace)?;
    span.wait();
    // Somebody may have flushed the ruleset.
    let _ = poison::remove(namespace);
    Ok(())
}

/// The process does not run.
pub(crate) fn stopped_process(span: &Span, process: Pid) {
    // It may have ended since.
    let _ = kill(process, Signal::SIGSTOP);
    span.wait();
    let _ = kill(process, Signal::SIGCONT);
}

/// A resource of a process that is limited, prlimit(1).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Resource {
    /// Open files.
    Descriptors,
    /// Address space.
    Memory,
}

/// The process has little more than it has now; `spare` is a part of 256.
pub(crate) fn limited(span: &Span, process: Pid, resource: Resource, spare: u32) -> io::Result<()> {
    let (option, limit, usual) = match resource {
        Resource::Descriptors => {
            let open = fs::read_dir(format!("/proc/{process}/fd")).map_or(0, Iterator::count);
            ("--nofile", open * spare as usize / 200, "1024")
        }
        Resource::Memory => {
            // In pages, proc(5).
            let statm = fs::read_to_string(format!("/proc/{process}/statm")).unwrap_or_default();
            let pages = statm.split(' ').next().and_then(|size| size.parse().ok());
            let bytes = 4096 * pages.unwrap_or(0_usize) + 8192 * spare as usize;
            ("--as", bytes, "unlimited")
        }
    };
    let set = |limit: &str| {
        let mut prlimit = Command::new("prlimit");
        prlimit.args(["--pid", &process.to_string()]);
        // It may have ended since.
        prlimit.arg(format!("{option}={limit}:")).output().map(drop)
    };
    set(&limit.to_string())?;
    span.wait();
    set(usual)?;
    // A worker that was started meanwhile has the daemon's limit.
    if let Some(worker) = crate::support::daemon::worker_of(process) {
        let mut prlimit = Command::new("prlimit");
        prlimit.args(["--pid", &worker.to_string()]);
        prlimit.arg(format!("{option}={usual}:")).output()?;
    }
    Ok(())
}

/// No line of the log can be written.
pub(crate) fn full_file_system(span: &Span, ballast: &Path) -> io::Result<()> {
    fill(ballast)?;
    span.wait();
    fs::remove_file(ballast)
}

/// Reloads, as fast as the daemon takes them or not.
pub(crate) fn hangups(span: &Span, daemon: Pid, pause: Duration) {
    let comm = format!("/proc/{daemon}/comm");
    // It may have ended since, and another process may have its number.
    let is_there = || fs::read_to_string(&comm).is_ok_and(|name| name.starts_with("non-masq"));
    while !span.is_over() && is_there() {
        let _ = kill(daemon, Signal::SIGHUP);
        std::thread::sleep(pause);
    }
}

/// Clients that are many, silent, slow, in a hurry, or speak no HTTP.
pub(crate) fn misuse_of_http(span: &Span, namespace: &Namespace, dice: &mut Dice) {
    while !span.is_over() {
        // Whatever becomes of these connections, the daemon is judged by what it does beside them.
        match dice.below(5) {
            0 => {
                let idle: Vec<_> = (0..100).map(|_| connect(namespace)).collect();
                span.sleep(dice.milliseconds(0..500));
                drop(idle);
            }
            1 => {
                let said = nonsense();
                let _ = exchange(namespace, dice.one_of::<Vec<u8>>(&said));
            }
            2 => {
                if let Ok(mut stream) = connect(namespace) {
                    for byte in b"GET /metrics HTTP/1.1\r\n" {
                        span.sleep(Duration::from_millis(20));
                        let _ = stream.write_all(&[*byte]);
                    }
                }
            }
            3 => {
                if let Ok(mut stream) = connect(namespace) {
                    let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
                    let _ = stream.read(&mut [0]);
                }
            }
            _ => {
                for _ in 0..50 {
                    let _ = get(namespace, "/metrics");
                }
            }
        }
    }
}
