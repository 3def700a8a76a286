//! Memory of the daemon and its worker.

use std::fs;
use std::io;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::DAEMON;
use crate::configurations::Flip;
use crate::process;
use crate::samples::verdict;
use crate::support::daemon::TemporaryDirectory;
use crate::support::netns::{Namespace, succeed};
use crate::watched::Watched;

/// The most that both processes may take at rest, and with how many CIDRs.
const BOUND_MEBIBYTES: u64 = 8;
const BOUND_CIDRS: usize = 64;
/// Until both have come to rest.
const REST: Duration = Duration::from_millis(400);

/// Which file, and how often it is changed.
const CASES: [(Flip, usize); 5] = [
    (Flip::half_of(4), 500),
    (Flip::half_of(64), 500),
    (Flip::half_of(1_000), 100),
    (Flip::half_of(10_000), 10),
    (Flip::half_of(50_000), 2),
];

/// Prints both tables.
pub(crate) fn print(most_cidrs: usize) -> io::Result<()> {
    print_head(
        "Memory at rest (PSS) and at most (resident), each library shared by the daemon and its worker only, as in a container",
    );
    let libraries = private_libraries()?;
    for (flip, changes) in CASES {
        if flip.cidrs > most_cidrs {
            continue;
        }
        let namespace = Namespace::new()?;
        let mut command = namespace.command(DAEMON);
        command.env("LD_LIBRARY_PATH", libraries.path());
        let (mut watched, _) = Watched::start_as(command, &namespace, &flip.file(0))?;
        print_line(flip, 0, &watched)?;
        for version in 1..=changes {
            watched.swap(&flip.file(version))?;
        }
        print_line(flip, changes, &watched)?;
    }
    print_head("The same, libraries shared with all that runs on this host");
    let flip = Flip::half_of(64);
    let (watched, _) = Watched::start(&Namespace::new()?, &flip.file(0))?;
    print_line(flip, 0, &watched)
}

fn print_head(title: &str) {
    println!("\n{title}");
    println!(
        "  {:<34}{:>8}{:>9}{:>9}{:>9}{:>10}{:>10}",
        "KiB", "changes", "daemon", "worker", "both", "peak d", "peak w"
    );
}

fn print_line(flip: Flip, changes: usize, watched: &Watched) -> io::Result<()> {
    thread::sleep(REST);
    let daemon = watched.daemon.process_id();
    let worker = watched.daemon.worker();
    let worker = worker.ok_or_else(|| io::Error::other("the daemon has no worker"))?;
    let [of_daemon, of_worker] = [daemon, worker].map(process::pss_kibibytes);
    let [of_daemon, of_worker] = [of_daemon?, of_worker?];
    let both = of_daemon + of_worker;
    let judged = judged(flip.cidrs, both);
    println!(
        "  {flip:<34}{changes:>8}{of_daemon:>9}{of_worker:>9}{both:>9}{:>10}{:>10}  {judged}",
        process::peak_kibibytes(daemon)?,
        process::peak_kibibytes(worker)?,
    );
    Ok(())
}

fn judged(cidrs: usize, kibibytes: u64) -> String {
    if cidrs != BOUND_CIDRS {
        return String::new();
    }
    let text = format!("at most {BOUND_MEBIBYTES} MiB");
    verdict(&text, kibibytes <= BOUND_MEBIBYTES * 1024)
}

/// Copies of the daemon's libraries. This benchmark and others have the originals in use, so that the
/// kernel would charge the daemon with a part of them only.
fn private_libraries() -> io::Result<TemporaryDirectory> {
    let directory = TemporaryDirectory::new()?;
    let listed = succeed(Command::new("ldd").arg(DAEMON))?;
    for line in String::from_utf8_lossy(&listed.stdout).lines() {
        // `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)`
        if let [name, "=>", path, _address] = line.split_whitespace().collect::<Vec<_>>()[..] {
            fs::copy(path, directory.path().join(name))?;
        }
    }
    Ok(directory)
}
