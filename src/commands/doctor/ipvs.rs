//! Services that IPVS balances: it does not set the status dnat that `enforce` looks at.

use super::enforcement::Enforcement;
use super::finding::Finding;
use crate::commands::proc;

const CHECK: &str = "ipvs";
/// The services that IPVS balances in this network namespace.
const IP_VS: &str = "/proc/net/ip_vs";

pub(super) fn check(enforcement: Enforcement) -> Finding {
    match proc::content(IP_VS) {
        Ok(services) => finding(services_in(&services), enforcement),
        Err(error) => Finding::unread(CHECK, IP_VS, &error),
    }
}

/// How many services IPVS balances, where that is to be seen.
pub(super) fn services() -> Option<usize> {
    proc::content(IP_VS).ok().as_deref().map(services_in)
}

fn services_in(listing: &str) -> usize {
    const KINDS: [&str; 4] = ["TCP", "UDP", "SCTP", "FWM"];
    let is_service = |line: &&str| KINDS.iter().any(|kind| line.starts_with(kind));
    listing.lines().filter(is_service).count()
}

fn finding(services: usize, enforcement: Enforcement) -> Finding {
    match (services, enforcement == Enforcement::On) {
        (0, _) => Finding::ok(CHECK, "no service is balanced by IPVS"),
        (count, false) => Finding::ok(
            CHECK,
            format!("IPVS balances {count} services; enforce is off, and has to stay so"),
        ),
        (count, true) => Finding::failure(
            CHECK,
            format!(
                "IPVS balances {count} services and enforce is on: their connections would keep a source that breaks them"
            ),
            "set enforce: false, or run kube-proxy in another mode (--proxy-mode=nftables or iptables)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Outcome;
    use super::*;

    const IP_VS: &str = "IP Virtual Server version 1.2.1 (size=4096)\n\
        Prot LocalAddress:Port Scheduler Flags\n  -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n\
        TCP  0A600001:01BB rr\n  -> 0AF40102:1BBB      Masq    1      0          0\nUDP  0A60000A:0035 rr\n";

    #[test]
    fn enforce_beside_ipvs_services_is_a_failure() {
        let empty = IP_VS.lines().take(3).collect::<Vec<_>>().join("\n");
        for (services, enforces, result) in [
            (IP_VS, true, Outcome::Failure),
            (IP_VS, false, Outcome::Ok),
            (&empty, true, Outcome::Ok),
            ("", true, Outcome::Ok),
        ] {
            let enforcement = match enforces {
                true => Enforcement::On,
                false => Enforcement::Harmful,
            };
            let found = finding(services_in(services), enforcement);
            assert_eq!(found.result, result, "{}", found.finding);
        }
        let found = finding(services_in(IP_VS), Enforcement::On);
        assert!(found.finding.contains("balances 2 services"));
    }
}
