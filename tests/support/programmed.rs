//! The daemon's own way to the kernel, without the daemon: applies rulesets in a namespace and reads them back.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sys::socket::SockFlag;
use non_masquerade_daemon::daemon::worker::{Worker, WorkerError};
use non_masquerade_daemon::kernel::difference::{Comparison, Difference, RulesAre};
use non_masquerade_daemon::kernel::netlink::Netlink;
use non_masquerade_daemon::kernel::observed::Observed;
use non_masquerade_daemon::kernel::ownership::TableOwner;
use non_masquerade_daemon::kernel::pass::{PassReport, TableReport};
use non_masquerade_daemon::ruleset::{Family, Ruleset, Tables};
use tokio::runtime::Runtime;

use super::daemon::TemporaryDirectory;
use super::hand::{Hand, quoted, written_script};
use super::netns::Namespace;
use super::nft::debian_13_root;

/// Starts the worker below another root. The mounts end with it.
const WORKER_IN_ROOT: &str = r#"#!/bin/sh
exec unshare --mount sh -ceu '
	mount --rbind /proc "$0/proc"
	mount --bind "$1" "$0/mnt"
	exec chroot "$0" "/mnt/$2" nft-worker
' ROOT DIRECTORY PROGRAM
"#;

/// A namespace that the calling thread has entered for good, and one worker in it.
pub struct Programmed {
    /// The namespace.
    pub namespace: Namespace,
    runtime: Runtime,
    worker: Worker,
    reader: Netlink,
    _script: Option<TemporaryDirectory>,
}

impl Programmed {
    /// A fresh one, with the host's libnftables.
    pub fn new(daemon: &str) -> io::Result<Self> {
        Self::within(Namespace::new()?, daemon)
    }

    /// With the host's libnftables.
    pub fn within(namespace: Namespace, daemon: &str) -> io::Result<Self> {
        Self::by_worker(namespace, PathBuf::from(daemon), None)
    }

    /// A fresh one, with the libnftables of Debian 13 in the root that `make test` installs if it is run by root.
    pub fn on_debian_13(daemon: &str) -> io::Result<Self> {
        Self::on_debian_13_within(Namespace::new()?, daemon)
    }

    /// The same in a namespace that is there.
    pub fn on_debian_13_within(namespace: Namespace, daemon: &str) -> io::Result<Self> {
        let directory = TemporaryDirectory::new()?;
        let script = worker_in_root(&directory, daemon)?;
        Self::by_worker(namespace, script, Some(directory))
    }

    /// A fresh one, in which something happens in the middle of a pass. With the host's libnftables.
    pub fn with_a_hand(daemon: &str, hand: Hand<'_>) -> io::Result<Self> {
        Self::with_a_hand_within(Namespace::new()?, daemon, hand)
    }

    /// The same in a namespace that is there.
    pub fn with_a_hand_within(
        namespace: Namespace,
        daemon: &str,
        hand: Hand<'_>,
    ) -> io::Result<Self> {
        let directory = TemporaryDirectory::new()?;
        let script = hand.install(&directory, daemon)?;
        Self::by_worker(namespace, script, Some(directory))
    }

    /// A fresh one with a hand, and Debian 13's libnftables.
    pub fn with_a_hand_on_debian_13(daemon: &str, hand: Hand<'_>) -> io::Result<Self> {
        let directory = TemporaryDirectory::new()?;
        let script = hand.install_on_debian_13(&directory, daemon)?;
        Self::by_worker(Namespace::new()?, script, Some(directory))
    }

    fn by_worker(
        namespace: Namespace,
        program: PathBuf,
        script: Option<TemporaryDirectory>,
    ) -> io::Result<Self> {
        namespace.enter()?;
        Ok(Self {
            namespace,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?,
            worker: Worker::new(program),
            reader: Netlink::open(0, SockFlag::empty())?,
            _script: script,
        })
    }

    /// Makes the table of one family right, whatever the other family's is.
    pub fn sync(&mut self, ruleset: &Ruleset) -> Result<TableReport, WorkerError> {
        self.pass_over(ruleset, vec![ruleset.family])
    }

    /// Compares that table as the worker does, which remembers the rules that it has written, and writes nothing.
    pub fn look(&mut self, ruleset: &Ruleset) -> Result<TableReport, WorkerError> {
        self.pass_over(ruleset, Vec::new())
    }

    fn pass_over(
        &mut self,
        ruleset: &Ruleset,
        repairs: Vec<Family>,
    ) -> Result<TableReport, WorkerError> {
        let report = self.pass(&alone(ruleset), repairs)?;
        let mut passes = report.tables.into_iter();
        let pass = passes.find(|pass| pass.family == ruleset.family);
        let pass = pass.ok_or_else(|| WorkerError::Answer("no table of it".to_owned()))?;
        Ok(pass.result?)
    }

    /// Makes the tables of both families right.
    pub fn sync_all(&mut self, tables: &Tables) -> Result<PassReport, WorkerError> {
        self.pass(tables, Family::ALL.to_vec())
    }

    fn pass(&mut self, tables: &Tables, repairs: Vec<Family>) -> Result<PassReport, WorkerError> {
        let tables = Arc::new(tables.clone());
        let pass = self.worker.pass(&tables, repairs, TableOwner::Auto);
        self.runtime.block_on(pass)
    }

    /// How many workers have been started.
    pub fn worker_starts(&self) -> u32 {
        self.worker.starts()
    }

    /// What the kernel has under the table's name.
    pub fn observe(&self, ruleset: &Ruleset) -> io::Result<Option<Observed>> {
        let chains = ruleset.chains.iter().map(|chain| chain.name.as_str());
        Observed::read(&self.reader, ruleset.family, &ruleset.table, chains)
    }

    /// In what the kernel differs from the tables, whoever owns them: in all but their rules, whose bytes the worker alone
    /// remembers. A table that is too many is a difference.
    pub fn differences(&mut self, tables: &Tables) -> io::Result<Vec<Difference>> {
        let mut differences = Vec::new();
        for ruleset in tables.wanted() {
            match self.observe(ruleset)? {
                None => differences.push(Difference::TableMissing),
                Some(observed) => {
                    let rules_are = |_: &_, _: &_| RulesAre::Right;
                    let comparison = Comparison::new(ruleset, &observed, false, rules_are);
                    differences.extend(comparison.differences);
                }
            }
        }
        let has_ip6 = self.reader.table("ip6", &tables.ip.table)?.is_some();
        if tables.ip6.is_none() && has_ip6 {
            differences.push(Difference::TableUnwanted);
        }
        Ok(differences)
    }
}

impl Drop for Programmed {
    /// What the worker owned is free when this returns.
    fn drop(&mut self) {
        self.runtime.block_on(self.worker.close());
    }
}

/// Tables in which the other family is not to be written: the one of IPv4 is always there.
fn alone(ruleset: &Ruleset) -> Tables {
    let of_ip = Ruleset {
        family: Family::Ip,
        ..ruleset.clone()
    };
    Tables {
        ip: of_ip,
        ip6: (ruleset.family == Family::Ip6).then(|| ruleset.clone()),
    }
}

fn worker_in_root(directory: &TemporaryDirectory, daemon: &str) -> io::Result<PathBuf> {
    let daemon = Path::new(daemon).canonicalize()?;
    let shown = |path: Option<&Path>| quoted(&path.unwrap_or(Path::new("")).to_string_lossy());
    let text = WORKER_IN_ROOT
        .replace("ROOT", &shown(Some(&debian_13_root())))
        .replace("DIRECTORY", &shown(daemon.parent()))
        .replace("PROGRAM", &shown(daemon.file_name().map(Path::new)));
    written_script(directory, "worker", &text)
}
