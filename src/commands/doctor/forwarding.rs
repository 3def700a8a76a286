//! Whether the node forwards.

use super::finding::Finding;
use crate::commands::proc;

const CHECK: &str = "forwarding";
const IPV4: &str = "/proc/sys/net/ipv4/ip_forward";
const IPV6: &str = "/proc/sys/net/ipv6/conf/all/forwarding";

pub(super) fn check(has_ipv6: bool) -> Vec<Finding> {
    let ipv6 = has_ipv6.then(|| proc::content(IPV6)).transpose();
    match (proc::content(IPV4), ipv6) {
        (Ok(ipv4), Ok(ipv6)) => findings(&ipv4, ipv6.as_deref()),
        (Err(error), _) => vec![Finding::unread(CHECK, IPV4, &error)],
        (_, Err(error)) => vec![Finding::unread(CHECK, IPV6, &error)],
    }
}

/// The values of net.ipv4.ip_forward and, where IPv6 is on, net.ipv6.conf.all.forwarding.
fn findings(ipv4: &str, ipv6: Option<&str>) -> Vec<Finding> {
    let families = [
        ("IPv4", "net.ipv4.ip_forward", Some(ipv4)),
        ("IPv6", "net.ipv6.conf.all.forwarding", ipv6),
    ];
    let off: Vec<Finding> = families
        .into_iter()
        .filter(|(_, _, value)| value.is_some_and(|value| value.trim() == "0"))
        .map(|(family, setting, _)| {
            Finding::warning(
                CHECK,
                format!("the node forwards no {family} traffic: its pods reach nothing beyond it"),
                format!("sysctl -w {setting}=1"),
            )
        })
        .collect();
    if off.is_empty() {
        return vec![Finding::ok(CHECK, "the node forwards traffic")];
    }
    off
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarding_is_asked_of_the_families_that_are_on() {
        assert_eq!(
            findings("1\n", None),
            [Finding::ok("forwarding", "the node forwards traffic")]
        );
        assert_eq!(findings("0\n", Some("0\n")).len(), 2);
        let [found] = findings("1\n", Some("0\n")).try_into().unwrap();
        assert_eq!(
            found.remedy.as_deref(),
            Some("sysctl -w net.ipv6.conf.all.forwarding=1")
        );
    }
}
