//! Where pods are: what the configuration says, or a guess by the names of interfaces. Without the API server nothing else
//! tells.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::kernel::routing::{self, Route};
use crate::policy::{Policy, Sources};
use crate::ruleset::Family;

/// How the names begin that CNI plugins give to bridges, tunnels and the nodes' ends of veth pairs: bridge and ptp, flannel,
/// Calico (tunnels: VXLAN, IPIP, WireGuard), Cilium, Weave, kube-router, Azure CNI, Amazon VPC CNI, GKE, kubenet, Antrea,
/// OVN-Kubernetes, Kube-OVN.
const INTERFACES_TOWARDS_PODS: [&str; 19] = [
    "cni",
    "veth",
    "flannel",
    "cali",
    "vxlan.calico",
    "vxlan-v6.calico",
    "tunl",
    "wireguard.cali",
    "wg-v6.cali",
    "lxc",
    "cilium",
    "weave",
    "kube-bridge",
    "azv",
    "eni",
    "gke",
    "cbr0",
    "antrea-gw",
    "ovn",
];

/// Whether an interface of this name leads to pods, as far as names tell.
pub(super) fn is_towards_pods(interface: &str) -> bool {
    INTERFACES_TOWARDS_PODS
        .iter()
        .any(|name| interface.starts_with(name))
}

/// Where pods' traffic comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum PodSources {
    /// `sourceCIDRs`: no other traffic is looked at.
    Configured(Vec<IpNet>),
    /// By the names of the interfaces that routes lead to.
    Guessed(Vec<IpNet>),
    #[default]
    Unknown,
}

impl PodSources {
    /// As the configuration has it, and else by the routes. `policy`: none where it is bad.
    pub(super) fn read(policy: Option<&Policy>) -> Self {
        let of_family = policy
            .into_iter()
            .flat_map(|policy| std::iter::once(&policy.ipv4).chain(&policy.ipv6));
        let sources = of_family.filter_map(|family| match &family.sources {
            Sources::Any => None,
            Sources::Only(sources) => Some(sources),
        });
        // Of both families, or of none.
        let configured: Vec<&Vec<IpNet>> = sources.collect();
        if !configured.is_empty() {
            return Self::Configured(configured.into_iter().flatten().copied().collect());
        }
        let routes = Family::ALL
            .into_iter()
            .filter_map(|family| routing::routes(family).ok());
        let routes: Vec<Route> = routes.flatten().collect();
        let guessed: Vec<IpNet> = ranges(&routes).map(|(range, _)| range).collect();
        match guessed.is_empty() {
            true => Self::Unknown,
            false => Self::Guessed(guessed),
        }
    }
}

/// The ranges that look like pods', each with its interface.
pub(super) fn ranges(routes: &[Route]) -> impl Iterator<Item = (IpNet, &str)> {
    let is_pods = |route: &&Route| {
        let network = route.destination.network();
        let is_link_local = match network {
            IpAddr::V4(address) => address.is_link_local(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        };
        is_towards_pods(&route.interface)
            && route.destination.prefix_len() > 0
            && !network.is_multicast()
            && !is_link_local
    };
    routes
        .iter()
        .filter(is_pods)
        .map(|route| (route.destination, route.interface.as_str()))
}
