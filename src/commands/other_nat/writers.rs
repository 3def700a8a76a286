//! Who writes rules that translate source addresses, by the names of tables, chains and interfaces, and what is to be thought
//! of them.

use super::limit::{Limit, Sense, Subject, Value};
use super::{BaseChain, Harm, SourceNatRule};

/// Someone whose rules are known.
#[derive(Debug)]
pub(in crate::commands) struct Writer {
    pub(in crate::commands) name: &'static str,
    /// How its tables' names begin.
    tables: &'static [&'static str],
    /// How its chains' names begin.
    chains: &'static [&'static str],
    pub(super) role: Role,
}

/// What its rules mean for exempt destinations.
#[derive(Debug)]
pub(super) enum Role {
    /// They may be masqueraded; the setting turns that off.
    Wrong { setting: &'static str },
    /// As long as it looks at its mark, only connections that would not come about otherwise.
    RightByMark { setting: &'static str },
    /// Nothing but what is said: connections whose destination was translated, which `enforce` leaves alone.
    Right { what: &'static str },
    /// Traffic of others than pods, which needs it.
    Needed { what: &'static str, harm: Harm },
}

const KUBE_PROXY: &str = "kube-proxy or the kubelet";

const WRITERS: &[Writer] = &[
    Writer {
        name: KUBE_PROXY,
        tables: &["kube-proxy"],
        chains: &["KUBE-POSTROUTING", "KUBE-MARK-MASQ"],
        role: Role::RightByMark {
            setting: "its rule looks at no mark: update kube-proxy",
        },
    },
    Writer {
        name: "the CNI plugin portmap",
        tables: &[],
        chains: &["CNI-HOSTPORT-MASQ"],
        role: Role::RightByMark {
            setting: "its rule looks at no mark: update the CNI plugins",
        },
    },
    // Its backend for nftables, plugins/meta/portmap/portmap_nftables.go: by the addresses of pods, and no mark.
    Writer {
        name: "the CNI plugin portmap",
        tables: &["cni_hostport"],
        chains: &[],
        role: Role::Right {
            what: "only connections of pods with a HostPort to themselves, and of the node's loopback to them",
        },
    },
    Writer {
        name: "the CNI plugins bridge and ptp",
        tables: &["cni_plugins_masquerade"],
        chains: &["CNI-"],
        role: Role::Wrong {
            setting: "set \"ipMasq\": false in /etc/cni/net.d and create the pods anew",
        },
    },
    Writer {
        name: "flannel",
        tables: &["flannel-ipv4", "flannel-ipv6"],
        chains: &["FLANNEL-POSTRTG"],
        role: Role::Wrong {
            setting: "run flanneld without --ip-masq",
        },
    },
    // The one rule of this chain itself, felix/rules/static.go; as a table's of nftables its name has `nat-` before it. What
    // natOutgoing makes stands in cali-nat-outgoing.
    Writer {
        name: "Calico for its tunnel",
        tables: &[],
        chains: &["cali-POSTROUTING", "nat-cali-POSTROUTING"],
        role: Role::Needed {
            what: "packets that the node itself sends into the tunnel with another interface's address",
            harm: Harm::OfNodeTraffic,
        },
    },
    Writer {
        name: "Calico",
        tables: &["calico"],
        chains: &["cali-"],
        role: Role::Wrong {
            setting: "set natOutgoing: false in the IP pools",
        },
    },
    Writer {
        name: "Cilium",
        tables: &[],
        chains: &["CILIUM_POST", "OLD_CILIUM_POST"],
        role: Role::Wrong {
            setting: "set enable-ipv4-masquerade and enable-ipv6-masquerade to false",
        },
    },
    Writer {
        name: "Amazon VPC CNI",
        tables: &[],
        chains: &["AWS-SNAT-CHAIN"],
        role: Role::Wrong {
            setting: "set AWS_VPC_K8S_CNI_EXTERNALSNAT=true",
        },
    },
    Writer {
        name: "kindnet",
        tables: &["kindnet-ipmasq"],
        chains: &["KIND-MASQ-AGENT"],
        role: Role::Wrong {
            setting: "run kindnetd with --masquerading=false where it knows that flag",
        },
    },
    // cni/pkg/iptables/iptables.go: SNAT to 169.254.7.127, by which the pods' proxies know kubelet's probes.
    Writer {
        name: "Istio ambient",
        tables: &[],
        chains: &["ISTIO_POSTRT"],
        role: Role::Needed {
            what: "kubelet's probes of pods in the mesh",
            harm: Harm::OfNodeTraffic,
        },
    },
    // util/linuxfw: mark 0x40000 of mask 0xff0000.
    forwards("tailscale", &[], &["ts-postrouting"]),
    // client/firewall/nftables/router_linux.go and iptables/router_linux.go.
    forwards("netbird", &["netbird"], &["netbird-", "NETBIRD-"]),
    forwards("netavark (Podman)", &["netavark"], &["NETAVARK-"]),
    forwards(DOCKER, &["docker-bridges"], &["DOCKER"]),
    forwards("NetworkManager (connection sharing)", &["nm-shared-"], &[]),
    forwards("libvirt", &["libvirt_network"], &["LIBVIRT_PRT"]),
    forwards("Incus or LXD", &["incus", "lxd"], &[]),
    // src/shared/firewall-util-nft.c: sources in its set masq_saddr.
    forwards(
        "systemd-networkd or systemd-nspawn",
        &["io.systemd.nat"],
        &[],
    ),
    Writer {
        name: "firewalld",
        tables: &["firewalld"],
        chains: &[],
        role: Role::Wrong {
            setting: "firewall-cmd --permanent --zone=ZONE --remove-masquerade for its zone, and --reload",
        },
    },
];

/// Whose rules translate what the node forwards for its containers, virtual machines, peers or neighbours.
const fn forwards(
    name: &'static str,
    tables: &'static [&'static str],
    chains: &'static [&'static str],
) -> Writer {
    Writer {
        name,
        tables,
        chains,
        role: Role::Needed {
            what: "what this node forwards for others than pods",
            harm: Harm::OfForwardedTraffic,
        },
    }
}

/// Docker writes the rules of its bridges into POSTROUTING: `-s 172.17.0.0/16 ! -o docker0 -j MASQUERADE`.
const DOCKER: &str = "Docker";

impl Writer {
    /// The writer of a rule of this table, where it is known.
    pub(super) fn of(table: &str, rule: &SourceNatRule) -> Option<&'static Self> {
        let begins = |name: &str, with: &[&str]| with.iter().any(|begin| name.starts_with(begin));
        let is_docker_s = rule.limits.iter().any(names_a_bridge_of_docker);
        WRITERS.iter().find(|writer| {
            begins(table, writer.tables)
                || begins(&rule.chain, writer.chains)
                || writer.name == DOCKER && is_docker_s
        })
    }

    /// Whether all of its rules in the chain look at a mark.
    pub(super) fn goes_by_its_mark(&self, base: &BaseChain) -> bool {
        let is_its = |rule: &&SourceNatRule| {
            Self::of(&base.chain.table, rule).is_some_and(|writer| writer.name == self.name)
        };
        let its: Vec<&SourceNatRule> = base.rules.iter().filter(is_its).collect();
        let looks = |rule: &&SourceNatRule| {
            looks_at_mark(rule) || self.name == KUBE_PROXY && stands_before_the_look(rule, &its)
        };
        its.iter().all(looks)
    }
}

/// `docker0`, or `br-` and the first twelve digits of a network's number.
fn names_a_bridge_of_docker(limit: &Limit) -> bool {
    let is_one = |name: &Value| {
        let name = name.to_string();
        let number = name.strip_prefix("br-").unwrap_or_default();
        name == "docker0" || number.len() == 12 && number.bytes().all(|c| c.is_ascii_hexdigit())
    };
    let is_spared = limit.subject == Subject::OutputInterface && limit.sense == Sense::AllBut;
    is_spared && limit.values.iter().any(is_one)
}

fn looks_at_mark(rule: &SourceNatRule) -> bool {
    let mut limits = rule.limits.iter();
    limits.any(|limit| limit.subject == Subject::Mark)
}

/// In ipvs mode, kube-proxy first masquerades what a Service leads back to the pod that it came from, by a set of its own
/// (`KUBE-LOOP-BACK`, pkg/proxy/ipvs/proxier.go), and looks at the mark then.
fn stands_before_the_look(rule: &SourceNatRule, of_writer: &[&SourceNatRule]) -> bool {
    let mut others = of_writer.iter();
    others.any(|other| {
        other.chain == rule.chain && other.number > rule.number && looks_at_mark(other)
    })
}
