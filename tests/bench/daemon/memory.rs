//! Memory of the daemon and its worker.

use std::fs;
use std::io;
use std::process::Command;

use crate::DAEMON;
use crate::configurations::Flip;
use crate::process;
use crate::samples::verdict;
use crate::support::daemon::TemporaryDirectory;
use crate::support::netns::{Namespace, succeed};
use crate::watched::Watched;

/// The most that both processes may take with the defaults.
const BOUND_KIBIBYTES: u64 = 6 * 1024;

/// Which file, and how often it is changed and reloaded.
const CASES: [(Flip, usize); 3] = [
    (Flip::DEFAULTS, 1_000),
    (Flip::half_of(64), 1_000),
    (Flip::one_of(10_000), 100),
];

/// Prints both tables.
pub(crate) fn print(most_cidrs: usize) -> io::Result<()> {
    print_head(
        "Memory (PSS), each library shared by the daemon and its worker only, as in a container",
    );
    let libraries = private_libraries()?;
    for (flip, reloads) in CASES {
        if flip.cidrs > most_cidrs {
            continue;
        }
        let namespace = Namespace::new()?;
        let mut command = namespace.command(DAEMON);
        command.env("LD_LIBRARY_PATH", libraries.path());
        let (mut watched, _) = Watched::start_as(command, &namespace, &flip.file(0))?;
        print_line(flip, 0, &watched)?;
        for version in 1..=reloads {
            watched.reload(&flip.file(version))?;
        }
        print_line(flip, reloads, &watched)?;
    }
    print_head("The same, libraries shared with all that runs on this host");
    let flip = Flip::DEFAULTS;
    let (watched, _) = Watched::start(&Namespace::new()?, &flip.file(0))?;
    print_line(flip, 0, &watched)
}

fn print_head(title: &str) {
    println!("\n{title}");
    println!(
        "  {:<34}{:>8}{:>9}{:>9}{:>9}{:>10}{:>10}",
        "KiB", "reloads", "daemon", "worker", "both", "peak d", "peak w"
    );
}

fn print_line(flip: Flip, reloads: usize, watched: &Watched) -> io::Result<()> {
    let daemon = watched.daemon.process_id();
    let worker = watched.daemon.worker();
    let worker = worker.ok_or_else(|| io::Error::other("the daemon has no worker"))?;
    let [of_daemon, of_worker] = [daemon, worker].map(process::pss_kibibytes);
    let [of_daemon, of_worker] = [of_daemon?, of_worker?];
    let both = of_daemon + of_worker;
    let judged = if flip.cidrs == Flip::DEFAULTS.cidrs {
        verdict("at most 6 MiB", both <= BOUND_KIBIBYTES)
    } else {
        String::new()
    };
    println!(
        "  {flip:<34}{reloads:>8}{of_daemon:>9}{of_worker:>9}{both:>9}{:>10}{:>10}  {judged}",
        process::peak_kibibytes(daemon)?,
        process::peak_kibibytes(worker)?,
    );
    Ok(())
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
