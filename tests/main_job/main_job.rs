//! The main job on real packets: a configuration file becomes the node's NAT table.
//!
//! Runs the daemon in the node of a throw-away lab, sends real flows and prints what the receivers
//! saw. Ends with 1 if a line is not as expected.
//!
//! ```text
//! main_job DAEMON CONFIG-FILE
//! ```

#[allow(dead_code)] // tests/all.rs tells what no program uses.
#[path = "../support/mod.rs"]
mod support;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;

use support::daemon::{Daemon, WAIT_LIMIT};
use support::lab::{Family, Lab};
use support::nft::{Nft, TABLE};
use support::oracle::Oracle;
use support::probe::{Probe, Protocol};

/// Destinations beside the edges of the prefixes: public ones, and cloud metadata.
const OTHERS: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1)),
    IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7)),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [daemon, config_file] = arguments.as_slice() else {
        eprintln!("usage: main_job DAEMON CONFIG-FILE");
        return ExitCode::from(2);
    };
    match run(daemon, config_file) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(unexpected) => {
            eprintln!("{unexpected} lines are not as expected");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("main_job: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the number of lines that are not as expected.
fn run(program: &str, config_file: &str) -> io::Result<usize> {
    let configuration = std::fs::read_to_string(config_file)?;
    let oracle = Oracle::new(&configuration)?;
    let lab = Lab::new()?;
    let addresses = lab.addresses;
    println!(
        "pod {} ── node {} ── outside; the daemon runs in the node with {config_file}\n",
        addresses.pod, addresses.node_uplink
    );
    let mut daemon = Daemon::start(program, &lab.node, &configuration, &[])?;
    for family in Family::BOTH.into_iter().filter(|f| oracle.programs(*f)) {
        daemon.wait_for_table_of(family, WAIT_LIMIT)?;
    }

    let lines = probe_all(&lab, &oracle)?;
    let width = Line::address_width(&oracle);
    println!("{}", Line::header(width));
    for line in &lines {
        println!("{line:width$}");
    }
    let unexpected = lines.iter().filter(|line| !line.as_expected()).count();
    println!("\n{} lines, {unexpected} not as expected\n", lines.len());
    for family in Family::BOTH.into_iter().filter(|f| oracle.programs(*f)) {
        println!("# nft list table {} {TABLE}", family.nft());
        let text = Nft::host().list_table_text_of(family, &lab.node, TABLE)?;
        print!("{text}");
    }
    if daemon.has_ended() {
        return Err(io::Error::other(format!(
            "the daemon ended:\n{}",
            daemon.log()
        )));
    }
    let status = daemon.terminate()?;
    if !status.success() {
        return Err(io::Error::other(format!("SIGTERM: the daemon's {status}")));
    }
    Ok(unexpected)
}

fn probe_all(lab: &Lab, oracle: &Oracle) -> io::Result<Vec<Line>> {
    let mut destinations = oracle.edges();
    destinations.extend(OTHERS);
    destinations.retain(|destination| oracle.programs(Family::of(*destination)));
    destinations.sort_unstable();
    destinations.dedup();
    let outside = Probe::from_pod(lab)?;
    let node = Probe::from_pod_to_node(lab)?;
    let mut lines = Vec::new();
    for destination in destinations {
        let rule = match oracle.deciding_prefix(destination) {
            Some(prefix) => prefix.to_string(),
            None => "none".to_owned(),
        };
        let pod = lab.addresses_of(Family::of(destination)).pod;
        let expected = oracle.expected_source(lab, pod, destination);
        lines.extend(Line::of_each_protocol(
            &outside,
            destination,
            rule,
            expected,
            pod,
        ));
    }
    for family in Family::BOTH.into_iter().filter(|f| oracle.programs(*f)) {
        let own = lab.addresses_of(family);
        let rule = "LOCAL".to_owned();
        let local = own.node_uplink;
        lines.extend(Line::of_each_protocol(&node, local, rule, own.pod, own.pod));
    }
    Ok(lines)
}

/// One probe: what was expected, what was seen.
struct Line {
    destination: IpAddr,
    protocol: Protocol,
    seen: io::Result<IpAddr>,
    pod: IpAddr,
    rule: String,
    expected: IpAddr,
}

impl Line {
    /// Room for addresses of the families that are shown: an IPv4 address, or most IPv6 addresses.
    fn address_width(oracle: &Oracle) -> usize {
        if oracle.programs(Family::V6) { 39 } else { 16 }
    }

    fn header(width: usize) -> String {
        format!(
            "{:<width$} PROTOCOL  {:<width$} TREATED       BY PREFIX           AS EXPECTED",
            "DESTINATION", "SOURCE SEEN"
        )
    }

    fn of_each_protocol(
        probe: &Probe<'_>,
        destination: IpAddr,
        rule: String,
        expected: IpAddr,
        pod: IpAddr,
    ) -> impl Iterator<Item = Self> {
        Protocol::ALL.into_iter().map(move |protocol| Self {
            destination,
            protocol,
            seen: probe
                .seen_source(protocol, destination)
                .map(|source| source.ip()),
            pod,
            rule: rule.clone(),
            expected,
        })
    }

    fn as_expected(&self) -> bool {
        self.seen.as_ref().is_ok_and(|seen| *seen == self.expected)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seen, treated) = match &self.seen {
            Ok(seen) if *seen == self.pod => (seen.to_string(), "source kept"),
            Ok(seen) => (seen.to_string(), "masqueraded"),
            Err(_) => ("nothing".to_owned(), "lost"),
        };
        let width = f.width().unwrap_or_default();
        write!(
            f,
            "{:<width$} {:<9} {seen:<width$} {treated:<13} {:<19} ",
            self.destination.to_string(),
            self.protocol,
            self.rule
        )?;
        match &self.seen {
            _ if self.as_expected() => f.write_str("yes"),
            Ok(_) => write!(f, "NO: expected {}", self.expected),
            Err(error) => write!(f, "NO: {error}"),
        }
    }
}
