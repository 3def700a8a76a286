//! `snatAddressCIDRs`: what commands and the daemon say of this machine's address.

use crate::DAEMON;
use crate::support::daemon::{Daemon, TemporaryDirectory};
use crate::support::http;
use crate::support::json_schema;
use crate::support::netns::Namespace;
use crate::support::nft::Nft;
use crate::support::outcome::{Outcome, without_net_admin};

const FILE: &str = "
enableIPv6: true
nonMasqueradeCIDRs: [10.0.0.0/8, 'fd00::/8']
snatAddressCIDRs: [192.0.2.0/24, '2001:db8::/64']
";

const IPV4: &str =
    "On this machine, IPv4 traffic that is masqueraded gets 192.0.2.1 of br0 (snatAddressCIDRs).";
const IPV6: &str = "On this machine, IPv6 traffic that is masqueraded gets that of the interface by which it leaves (snatAddressCIDRs).";
const BRIDGE: &str =
    "snatAddressCIDRs: 192.0.2.1 of br0 is taken on this machine, and br0 is a bridge: ";
const NONE: &str = "snatAddressCIDRs: no usable address of this machine lies in 2001:db8::/64, so that masqueraded IPv6 connections get that of the interface by which they leave";

/// With an address of IPv4 on a bridge, and none of IPv6.
fn node() -> Namespace {
    let node = Namespace::new().unwrap();
    node.ip("link add br0 up type bridge").unwrap();
    node.ip("address add 192.0.2.1/24 dev br0").unwrap();
    node.ip("route add default via 192.0.2.254").unwrap();
    node
}

fn file() -> (TemporaryDirectory, String) {
    let directory = TemporaryDirectory::new().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, FILE).unwrap();
    let path = path.to_string_lossy().into_owned();
    (directory, path)
}

#[track_caller]
fn assert_says(told: &str, words: &[&str]) {
    for words in words {
        assert!(told.contains(words), "{words:?} is not in {told}");
    }
}

#[test]
fn check_and_render_say_it_of_this_machine_without_a_privilege() {
    let (_directory, file) = file();
    let node = node();
    let run = |arguments: &[&str]| {
        let outcome = Outcome::of(without_net_admin(&node, DAEMON).args(arguments));
        outcome.assert_code(0);
        outcome
    };
    let checked = run(&["check", &file]);
    assert_says(&checked.output, &[IPV4, IPV6]);
    assert_says(&checked.errors, &[BRIDGE, NONE]);
    // The file says nothing of this machine.
    for format in ["yaml", "json"] {
        let checked = run(&["check", "--format", format, &file]);
        assert_says(&checked.output, &["192.0.2.0/24", "2001:db8::/64"]);
        assert!(!checked.output.contains("192.0.2.1"), "{}", checked.output);
        assert_says(&checked.errors, &[BRIDGE, NONE]);
    }
    let rendered = run(&["render", "--config", &file]);
    assert_says(
        &rendered.output,
        &[r#""snat":{"addr":"192.0.2.1","#, r#""masquerade""#],
    );
    assert_says(&rendered.errors, &[IPV4, IPV6, BRIDGE, NONE]);
    let explained = run(&["explain", "--config", &file, "1.1.1.1"]);
    let line = "as           192.0.2.1 of br0 (snatAddressCIDRs)";
    assert_says(&explained.output, &[line]);
    let explained = run(&["explain", "--format=json", "--config", &file, "1.1.1.1"]).json();
    let taken = &explained["destinations"][0]["masqueraded_as"];
    assert_eq!(taken["addresses"][0], "192.0.2.1");
    assert_eq!(taken["is_configured"], true);
    // Which address of the interface the kernel takes for several hosts, it does not say.
    let several_hosts = ["224.0.0.5", "255.255.255.255", "192.0.2.255", "ff02::5"];
    let explain = ["explain", "--config", &file];
    let told = run(&[&explain[..], &several_hosts].concat()).output;
    assert_eq!(
        told.matches("verdict      masqueraded").count(),
        4,
        "{told}"
    );
    assert!(!told.contains("  as "), "{told}");
}

#[test]
fn the_daemon_status_and_doctor_say_it_and_the_daemon_is_ready() {
    let node = node();
    let mut daemon = Daemon::start(DAEMON, &node, FILE, &[]).unwrap();
    daemon.wait_for_log("table ip6: applied").unwrap();
    assert_says(
        &daemon.log(),
        &["gets 192.0.2.1 of br0; IPv6: ", BRIDGE, NONE],
    );
    let file = daemon.config_file();
    let run = |arguments: &[&str]| {
        let mut command = node.command(DAEMON);
        Outcome::of(command.args(arguments).arg("--config").arg(&file))
    };
    let status = run(&["status"]);
    status.assert_code(0);
    let line = "masqueraded to     192.0.2.1 of br0, an address of this machine (snatAddressCIDRs)";
    assert_says(&status.output, &[line, BRIDGE, NONE]);
    let status = run(&["status", "--format=json"]).json();
    json_schema::assert_fits("status.schema.json", &status);
    let [ip, ip6] = [0, 1].map(|number| &status["tables"][number]);
    assert_eq!(ip["snat_address"]["address"], "192.0.2.1");
    assert_eq!(ip["snat_address"]["interface"], "br0");
    assert_eq!(ip["snat_address"]["kind"], "bridge");
    assert!(ip6["snat_address"].is_null());
    assert_says(&ip6["warnings"][0].to_string(), &[NONE]);
    let doctor = run(&["doctor"]);
    let by_br0 = "IPv4 by br0: masqueraded traffic gets 192.0.2.1 of br0 (snatAddressCIDRs)";
    assert_says(&doctor.output, &[by_br0, BRIDGE, NONE]);
    let ready = http::get(&node, "/readyz").unwrap();
    assert_eq!(ready.status, 200);
    assert_says(&ready.body, &["ready\n", IPV4, IPV6, BRIDGE, NONE]);
    assert!(!daemon.has_ended());
}

/// The first chain that translates a connection gives it its address.
#[test]
fn beside_an_earlier_chain_that_masquerades_it_is_said_whose_address_counts() {
    let (_directory, file) = file();
    let node = node();
    let exempt = "exempt destinations may be masqueraded all the same";
    let address = "what it masquerades gets that chain's address, not that of snatAddressCIDRs";
    let both = format!("{exempt}, and {address}");
    let as_chosen = "as           192.0.2.1 of br0 (snatAddressCIDRs)";
    let as_either = format!("{as_chosen}; where the other NAT decides, that chain's address");
    // Of IPv6 no address is chosen here.
    for (family, priority, more, warns, of_ipv4) in [
        ("ip", 100, "", both.as_str(), as_either.as_str()),
        ("inet", 110, "", &both, &as_either),
        ("ip", 100, "enforce: true\n", address, &as_either),
        ("ip", 120, "", exempt, as_chosen),
        ("ip6", 100, "", exempt, as_chosen),
    ] {
        std::fs::write(&file, format!("{FILE}{more}")).unwrap();
        let table = format!(
            "table {family} flannel {{ chain c {{ type nat hook postrouting priority {priority}; masquerade; }}; }}"
        );
        Nft::host().apply(&node, &table).unwrap();
        let run = |arguments: &[&str]| {
            let mut command = node.command(DAEMON);
            Outcome::of(command.args(arguments).args(["--config", &file]))
        };
        let findings = run(&["doctor", "--format=json"]).json();
        let mut findings = findings.as_array().unwrap().iter();
        let found = findings.find(|finding| finding["check"] == "other-nat");
        let found = found.unwrap();
        assert_eq!(found["result"], "warning");
        let said = found["finding"].as_str().unwrap();
        assert!(said.ends_with(&format!("; {warns}")), "{said}");
        let is_mended = found["remedy"].to_string().contains("enforce: true");
        assert_eq!(is_mended, warns == exempt, "{found}");
        let explained = run(&["explain", "1.1.1.1"]).output;
        assert!(explained.contains(&format!("{of_ipv4}\n")), "{explained}");
        let delete = format!("delete table {family} flannel");
        Nft::host().apply(&node, &delete).unwrap();
    }
}

/// `--once` has the choice of its moment.
#[test]
fn once_takes_the_address_of_this_machine() {
    let (_directory, file) = file();
    let node = node();
    let once = Outcome::of(
        node.command(DAEMON)
            .args(["run", "--once", "--config", &file]),
    );
    once.assert_code(0);
    let told = [once.output, once.errors].concat();
    assert_says(&told, &["gets 192.0.2.1 of br0; IPv6: ", BRIDGE, NONE]);
    let mut nft = node.command("nft");
    let listed = Outcome::of(nft.args(["list", "table", "ip", "non-masquerade-daemon"]));
    assert_says(&listed.output, &["snat to 192.0.2.1 fully-random"]);
}
