//! Other NAT rules on the node, as those write them who share it with the daemon.

use std::fmt;
use std::io;

use super::lab::{Family, Lab};
use super::netns::{Namespace, feed};
use super::nft::Nft;

/// Who masquerades all that the pod sends, exempt destinations too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Competitor {
    /// A base chain of nftables at this priority; `srcnat` is 100.
    NativeChain(i32),
    /// One rule without any match in POSTROUTING of iptables-nft.
    Iptables,
    /// The CNI plugins bridge and ptp with `ipMasq`.
    CniIpMasq,
}

impl Competitor {
    /// Before the daemon's own chain, at the priority of most others, after the daemon's, and by iptables-nft.
    pub const ALL: [Self; 5] = [
        Self::NativeChain(95),
        Self::NativeChain(100),
        Self::NativeChain(120),
        Self::Iptables,
        Self::CniIpMasq,
    ];

    /// Writes its rules of both families.
    pub fn install(self, lab: &Lab) -> io::Result<()> {
        if let Self::NativeChain(priority) = self {
            return Nft::host().apply(&lab.node, &native_chain(lab, priority));
        }
        for family in Family::BOTH {
            let rules = match self {
                Self::CniIpMasq => cni_ip_masq(lab, family),
                _ => "-A POSTROUTING -j MASQUERADE".to_owned(),
            };
            restore_nat(&lab.node, family, &rules)?;
        }
        Ok(())
    }
}

impl fmt::Display for Competitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NativeChain(priority) => write!(f, "a chain at priority {priority}"),
            Self::Iptables => f.write_str("iptables-nft -j MASQUERADE"),
            Self::CniIpMasq => f.write_str("a CNI plugin with ipMasq"),
        }
    }
}

fn native_chain(lab: &Lab, priority: i32) -> String {
    let (pod, pod6) = (lab.addresses.pod, lab.addresses6.pod);
    format!(
        "table inet competitor {{
            chain postrouting {{
                type nat hook postrouting priority {priority};
                ip saddr {pod} masquerade
                ip6 saddr {pod6} masquerade
            }}
        }}"
    )
}

/// What pkg/ip/ipmasq_iptables_linux.go of containernetworking/plugins writes for each pod: its own network is
/// spared, and multicast.
fn cni_ip_masq(lab: &Lab, family: Family) -> String {
    let pod = lab.addresses_of(family).pod;
    let (network, multicast) = match family {
        Family::V4 => ("10.244.1.0/24", "224.0.0.0/4"),
        Family::V6 => ("fd00:10:244:1::/64", "ff00::/8"),
    };
    let comment = r#"-m comment --comment "name: \"lab\" id: \"pod\"""#;
    format!(
        ":CNI-0123456789abcdef01234567 - [0:0]
-A CNI-0123456789abcdef01234567 -d {network} {comment} -j ACCEPT
-A CNI-0123456789abcdef01234567 ! -d {multicast} {comment} -j MASQUERADE
-A POSTROUTING -s {pod} {comment} -j CNI-0123456789abcdef01234567"
    )
}

/// Adds these lines to the table `nat` of iptables-nft.
pub fn restore_nat(node: &Namespace, family: Family, lines: &str) -> io::Result<()> {
    let program = match family {
        Family::V4 => "iptables-nft-restore",
        Family::V6 => "ip6tables-nft-restore",
    };
    let text = format!("*nat\n{lines}\nCOMMIT\n");
    feed(node.command(program).args(["--noflush", "--wait"]), &text).map(drop)
}
