//! What else is on the node: other NAT rules, leftovers, forwarding, pods' ranges.

use super::report::{Report, run};
use crate::DAEMON;
use crate::support::competitors::restore_nat;
use crate::support::ip_masq_agent::Agent;
use crate::support::lab::Family;
use crate::support::netns::{Namespace, succeed};
use crate::support::nft::{Nft, TABLE};
use crate::support::poison;

#[test]
fn native_chains_are_told_rule_by_rule_with_their_place() {
    let namespace = Namespace::new().unwrap();
    let rules_of_vpn = "add rule inet vpn sub ip saddr 10.0.0.9 masquerade";
    let rules = "table inet vpn {
            chain sub {
                ip saddr 10.0.0.9 masquerade
            }
            chain early {
                type nat hook postrouting priority 95;
                ip daddr 192.0.2.1 goto sub
            }
        }
        table ip late {
            chain p {
                type nat hook postrouting priority 120;
                snat to 192.0.2.7
            }
        }
        table ip asleep {
            flags dormant;
            chain p {
                type nat hook postrouting priority 90;
                masquerade
            }
        }
        table inet asleep {
            flags dormant;
            chain p {
                type nat hook postrouting priority 90;
                masquerade
            }
        }
        table ip idle {
            chain p {
                type nat hook postrouting priority 90;
                accept
            }
        }";
    Nft::host().apply(&namespace, rules).unwrap();
    let report = Report::on(&namespace, "");
    assert_eq!(report.code, 0);
    assert_eq!(report.of_check("other-nat").len(), 2);
    let early = [
        "inet vpn",
        "priority 95, before ours (110)",
        "chain sub rule 1 (only from 10.0.0.9, only to 192.0.2.1); if that is traffic of pods",
    ];
    report.must_have("other-nat", "warning", &early);
    report.must_have(
        "other-nat",
        "warning",
        &["nft delete rule inet vpn sub handle"],
    );
    report.must_have("other-nat", "warning", &["ip late", "after ours (110)"]);
    let remedy = report.remedy("other-nat", "inet vpn");
    let (_, deletion) = remedy.split_once("if nobody needs it: ").unwrap();
    run(&namespace, deletion);
    let again = Report::on(&namespace, "");
    assert_eq!(again.of_check("other-nat").len(), 1);
    Nft::host().apply(&namespace, rules_of_vpn).unwrap();
    let enforced = Report::on(&namespace, "enforce: true\n");
    let results = enforced.of_check("other-nat");
    assert!(
        results.iter().all(|(result, _)| *result == "ok"),
        "{results:?}"
    );
}

/// The command that a remedy names does what it says.
#[test]
fn rules_of_iptables_nft_are_told_with_the_commands_that_delete_them() {
    let namespace = Namespace::new().unwrap();
    let rules = ":KUBE-POSTROUTING - [0:0]
:CNI-0123456789abcdef01234567 - [0:0]
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MASQUERADE
-A CNI-0123456789abcdef01234567 ! -d 224.0.0.0/4 -j MASQUERADE
-A POSTROUTING -j KUBE-POSTROUTING
-A POSTROUTING -s 10.0.0.9 -j CNI-0123456789abcdef01234567
-A POSTROUTING -j MASQUERADE";
    restore_nat(&namespace, Family::V4, rules).unwrap();
    let report = Report::on(&namespace, "");
    report.must_have(
        "other-nat",
        "ok",
        &["KUBE-POSTROUTING rule 2 (only packets with mark 0x4000/0x4000), by kube-proxy"],
    );
    report.must_have(
        "other-nat",
        "warning",
        &["CNI plugins", "\"ipMasq\": false"],
    );
    let of_nobody = ["chain POSTROUTING rule 3", "; or set enforce: true"];
    report.must_have("other-nat", "warning", &of_nobody);
    let remedy = report.remedy("other-nat", "chain POSTROUTING rule 3");
    let (_, commands) = remedy.split_once("if nobody needs it: ").unwrap();
    run(&namespace, commands.split_once("; or ").unwrap().0);
    let again = Report::on(&namespace, "");
    assert_eq!(again.of_check("other-nat").len(), 2);
}

/// Each writer as its sources have it, less what is of no matter here.
#[test]
fn each_known_writer_is_named_with_the_setting_that_turns_it_off() {
    for (rules, writer, setting) in [
        (
            ":FLANNEL-POSTRTG - [0:0]\n-A POSTROUTING -j FLANNEL-POSTRTG\n-A FLANNEL-POSTRTG -j MASQUERADE",
            "flannel",
            "--ip-masq",
        ),
        (
            ":cali-POSTROUTING - [0:0]\n:cali-nat-outgoing - [0:0]\n-A POSTROUTING -j cali-POSTROUTING\n-A cali-POSTROUTING -j cali-nat-outgoing\n-A cali-nat-outgoing -j MASQUERADE",
            "Calico",
            "natOutgoing: false",
        ),
        (
            ":CILIUM_POST_nat - [0:0]\n-A POSTROUTING -j CILIUM_POST_nat\n-A CILIUM_POST_nat -j MASQUERADE",
            "Cilium",
            "enable-ipv4-masquerade",
        ),
        (
            ":AWS-SNAT-CHAIN-0 - [0:0]\n-A POSTROUTING -j AWS-SNAT-CHAIN-0\n-A AWS-SNAT-CHAIN-0 -j SNAT --to-source 192.0.2.1",
            "Amazon VPC CNI",
            "AWS_VPC_K8S_CNI_EXTERNALSNAT=true",
        ),
        (
            ":KIND-MASQ-AGENT - [0:0]\n-A POSTROUTING -j KIND-MASQ-AGENT\n-A KIND-MASQ-AGENT -j MASQUERADE",
            "kindnet",
            "--masquerading=false",
        ),
        (
            ":KUBE-POSTROUTING - [0:0]\n-A POSTROUTING -j KUBE-POSTROUTING\n-A KUBE-POSTROUTING -j MASQUERADE",
            "kube-proxy or the kubelet",
            "looks at no mark",
        ),
    ] {
        let namespace = Namespace::new().unwrap();
        restore_nat(&namespace, Family::V4, rules).unwrap();
        Report::on(&namespace, "").must_have("other-nat", "warning", &[writer, setting]);
        Report::on(&namespace, "enforce: true\n").must_have("other-nat", "ok", &[writer]);
    }
}

/// A hairpin, NodePort or HostPort connection would not come about without.
#[test]
fn what_is_masqueraded_by_a_mark_of_its_own_is_right() {
    let namespace = Namespace::new().unwrap();
    let rules = ":CNI-HOSTPORT-MASQ - [0:0]
:KUBE-MARK-MASQ - [0:0]
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A CNI-HOSTPORT-MASQ -m mark --mark 0x2000/0x2000 -j MASQUERADE
-A POSTROUTING -j CNI-HOSTPORT-MASQ";
    restore_nat(&namespace, Family::V4, rules).unwrap();
    let kube_proxy = "table ip kube-proxy {
        chain masquerading {
            mark and 0x4000 == 0 return
            mark set mark xor 0x4000
            masquerade fully-random
        }
        chain nat-postrouting {
            type nat hook postrouting priority srcnat;
            jump masquerading
        }
    }";
    Nft::host().apply(&namespace, kube_proxy).unwrap();
    let report = Report::on(&namespace, "");
    report.must_have(
        "other-nat",
        "ok",
        &["by the CNI plugin portmap", "HostPort"],
    );
    report.must_have("other-nat", "ok", &["table ip kube-proxy", "by kube-proxy"]);
    assert_eq!(report.of_check("other-nat").len(), 2);
}

/// As plugins/meta/portmap/portmap_nftables.go writes it.
#[test]
fn what_portmap_masquerades_without_a_mark_is_right() {
    let namespace = Namespace::new().unwrap();
    for (family, pod, loopback) in [("ip", "10.88.0.9", "127.0.0.1"), ("ip6", "fd00::9", "::1")] {
        let rules = format!(
            "table {family} cni_hostport {{
                chain masquerading {{
                    type nat hook postrouting priority srcnat;
                    {family} saddr {pod} {family} daddr {pod} masquerade
                    {family} saddr {loopback} {family} daddr {pod} masquerade
                }}
            }}"
        );
        Nft::host().apply(&namespace, &rules).unwrap();
    }
    let report = Report::on(&namespace, "");
    for table in ["table ip cni_hostport", "table ip6 cni_hostport"] {
        report.must_have(
            "other-nat",
            "ok",
            &[table, "the CNI plugin portmap", "HostPort"],
        );
    }
    assert_eq!(report.of_check("other-nat").len(), 2);
}

/// It does not depend on natOutgoing, and no pod's packet meets it.
#[test]
fn what_calico_masquerades_for_its_tunnel_is_right_and_nothing_else_of_it() {
    let namespace = Namespace::new().unwrap();
    let rules = ":cali-POSTROUTING - [0:0]
:cali-nat-outgoing - [0:0]
-A POSTROUTING -j cali-POSTROUTING
-A cali-POSTROUTING -j cali-nat-outgoing
-A cali-POSTROUTING -o vxlan.calico -m addrtype ! --src-type LOCAL --limit-iface-out -m addrtype --src-type LOCAL -j MASQUERADE
-A cali-nat-outgoing -s 10.244.0.0/16 ! -d 10.244.0.0/16 -j MASQUERADE";
    restore_nat(&namespace, Family::V4, rules).unwrap();
    let of_nftables = "table ip calico {
        chain nat-cali-nat-outgoing {
            ip saddr 10.244.0.0/16 masquerade
        }
        chain nat-cali-POSTROUTING {
            jump nat-cali-nat-outgoing
            oifname vxlan.calico fib saddr . oif type != local fib saddr type local masquerade
        }
        chain nat-POSTROUTING {
            type nat hook postrouting priority srcnat;
            jump nat-cali-POSTROUTING
        }
    }";
    Nft::host().apply(&namespace, of_nftables).unwrap();
    let report = Report::on(&namespace, "");
    for table in ["table ip nat", "table ip calico"] {
        report.must_have(
            "other-nat",
            "ok",
            &[table, "cali-POSTROUTING rule 2", "tunnel"],
        );
        report.must_have(
            "other-nat",
            "warning",
            &[table, "by Calico", "natOutgoing: false"],
        );
    }
    assert_eq!(report.of_check("other-nat").len(), 4);
}

#[test]
fn a_foreign_table_that_cannot_be_listed_is_told_and_the_others_all_the_same() {
    let poisoned = "table ip poisoned { chain p { type nat hook postrouting priority 100; }; }";
    let vpn = "table ip vpn { chain p { type nat hook postrouting priority 100; masquerade; }; }";
    for rules in [poisoned, &format!("{poisoned}\n{vpn}")] {
        let namespace = Namespace::new().unwrap();
        Nft::host().apply(&namespace, rules).unwrap();
        poison::plant_in(&namespace, "poisoned").unwrap();
        let report = Report::on(&namespace, "");
        report.must_have(
            "other-nat",
            "warning",
            &[
                "not checked: table ip poisoned",
                "SIGSEGV",
                "with a newer nft: nft list table ip poisoned",
            ],
        );
        let is_vpn = |(_, said): &(&str, String)| said.contains("table ip vpn masquerades");
        let found = report.of_check("other-nat");
        assert_eq!(found.iter().any(is_vpn), rules.contains("vpn"));
        assert!(
            found.iter().all(|(result, _)| *result == "warning"),
            "{found:?}"
        );
    }
}

#[test]
fn a_leftover_of_another_name_or_family_is_gone_after_either_command_of_the_remedy() {
    let namespace = Namespace::new().unwrap();
    for (arguments, name) in [
        ("--table=old", "ip old"),
        ("--enable-ipv6", &*format!("ip6 {TABLE}")),
    ] {
        for number in [0, 1] {
            let mut once = namespace.command(DAEMON);
            succeed(once.args(["run", "--once", "--config=/nonexistent/config", arguments]))
                .unwrap();
            let remedy = Report::on(&namespace, "").remedy("other-tables", name);
            let (_, commands) = remedy.split_once("then: ").unwrap();
            let commands: Vec<&str> = commands.trim_end_matches(')').split(" (or ").collect();
            run(&namespace, commands[number]);
            Report::on(&namespace, "").must_have("other-tables", "ok", &[]);
        }
    }
}

#[test]
fn a_node_that_forwards_nothing_is_told_with_the_commands_that_mend_it() {
    let namespace = Namespace::new().unwrap();
    for setting in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        namespace.sysctl(setting, "0").unwrap();
    }
    let report = Report::on(&namespace, "enableIPv6: true\n");
    for family in ["IPv4", "IPv6"] {
        run(&namespace, &report.remedy("forwarding", family));
    }
    Report::on(&namespace, "enableIPv6: true\n").must_have("forwarding", "ok", &[]);
}

#[test]
fn what_ip_masq_agent_leaves_is_gone_after_the_commands_of_the_remedy() {
    for agent in Agent::ALL {
        let namespace = Namespace::new().unwrap();
        agent.sync(&namespace, &["10.0.0.0/8"]).unwrap();
        let report = Report::on(&namespace, "");
        let found = report.of_check("ip-masq-agent");
        assert_eq!(found.len(), 2, "{agent}: {found:?}");
        for (_, said) in found {
            let (_, commands) = said.split_once("on the node: ").unwrap();
            run(&namespace, commands);
        }
        let again = Report::on(&namespace, "");
        again.must_have("ip-masq-agent", "ok", &[]);
        again.must_have("other-nat", "ok", &["no other base chain"]);
    }
}

#[test]
fn ranges_of_pods_that_no_prefix_covers_are_guessed_from_the_routes() {
    let namespace = Namespace::new().unwrap();
    for words in [
        "link add cni0 type bridge",
        "link set cni0 up",
        "address add 100.64.1.1/24 dev cni0",
        "address add fd00:9::1/64 dev cni0 nodad",
    ] {
        namespace.ip(words).unwrap();
    }
    let report = Report::on(&namespace, "");
    report.must_have(
        "pod-ranges",
        "warning",
        &["a guess", "100.64.1.0/24 (by cni0), which"],
    );
    let both = Report::on(&namespace, "enableIPv6: true\n");
    both.must_have("pod-ranges", "warning", &["fd00:9::/64"]);
    let covered = "enableIPv6: true\nnonMasqueradeCIDRs: [100.64.0.0/10, 'fd00::/8']\n";
    Report::on(&namespace, covered).must_have("pod-ranges", "ok", &[]);
}

/// kubenet, Antrea, OVN-Kubernetes, Kube-OVN, Cilium, Calico's tunnels, flannel, Weave, kube-router.
#[test]
fn ranges_of_pods_are_seen_on_the_interfaces_of_each_network_plugin() {
    for interface in [
        "cbr0",
        "antrea-gw0",
        "ovn-k8s-mp0",
        "ovn0",
        "wireguard.cali",
        "wg-v6.cali",
        "vxlan.calico",
        "vxlan-v6.calico",
        "tunl0",
        "cilium_host",
        "cni0",
        "flannel.1",
        "kube-bridge",
        "weave",
    ] {
        let namespace = Namespace::new().unwrap();
        // A new namespace has some of these names, where the kernel makes tunnels of its own.
        let _ = namespace.ip(&format!("link add {interface} type bridge"));
        for words in [
            format!("link set {interface} up"),
            format!("route add 100.64.1.0/24 dev {interface}"),
        ] {
            namespace.ip(&words).unwrap();
        }
        let by = format!("100.64.1.0/24 (by {interface}), which");
        Report::on(&namespace, "").must_have("pod-ranges", "warning", &[&by]);
        let covered = "nonMasqueradeCIDRs: [100.64.0.0/10]\n";
        Report::on(&namespace, covered).must_have("pod-ranges", "ok", &[]);
    }
}
