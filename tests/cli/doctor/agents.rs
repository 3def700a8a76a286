//! What masquerade agents have left, whatever their chain is called.

use super::report::{Report, run};
use crate::support::competitors::restore_nat;
use crate::support::daemon::TemporaryDirectory;
use crate::support::lab::Family;
use crate::support::netns::{Namespace, succeed};

/// What an agent with this chain writes: `exempt` are the destinations that it spares.
fn agent(chain: &str, exempt: &[&str]) -> String {
    let returns = exempt
        .iter()
        .map(|cidr| format!("-A {chain} -d {cidr} -j RETURN\n"));
    format!(
        ":{chain} - [0:0]\n-A POSTROUTING -m addrtype ! --dst-type LOCAL -j {chain}\n{}-A {chain} -j MASQUERADE",
        returns.collect::<String>()
    )
}

const EXEMPT: [(Family, [&str; 2]); 2] = [
    (Family::V4, ["169.254.0.0/16", "10.0.0.0/8"]),
    (Family::V6, ["fe80::/10", "fd00::/8"]),
];

/// GKE, Hetzner Cloud, this daemon's predecessor, and anyone's `--masq-chain`.
#[test]
fn an_agent_is_named_and_gone_after_the_commands_of_the_remedy() {
    for chain in [
        "IP-MASQ",
        "NON-MASQUERADE-DAEMON",
        "IP-MASQ-AGENT",
        "MY-OWN",
    ] {
        let namespace = Namespace::new().unwrap();
        for (family, exempt) in EXEMPT {
            restore_nat(&namespace, family, &agent(chain, &exempt)).unwrap();
        }
        let before = Report::on(&namespace, "enableIPv6: true\n");
        before.must_have(
            "other-nat",
            "warning",
            &[chain, "see the check ip-masq-agent"],
        );
        let found = before.of_check("ip-masq-agent");
        assert_eq!(found.len(), 2, "{chain}: {found:?}");
        for (result, said) in found {
            assert_eq!(result, "warning", "{said}");
            assert!(said.contains(&format!("the chain {chain} of")), "{said}");
            run(&namespace, said.split_once("on the node: ").unwrap().1);
        }
        let after = Report::on(&namespace, "enableIPv6: true\n");
        after.must_have("ip-masq-agent", "ok", &["nothing is left"]);
        after.must_have("other-nat", "ok", &["no other base chain"]);
    }
}

#[test]
fn the_kubelet_s_rule_with_kubenet_is_named_and_gone_after_the_command() {
    let namespace = Namespace::new().unwrap();
    let comment = "kubenet: SNAT for outbound traffic from cluster";
    let rule = format!(
        "-A POSTROUTING ! -d 10.0.0.0/8 -m comment --comment \"{comment}\" -m addrtype ! --dst-type LOCAL -j MASQUERADE"
    );
    restore_nat(&namespace, Family::V4, &rule).unwrap();
    let before = Report::on(&namespace, "");
    before.must_have(
        "other-nat",
        "warning",
        &["not to 10.0.0.0/8", "see the check ip-masq-agent"],
    );
    let remedy = before.remedy("ip-masq-agent", "kubenet");
    assert!(
        remedy.contains("--non-masquerade-cidr=0.0.0.0/0"),
        "{remedy}"
    );
    run(&namespace, remedy.split_once("on the node: ").unwrap().1);
    let after = Report::on(&namespace, "");
    after.must_have("ip-masq-agent", "ok", &["nothing is left"]);
    after.must_have("other-nat", "ok", &["no other base chain"]);
}

/// A chain that does more or less than an agent's is someone else's.
#[test]
fn what_only_looks_a_little_like_an_agent_is_not_named() {
    let whole = agent("MINE", &["10.0.0.0/8"]);
    for lines in [
        whole.replace("-m addrtype ! --dst-type LOCAL ", ""),
        whole.replace("-d 10.0.0.0/8 -j RETURN", "-s 10.0.0.0/8 -j RETURN"),
        whole.replace(
            "-d 10.0.0.0/8 -j RETURN",
            "-d 10.0.0.0/8 -j ACCEPT\n-A MINE -p tcp -j MASQUERADE",
        ),
        whole.replace("-A MINE -j MASQUERADE", "-A MINE -o eth0 -j MASQUERADE"),
        agent("MINE", &[]),
        "-A POSTROUTING ! -d 10.0.0.0/8 -j MASQUERADE".to_owned(),
        "-A POSTROUTING ! -d 10.0.0.0/8 -s 10.0.0.9 -m addrtype ! --dst-type LOCAL -j MASQUERADE"
            .to_owned(),
    ] {
        let namespace = Namespace::new().unwrap();
        restore_nat(&namespace, Family::V4, &lines).unwrap();
        let report = Report::on(&namespace, "");
        report.must_have("ip-masq-agent", "ok", &[]);
        report.must_have("other-nat", "", &["if nobody needs it: nft delete rule"]);
    }
}

/// Nothing here lists its rules; the command that is told removes them.
#[test]
fn an_agent_of_iptables_legacy_is_gone_after_the_commands_of_the_remedy() {
    let namespace = Namespace::new().unwrap();
    // A lock of its own: other tests use iptables-legacy too, which does not wait unless told to.
    let directory = TemporaryDirectory::new().unwrap();
    let shell = |line: &str| {
        let mut command = namespace.command("sh");
        command.env("XTABLES_LOCKFILE", directory.path().join("lock"));
        let output = succeed(command.args(["-ec", line])).unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let legacy = |arguments: &str| shell(&format!("iptables-legacy -t nat {arguments}"));
    for arguments in [
        "-N IP-MASQ-AGENT",
        "-A POSTROUTING -m comment --comment 'it is \"our\" $(chain)' -m addrtype ! --dst-type LOCAL -j IP-MASQ-AGENT",
        "-A IP-MASQ-AGENT -d 10.0.0.0/8 -j RETURN",
        "-A IP-MASQ-AGENT -j MASQUERADE",
        "-A POSTROUTING -s 10.0.0.9 -j MASQUERADE",
    ] {
        legacy(arguments);
    }
    let report = Report::on(&namespace, "");
    for (_, said) in report.of_check("ip-masq-agent") {
        assert!(!said.contains("nothing is left"), "{said}");
    }
    let remedy = report.remedy("iptables-legacy", "is loaded");
    let removal = remedy
        .split('`')
        .find(|part| part.starts_with("CHAIN="))
        .unwrap();
    shell(removal);
    let rules = legacy("-S");
    assert!(!rules.contains("IP-MASQ-AGENT"), "{rules}");
    assert!(rules.contains("-s 10.0.0.9/32 -j MASQUERADE"), "{rules}");
}
