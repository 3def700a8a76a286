//! What is likely not meant in a configuration that holds.

use ipnet::IpNet;

use super::keys::{NON_MASQUERADE_CIDRS, SOURCE_CIDRS};
use super::{Config, Finding, Place};

/// Warnings about what all files and flags say together.
pub(super) fn oversights(config: &Config) -> Vec<Finding> {
    let is_ipv4 = |cidr: &IpNet| matches!(cidr, IpNet::V4(_));
    let is_ipv6 = |cidr: &IpNet| matches!(cidr, IpNet::V6(_));
    let is_left_alone = |is_of_family: fn(&IpNet) -> bool| {
        !config.source_cidrs.is_empty() && !config.source_cidrs.iter().any(is_of_family)
    };
    let ipv6_is_left_alone = config.enable_ipv6 && is_left_alone(is_ipv6);
    let mut warnings = Vec::new();
    if is_left_alone(is_ipv4) {
        warnings.push(left_alone("IPv4", "remove the key for any source"));
    }
    if ipv6_is_left_alone {
        warnings.push(left_alone("IPv6", "turn IPv6 off if that is meant"));
    }
    let exempts_ipv6 = config.non_masquerade_cidrs.iter().any(is_ipv6);
    if config.enable_ipv6 && !exempts_ipv6 && !ipv6_is_left_alone {
        warnings.push(warning(
            NON_MASQUERADE_CIDRS,
            "IPv6 is on and no IPv6 CIDR is listed, so that all IPv6 traffic between pods is masqueraded".into(),
            "add the IPv6 CIDRs of pods and nodes".into(),
        ));
    }
    warnings
}

fn left_alone(family: &str, otherwise: &str) -> Finding {
    warning(
        SOURCE_CIDRS,
        format!(
            "no {family} CIDR is among the sources, so that all {family} traffic is left alone"
        ),
        format!("add one, or {otherwise}"),
    )
}

fn warning(key: &str, reason: String, remedy: String) -> Finding {
    Finding {
        file: String::new(),
        place: Place::Configuration,
        key: Some(key.into()),
        value: None,
        reason,
        remedy,
    }
}
