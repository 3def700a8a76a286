//! Who writes rules that translate source addresses, by the names of tables and chains, and what is to be thought of them.

use crate::commands::other_nat::SourceNatRule;

/// Someone whose rules are known.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) name: &'static str,
    tables: &'static [&'static str],
    /// How its chains' names begin.
    chains: &'static [&'static str],
    pub(super) judgement: Judgement,
}

/// What its rules mean for exempt destinations.
#[derive(Debug)]
pub(super) enum Judgement {
    /// They may be masqueraded; the setting turns that off.
    Wrong { setting: &'static str },
    /// As long as it looks at its mark, only connections that would not come about otherwise.
    RightByMark { setting: &'static str },
    /// Nothing but what is said.
    Right { what: &'static str },
}

const KUBE_PROXY: &str = "kube-proxy or the kubelet";

const WRITERS: [Writer; 11] = [
    Writer {
        name: KUBE_PROXY,
        tables: &["kube-proxy"],
        chains: &["KUBE-POSTROUTING", "KUBE-MARK-MASQ"],
        judgement: Judgement::RightByMark {
            setting: "its rule looks at no mark: update kube-proxy",
        },
    },
    Writer {
        name: "ip-masq-agent",
        tables: &[],
        chains: &["IP-MASQ"],
        judgement: Judgement::Wrong {
            setting: "see the check ip-masq-agent",
        },
    },
    Writer {
        name: "the CNI plugin portmap",
        tables: &[],
        chains: &["CNI-HOSTPORT-MASQ"],
        judgement: Judgement::RightByMark {
            setting: "its rule looks at no mark: update the CNI plugins",
        },
    },
    // Its backend for nftables, plugins/meta/portmap/portmap_nftables.go: by the addresses of pods, and no mark.
    Writer {
        name: "the CNI plugin portmap",
        tables: &["cni_hostport"],
        chains: &[],
        judgement: Judgement::Right {
            what: "only connections of pods with a HostPort to themselves, and of the node's loopback to them",
        },
    },
    Writer {
        name: "the CNI plugins bridge and ptp",
        tables: &["cni_plugins_masquerade"],
        chains: &["CNI-"],
        judgement: Judgement::Wrong {
            setting: "set \"ipMasq\": false in /etc/cni/net.d and create the pods anew",
        },
    },
    Writer {
        name: "flannel",
        tables: &["flannel-ipv4", "flannel-ipv6"],
        chains: &["FLANNEL-POSTRTG"],
        judgement: Judgement::Wrong {
            setting: "run flanneld without --ip-masq",
        },
    },
    // The one rule of this chain itself, felix/rules/static.go; as a table's of nftables its name has `nat-` before it. What
    // natOutgoing makes stands in cali-nat-outgoing.
    Writer {
        name: "Calico for its tunnel",
        tables: &[],
        chains: &["cali-POSTROUTING", "nat-cali-POSTROUTING"],
        judgement: Judgement::Right {
            what: "only packets that the node itself sends into the tunnel with another interface's address",
        },
    },
    Writer {
        name: "Calico",
        tables: &["calico"],
        chains: &["cali-"],
        judgement: Judgement::Wrong {
            setting: "set natOutgoing: false in the IP pools",
        },
    },
    Writer {
        name: "Cilium",
        tables: &[],
        chains: &["CILIUM_POST", "OLD_CILIUM_POST"],
        judgement: Judgement::Wrong {
            setting: "set enable-ipv4-masquerade and enable-ipv6-masquerade to false",
        },
    },
    Writer {
        name: "Amazon VPC CNI",
        tables: &[],
        chains: &["AWS-SNAT-CHAIN"],
        judgement: Judgement::Wrong {
            setting: "set AWS_VPC_K8S_CNI_EXTERNALSNAT=true",
        },
    },
    Writer {
        name: "kindnet",
        tables: &["kindnet-ipmasq"],
        chains: &["KIND-MASQ-AGENT"],
        judgement: Judgement::Wrong {
            setting: "run kindnetd with --masquerading=false where it knows that flag",
        },
    },
];

impl Writer {
    /// The writer of a rule in `chain` of `table`, where it is known.
    pub(super) fn of(table: &str, chain: &str) -> Option<&'static Self> {
        WRITERS.iter().find(|writer| {
            writer.tables.contains(&table)
                || writer.chains.iter().any(|begin| chain.starts_with(begin))
        })
    }

    /// What these rules of its translate, where that is right.
    pub(super) fn right(&self, rules: &[&SourceNatRule]) -> Option<&'static str> {
        let goes_by_mark = |rule: &SourceNatRule| {
            rule.looks_at_mark || self.name == KUBE_PROXY && stands_before_the_look(rule, rules)
        };
        match self.judgement {
            Judgement::Wrong { .. } => None,
            Judgement::Right { what } => Some(what),
            Judgement::RightByMark { .. } => {
                let all = rules.iter().all(|rule| goes_by_mark(rule));
                all.then_some("only what it has marked (hairpin, NodePort, HostPort)")
            }
        }
    }
}

/// In ipvs mode, kube-proxy first masquerades what a Service leads back to the pod that it came from, by a set of its own
/// (`KUBE-LOOP-BACK`, pkg/proxy/ipvs/proxier.go), and looks at the mark then.
fn stands_before_the_look(rule: &SourceNatRule, rules: &[&SourceNatRule]) -> bool {
    let is_behind =
        |other: &&&SourceNatRule| other.chain == rule.chain && other.number > rule.number;
    rules
        .iter()
        .filter(is_behind)
        .any(|other| other.looks_at_mark)
}
