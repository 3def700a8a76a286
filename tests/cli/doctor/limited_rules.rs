//! Rules of others that look at marks, owners, sources or interfaces: no rivals of the pods' traffic as such, and what
//! `enforce` would break.

use super::report::Report;
use crate::support::competitors::restore_nat;
use crate::support::lab::Family;
use crate::support::netlink::create_ipset;
use crate::support::netns::{Namespace, succeed};
use crate::support::nft::Nft;

/// How rules are written.
#[derive(Clone, Copy, Debug)]
enum Rules {
    /// Lines of iptables-nft's table `nat`.
    Iptables(&'static str),
    Nft(&'static str),
}
use Rules::{Iptables, Nft as Native};

impl Rules {
    fn apply(self, namespace: &Namespace) {
        match self {
            Iptables(lines) => restore_nat(namespace, Family::V4, lines).unwrap(),
            Native(text) => Nft::host().apply(namespace, text).unwrap(),
        }
    }

    fn planted(self) -> Namespace {
        let namespace = Namespace::new().unwrap();
        self.apply(&namespace);
        namespace
    }
}

const ENFORCED: &str = "enforce: true\n";
const NODE_IS_SPARED: (&str, &str) = (
    "masqNodeTraffic: false",
    "enforce: true\nmasqNodeTraffic: false\n",
);
const PODS_ARE_NAMED: (&str, &str) = (
    "sourceCIDRs",
    "enforce: true\nsourceCIDRs: [10.244.0.0/16]\n",
);

/// Writers whose rules someone needs, as their sources have them: with a limit of theirs, and what spares them from
/// `enforce`.
#[rustfmt::skip]
const NEEDED: [(Rules, &str, &str, (&str, &str)); 14] = [
    (Iptables(":ISTIO_POSTRT - [0:0]\n-A POSTROUTING -j ISTIO_POSTRT\n-A ISTIO_POSTRT -m owner --socket-exists -p tcp -j SNAT --to-source 169.254.7.127"),
     "Istio", "what processes of the node send", NODE_IS_SPARED),
    (Iptables(":ts-postrouting - [0:0]\n-A POSTROUTING -j ts-postrouting\n-A ts-postrouting -m mark --mark 0x40000/0xff0000 -j MASQUERADE"),
     "tailscale", "only packets with mark 0x40000/0xff0000", PODS_ARE_NAMED),
    (Native("table ip nat { chain ts-postrouting { meta mark & 0x00ff0000 == 0x00040000 counter masquerade; }; chain POSTROUTING { type nat hook postrouting priority srcnat; counter jump ts-postrouting; }; }"),
     "tailscale", "only packets with mark 0x40000/0xff0000", PODS_ARE_NAMED),
    (Native("table ip netbird { chain netbird-rt-postrouting { type nat hook postrouting priority srcnat - 1; meta mark 0x0001bd21 oifname != \"lo\" masquerade; meta mark 0x0001bd22 oifname \"wt0\" masquerade; }; }"),
     "netbird", "only packets with mark 0x1bd21, not what leaves by lo", PODS_ARE_NAMED),
    (Native("table inet netavark { chain nv_1 { ip daddr 10.88.0.0/16 accept; ip daddr != 224.0.0.0/4 masquerade; }; chain POSTROUTING { type nat hook postrouting priority srcnat; meta mark & 0x2000 == 0x2000 masquerade; ip saddr 10.88.0.0/16 jump nv_1; }; }"),
     "netavark", "only from 10.88.0.0/16", PODS_ARE_NAMED),
    (Iptables(":NETAVARK-1D8721804F16F - [0:0]\n-A POSTROUTING -s 10.88.0.0/16 -j NETAVARK-1D8721804F16F\n-A NETAVARK-1D8721804F16F -d 10.88.0.0/16 -j ACCEPT\n-A NETAVARK-1D8721804F16F ! -d 224.0.0.0/4 -j MASQUERADE"),
     "netavark", "only from 10.88.0.0/16", PODS_ARE_NAMED),
    (Iptables("-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE"),
     "Docker", "not what leaves by docker0, only from 172.17.0.0/16", PODS_ARE_NAMED),
    (Iptables("-A POSTROUTING -s 172.18.0.0/16 ! -o br-0123456789ab -j MASQUERADE"),
     "Docker", "only from 172.18.0.0/16", PODS_ARE_NAMED),
    (Native("table ip docker-bridges { chain nat-postrouting-in__docker0 { oifname != \"docker0\" ip saddr 172.17.0.0/16 counter masquerade; }; map nat-postrouting-in { type ifname : verdict; elements = { \"docker0\" : jump nat-postrouting-in__docker0 }; }; chain nat-postrouting { type nat hook postrouting priority srcnat; iifname vmap @nat-postrouting-in; }; }"),
     "Docker", "only from 172.17.0.0/16", PODS_ARE_NAMED),
    (Native("table ip nm-shared-eth1 { chain nat_postrouting { type nat hook postrouting priority srcnat; ip saddr 10.42.0.0/24 ip daddr != 10.42.0.0/24 masquerade; }; }"),
     "NetworkManager", "only from 10.42.0.0/24, not to 10.42.0.0/24", PODS_ARE_NAMED),
    (Iptables(":LIBVIRT_PRT - [0:0]\n-A POSTROUTING -j LIBVIRT_PRT\n-A LIBVIRT_PRT -s 192.168.122.0/24 -d 224.0.0.0/24 -j RETURN\n-A LIBVIRT_PRT -s 192.168.122.0/24 ! -d 192.168.122.0/24 -j MASQUERADE"),
     "libvirt", "only from 192.168.122.0/24", PODS_ARE_NAMED),
    (Native("table ip libvirt_network { chain guest_nat { type nat hook postrouting priority srcnat; ip saddr 192.168.122.0/24 ip daddr 224.0.0.0/24 return; ip saddr 192.168.122.0/24 ip daddr != 192.168.122.0/24 masquerade; }; }"),
     "libvirt", "only from 192.168.122.0/24", PODS_ARE_NAMED),
    (Native("table ip io.systemd.nat { set masq_saddr { type ipv4_addr; flags interval; elements = { 10.12.194.0/28 }; }; chain postrouting { type nat hook postrouting priority srcnat + 1; ip saddr @masq_saddr masquerade; }; }"),
     "systemd-networkd", "only from 10.12.194.0/28", PODS_ARE_NAMED),
    (Native("table inet incus { chain pstrt.incusbr0 { type nat hook postrouting priority srcnat; ip saddr 10.166.11.0/24 ip daddr != 10.166.11.0/24 masquerade; }; }"),
     "Incus", "only from 10.166.11.0/24", PODS_ARE_NAMED),
];

/// That nothing is deleted that someone needs, and `enforce` advised that would break it.
#[track_caller]
fn assert_no_harm_is_advised(report: &Report) {
    for finding in &report.findings {
        let remedy = finding["remedy"].as_str().unwrap_or_default();
        assert!(
            !remedy.contains("delete rule") && !remedy.contains("enforce: true"),
            "{finding}"
        );
    }
}

#[test]
fn what_others_need_is_named_with_its_limit_and_neither_deleted_nor_broken() {
    for (rules, writer, limit, (key, spared)) in NEEDED {
        let namespace = rules.planted();
        let report = Report::on(&namespace, "");
        report.must_have(
            "other-nat",
            "ok",
            &[writer, limit, "no rival of the pods' traffic"],
        );
        assert_no_harm_is_advised(&report);
        let enforced = Report::on(&namespace, ENFORCED);
        enforced.must_have(
            "other-nat",
            "failure",
            &[writer, "enforce comes first", key],
        );
        assert_eq!(enforced.code, 1, "{rules:?}");
        let mended = Report::on(&namespace, spared);
        mended.must_have("other-nat", "ok", &[writer, limit]);
        assert_eq!(mended.code, 0, "{rules:?}");
    }
}

/// With all of its matches, cni/pkg/iptables/iptables.go: the ipset has the addresses of the pods in the mesh.
#[test]
fn istio_s_whole_rule_is_known_too() {
    let namespace = Namespace::new().unwrap();
    create_ipset(&namespace, "istio-inpod-probes-v4").unwrap();
    let rules = ":ISTIO_POSTRT - [0:0]
-A POSTROUTING -j ISTIO_POSTRT
-A ISTIO_POSTRT -m owner --socket-exists -p tcp -m set --match-set istio-inpod-probes-v4 dst -j SNAT --to-source 169.254.7.127";
    restore_nat(&namespace, Family::V4, rules).unwrap();
    let report = Report::on(&namespace, "");
    let told = ["by Istio ambient", "kubelet's probes", "no rival"];
    report.must_have("other-nat", "ok", &told);
    assert_no_harm_is_advised(&report);
    let (key, spared) = NODE_IS_SPARED;
    let enforced = Report::on(&namespace, ENFORCED);
    enforced.must_have(
        "other-nat",
        "failure",
        &["Istio", "enforce comes first", key],
    );
    Report::on(&namespace, spared).must_have("other-nat", "ok", &["Istio"]);
}

/// Beside a rival too, and iptables-legacy.
#[test]
fn enforce_is_not_advised_against_a_rival_where_it_would_break_another() {
    let namespace = NEEDED[0].0.planted();
    let rival =
        Native("table ip vpn { chain p { type nat hook postrouting priority 100; masquerade; }; }");
    rival.apply(&namespace);
    let advised = |configuration: &str| {
        let report = Report::on(&namespace, configuration);
        report
            .remedy("other-nat", "table ip vpn")
            .contains("enforce: true")
    };
    assert!(!advised(""));
    // What the node sends is left to Istio then.
    assert!(advised("masqNodeTraffic: false\n"));
}

/// Its rule masquerades nothing as long as nobody uses it.
#[test]
fn a_rule_by_an_empty_set_sees_nothing() {
    let of_family = |family: &str, kind: &str, table: &str| {
        format!(
            "table {family} {table} {{ set masq_saddr {{ type {kind}; flags interval; }}; \
             chain postrouting {{ type nat hook postrouting priority srcnat + 1; {family} saddr @masq_saddr masquerade; }}; }}"
        )
    };
    for table in ["io.systemd.nat", "unheard-of"] {
        let namespace = Namespace::new().unwrap();
        for (family, kind) in [("ip", "ipv4_addr"), ("ip6", "ipv6_addr")] {
            Nft::host()
                .apply(&namespace, &of_family(family, kind, table))
                .unwrap();
        }
        for configuration in ["", ENFORCED] {
            let report = Report::on(&namespace, configuration);
            assert_eq!(report.code, 0, "{table}");
            for family in ["ip", "ip6"] {
                let name = format!("table {family} {table}");
                report.must_have(
                    "other-nat",
                    "ok",
                    &[&name, "only what is in an empty set, masq_saddr"],
                );
            }
            assert_no_harm_is_advised(&report);
        }
    }
}

#[test]
fn rules_of_nobody_known_are_judged_by_what_they_are_limited_to() {
    for (rules, limit) in [
        (
            Iptables("-A POSTROUTING -m mark --mark 0x7 -j MASQUERADE"),
            "only packets with mark 0x7",
        ),
        (
            Iptables(
                "-A POSTROUTING -m mark ! --mark 0x7/0x7 -j RETURN\n-A POSTROUTING -j MASQUERADE",
            ),
            "only packets with mark 0x7/0x7",
        ),
        (
            Native(
                "table ip t { chain p { type nat hook postrouting priority 100; ct mark 3 masquerade; }; }",
            ),
            "mark of the connection 0x3",
        ),
        (
            Native(
                "table ip t { chain p { type nat hook postrouting priority 100; meta mark & 1 == 0 return; masquerade; }; }",
            ),
            "only packets with mark 0x1",
        ),
        (
            Native(
                "table ip t { chain p { type nat hook postrouting priority 100; meta mark 0 accept; masquerade; }; }",
            ),
            "only packets with mark",
        ),
        (
            Native(
                "table ip t { chain p { type nat hook postrouting priority 100; meta skuid 0 masquerade; }; }",
            ),
            "only what processes of the node send",
        ),
        (
            Native(
                "table ip t { chain q { masquerade; }; chain p { type nat hook postrouting priority 100; iifname { \"wg0\", \"tun*\" } jump q; }; }",
            ),
            "only what comes in by tun*, wg0",
        ),
    ] {
        let namespace = rules.planted();
        let report = Report::on(&namespace, "");
        report.must_have("other-nat", "ok", &[limit, "no rival"]);
        assert_no_harm_is_advised(&report);
        let enforced = Report::on(&namespace, ENFORCED);
        enforced.must_have("other-nat", "warning", &["enforce comes first"]);
    }
}

/// A mark that spares, and an interface or a source of pods.
#[test]
fn a_limit_that_pods_keep_to_makes_no_difference() {
    for rules in [
        Iptables("-A POSTROUTING -m mark ! --mark 0x7 -j MASQUERADE"),
        Iptables("-A POSTROUTING -m mark --mark 0x7 -j RETURN\n-A POSTROUTING -j MASQUERADE"),
        Iptables("-A POSTROUTING -o eth+ -j MASQUERADE"),
        Iptables("-A POSTROUTING -s 10.244.0.0/16 -j MASQUERADE"),
        Iptables("-A POSTROUTING ! -s 10.88.0.0/16 -j MASQUERADE"),
        Native(
            "table ip t { chain p { type nat hook postrouting priority 100; ip saddr 10.244.1.0-10.244.1.9 masquerade; }; }",
        ),
        Native(
            "table ip t { chain p { type nat hook postrouting priority 100; iifname \"cni0\" masquerade; }; }",
        ),
        Native(
            "table ip t { chain p { type nat hook postrouting priority 100; ct state new masquerade; }; }",
        ),
    ] {
        let namespace = rules.planted();
        for words in [
            "link add cni0 type bridge",
            "link set cni0 up",
            "address add 10.244.1.1/24 dev cni0",
        ] {
            namespace.ip(words).unwrap();
        }
        let report = Report::on(&namespace, "");
        let words = [
            "exempt destinations may be masqueraded all the same",
            "or set enforce: true",
        ];
        report.must_have("other-nat", "warning", &words);
        Report::on(&namespace, ENFORCED).must_have("other-nat", "ok", &["comes first"]);
    }
}

#[test]
fn whether_a_source_is_pods_is_known_by_the_configuration_or_the_routes_or_not_at_all() {
    let rules = Iptables("-A POSTROUTING -s 10.88.0.0/16 -j MASQUERADE");
    let namespace = rules.planted();
    let unknown = Report::on(&namespace, "");
    let words = [
        "only from 10.88.0.0/16",
        "if that is traffic of pods",
        "in sourceCIDRs",
    ];
    unknown.must_have("other-nat", "warning", &words);
    let other = Report::on(&namespace, "sourceCIDRs: [10.244.0.0/16]\n");
    other.must_have("other-nat", "ok", &["only from 10.88.0.0/16", "no rival"]);
    let same = Report::on(&namespace, "sourceCIDRs: [10.88.7.0/24]\n");
    same.must_have(
        "other-nat",
        "warning",
        &["all the same", "or set enforce: true"],
    );
    for words in [
        "link add cbr0 type bridge",
        "link set cbr0 up",
        "address add 10.244.1.1/24 dev cbr0",
    ] {
        namespace.ip(words).unwrap();
    }
    let guessed = Report::on(&namespace, "");
    guessed.must_have("other-nat", "ok", &["only from 10.88.0.0/16", "no rival"]);
    assert_no_harm_is_advised(&guessed);
}

/// `! --uid-owner` sees each forwarded packet, which has no owner, and is listed as `--uid-owner` is.
#[test]
fn what_nft_does_not_show_is_told_as_that_with_the_command_that_shows_it() {
    for (matched, limit) in [
        ("-m owner --uid-owner 0", "what processes of the node send"),
        (
            "-m owner ! --uid-owner 0",
            "what processes of the node send",
        ),
        ("-m connmark --mark 0x7", "packets with a mark"),
        ("-m connmark ! --mark 0x7", "packets with a mark"),
        ("-m physdev --physdev-in eth0", "some ports of a bridge"),
        ("-m physdev ! --physdev-in eth0", "some ports of a bridge"),
    ] {
        let spares = format!("-A POSTROUTING {matched} -j RETURN\n-A POSTROUTING -j MASQUERADE");
        for lines in [format!("-A POSTROUTING {matched} -j MASQUERADE"), spares] {
            let namespace = Namespace::new().unwrap();
            restore_nat(&namespace, Family::V4, &lines).unwrap();
            let report = Report::on(&namespace, "");
            let told = [limit, "or all but that", "if that is traffic of pods"];
            report.must_have("other-nat", "warning", &told);
            assert_no_harm_is_advised(&report);
            let remedy = report.remedy("other-nat", limit);
            let (_, command) = remedy.split_once("concerns pods: ").unwrap();
            let listed = succeed(namespace.command("sh").args(["-ec", command])).unwrap();
            let listed = String::from_utf8(listed.stdout).unwrap();
            assert_eq!(listed.contains(" ! "), matched.contains(" ! "), "{listed}");
            let enforced = Report::on(&namespace, ENFORCED);
            enforced.must_have("other-nat", "warning", &["enforce comes first"]);
        }
    }
}

/// Docker's rule for a published port, and what was translated.
#[test]
fn what_leads_back_to_who_sent_it_is_right() {
    for rules in [
        Iptables(
            "-A POSTROUTING -s 172.17.0.2 -d 172.17.0.2 -p tcp -m tcp --dport 80 -j MASQUERADE",
        ),
        Native(
            "table ip t { chain p { type nat hook postrouting priority 100; ct status dnat masquerade; }; }",
        ),
    ] {
        let namespace = rules.planted();
        for configuration in ["", ENFORCED] {
            Report::on(&namespace, configuration).must_have("other-nat", "ok", &["which is right"]);
        }
    }
}
