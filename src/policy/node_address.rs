//! Which of the node's own addresses masqueraded connections get (`snatAddressCIDRs`). A file is the same on all nodes, an
//! address is not: the file gives CIDRs, and each node takes its own.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use crate::config::Finding;
use crate::in_words;

/// Kinds of interfaces, as rtnetlink calls them, whose addresses are more often those of pods' gateways, Services (kube-ipvs0
/// and nodelocaldns are dummies) or virtual routers (keepalived) than the node's own.
const UNLIKELY_KINDS: [&str; 3] = ["bridge", "dummy", "macvlan"];

/// How many addresses or CIDRs a warning names.
const NAMED: usize = 4;

/// An address of the node. Its `Display` is `192.0.2.1 of eth0`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeAddress {
    /// The address.
    pub address: IpAddr,
    /// The interface on which it stands.
    pub interface: String,
    /// The kind of that interface, as rtnetlink calls it; none: hardware, or the loopback.
    pub kind: Option<String>,
    /// The node may begin connections from it: it is neither tentative nor deprecated, and valid beyond one link.
    #[serde(skip)]
    pub is_usable: bool,
    /// Of IPv4 it shares its network with an earlier one, of IPv6 it is a temporary one (RFC 8981).
    #[serde(skip)]
    pub is_secondary: bool,
    /// It stands there without a network (`/32`, `/128`), as virtual addresses mostly do.
    #[serde(skip)]
    pub is_single: bool,
    /// When it came, in hundredths of a second since the node was booted.
    #[serde(skip)]
    pub since: u32,
}

/// Names of interfaces are anyone's to choose.
impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.address, self.interface.escape_debug())
    }
}

/// The source address that masqueraded connections of one family get. Two are equal that mean the same address of the same
/// interface, whatever other candidates there are.
#[derive(Debug, Clone, Default)]
pub struct SnatAddress {
    /// In the order of the file; none: the address of the interface by which they leave is asked for.
    cidrs: Vec<IpNet>,
    /// Those that the first CIDR holds which holds any usable one, the chosen one first.
    candidates: Vec<NodeAddress>,
}

impl PartialEq for SnatAddress {
    fn eq(&self, other: &Self) -> bool {
        self.cidrs == other.cidrs && self.meant() == other.meant()
    }
}

impl Eq for SnatAddress {}

impl SnatAddress {
    fn meant(&self) -> Option<(IpAddr, &str)> {
        let own = self.chosen()?;
        Some((own.address, &own.interface))
    }

    /// One that lies in any of `cidrs`, which are of one family.
    #[must_use]
    pub(super) fn within(cidrs: Vec<IpNet>) -> Self {
        Self {
            cidrs,
            candidates: Vec::new(),
        }
    }

    /// Chooses on a node that has these addresses, within the first CIDR that holds a usable one: primary addresses come
    /// before secondary ones; of these, ones with a network before single ones; and of those, the one that has been there
    /// longest. So a virtual address that comes beside the node's own changes nothing. The order in which rtnetlink tells of
    /// them is of no use: of IPv6 the newest comes first.
    pub(super) fn choose(&mut self, addresses: &[NodeAddress]) {
        let usable_in = |cidr: &IpNet| -> Vec<NodeAddress> {
            let is_in_it = |own: &&NodeAddress| own.is_usable && cidr.contains(&own.address);
            addresses.iter().filter(is_in_it).cloned().collect()
        };
        let found = self.cidrs.iter().map(usable_in);
        self.candidates = found
            .into_iter()
            .find(|found| !found.is_empty())
            .unwrap_or_default();
        self.candidates
            .sort_by_key(|own| (own.is_secondary, own.is_single, own.since));
    }

    /// The CIDRs of the family, in the order of the file; none: no address is asked for.
    #[must_use]
    pub fn cidrs(&self) -> &[IpNet] {
        &self.cidrs
    }

    /// The address; `None`: that of the interface by which a connection leaves.
    #[must_use]
    pub fn chosen(&self) -> Option<&NodeAddress> {
        self.candidates.first()
    }

    /// The name of the family that an address is asked for; `None`: it has no CIDR in the list.
    pub(super) fn family(&self) -> Option<&'static str> {
        let first = self.cidrs.first()?;
        Some(match first {
            IpNet::V4(_) => "IPv4",
            IpNet::V6(_) => "IPv6",
        })
    }

    /// As a sentence; `None`: no address is asked for.
    #[must_use]
    pub fn in_words(&self) -> Option<String> {
        let family = self.family()?;
        Some(format!(
            "On this machine, {family} traffic that is masqueraded gets {self} (snatAddressCIDRs)."
        ))
    }

    /// What is likely not meant.
    #[must_use]
    pub fn warnings(&self) -> Vec<Finding> {
        let Some(family) = self.family() else {
            return Vec::new();
        };
        let Some(chosen) = self.chosen() else {
            let cidrs = in_words::first(&self.cidrs, NAMED, ", ");
            return vec![warning(
                format!(
                    "no usable address of this machine lies in {cidrs}, so that masqueraded {family} connections get that of the interface by which they leave"
                ),
                "add a CIDR that holds one, of those that `ip address` lists without deprecated and tentative".to_owned(),
            )];
        };
        let mut warnings = Vec::new();
        if let [_, others @ ..] = self.candidates.as_slice()
            && !others.is_empty()
        {
            let others = in_words::first(others, NAMED, ", ");
            warnings.push(warning(
                format!(
                    "{chosen} is taken on this machine, the first of several that match: {others} too"
                ),
                "write a CIDR that holds the one which is meant, and no other".to_owned(),
            ));
        }
        if let Some(kind) = &chosen.kind
            && UNLIKELY_KINDS.contains(&kind.as_str())
        {
            warnings.push(warning(
                format!(
                    "{chosen} is taken on this machine, and {} is a {kind}: Services, virtual routers and pods' gateways have their addresses there",
                    chosen.interface
                ),
                "write a CIDR that does not hold it, unless it is the node's own".to_owned(),
            ));
        }
        warnings
    }
}

/// What it gives on a machine that was looked at.
impl fmt::Display for SnatAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.chosen() {
            Some(chosen) => write!(f, "{chosen}"),
            None => f.write_str("that of the interface by which it leaves"),
        }
    }
}

fn warning(reason: String, remedy: String) -> Finding {
    Finding::about_key("snatAddressCIDRs", reason, remedy)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `192.0.2.1 eth0` and what else there is to say of it: `dummy`, `secondary`, `unusable`, `single`, and since when it has
    /// been there.
    fn own(text: &str) -> NodeAddress {
        let words: Vec<&str> = text.split(' ').collect();
        let kind = words
            .iter()
            .find(|word| ["bridge", "dummy", "veth"].contains(word));
        NodeAddress {
            address: words[0].parse().unwrap(),
            interface: words[1].to_owned(),
            kind: kind.map(ToString::to_string),
            is_usable: !words.contains(&"unusable"),
            is_secondary: words.contains(&"secondary"),
            is_single: words.contains(&"single"),
            since: words.iter().find_map(|word| word.parse().ok()).unwrap_or(0),
        }
    }

    fn chosen(cidrs: &[&str], addresses: &[&str]) -> SnatAddress {
        let cidrs = cidrs.iter().map(|cidr| cidr.parse().unwrap());
        let mut address = SnatAddress::within(cidrs.collect());
        let addresses: Vec<NodeAddress> = addresses.iter().map(|text| own(text)).collect();
        address.choose(&addresses);
        address
    }

    const NONE: &str = "that of the interface by which it leaves";

    #[test]
    fn the_first_cidr_that_holds_a_usable_address_decides_and_primary_ones_come_first() {
        let here = [
            "127.0.0.1 lo unusable",
            "192.0.2.9 eth0 unusable",
            "192.0.2.7 eth0 secondary",
            "192.0.2.1 eth0",
            "198.51.100.1 eth1",
            "2001:db8::9 eth0 secondary",
            "2001:db8::1 eth0",
            // The newest of IPv6 first, as rtnetlink tells of them.
            "2001:db8:1::3 eth0 30",
            "2001:db8:1::2 eth0 20",
            "2001:db8:1::1 lo single 10",
        ];
        for (cidrs, expected) in [
            (&["192.0.2.0/24"][..], "192.0.2.1 of eth0"),
            (&["192.0.2.0/24", "198.51.100.0/24"], "192.0.2.1 of eth0"),
            (&["198.51.100.0/24", "192.0.2.0/24"], "198.51.100.1 of eth1"),
            // It holds none that is usable.
            (&["192.0.2.8/29", "0.0.0.0/0"], "192.0.2.1 of eth0"),
            (&["192.0.2.7/32", "192.0.2.0/24"], "192.0.2.7 of eth0"),
            (&["2001:db8::/48"], "2001:db8::1 of eth0"),
            (&["2001:db8:1::/48"], "2001:db8:1::2 of eth0"),
            (&["2001:db8:1::1/128"], "2001:db8:1::1 of lo"),
            (&["127.0.0.0/8"], NONE),
            (&["203.0.113.0/24"], NONE),
            (&[], NONE),
        ] {
            let found = chosen(cidrs, &here);
            assert_eq!(found.to_string(), expected, "{cidrs:?}");
        }
        assert_eq!(chosen(&["0.0.0.0/0"], &[]).chosen(), None);
    }

    proptest! {
        /// Held against the words of the documentation, address by address.
        #[test]
        fn whatever_a_node_has_the_choice_is_usable_and_no_better_one_is_left(
            cidrs in prop::collection::vec((0_u8..8, 29_u8..=32), 0..4),
            own in prop::collection::vec((0_u8..8, any::<[bool; 3]>(), 0_u32..3), 0..6),
        ) {
            let cidrs = cidrs.iter().map(|(last, length)| {
                let address = IpAddr::from([192, 0, 2, *last]);
                IpNet::new(address, *length).unwrap().trunc()
            });
            let cidrs: Vec<IpNet> = cidrs.collect();
            let own = own.into_iter().map(|(last, [is_usable, is_secondary, is_single], since)| NodeAddress {
                address: IpAddr::from([192, 0, 2, last]),
                interface: "eth0".to_owned(),
                kind: None,
                is_usable,
                is_secondary,
                is_single,
                since,
            });
            let own: Vec<NodeAddress> = own.collect();
            let rank = |of: &NodeAddress| {
                let first = cidrs.iter().position(|cidr| cidr.contains(&of.address));
                let first = first.filter(|_| of.is_usable)?;
                Some((first, of.is_secondary, of.is_single, of.since))
            };
            let best = own.iter().filter(|of| rank(of).is_some()).min_by_key(|of| rank(of));
            let mut address = SnatAddress::within(cidrs.clone());
            address.choose(&own);
            prop_assert_eq!(address.chosen(), best);
            prop_assert_eq!(address.warnings().is_empty(), cidrs.is_empty() || address.candidates.len() == 1);
        }
    }

    #[test]
    fn what_may_not_be_meant_is_said_with_address_and_interface() {
        let said = |cidrs: &[&str], addresses: &[&str]| -> Vec<String> {
            let warnings = chosen(cidrs, addresses).warnings();
            warnings.iter().map(Finding::without_remedy).collect()
        };
        let nothing: [String; 0] = [];
        assert_eq!(said(&[], &["192.0.2.1 br0 bridge"]), nothing);
        assert_eq!(said(&["192.0.2.0/24"], &["192.0.2.1 eth0 veth"]), nothing);
        // A second CIDR is what is taken where the first holds none.
        let two = ["192.0.2.1 eth0", "198.51.100.1 eth1"];
        assert_eq!(said(&["192.0.2.0/24", "198.51.100.0/24"], &two), nothing);
        assert_eq!(
            said(&["0.0.0.0/0"], &two),
            [
                "snatAddressCIDRs: 192.0.2.1 of eth0 is taken on this machine, the first of several that match: 198.51.100.1 of eth1 too"
            ]
        );
        assert_eq!(
            said(&["10.96.0.0/12"], &["10.96.0.1 kube-ipvs0 dummy"]),
            [
                "snatAddressCIDRs: 10.96.0.1 of kube-ipvs0 is taken on this machine, and kube-ipvs0 is a dummy: Services, virtual routers and pods' gateways have their addresses there"
            ]
        );
        assert_eq!(
            said(&["192.0.2.0/24", "2001:db8::/32"], &["198.51.100.1 eth0"]),
            [
                "snatAddressCIDRs: no usable address of this machine lies in 192.0.2.0/24, 2001:db8::/32, so that masqueraded IPv4 connections get that of the interface by which they leave"
            ]
        );
    }
}
