//! pod ── node ── outside: three namespaces, so that real packets show what the node's NAT does.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use super::netns::Namespace;
use super::wait_until;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// The name of the family in nft's words.
    pub fn nft(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// Who has which address. All are host addresses: no prefix of the lab hides an edge that a test probes.
#[derive(Clone, Copy, Debug)]
pub struct Addresses<A = Ipv4Addr> {
    /// The source address of all that the pod sends, unless it is told to take the next one.
    pub pod: A,
    /// Another address of the same namespace, from another network: a pod of another kind.
    pub second_pod: A,
    /// The node's address towards the pod, one of its LOCAL addresses.
    pub pod_gateway: A,
    /// The node's address towards the outside: the source of what is masqueraded.
    pub node_uplink: A,
    /// Next hop of the node. The outside answers for every address, this one is only its name.
    pub outside: A,
    /// The source address of what the outside sends: a client of a service.
    pub client: A,
}

impl Default for Addresses<Ipv4Addr> {
    fn default() -> Self {
        Self {
            pod: Ipv4Addr::new(10, 244, 1, 2),
            second_pod: Ipv4Addr::new(10, 245, 1, 2),
            pod_gateway: Ipv4Addr::new(10, 244, 1, 1),
            // TEST-NET-1, RFC 5737.
            node_uplink: Ipv4Addr::new(192, 0, 2, 1),
            // Benchmarking, RFC 2544.
            outside: Ipv4Addr::new(198, 18, 0, 254),
            // TEST-NET-3, RFC 5737.
            client: Ipv4Addr::new(203, 0, 113, 77),
        }
    }
}

impl Default for Addresses<Ipv6Addr> {
    fn default() -> Self {
        // Unique local addresses (RFC 4193) and the documentation prefix (RFC 3849).
        Self {
            pod: Ipv6Addr::new(0xfd00, 0x10, 0x244, 1, 0, 0, 0, 2),
            second_pod: Ipv6Addr::new(0xfd00, 0x10, 0x245, 1, 0, 0, 0, 2),
            pod_gateway: Ipv6Addr::new(0xfd00, 0x10, 0x244, 1, 0, 0, 0, 1),
            node_uplink: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
            outside: Ipv6Addr::new(0x2001, 0xdb8, 0, 0xff, 0, 0, 0, 0xfe),
            client: Ipv6Addr::new(0x2001, 0xdb8, 0, 0xcc, 0, 0, 0, 0x77),
        }
    }
}

impl<A: Into<IpAddr>> Addresses<A> {
    /// The same addresses as values of either family.
    fn of_either_family(self) -> Addresses<IpAddr> {
        Addresses {
            pod: self.pod.into(),
            second_pod: self.second_pod.into(),
            pod_gateway: self.pod_gateway.into(),
            node_uplink: self.node_uplink.into(),
            outside: self.outside.into(),
            client: self.client.into(),
        }
    }
}

const POD_MAC: &str = "02:00:00:00:00:01";
const POD_GATEWAY_MAC: &str = "02:00:00:00:00:02";
const UPLINK_MAC: &str = "02:00:00:00:00:03";
const OUTSIDE_MAC: &str = "02:00:00:00:00:04";

/// Port of the packets that show that the links are up.
const LINK_PORT: u16 = 6_999;
/// How long such a packet may take before the next one is sent.
const LINK_PAUSE: Duration = Duration::from_millis(5);
/// How long the links may take to come up.
const LINK_LIMIT: Duration = Duration::from_secs(5);

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
    /// Who has which IPv4 address.
    pub addresses: Addresses<Ipv4Addr>,
    /// Who has which IPv6 address.
    pub addresses6: Addresses<Ipv6Addr>,
    next_port: AtomicU16,
}

impl Lab {
    /// A lab with the default addresses.
    pub fn new() -> io::Result<Self> {
        let lab = Self {
            pod: Namespace::new()?,
            node: Namespace::new()?,
            outside: Namespace::new()?,
            addresses: Addresses::default(),
            addresses6: Addresses::default(),
            next_port: AtomicU16::new(FIRST_PROBE_PORT),
        };
        lab.connect()?;
        lab.set_switches()?;
        lab.route_pod()?;
        lab.route_node()?;
        lab.route_outside()?;
        lab.wait_for_links()?;
        Ok(lab)
    }

    /// Who has which address of a family.
    pub fn addresses_of(&self, family: Family) -> Addresses<IpAddr> {
        match family {
            Family::V4 => self.addresses.of_either_family(),
            Family::V6 => self.addresses6.of_either_family(),
        }
    }

    /// Whether the address is one of the node's own (LOCAL).
    pub fn is_local(&self, address: IpAddr) -> bool {
        let own = self.addresses_of(Family::of(address));
        [own.pod_gateway, own.node_uplink].contains(&address)
    }

    /// Whether the address is the pod's, so that the node forwards it there.
    pub fn is_pod(&self, address: IpAddr) -> bool {
        let own = self.addresses_of(Family::of(address));
        [own.pod, own.second_pod].contains(&address)
    }

    /// A source port (or ICMP identifier) that no flow of this lab has had.
    pub fn unused_port(&self) -> u16 {
        let port = self.next_port.fetch_add(1, Ordering::Relaxed);
        assert!(port >= FIRST_PROBE_PORT, "more flows than source ports");
        port
    }

    fn connect(&self) -> io::Result<()> {
        let (pod, outside) = (self.pod.path(), self.outside.path());
        self.node.ip_batch(&[
            format!(
                "link add pod0 address {POD_GATEWAY_MAC} type veth peer name eth0 address {POD_MAC} netns {}",
                pod.display()
            ),
            format!(
                "link add uplink0 address {UPLINK_MAC} type veth peer name eth0 address {OUTSIDE_MAC} netns {}",
                outside.display()
            ),
        ])
    }

    fn set_switches(&self) -> io::Result<()> {
        for (namespace, interfaces) in [
            (&self.pod, &["all", "eth0"][..]),
            (&self.node, &["all", "pod0", "uplink0"]),
            (&self.outside, &["all", "eth0"]),
        ] {
            for name in interfaces {
                // Packets with foreign addresses are the purpose of the lab: no reverse path filter.
                namespace.sysctl(&format!("net/ipv4/conf/{name}/rp_filter"), "0")?;
                // An address that waits for duplicates (RFC 4862) cannot send yet.
                namespace.sysctl(&format!("net/ipv6/conf/{name}/accept_dad"), "0")?;
                namespace.sysctl(&format!("net/ipv6/conf/{name}/accept_ra"), "0")?;
                // The way from the pod back to itself is no detour.
                namespace.sysctl(&format!("net/ipv6/conf/{name}/accept_redirects"), "0")?;
            }
        }
        self.node.sysctl("net/ipv4/ip_forward", "1")?;
        self.node.sysctl("net/ipv6/conf/all/forwarding", "1")?;
        self.node.sysctl("net/ipv4/conf/all/send_redirects", "0")?;
        // A source that is neither the pod's nor the node's must arrive too, to be counted as wrong.
        self.outside.sysctl("net/ipv4/conf/all/accept_local", "1")
    }

    fn route_pod(&self) -> io::Result<()> {
        let mut lines = vec!["link set dev eth0 up".to_owned()];
        for family in Family::BOTH {
            let own = self.addresses_of(family);
            lines.push(address(own.pod, "eth0"));
            lines.push(secondary_address(own.second_pod, "eth0"));
            lines.push(neighbour(own.pod_gateway, POD_GATEWAY_MAC, "eth0"));
            lines.push(default_route(own.pod_gateway, "eth0"));
        }
        self.pod.ip_batch(&lines)
    }

    fn route_node(&self) -> io::Result<()> {
        let mut lines = vec![
            "link set dev pod0 up".to_owned(),
            "link set dev uplink0 up".to_owned(),
        ];
        for family in Family::BOTH {
            let own = self.addresses_of(family);
            lines.push(address(own.pod_gateway, "pod0"));
            lines.push(address(own.node_uplink, "uplink0"));
            for pod in [own.pod, own.second_pod] {
                lines.push(neighbour(pod, POD_MAC, "pod0"));
                lines.push(format!("route add {pod} dev pod0 src {}", own.pod_gateway));
            }
            lines.push(neighbour(own.outside, OUTSIDE_MAC, "uplink0"));
            lines.push(default_route(own.outside, "uplink0"));
        }
        self.node.ip_batch(&lines)
    }

    /// The outside answers for every address (AnyIP). The route stands in table `main`: in `local` it
    /// would be found before the way back to the node.
    fn route_outside(&self) -> io::Result<()> {
        let mut lines = vec![
            "link set dev eth0 up".to_owned(),
            "route add local 0.0.0.0/0 dev lo table main".to_owned(),
            "route add local ::/0 dev lo table main".to_owned(),
        ];
        for family in Family::BOTH {
            let own = self.addresses_of(family);
            lines.push(address(own.client, "lo"));
            lines.push(format!("route add {} dev eth0", own.node_uplink));
            lines.push(neighbour(own.node_uplink, UPLINK_MAC, "eth0"));
            for pod in [own.pod, own.second_pod] {
                lines.push(format!(
                    "route add {pod} via {} dev eth0 onlink",
                    own.node_uplink
                ));
            }
        }
        self.outside.ip_batch(&lines)
    }

    /// A link that has just come up drops what it is given, until the kernel has noticed its carrier: waits for
    /// packets to arrive both ways.
    fn wait_for_links(&self) -> io::Result<()> {
        let socket = || -> io::Result<UdpSocket> {
            let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, LINK_PORT))?;
            socket.set_read_timeout(Some(LINK_PAUSE))?;
            Ok(socket)
        };
        let (pod, outside) = (self.pod.run(socket)?, self.outside.run(socket)?);
        for family in Family::BOTH {
            let to = mapped(self.addresses_of(family).outside);
            let there_and_back = || -> io::Result<()> {
                pod.send_to(&[0], (to, LINK_PORT))?;
                let (_, source) = outside.recv_from(&mut [0])?;
                outside.send_to(&[0], source)?;
                pod.recv(&mut [0]).map(drop)
            };
            wait_until(LINK_LIMIT, || there_and_back().is_ok())?;
        }
        Ok(())
    }
}

/// An IPv4 address as the IPv6 address that a socket of both families knows it by (RFC 4291, section 2.5.5.2).
pub fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

fn address(address: IpAddr, interface: &str) -> String {
    // Without a length it is a host address: /32 or /128.
    match address {
        IpAddr::V4(address) => format!("address add {address} dev {interface}"),
        IpAddr::V6(address) => format!("address add {address} dev {interface} nodad"),
    }
}

/// An address that the kernel never chooses by itself (RFC 6724, rule 3: avoid deprecated addresses).
fn secondary_address(address: IpAddr, interface: &str) -> String {
    format!("{} preferred_lft 0", self::address(address, interface))
}

fn neighbour(address: IpAddr, mac: &str, interface: &str) -> String {
    // Permanent: an entry that has to be resolved drops the packets of a burst.
    format!("neighbour replace {address} lladdr {mac} dev {interface} nud permanent")
}

fn default_route(via: IpAddr, interface: &str) -> String {
    format!("route add default via {via} dev {interface} onlink")
}

/// Whether Linux sends a packet to this address through a router.
///
/// Not so in IPv4: `0.0.0.0/8` ("this network"), `127.0.0.0/8` (loopback), `224.0.0.0/4` (multicast) and
/// the limited broadcast address. The rest of `240.0.0.0/4` is routed by Linux like any other prefix.
///
/// Not so in IPv6: `::`, `::1`, `ff00::/8` (multicast) and `::ffff:0:0/96` (a socket sends IPv4 there,
/// RFC 4291 section 2.5.5.2). `fe80::/10` never leaves its link (RFC 4291 section 2.5.6), so that no
/// packet can show what is done with a link-local destination.
pub fn is_routable(address: impl Into<IpAddr>) -> bool {
    match address.into() {
        IpAddr::V4(address) => {
            address.octets()[0] != 0
                && !address.is_loopback()
                && !address.is_multicast()
                && !address.is_broadcast()
        }
        IpAddr::V6(address) => {
            !address.is_unspecified()
                && !address.is_loopback()
                && !address.is_multicast()
                && !address.is_unicast_link_local()
                && address.to_ipv4_mapped().is_none()
        }
    }
}
