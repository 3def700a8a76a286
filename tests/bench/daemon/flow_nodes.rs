//! Nodes that new flows go through, each with its rules, and the proof that these treat them as they should.

use std::fmt;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::Value;

use crate::configurations::{file_of, with_separators};
use crate::flow_sender::{ALL_FLOWS, BATCH, Destinations, FlowSender};
use crate::samples::Samples;
use crate::support::ip_masq_agent::Agent;
use crate::support::lab::Lab;
use crate::support::netns::succeed;
use crate::support::nft::Nft;
use crate::watched::Watched;

/// Ports that the flows go to: those to destinations in no CIDR, and those into the last CIDR.
const PORTS: [u16; 2] = [7_101, 7_102];
/// CIDRs of so many addresses, as many as a batch has flows, and as wide a gap behind each.
const CIDR_ADDRESSES: usize = BATCH;
/// Where the first CIDR begins. 50,000 of them and their gaps end below the lab's own addresses.
const FIRST_CIDR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 0);
/// Has no divisor in common with [`ALL_FLOWS`], so that its multiples visit all of them out of order.
const STRIDE: usize = 167;
/// The table outside that counts what arrives.
const COUNTING: &str = "flows";

/// What decides about the flows, by how many CIDRs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    /// Forwarding, and nothing else.
    Untracked,
    /// Conntrack, which each node has that runs any of the others.
    NoNat,
    /// The daemon's table.
    Daemon(usize),
    /// ip-masq-agent's chain of iptables-nft.
    Iptables(usize),
    /// A chain of nftables with a rule for each CIDR.
    RulePerCidr(usize),
}

impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |what, cidrs| format!("{what}, {} CIDRs", with_separators(cidrs));
        f.pad(&match *self {
            Self::Untracked => "no conntrack".to_owned(),
            Self::NoNat => "conntrack, no NAT".to_owned(),
            Self::Daemon(cidrs) => of("daemon", cidrs),
            Self::Iptables(cidrs) => of("iptables-nft", cidrs),
            Self::RulePerCidr(cidrs) => of("nft rule per CIDR", cidrs),
        })
    }
}

impl Rules {
    pub(crate) fn cidrs(self) -> usize {
        match self {
            Self::Untracked | Self::NoNat => 0,
            Self::Daemon(cidrs) | Self::Iptables(cidrs) | Self::RulePerCidr(cidrs) => cidrs,
        }
    }

    fn write(self, lab: &Lab) -> io::Result<()> {
        let cidrs: Vec<String> = (0..self.cidrs())
            .map(|number| format!("{}/26", address(2 * number, 0)))
            .collect();
        match self {
            Self::Untracked => Ok(()),
            Self::NoNat => Nft::host().apply(&lab.node, CONNTRACK),
            Self::Daemon(_) => {
                // Its rules stay, and it does not look at them in the middle of a measurement.
                let (watched, _) = Watched::start(&lab.node, &file_of(&cidrs))?;
                watched.daemon.terminate().map(drop)
            }
            Self::Iptables(_) => Agent::First.sync(&lab.node, &cidrs),
            Self::RulePerCidr(_) => Nft::host().apply(&lab.node, &rule_per_cidr(&cidrs)),
        }
    }
}

/// The kernel tracks connections where a rule asks about them.
const CONNTRACK: &str = "table ip tracking {
    chain forward {
        type filter hook forward priority filter;
        ct state new
    }
}";

/// The daemon's own rules, but for the set.
fn rule_per_cidr(cidrs: &[String]) -> String {
    let rules: String = cidrs
        .iter()
        .map(|cidr| format!("ip daddr {cidr} return\n"))
        .collect();
    format!(
        "table ip rules {{
            chain postrouting {{
                type nat hook postrouting priority srcnat + 10;
                fib daddr type local return
                ip daddr 169.254.0.0/16 return
                {rules}
                masquerade fully-random
            }}
        }}"
    )
}

/// A lab whose node has the rules.
pub(crate) struct Node {
    pub(crate) rules: Rules,
    /// To destinations in no CIDR, and into the last CIDR.
    pub(crate) samples: [Samples; 2],
    lab: Lab,
    sender: FlowSender,
    destinations: [Destinations; 2],
    rounds: usize,
}

impl Node {
    pub(crate) fn new(rules: Rules) -> io::Result<Self> {
        let lab = Lab::new()?;
        rules.write(&lab)?;
        Nft::host().apply(&lab.outside, &counting(&lab))?;
        let cidrs = rules.cidrs().max(1);
        let [in_none, in_last] = PORTS;
        Ok(Self {
            rules,
            samples: Default::default(),
            sender: FlowSender::new(&lab)?,
            lab,
            destinations: [
                Destinations::new(in_none, |flow| in_a_gap(flow, cidrs)),
                Destinations::new(in_last, |flow| address(2 * (cidrs - 1), flow)),
            ],
            rounds: 0,
        })
    }

    /// A round of flows of each kind.
    pub(crate) fn round(&mut self) -> io::Result<[Duration; 2]> {
        self.rounds += 1;
        let mut took = [Duration::ZERO; 2];
        for (took, destinations) in took.iter_mut().zip(&self.destinations) {
            *took = self.sender.send(destinations)?;
            let tracked = tracked(&self.lab)?;
            let expected = match self.rules {
                Rules::Untracked => 0,
                _ => ALL_FLOWS,
            };
            if tracked != expected {
                let rules = self.rules;
                let error = format!("{rules}: {tracked} connections tracked of {ALL_FLOWS} flows");
                return Err(io::Error::other(error));
            }
            if tracked > 0 {
                // So that each flow of the next round is new.
                succeed(self.lab.node.command("conntrack").arg("--flush"))?;
            }
        }
        Ok(took)
    }

    /// An error unless each flow arrived, with the source that it should have.
    pub(crate) fn check(&self) -> io::Result<()> {
        let all = Some(self.rounds * ALL_FLOWS);
        let none = Some(0);
        let expected = match self.rules {
            Rules::Untracked | Rules::NoNat => [[all, none], [all, none]],
            _ => [[none, all], [all, none]],
        };
        let listed = Nft::host().list_table_json(&self.lab.outside, COUNTING)?;
        let counted = NAMES.map(|names| names.map(|name| counted(&listed, name)));
        if counted == expected {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "{}: source kept and masqueraded, in no CIDR and in the last: {counted:?} instead of {expected:?}",
            self.rules
        )))
    }
}

/// Flows that kept their source and flows that were masqueraded, by where they went.
const NAMES: [[&str; 2]; 2] = [
    ["none-kept", "none-masqueraded"],
    ["last-kept", "last-masqueraded"],
];

/// Counts each flow that arrives, and drops it.
fn counting(lab: &Lab) -> String {
    let sources = [lab.addresses.pod, lab.addresses.node_uplink];
    let mut counters = String::new();
    let mut rules = String::new();
    for (port, names) in PORTS.iter().zip(NAMES) {
        for (source, name) in sources.iter().zip(names) {
            counters += &format!("counter {name} {{ }}\n");
            rules += &format!("udp dport {port} ip saddr {source} counter name {name} drop\n");
        }
    }
    format!(
        "table ip {COUNTING} {{
            {counters}
            chain prerouting {{
                type filter hook prerouting priority raw;
                {rules}
            }}
        }}"
    )
}

/// What the counter of this name says.
fn counted(listed: &[Value], name: &str) -> Option<usize> {
    let mut counters = listed.iter().filter_map(|object| object.get("counter"));
    let counter = counters.find(|counter| counter.get("name").is_some_and(|its| its == name))?;
    usize::try_from(counter.get("packets")?.as_u64()?).ok()
}

/// How many connections the node knows.
fn tracked(lab: &Lab) -> io::Result<usize> {
    let count = "/proc/sys/net/netfilter/nf_conntrack_count";
    let text = lab.node.run(|| fs::read_to_string(count))?;
    text.trim().parse().map_err(io::Error::other)
}

/// In the gap behind a CIDR. The flows visit the gaps from the first to the last, out of order.
fn in_a_gap(flow: usize, cidrs: usize) -> Ipv4Addr {
    let spread = flow * STRIDE % ALL_FLOWS;
    address(2 * (spread * cidrs / ALL_FLOWS) + 1, flow)
}

/// Of the ranges with so many addresses, CIDRs and gaps alike, the one of this number; in it, the address that the flow
/// goes to.
fn address(range: usize, flow: usize) -> Ipv4Addr {
    let offset = range * CIDR_ADDRESSES + flow % CIDR_ADDRESSES;
    let offset = u32::try_from(offset).expect("an address of IPv4");
    Ipv4Addr::from_bits(FIRST_CIDR.to_bits() + offset)
}
