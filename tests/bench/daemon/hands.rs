//! Each kind of change that others make to the table, and how long until it is undone.

use std::ffi::CString;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use non_masquerade_daemon::kernel::libnftables::{Context, Mode};

use crate::DAEMON;
use crate::samples::{Samples, milliseconds};
use crate::support::daemon::Daemon;
use crate::support::foreign_hands::{foreign_hands, on_the_set_in_use};
use crate::support::netns::Namespace;
use crate::support::nft::{Nft, TABLE, debian_13_root, without_set_numbers};
use crate::support::wait_until;
use crate::watched::Watched;

const CONFIGURATION: &str = "nonMasqueradeCIDRs: [10.0.0.0/8]\n";
const N: usize = 20;
const LIMIT: Duration = Duration::from_secs(5);
/// No more than ten repairs a second are made for long.
const REST: Duration = Duration::from_millis(100);

/// Prints the table.
pub(crate) fn print(has_root: bool) -> io::Result<()> {
    println!(
        "\nWhat others do to the table, and how long until it is undone, in milliseconds ({N} each)"
    );
    println!(
        "  without an owner: from the commit to the repair. With one: refused (EPERM), or without effect; done while no"
    );
    println!(
        "  owner lives, from the start of the next daemon to the repair (Debian 13's libnftables, in a root of its own)"
    );
    println!("{:>10}{:>8}   {:<11}{:>8}  ", "p50", "max", "owned", "next");
    let mut without = Without::start()?;
    let mut with = match has_root && debian_13_root().is_dir() {
        true => Some(With::start()?),
        false => None,
    };
    for hand in foreign_hands() {
        let samples = without.repairs(&hand)?;
        let (while_owned, next) = match &mut with {
            Some(with) => (
                with.tried(&hand)?,
                format!("{:.1}", milliseconds(with.next(&hand)?)),
            ),
            None => ("-", "-".to_owned()),
        };
        println!(
            "{:>10.2}{:>8.2}   {while_owned:<11}{next:>8}  {}",
            milliseconds(samples.median()),
            milliseconds(samples.percentile(100)),
            hand.replace(TABLE, "T"),
        );
    }
    Ok(())
}

struct Without {
    namespace: Namespace,
    watched: Watched,
}

impl Without {
    fn start() -> io::Result<Self> {
        let namespace = Namespace::new()?;
        let (watched, _) = Watched::start(&namespace, CONFIGURATION)?;
        Ok(Self { namespace, watched })
    }

    fn repairs(&mut self, hand: &str) -> io::Result<Samples> {
        let (namespace, watched) = (&self.namespace, &mut self.watched);
        // In the daemon's namespace: a context has its socket where it is made.
        namespace.run(|| {
            let mut samples = Samples::default();
            let mut context = Context::new().map_err(io::Error::other)?;
            for _ in 0..N {
                thread::sleep(REST);
                let hand = CString::new(on_the_set_in_use(hand, namespace)?)?;
                samples.push(watched.repair(|| match context.run(&hand, Mode::Full) {
                    said if said.succeeded => Ok(()),
                    said => Err(io::Error::other(said.error)),
                })?);
            }
            Ok(samples)
        })
    }
}

struct With {
    namespace: Namespace,
    daemon: Daemon,
    expected: String,
}

impl With {
    fn start() -> io::Result<Self> {
        let namespace = Namespace::new()?;
        let daemon = Daemon::start_on_debian_13(DAEMON, &namespace, CONFIGURATION, &[])?;
        daemon.wait_for_log("the table is owned")?;
        let expected = listed(&namespace);
        Ok(Self {
            namespace,
            daemon,
            expected,
        })
    }

    fn of_now(&self, hand: &str) -> io::Result<String> {
        on_the_set_in_use(hand, &self.namespace)
    }

    fn tried(&self, hand: &str) -> io::Result<&'static str> {
        let applied = Nft::host().apply(&self.namespace, &self.of_now(hand)?);
        if listed(&self.namespace) != self.expected {
            return Err(io::Error::other(format!("{hand} changed an owned table")));
        }
        Ok(if applied.is_ok() {
            "no effect"
        } else {
            "EPERM"
        })
    }

    fn next(&mut self, hand: &str) -> io::Result<Duration> {
        self.daemon.kill()?;
        wait_until(LIMIT, || !listed(&self.namespace).contains("owner"))?;
        // Debian 12's nft cannot make a table dormant that has a flag it does not know.
        let _ = Nft::host().apply(&self.namespace, &self.of_now(hand)?);
        self.daemon.kill_and_restart(DAEMON)?;
        let started = Instant::now();
        wait_until(LIMIT, || listed(&self.namespace) == self.expected)?;
        Ok(started.elapsed())
    }
}

/// Whichever of two sets the rules look up.
fn listed(namespace: &Namespace) -> String {
    let listed = Nft::debian_13().list_table_text(namespace, TABLE);
    without_set_numbers(&listed.unwrap_or_default())
}
