//! Connections that were not treated as the configuration asks for.

use std::net::IpAddr;

use super::report::Report;
use crate::support::lab::Lab;
use crate::support::nft::Nft;
use crate::support::probe::{Probe, Protocol};

const CONFIGURATION: &str = "nonMasqueradeCIDRs: [10.0.0.0/8]\n";

#[test]
fn what_contradicts_is_counted_by_kind_with_examples_and_what_mends_it() {
    let lab = Lab::new().unwrap();
    let other = r"table ip other {
        chain early {
            type nat hook postrouting priority srcnat - 5;
            ip daddr 10.9.0.1 masquerade
        }
    }";
    Nft::host().apply(&lab.node, other).unwrap();
    let report = Report::on(&lab.node, CONFIGURATION);
    report.must_have("connections", "ok", &["none contradicts"]);
    let probe = Probe::from_pod(&lab).unwrap();
    for to in [[10, 9, 0, 1], [10, 1, 0, 1]] {
        for _ in 0..5 {
            let seen = probe.seen_source(Protocol::Udp, IpAddr::from(to));
            seen.unwrap();
        }
    }
    let report = Report::on(&lab.node, CONFIGURATION);
    report.must_have(
        "connections",
        "warning",
        &[
            "5 masqueraded though exempt, such as udp 10.244.1.2:",
            "explain --from 10.244.1.2 10.9.0.1",
            "connections --end",
        ],
    );
    assert_eq!(report.of_check("connections").len(), 1);
    let shown = format!("{:?}", report.of_check("connections"));
    assert_eq!(shown.matches(" to 10.9.0.1:").count(), 3, "{shown}");
}
