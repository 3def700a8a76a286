//! What a new flow through the node costs, by what decides about it.

use std::io;
use std::thread;

use crate::flow_nodes::{Node, Rules};
use crate::flow_sender::{FLOWS, stay_on_one_cpu};
use crate::netlink_buffer::{LEFT_OUT, unless_too_long};
use crate::samples::{Samples, ratio, verdict};

/// How much more a flow with [`MANY`] CIDRs may cost than one with [`FEW`]: to no CIDR, and to the last one.
const BOUND_RATIOS: [f64; 2] = [1.3, 1.1];
const FEW: Rules = Rules::Daemon(4);
const MANY: Rules = Rules::Daemon(10_000);
const ROUNDS: usize = 100;
/// Rounds whose times are not counted.
const WARM_UP: usize = 2;

const CASES: [Rules; 15] = [
    Rules::Untracked,
    Rules::NoNat,
    FEW,
    Rules::Daemon(64),
    Rules::Daemon(1_000),
    MANY,
    Rules::Daemon(50_000),
    Rules::Iptables(4),
    Rules::Iptables(64),
    Rules::Iptables(1_000),
    Rules::Iptables(10_000),
    Rules::RulePerCidr(4),
    Rules::RulePerCidr(64),
    Rules::RulePerCidr(1_000),
    Rules::RulePerCidr(10_000),
];

/// Prints the table.
pub(crate) fn print(most_cidrs: usize) -> io::Result<()> {
    println!(
        "\nNew flow of a pod through the node: nanoseconds on the CPU, {ROUNDS} rounds of {FLOWS} flows, in turns"
    );
    println!(
        "  (sending and receiving included; ratios of p50: to conntrack without NAT, and to the daemon with 4 CIDRs)"
    );
    println!(
        "  {:<34}{:^36}{:^36}",
        "", "to no CIDR, spread between all", "to the last CIDR"
    );
    let head = format!("{:>10}{:>10}{:>8}{:>8}", "p50", "p99", "no NAT", "4");
    println!("  {:<34}{head}{head}", "");
    let mut nodes = Vec::new();
    for rules in CASES
        .into_iter()
        .filter(|rules| rules.cidrs() <= most_cidrs)
    {
        match unless_too_long(Node::new(rules))? {
            Some(node) => nodes.push(node),
            None => println!("  {rules:<34}  {LEFT_OUT}"),
        }
    }
    thread::scope(|scope| {
        scope
            .spawn(|| measure(&mut nodes))
            .join()
            .expect("a thread")
    })?;
    nodes.iter().for_each(|node| print_line(&nodes, node));
    print_judgement(&nodes);
    Ok(())
}

/// They take turns, so that all see the same machine.
fn measure(nodes: &mut [Node]) -> io::Result<()> {
    stay_on_one_cpu()?;
    for round in 0..WARM_UP + ROUNDS {
        for node in &mut *nodes {
            let took = node.round()?;
            if round >= WARM_UP {
                for (samples, took) in node.samples.iter_mut().zip(took) {
                    samples.push(took);
                }
            }
        }
    }
    nodes.iter().try_for_each(Node::check)
}

fn print_line(nodes: &[Node], node: &Node) {
    let of = |rules| samples(nodes, rules).expect("a node with few CIDRs");
    let columns: String = node
        .samples
        .iter()
        .zip(of(Rules::NoNat))
        .zip(of(FEW))
        .map(|((samples, no_nat), few)| {
            format!(
                "{:>10}{:>10}{:>8.2}{:>8.2}",
                samples.median().as_nanos(),
                samples.percentile(99).as_nanos(),
                ratio(samples.median(), no_nat.median()),
                ratio(samples.median(), few.median()),
            )
        })
        .collect();
    println!("  {:<34}{columns}", node.rules);
}

fn samples(nodes: &[Node], rules: Rules) -> Option<&[Samples; 2]> {
    let node = nodes.iter().find(|node| node.rules == rules)?;
    Some(&node.samples)
}

fn print_judgement(nodes: &[Node]) {
    let (Some(few), Some(many)) = (samples(nodes, FEW), samples(nodes, MANY)) else {
        return;
    };
    let bounds = BOUND_RATIOS.iter().zip(["no CIDR", "the last CIDR"]);
    for ((few, many), (most, to)) in few.iter().zip(many).zip(bounds) {
        let ratio = ratio(many.median(), few.median());
        let bound = format!(
            "  To {to}, with 10,000 CIDRs at most {most} times as with 4 (it is {ratio:.2})"
        );
        println!("{}", verdict(&bound, ratio <= *most));
    }
}
