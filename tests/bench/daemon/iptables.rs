//! The same lists as ip-masq-agent's chain of iptables-nft: written at once, as it does, and rule by rule.

use std::io;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::configurations::Flip;
use crate::netlink_buffer::unless_too_long;
use crate::support::competitors::restore_nat;
use crate::support::ip_masq_agent::{Agent, CHAIN};
use crate::support::lab::Family;
use crate::support::netns::{Namespace, succeed};

/// A node with the agent's chain and jump, and the chain's two versions.
pub(crate) struct Iptables {
    node: Namespace,
    flip: Flip,
    versions: [Version; 2],
}

struct Version {
    at_once: String,
    rule_by_rule: Vec<Vec<String>>,
}

impl Iptables {
    /// The chain without any of the CIDRs.
    pub(crate) fn new(flip: Flip) -> io::Result<Self> {
        let node = Namespace::new()?;
        Agent::First.sync(&node, &[""; 0])?;
        let versions = [0, 1].map(|version| {
            let at_once = Agent::First.rules(Family::V4, &flip.cidrs(version));
            let rule_by_rule = rule_by_rule(&at_once);
            Version {
                at_once,
                rule_by_rule,
            }
        });
        Ok(Self {
            node,
            flip,
            versions,
        })
    }

    /// The chain in version 0, or nothing where that outgrows the netlink send buffer.
    pub(crate) fn filled(flip: Flip) -> io::Result<Option<Self>> {
        let iptables = Self::new(flip)?;
        let filled = unless_too_long(iptables.restore(0))?;
        Ok(filled.map(|_took| iptables))
    }

    /// `iptables-restore --noflush`, as at each resync of the agent: how long it took.
    pub(crate) fn restore(&self, version: usize) -> io::Result<Duration> {
        let started = Instant::now();
        restore_nat(&self.node, Family::V4, &self.version(version).at_once)?;
        Ok(started.elapsed())
    }

    /// Empties the chain and runs `iptables -A` for each rule: how long it took.
    pub(crate) fn append(&self, version: usize) -> io::Result<Duration> {
        // The thread is in the namespace, so that each process is made in the cheapest way.
        self.node.run(|| {
            let started = Instant::now();
            succeed(iptables().args(["-F", CHAIN]))?;
            for rule in &self.version(version).rule_by_rule {
                succeed(iptables().args(rule))?;
            }
            Ok(started.elapsed())
        })
    }

    fn version(&self, version: usize) -> &Version {
        let [even, odd] = &self.versions;
        if version.is_multiple_of(2) { even } else { odd }
    }

    /// An error unless the chain has the list in this version, link-local before it and the masquerading rule behind.
    pub(crate) fn check(&self, version: usize) -> io::Result<()> {
        let output = self.node.run(|| succeed(iptables().args(["-S", CHAIN])))?;
        let listed = String::from_utf8_lossy(&output.stdout);
        let mut rules = listed.lines().filter(|line| line.starts_with("-A "));
        let exempt = ["169.254.0.0/16".to_owned()];
        let as_expected = exempt
            .into_iter()
            .chain(self.flip.cidrs(version))
            .all(|cidr| {
                rules.next().is_some_and(|rule| {
                    rule.contains(&format!(" -d {cidr} ")) && rule.ends_with(" -j RETURN")
                })
            });
        let last = rules.next().unwrap_or_default();
        if as_expected && last.contains(" -j MASQUERADE") && rules.next().is_none() {
            return Ok(());
        }
        let flip = self.flip;
        Err(io::Error::other(format!("{flip}: iptables has {listed}")))
    }
}

fn iptables() -> Command {
    let mut command = Command::new("iptables-nft");
    command.args(["--wait", "-t", "nat"]);
    command
}

/// The arguments of one iptables for each rule of the chain: its words are quoted as for a shell.
fn rule_by_rule(lines: &str) -> Vec<Vec<String>> {
    lines
        .lines()
        .filter(|line| line.starts_with("-A "))
        .map(|line| {
            let pieces = line.split('"').enumerate();
            pieces
                .flat_map(|(number, piece)| match number % 2 {
                    0 => piece.split_whitespace().map(str::to_owned).collect(),
                    _ => vec![piece.to_owned()],
                })
                .collect()
        })
        .collect()
}
