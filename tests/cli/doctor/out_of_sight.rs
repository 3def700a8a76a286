//! What no listing of nftables shows: rules of iptables-legacy, services of IPVS.

use super::report::Report;
use crate::support::competitors::restore_nat;
use crate::support::lab::Family;
use crate::support::netns::{Namespace, succeed};
use crate::support::outcome::AS_IN_THE_POD;

/// The kernel's own iptables-legacy.
#[test]
fn the_nat_table_of_iptables_legacy_is_told_once_it_is_loaded() {
    let namespace = Namespace::new().unwrap();
    Report::on(&namespace, "").must_have("iptables-legacy", "ok", &["not loaded"]);
    let rule = |program: &str, operation: &str| {
        let mut iptables = namespace.command(program);
        succeed(iptables.args([
            "--wait",
            "-t",
            "nat",
            operation,
            "POSTROUTING",
            "-j",
            "MASQUERADE",
        ]))
        .unwrap();
    };
    rule("iptables-legacy", "-A");
    let report = Report::on(&namespace, "");
    report.must_have(
        "iptables-legacy",
        "warning",
        &["of iptables-legacy is loaded", "enforce: true"],
    );
    rule("ip6tables-legacy", "-A");
    let report = Report::on(&namespace, "");
    report.must_have(
        "iptables-legacy",
        "warning",
        &["iptables-legacy and ip6tables-legacy"],
    );
    let remedy = report.remedy("iptables-legacy", "is loaded");
    let listings: Vec<&str> = remedy
        .split('`')
        .filter(|part| part.ends_with("-S"))
        .collect();
    assert_eq!(
        listings,
        ["iptables-legacy -t nat -S", "ip6tables-legacy -t nat -S"]
    );
    for listing in listings {
        let output = succeed(namespace.command("sh").args(["-c", listing])).unwrap();
        let rules = String::from_utf8(output.stdout).unwrap();
        assert!(rules.contains("-A POSTROUTING -j MASQUERADE"), "{rules}");
    }
    let enforced = Report::on(&namespace, "enforce: true\n");
    enforced.must_have("iptables-legacy", "ok", &["comes first"]);
}

#[test]
fn where_iptables_legacy_is_root_s_to_see_nothing_is_said_to_be_gone() {
    const ON_THE_NODE: &str = "on the node, as root: iptables-legacy -t nat -S POSTROUTING";
    let namespace = Namespace::new().unwrap();
    let report = Report::after(&namespace, AS_IN_THE_POD, "");
    report.must_have("capability", "ok", &["not root"]);
    // Nobody can mend it, so it is no warning.
    report.must_have(
        "iptables-legacy",
        "ok",
        &["not visible from here", ON_THE_NODE],
    );
    let none_seen = ["has no chain", "iptables-legacy cannot be listed here"];
    report.must_have("ip-masq-agent", "ok", &none_seen);
    let other_nat = [
        "no other base chain",
        "iptables-legacy cannot be listed here",
    ];
    report.must_have("other-nat", "ok", &other_nat);
    let text = format!("{:?}", report.findings);
    assert!(!text.contains("nothing is left"), "{text}");
}

/// As net/netfilter/ipvs/ip_vs_ctl.c writes it (`ip_vs_info_seq_show`), in the place of the /proc/net of the process that
/// the doctor becomes: few kernels have IPVS built in.
const IP_VS_SERVICES: &str = "
net=/proc/$$/net
mkdir -p /run/net
mount -t tmpfs tmpfs /run/net
cp $net/route $net/ipv6_route $net/netlink /run/net/
cat > /run/net/ip_vs <<END
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A600001:01BB rr
  -> 0AF40102:1BBB      Masq    1      0          0
UDP  0A60000A:0035 rr
END
mount --bind /run/net $net
";

#[test]
fn services_that_ipvs_balances_fail_beside_enforce() {
    let namespace = Namespace::new().unwrap();
    let report = |configuration: &str| Report::after(&namespace, IP_VS_SERVICES, configuration);
    let enforced = report("enforce: true\n");
    assert_eq!(enforced.code, 1, "{:#?}", enforced.findings);
    enforced.must_have(
        "ipvs",
        "failure",
        &["balances 2 services", "-> set enforce: false"],
    );
    let mended = report("enforce: false\n");
    assert_eq!(mended.code, 0, "{:#?}", mended.findings);
    mended.must_have("ipvs", "ok", &["balances 2 services", "has to stay so"]);
    Report::on(&namespace, "enforce: true\n").must_have("ipvs", "ok", &["no service"]);
}

/// As kube-proxy writes it in ipvs mode, its set left out: few kernels have sets of ipset.
#[test]
fn beside_ipvs_the_hairpin_of_kube_proxy_is_right_and_enforce_is_never_advised() {
    let namespace = Namespace::new().unwrap();
    let rules = ":KUBE-POSTROUTING - [0:0]
-A KUBE-POSTROUTING -s 10.0.0.9 -d 10.0.0.9 -j MASQUERADE
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
-A POSTROUTING -j KUBE-POSTROUTING
-A POSTROUTING -s 10.0.0.7 -j MASQUERADE";
    restore_nat(&namespace, Family::V4, rules).unwrap();
    let legacy = format!("{IP_VS_SERVICES}\nprintf 'nat\\n' > /proc/net/ip_tables_names");
    let report = Report::after(&namespace, &legacy, "");
    let by_kube_proxy = [
        "KUBE-POSTROUTING rule 1",
        "rule 4",
        "by kube-proxy",
        "hairpin",
    ];
    report.must_have("other-nat", "ok", &by_kube_proxy);
    report.must_have("other-nat", "warning", &["chain POSTROUTING rule 2"]);
    report.must_have("iptables-legacy", "warning", &["is loaded"]);
    for finding in &report.findings {
        let remedy = finding["remedy"].as_str().unwrap_or_default();
        assert!(!remedy.contains("enforce"), "{finding}");
    }
}
