//! A daemon in the node of a lab, judged by what packets show.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::daemon::{Daemon, WAIT_LIMIT};
use super::lab::{Family, Lab};
use super::oracle::Oracle;
use super::probe::{Flow, PROBE_PORT, Probe, Protocol};
use super::wait_until;

/// A change must show within this time. Generous: only a test that fails waits so long.
const CHANGE_LIMIT: Duration = Duration::from_secs(4);

/// Destinations that are judged beside the edges of the configured prefixes.
const OTHERS: [IpAddr; 9] = [
    IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1)),
    IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10)),
    IpAddr::V4(Ipv4Addr::new(100, 64, 0, 1)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 200)),
    IpAddr::V6(Ipv6Addr::new(0x2606, 0x4700, 0, 0, 0, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0x0101, 0x0101)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 0xa)),
];

/// The daemon and its lab.
#[derive(Debug)]
pub struct Judged {
    /// Runs in the node. Before the lab, so that it ends first.
    pub daemon: Daemon,
    /// Where it runs.
    pub lab: Lab,
    arguments: Vec<String>,
}

impl Judged {
    /// Starts it in a new lab.
    pub fn start(program: &str, configuration: &str, arguments: &[&str]) -> io::Result<Self> {
        Self::start_in(Lab::new()?, program, configuration, arguments)
    }

    /// Starts it in a lab that is prepared, and waits for the tables that its configuration asks for.
    pub fn start_in(
        lab: Lab,
        program: &str,
        configuration: &str,
        arguments: &[&str],
    ) -> io::Result<Self> {
        let daemon = Daemon::start(program, &lab.node, configuration, arguments)?;
        Self::of(daemon, lab, arguments).with_tables(configuration)
    }

    /// The same with Debian 13's libraries, without arguments.
    pub fn start_on_debian_13(program: &str, configuration: &str) -> io::Result<Self> {
        let lab = Lab::new()?;
        let daemon = Daemon::start_on_debian_13(program, &lab.node, configuration, &[])?;
        Self::of(daemon, lab, &[]).with_tables(configuration)
    }

    fn with_tables(mut self, configuration: &str) -> io::Result<Self> {
        let oracle = self.oracle(configuration)?;
        for family in Family::BOTH.into_iter().filter(|f| oracle.programs(*f)) {
            self.daemon.wait_for_table_of(family, WAIT_LIMIT)?;
        }
        Ok(self)
    }

    /// A daemon that runs already, with these arguments.
    pub fn of(daemon: Daemon, lab: Lab, arguments: &[&str]) -> Self {
        Self {
            daemon,
            lab,
            arguments: arguments.iter().map(ToString::to_string).collect(),
        }
    }

    /// Gives it another configuration file and tells it so.
    pub fn change(&self, configuration: &str) -> io::Result<()> {
        self.daemon.replace_configuration(configuration)?;
        self.daemon.reload()
    }

    /// What the configuration means for this daemon.
    pub fn oracle(&self, configuration: &str) -> io::Result<Oracle> {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        Oracle::with_arguments(configuration, &arguments)
    }

    /// Fails unless all packets of both families are treated as the configuration says.
    #[track_caller]
    pub fn assert_follows(&self, configuration: &str) {
        let mistakes = self.mistakes(configuration, &Family::BOTH);
        assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
    }

    /// Waits until all packets are treated as the configuration says.
    #[track_caller]
    pub fn assert_comes_to_follow(&self, configuration: &str) {
        self.assert_family_comes_to_follow(configuration, &Family::BOTH);
    }

    /// The same, looking at these families only.
    #[track_caller]
    pub fn assert_family_comes_to_follow(&self, configuration: &str, families: &[Family]) {
        let mut mistakes = Vec::new();
        let waited = wait_until(CHANGE_LIMIT, || {
            mistakes = self.mistakes(configuration, families);
            mistakes.is_empty()
        });
        assert!(waited.is_ok(), "{}", mistakes.join("\n"));
    }

    /// All that is not as the configuration says, one line each: traffic of the pod to every edge and to LOCAL
    /// addresses, of its second address, of the node itself, and of a client outside.
    pub fn mistakes(&self, configuration: &str, families: &[Family]) -> Vec<String> {
        let oracle = self.oracle(configuration).expect("a configuration");
        let mut destinations = oracle.edges();
        destinations.extend(OTHERS);
        let of_families = |address: &IpAddr| families.contains(&Family::of(*address));
        destinations.retain(of_families);
        let lab = &self.lab;
        let (outside, local) = self.outside_and_local(destinations);
        let mut findings = Findings::new(lab, &oracle);
        findings.judge_outside(&outside);
        findings.judge_local(&local, families);
        findings.judge_inbound(families);
        findings.mistakes
    }

    /// Fails if what never leaves the node is changed, from one of its addresses to the other. A competitor may do that.
    #[track_caller]
    pub fn assert_node_reaches_itself_unchanged(&self) {
        let probe = Probe::from_node_to_itself(&self.lab).expect("a probe");
        for own in Family::BOTH.map(|family| self.lab.addresses_of(family)) {
            for (from, to) in [
                (own.pod_gateway, own.node_uplink),
                (own.node_uplink, own.pod_gateway),
            ] {
                for protocol in Protocol::ALL {
                    let port = self.lab.unused_port();
                    let (from, to) = (SocketAddr::new(from, port), SocketAddr::new(to, PROBE_PORT));
                    let flow = Flow { protocol, from, to };
                    let seen = probe.seen_source_of(flow).expect("a probe that arrives");
                    assert_eq!(seen, from, "{flow}");
                }
            }
        }
    }

    /// What the node forwards to the outside, and what ends in the node. The pod's addresses are neither.
    fn outside_and_local(&self, mut destinations: Vec<IpAddr>) -> (Vec<IpAddr>, Vec<IpAddr>) {
        destinations.retain(|to| !self.lab.is_pod(*to));
        destinations
            .into_iter()
            .partition(|to| !self.lab.is_local(*to))
    }

    /// All that is not as the configuration says with traffic of the pod to these destinations.
    pub fn mistakes_at(
        &self,
        configuration: &str,
        destinations: &[IpAddr],
        protocols: &[Protocol],
    ) -> Vec<String> {
        let oracle = self.oracle(configuration).expect("a configuration");
        let (outside, _) = self.outside_and_local(destinations.to_vec());
        let probe = Probe::from_pod(&self.lab).expect("a probe");
        let mut findings = Findings::new(&self.lab, &oracle);
        for to in outside {
            let pod = self.lab.addresses_of(Family::of(to)).pod;
            findings.judge(&probe, pod, to, protocols);
        }
        findings.mistakes
    }
}

/// Probes, and what was wrong with them.
struct Findings<'a> {
    lab: &'a Lab,
    oracle: &'a Oracle,
    mistakes: Vec<String>,
}

impl<'a> Findings<'a> {
    fn new(lab: &'a Lab, oracle: &'a Oracle) -> Self {
        Self {
            lab,
            oracle,
            mistakes: Vec::new(),
        }
    }

    /// Traffic of the pod, of its second address and of the node itself.
    fn judge_outside(&mut self, destinations: &[IpAddr]) {
        let through = Probe::from_pod(self.lab).expect("a probe");
        for to in destinations {
            let own = self.lab.addresses_of(Family::of(*to));
            self.judge(&through, own.pod, *to, &Protocol::ALL);
            self.judge(&through, own.second_pod, *to, &[Protocol::Udp]);
        }
        drop(through);
        let of_node = Probe::from_node(self.lab).expect("a probe");
        for to in destinations {
            let own = self.lab.addresses_of(Family::of(*to));
            for from in [own.node_uplink, own.pod_gateway] {
                self.judge(&of_node, from, *to, &[Protocol::Udp]);
            }
        }
    }

    /// Traffic of the pod to LOCAL addresses.
    fn judge_local(&mut self, destinations: &[IpAddr], families: &[Family]) {
        let own = families.iter().map(|family| self.lab.addresses_of(*family));
        let uplinks = own.map(|own| own.node_uplink);
        let destinations: Vec<IpAddr> = destinations.iter().copied().chain(uplinks).collect();
        let from_pod = Probe::from_pod_to_node(self.lab).expect("a probe");
        for to in destinations {
            let pod = self.lab.addresses_of(Family::of(to)).pod;
            self.judge(&from_pod, pod, to, &Protocol::ALL);
        }
    }

    /// Traffic of a client outside to the pod's addresses.
    fn judge_inbound(&mut self, families: &[Family]) {
        let inbound = Probe::from_outside_to_pod(self.lab).expect("a probe");
        for family in families {
            let own = self.lab.addresses_of(*family);
            for to in [own.pod, own.second_pod] {
                self.judge(&inbound, own.client, to, &[Protocol::Udp, Protocol::Tcp]);
            }
        }
    }

    fn judge(&mut self, probe: &Probe<'_>, from: IpAddr, to: IpAddr, protocols: &[Protocol]) {
        let expected = self.oracle.expected_source(self.lab, from, to);
        for protocol in protocols {
            match probe.seen_source_from(from, *protocol, to) {
                Ok(seen) if seen.ip() == expected => {}
                Ok(seen) => self.mistakes.push(format!(
                    "{protocol} from {from} to {to} came from {seen}, not from {expected}"
                )),
                Err(error) => self.mistakes.push(error.to_string()),
            }
        }
    }
}
