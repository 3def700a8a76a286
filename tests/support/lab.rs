//! pod ── node ── outside: three namespaces, so that real packets show what the node's NAT does.

use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU16, Ordering};

use super::netns::Namespace;

/// Who has which address. All are host addresses: no prefix of the lab hides an edge that a test probes.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// The source address of all that the pod sends.
    pub pod: Ipv4Addr,
    /// The node's address towards the pod, one of its LOCAL addresses.
    pub pod_gateway: Ipv4Addr,
    /// The node's address towards the outside: the source of what is masqueraded.
    pub node_uplink: Ipv4Addr,
    /// Next hop of the node. The outside answers for every address, this one is only its name.
    pub outside: Ipv4Addr,
}

impl Default for Addresses {
    fn default() -> Self {
        Self {
            pod: Ipv4Addr::new(10, 244, 1, 2),
            pod_gateway: Ipv4Addr::new(10, 244, 1, 1),
            // TEST-NET-1, RFC 5737.
            node_uplink: Ipv4Addr::new(192, 0, 2, 1),
            // Benchmarking, RFC 2544.
            outside: Ipv4Addr::new(198, 18, 0, 254),
        }
    }
}

const POD_MAC: &str = "02:00:00:00:00:01";
const POD_GATEWAY_MAC: &str = "02:00:00:00:00:02";
const UPLINK_MAC: &str = "02:00:00:00:00:03";
const OUTSIDE_MAC: &str = "02:00:00:00:00:04";

/// Source ports of probes. No two flows of a lab share one, so that none meets an old conntrack entry.
const FIRST_PROBE_PORT: u16 = 10_000;

/// The three namespaces. Dropped, they are gone with all that is in them.
#[derive(Debug)]
pub struct Lab {
    /// Sends.
    pub pod: Namespace,
    /// Forwards; the daemon under test runs here.
    pub node: Namespace,
    /// Receives what is sent to any address.
    pub outside: Namespace,
    /// Who has which address.
    pub addresses: Addresses,
    next_port: AtomicU16,
}

impl Lab {
    /// A lab with the default addresses.
    pub fn new() -> io::Result<Self> {
        Self::with_addresses(Addresses::default())
    }

    /// A lab whose addresses the caller chooses.
    pub fn with_addresses(addresses: Addresses) -> io::Result<Self> {
        let lab = Self {
            pod: Namespace::new()?,
            node: Namespace::new()?,
            outside: Namespace::new()?,
            addresses,
            next_port: AtomicU16::new(FIRST_PROBE_PORT),
        };
        lab.connect()?;
        lab.route_pod()?;
        lab.route_node()?;
        lab.route_outside()?;
        Ok(lab)
    }

    /// A source port (or ICMP identifier) that no flow of this lab has had.
    pub fn unused_port(&self) -> u16 {
        let port = self.next_port.fetch_add(1, Ordering::Relaxed);
        assert!(port >= FIRST_PROBE_PORT, "more flows than source ports");
        port
    }

    fn connect(&self) -> io::Result<()> {
        let (pod, outside) = (self.pod.path(), self.outside.path());
        self.node.ip(&format!(
            "link add pod0 address {POD_GATEWAY_MAC} type veth peer name eth0 address {POD_MAC} netns {}",
            pod.display()
        ))?;
        self.node.ip(&format!(
            "link add uplink0 address {UPLINK_MAC} type veth peer name eth0 address {OUTSIDE_MAC} netns {}",
            outside.display()
        ))?;
        for (namespace, interface) in [
            (&self.pod, "eth0"),
            (&self.node, "pod0"),
            (&self.node, "uplink0"),
            (&self.outside, "eth0"),
        ] {
            namespace.ip(&format!("link set dev {interface} up"))?;
            // Packets with foreign addresses are the purpose of the lab: no reverse path filter.
            namespace.sysctl(&format!("net/ipv4/conf/{interface}/rp_filter"), "0")?;
        }
        for namespace in [&self.pod, &self.node, &self.outside] {
            namespace.sysctl("net/ipv4/conf/all/rp_filter", "0")?;
        }
        Ok(())
    }

    fn route_pod(&self) -> io::Result<()> {
        let Addresses {
            pod, pod_gateway, ..
        } = self.addresses;
        self.pod.ip(&format!("address add {pod}/32 dev eth0"))?;
        self.pod
            .ip(&neighbour(pod_gateway, POD_GATEWAY_MAC, "eth0"))?;
        self.pod.ip(&default_route(pod_gateway, "eth0"))
    }

    fn route_node(&self) -> io::Result<()> {
        let Addresses {
            pod,
            pod_gateway,
            node_uplink,
            outside,
        } = self.addresses;
        let node = &self.node;
        node.ip(&format!("address add {pod_gateway}/32 dev pod0"))?;
        node.ip(&format!("address add {node_uplink}/32 dev uplink0"))?;
        node.ip(&neighbour(pod, POD_MAC, "pod0"))?;
        node.ip(&neighbour(outside, OUTSIDE_MAC, "uplink0"))?;
        node.ip(&format!("route add {pod}/32 dev pod0 src {pod_gateway}"))?;
        node.ip(&default_route(outside, "uplink0"))?;
        node.sysctl("net/ipv4/ip_forward", "1")?;
        node.sysctl("net/ipv4/conf/all/send_redirects", "0")
    }

    /// The outside answers for every address (AnyIP). The route stands in table `main`: in `local` it
    /// would be found before the way back to the node.
    fn route_outside(&self) -> io::Result<()> {
        let Addresses {
            pod, node_uplink, ..
        } = self.addresses;
        let outside = &self.outside;
        outside.ip("route add local 0.0.0.0/0 dev lo table main")?;
        outside.ip(&format!("route add {node_uplink}/32 dev eth0"))?;
        outside.ip(&neighbour(node_uplink, UPLINK_MAC, "eth0"))?;
        outside.ip(&format!(
            "route add {pod}/32 via {node_uplink} dev eth0 onlink"
        ))?;
        // A source that is neither the pod's nor the node's must arrive too, to be counted as wrong.
        outside.sysctl("net/ipv4/conf/all/accept_local", "1")
    }
}

fn neighbour(address: Ipv4Addr, mac: &str, interface: &str) -> String {
    // Permanent: an entry that has to be resolved drops the packets of a burst.
    format!("neighbour replace {address} lladdr {mac} dev {interface} nud permanent")
}

fn default_route(via: Ipv4Addr, interface: &str) -> String {
    format!("route add default via {via} dev {interface} onlink")
}

/// Whether Linux sends a packet to this address through a router. Not so: `0.0.0.0/8` ("this network"),
/// `127.0.0.0/8` (loopback), `224.0.0.0/4` (multicast) and the limited broadcast address. The rest
/// of `240.0.0.0/4` is routed by Linux like any other prefix.
pub fn is_routable(address: Ipv4Addr) -> bool {
    address.octets()[0] != 0
        && !address.is_loopback()
        && !address.is_multicast()
        && !address.is_broadcast()
}
