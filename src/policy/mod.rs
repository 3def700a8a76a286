//! The policy: what happens to a destination. A plain value; how the kernel is told stands in
//! [`crate::ruleset`].

pub mod interfaces;
pub mod judgement;
pub mod node_address;
pub mod prefix_table;
pub mod words;

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::{Config, Finding, PortRange, reserved_ranges};
use interfaces::Interfaces;
use node_address::{NodeAddress, SnatAddress};
use prefix_table::{Entry, Interval, Origin, Verdict};

/// What happens to traffic that leaves the node and is not bound for a LOCAL address. Its `Display` is the one line
/// that the log shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// IPv4 traffic.
    pub ipv4: FamilyPolicy,
    /// IPv6 traffic; `None`: it is left alone.
    pub ipv6: Option<FamilyPolicy>,
    /// What the node itself sends is treated like all other traffic; false: it is left alone.
    pub masq_node_traffic: bool,
    /// Masqueraded connections get a random source port (`masquerade fully-random`, nft(8)).
    pub random_fully: bool,
    /// Source ports of masqueraded TCP, UDP and SCTP connections, weighted by the size of each range; empty: as the
    /// kernel chooses.
    pub to_ports: Vec<PortRange>,
    /// Exempt destinations keep their source address whatever other NAT rules say, but for [`NOT_ENFORCED`].
    pub enforce: bool,
    /// Packets that belong to no connection are dropped where they would have to be masqueraded.
    pub drop_invalid: bool,
    /// Only what leaves by these is looked at.
    pub output_interfaces: Interfaces,
}

/// What `enforce` leaves to those who translated its destination; in what is told of it.
pub const NOT_ENFORCED: &str = "what was translated to another destination (Services)";

/// What happens to traffic of one address family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FamilyPolicy {
    /// For which destinations a configured prefix decides: disjoint, in ascending order. All others are masqueraded.
    pub destinations: Vec<Interval>,
    /// Traffic from other sources is left alone.
    pub sources: Sources,
    /// The source address that masqueraded connections get.
    pub snat_address: SnatAddress,
}

/// Traffic from which sources is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sources {
    /// From all.
    Any,
    /// From these prefixes: disjoint, in ascending order, and none where `sourceCIDRs` names other families only.
    Only(Vec<IpNet>),
}

impl Policy {
    /// What `config` means for each destination: the longest prefix that contains it decides. The node's addresses are still
    /// to be told, see [`Self::on_node`].
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let is_ipv4 = |prefix: &IpNet| matches!(prefix, IpNet::V4(_));
        let is_ipv6 = |prefix: &IpNet| matches!(prefix, IpNet::V6(_));
        let link_local = IpNet::V4(reserved_ranges::LINK_LOCAL_IPV4);
        let ipv4 = (!config.masq_link_local).then_some(link_local);
        let link_local = IpNet::V6(reserved_ranges::LINK_LOCAL_IPV6);
        let ipv6 = (!config.masq_link_local_ipv6).then_some(link_local);
        Self {
            ipv4: FamilyPolicy::new(config, is_ipv4, ipv4),
            ipv6: config
                .enable_ipv6
                .then(|| FamilyPolicy::new(config, is_ipv6, ipv6)),
            masq_node_traffic: config.masq_node_traffic,
            random_fully: config.random_fully,
            to_ports: config.to_ports.clone(),
            enforce: config.enforce,
            drop_invalid: config.drop_invalid,
            output_interfaces: Interfaces::named(&config.output_interfaces),
        }
    }

    /// The same policy on a node that has these addresses.
    #[must_use]
    pub fn on_node(mut self, addresses: &[NodeAddress]) -> Self {
        self.ipv4.snat_address.choose(addresses);
        if let Some(ipv6) = &mut self.ipv6 {
            ipv6.snat_address.choose(addresses);
        }
        self
    }

    /// The CIDRs of which the node's addresses are to be told.
    #[must_use]
    pub fn snat_cidrs(&self) -> Vec<IpNet> {
        let of_families = self.snat_addresses().map(SnatAddress::cidrs);
        of_families.flatten().copied().collect()
    }

    /// The node's addresses that masqueraded connections get.
    pub fn chosen_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let chosen = self.snat_addresses().filter_map(SnatAddress::chosen);
        chosen.map(|own| own.address)
    }

    /// What is likely not meant by the addresses that are chosen on this node.
    #[must_use]
    pub fn warnings(&self) -> Vec<Finding> {
        self.snat_addresses()
            .flat_map(SnatAddress::warnings)
            .collect()
    }

    /// Those of both families, less what is left alone.
    fn snat_addresses(&self) -> impl Iterator<Item = &SnatAddress> {
        let families = [&self.ipv4].into_iter().chain(&self.ipv6);
        let families = families.filter(|family| !family.is_left_alone());
        families.map(|family| &family.snat_address)
    }

    /// The configured prefix that decides over `destination`; `None`: none does, so it is masqueraded, or left alone where
    /// IPv6 is off. Of the source and of LOCAL destinations it knows nothing.
    #[must_use]
    pub fn decision(&self, destination: IpAddr) -> Option<Entry> {
        self.of_family(destination)?.decision(destination)
    }

    /// What it says of the address's family; `None`: the family is off.
    #[must_use]
    pub fn of_family(&self, address: IpAddr) -> Option<&FamilyPolicy> {
        match address {
            IpAddr::V4(_) => Some(&self.ipv4),
            IpAddr::V6(_) => self.ipv6.as_ref(),
        }
    }
}

impl Sources {
    /// Whether traffic from this address is looked at.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Only(prefixes) => {
                let after = prefixes.partition_point(|prefix| prefix.network() <= address);
                let nearest = after.checked_sub(1).and_then(|index| prefixes.get(index));
                nearest.is_some_and(|prefix| prefix.contains(&address))
            }
        }
    }
}

impl FamilyPolicy {
    fn new(
        config: &Config,
        is_of_family: impl Fn(&IpNet) -> bool,
        link_local: Option<IpNet>,
    ) -> Self {
        let of = |origin| move |prefix| Entry { prefix, origin };
        // First, so that a listed prefix of the same length replaces it.
        let link_local = link_local.into_iter().map(of(Origin::LinkLocal));
        let exempt = config.non_masquerade_cidrs.iter().copied();
        let masqueraded = config.masquerade_cidrs.iter().copied();
        let entries = link_local
            .chain(exempt.map(of(Origin::NonMasqueradeCidrs)))
            .chain(masqueraded.map(of(Origin::MasqueradeCidrs)))
            .filter(|entry| is_of_family(&entry.prefix));
        let sources = config.source_cidrs.iter().copied().filter(&is_of_family);
        let snat_cidrs = config.snat_address_cidrs.iter().copied();
        Self {
            destinations: prefix_table::resolve(entries),
            sources: if config.source_cidrs.is_empty() {
                Sources::Any
            } else {
                Sources::Only(outermost(sources.collect()))
            },
            snat_address: SnatAddress::within(snat_cidrs.filter(&is_of_family).collect()),
        }
    }

    /// `sourceCIDRs` names other families only.
    #[must_use]
    pub fn is_left_alone(&self) -> bool {
        matches!(&self.sources, Sources::Only(sources) if sources.is_empty())
    }

    /// The destinations that keep their source address, in ascending order.
    pub fn exempt(&self) -> impl Iterator<Item = &Interval> {
        let is_exempt =
            |interval: &&Interval| interval.decided_by.origin.verdict() == Verdict::NonMasquerade;
        self.destinations.iter().filter(is_exempt)
    }

    /// The prefixes that decide over at least one address, in ascending order, each once.
    #[must_use]
    pub fn deciding(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = self.destinations.iter().map(|i| i.decided_by).collect();
        entries.sort_by_key(|entry| entry.prefix);
        entries.dedup();
        entries
    }

    /// The configured prefix that decides over `destination`, which is of this family; see [`Policy::decision`].
    #[must_use]
    pub fn decision(&self, destination: IpAddr) -> Option<Entry> {
        let after = self
            .destinations
            .partition_point(|interval| interval.first <= destination);
        let candidate = self.destinations.get(after.checked_sub(1)?)?;
        (destination <= candidate.last).then_some(candidate.decided_by)
    }
}

/// The prefixes that no other one contains, in ascending order: which of several nested sources traffic comes from makes
/// no difference.
fn outermost(mut prefixes: Vec<IpNet>) -> Vec<IpNet> {
    // Each after those that contain it.
    prefixes.sort_unstable();
    prefixes.dedup_by(|inner, outer| outer.contains(&*inner));
    prefixes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidrs(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn decided(policy: &Policy, destination: &str) -> Option<String> {
        let entry = policy.decision(destination.parse().unwrap())?;
        Some(format!("{} {:?}", entry.prefix, entry.origin))
    }

    #[test]
    fn the_defaults_exempt_rfc_1918_and_link_local_and_leave_ipv6_alone() {
        let policy = Policy::new(&Config::default());
        let exempt: Vec<String> = policy
            .ipv4
            .exempt()
            .map(|i| i.decided_by.prefix.to_string())
            .collect();
        assert_eq!(
            exempt,
            [
                "10.0.0.0/8",
                "169.254.0.0/16",
                "172.16.0.0/12",
                "192.168.0.0/16"
            ]
        );
        assert_eq!(policy.ipv4.sources, Sources::Any);
        assert_eq!(policy.ipv6, None);
    }

    #[test]
    fn each_family_has_its_own_link_local_range() {
        let mut config = Config {
            enable_ipv6: true,
            masq_link_local: true,
            ..Config::default()
        };
        let policy = Policy::new(&config);
        assert_eq!(decided(&policy, "169.254.1.1"), None);
        let fe80 = decided(&policy, "fe80::1");
        assert_eq!(fe80.as_deref(), Some("fe80::/10 LinkLocal"));
        config.masq_link_local = false;
        config.masq_link_local_ipv6 = true;
        let policy = Policy::new(&config);
        assert!(decided(&policy, "169.254.1.1").is_some());
        assert_eq!(decided(&policy, "fe80::1"), None);
    }

    #[test]
    fn a_listed_prefix_beats_the_link_local_default_of_the_same_length() {
        let mut config = Config {
            non_masquerade_cidrs: cidrs(&["169.254.0.0/16"]),
            ..Config::default()
        };
        let by_list = decided(&Policy::new(&config), "169.254.1.1");
        assert_eq!(
            by_list.as_deref(),
            Some("169.254.0.0/16 NonMasqueradeCidrs")
        );
        config.non_masquerade_cidrs.clear();
        config.masquerade_cidrs = cidrs(&["169.254.0.0/16"]);
        let by_list = decided(&Policy::new(&config), "169.254.1.1");
        assert_eq!(by_list.as_deref(), Some("169.254.0.0/16 MasqueradeCidrs"));
    }

    #[test]
    fn a_masqueraded_prefix_inside_of_an_exempt_one_is_not_exempt() {
        let config = Config {
            non_masquerade_cidrs: cidrs(&["0.0.0.0/0"]),
            masquerade_cidrs: cidrs(&["192.0.2.0/24", "169.254.169.254/32"]),
            ..Config::default()
        };
        let policy = Policy::new(&config);
        let exempts = |destination: &str| {
            let destination: IpAddr = destination.parse().unwrap();
            policy
                .ipv4
                .exempt()
                .any(|i| i.first <= destination && destination <= i.last)
        };
        for (destination, is_exempt) in [
            ("192.0.1.255", true),
            ("192.0.2.0", false),
            ("192.0.2.255", false),
            ("192.0.3.0", true),
            ("169.254.169.253", true),
            ("169.254.169.254", false),
            ("255.255.255.255", true),
        ] {
            assert_eq!(exempts(destination), is_exempt, "{destination}");
        }
    }

    #[test]
    fn an_empty_list_masquerades_every_destination() {
        let mut config = Config::default();
        config.non_masquerade_cidrs.clear();
        config.masq_link_local = true;
        assert!(Policy::new(&config).ipv4.destinations.is_empty());
    }

    #[test]
    fn nested_sources_count_once_and_a_family_without_any_is_left_alone() {
        let config = Config {
            enable_ipv6: true,
            source_cidrs: cidrs(&["10.1.0.0/16", "192.0.2.0/24", "10.0.0.0/8", "10.0.0.0/8"]),
            ..Config::default()
        };
        let policy = Policy::new(&config);
        let expected = Sources::Only(cidrs(&["10.0.0.0/8", "192.0.2.0/24"]));
        assert_eq!(policy.ipv4.sources, expected);
        for (address, is_listed) in [
            ("9.255.255.255", false),
            ("10.0.0.0", true),
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("192.0.2.255", true),
            ("fd00::1", false),
        ] {
            assert_eq!(
                expected.contain(address.parse().unwrap()),
                is_listed,
                "{address}"
            );
        }
        assert_eq!(policy.ipv6.unwrap().sources, Sources::Only(Vec::new()));
    }
}
