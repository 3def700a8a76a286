//! A Kubernetes service on the node, as kube-proxy in iptables mode writes it.

use std::io;
use std::net::{IpAddr, SocketAddr};

use super::competitors::restore_nat;
use super::lab::{Family, Lab};
use super::probe::{PROBE_PORT, Probe, Protocol};

/// Two ClusterIPs and a NodePort of one family, for TCP and UDP.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// Its endpoint is a pod of another node.
    remote_cluster_ip: SocketAddr,
    /// That endpoint: the outside answers for it.
    remote_endpoint: IpAddr,
    /// Its endpoint is the pod of the lab.
    local_cluster_ip: SocketAddr,
    /// The same service from outside, at the node's address.
    node_port: SocketAddr,
}

impl Service {
    fn of(lab: &Lab, family: Family) -> Self {
        let own = lab.addresses_of(family);
        let (remote_cluster_ip, remote_endpoint, local_cluster_ip) = match family {
            Family::V4 => ("10.96.0.20", "10.244.2.2", "10.96.0.21"),
            Family::V6 => ("fd00:10:96::20", "fd00:10:244:2::2", "fd00:10:96::21"),
        };
        let ip = |text: &str| text.parse().expect("an address of this file");
        Self {
            remote_cluster_ip: SocketAddr::new(ip(remote_cluster_ip), PROBE_PORT),
            remote_endpoint: ip(remote_endpoint),
            local_cluster_ip: SocketAddr::new(ip(local_cluster_ip), PROBE_PORT),
            node_port: SocketAddr::new(own.node_uplink, 30_700),
        }
    }

    /// Writes kube-proxy's rules of both families.
    pub fn install(lab: &Lab) -> io::Result<()> {
        for family in Family::BOTH {
            let rules = Self::of(lab, family).kube_proxy_rules(lab, family);
            restore_nat(&lab.node, family, &rules)?;
        }
        Ok(())
    }

    /// The source that each way to the service shows its endpoint, or what became of it: by ClusterIP to another node,
    /// by ClusterIP back to the pod itself (hairpin), and by NodePort from outside.
    pub fn seen_sources(lab: &Lab) -> io::Result<Vec<String>> {
        let mut seen = Vec::new();
        for family in Family::BOTH {
            let service = Self::of(lab, family);
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let to_remote = Probe::from_pod(lab)?;
                let remote = to_remote.seen_source_at(protocol, service.remote_cluster_ip);
                let hairpin = Self::seen_by_hairpin(lab, family, protocol);
                let inbound = Probe::from_outside_to_pod(lab)?;
                let from_outside = inbound.seen_source_at(protocol, service.node_port);
                for (way, source) in [
                    ("ClusterIP", remote),
                    ("hairpin", hairpin),
                    ("NodePort", from_outside),
                ] {
                    let source = match source {
                        Ok(source) => source.ip().to_string(),
                        Err(error) => error.to_string(),
                    };
                    seen.push(format!("{family} {protocol} by {way}: {source}"));
                }
            }
        }
        Ok(seen)
    }

    /// The source that the pod sees of itself by ClusterIP.
    pub fn seen_by_hairpin(
        lab: &Lab,
        family: Family,
        protocol: Protocol,
    ) -> io::Result<SocketAddr> {
        let service = Self::of(lab, family);
        Probe::from_pod_to_itself(lab)?.seen_source_at(protocol, service.local_cluster_ip)
    }

    /// As pkg/proxy/iptables/proxier.go of Kubernetes writes them, with `--cluster-cidr`: the mark 0x4000 asks for
    /// masquerading, and KUBE-POSTROUTING grants it.
    fn kube_proxy_rules(&self, lab: &Lab, family: Family) -> String {
        let pod = lab.addresses_of(family).pod;
        let cluster_cidr = match family {
            Family::V4 => "10.244.0.0/16",
            Family::V6 => "fd00:10:244::/48",
        };
        let mut rules = KUBE_CHAINS.to_owned();
        for protocol in ["tcp", "udp"] {
            for (name, service, endpoint) in [
                ("REMOTE", self.remote_cluster_ip, self.remote_endpoint),
                ("LOCAL", self.local_cluster_ip, pod),
            ] {
                let (ip, port) = (service.ip(), service.port());
                let to = SocketAddr::new(endpoint, PROBE_PORT);
                let chain = format!("{name}-{protocol}");
                rules += &format!(
                    "
:KUBE-SVC-{chain} - [0:0]
:KUBE-SEP-{chain} - [0:0]
-A KUBE-SERVICES -d {ip} -p {protocol} --dport {port} -j KUBE-SVC-{chain}
-A KUBE-SVC-{chain} ! -s {cluster_cidr} -d {ip} -p {protocol} --dport {port} -j KUBE-MARK-MASQ
-A KUBE-SVC-{chain} -j KUBE-SEP-{chain}
-A KUBE-SEP-{chain} -s {endpoint} -j KUBE-MARK-MASQ
-A KUBE-SEP-{chain} -p {protocol} -j DNAT --to-destination {to}"
                );
            }
            let node_port = self.node_port.port();
            rules += &format!(
                "
:KUBE-EXT-{protocol} - [0:0]
-A KUBE-NODEPORTS -p {protocol} --dport {node_port} -j KUBE-EXT-{protocol}
-A KUBE-EXT-{protocol} -j KUBE-MARK-MASQ
-A KUBE-EXT-{protocol} -j KUBE-SVC-LOCAL-{protocol}"
            );
        }
        rules + "\n-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS"
    }
}

/// What kube-proxy has for all services together. Its jumps stand before all others.
const KUBE_CHAINS: &str = r#"
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
-I PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-I OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-I POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -j MASQUERADE --random-fully"#;
