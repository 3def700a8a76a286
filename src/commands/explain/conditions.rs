//! What else must hold for what the configuration means for one destination.

use std::net::IpAddr;

use crate::in_words;
use crate::kernel::routing::Route;
use crate::policy::interfaces::Interfaces;
use crate::policy::{Policy, Sources};

/// What else must hold for a verdict, of the interface, and where no source is given; in words. `way`: today's, if there is
/// one.
pub(super) fn conditions(
    policy: &Policy,
    source: Option<IpAddr>,
    destination: IpAddr,
    way: Option<&Route>,
) -> Vec<String> {
    let other = way.filter(|way| !policy.output_interfaces.contain(&way.interface));
    let interfaces = of_interfaces(&policy.output_interfaces, other);
    if source.is_some() || other.is_some() {
        return interfaces.into_iter().collect();
    }
    let sources = match policy.of_family(destination).map(|family| &family.sources) {
        Some(Sources::Only(sources)) => Some(format!(
            "from {} (sourceCIDRs); from other sources it is left alone",
            in_words::all(sources, ", ")
        )),
        _ => None,
    };
    let node = "not sent by the node itself (masqNodeTraffic: false); that is left alone";
    let node = (!policy.masq_node_traffic).then(|| node.to_owned());
    interfaces.into_iter().chain(sources).chain(node).collect()
}

/// `other`: today's way, where it leads by none of them.
fn of_interfaces(interfaces: &Interfaces, other: Option<&Route>) -> Option<String> {
    let Interfaces::Only(names) = interfaces else {
        return None;
    };
    let names = in_words::all(names, ", ");
    Some(match other {
        None => format!("by {names} (outputInterfaces); what leaves by others is left alone"),
        Some(way) => format!(
            "by {}, as today's route leads; what leaves by {names} (outputInterfaces) is looked at",
            way.interface
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn told(config: &Config, source: Option<&str>, interface: Option<&str>) -> String {
        let source = source.map(|source| source.parse().unwrap());
        let way = interface.map(|interface| Route {
            destination: "1.1.1.1/32".parse().unwrap(),
            is_local: false,
            interface: interface.to_owned(),
            gateway: None,
        });
        let policy = Policy::new(config);
        conditions(&policy, source, [1, 1, 1, 1].into(), way.as_ref()).join("\n")
    }

    #[test]
    fn without_a_source_its_conditions_are_named() {
        let mut config = Config::default();
        assert_eq!(told(&config, None, Some("eth0")), "");
        config.masq_node_traffic = false;
        config.source_cidrs = vec!["10.244.0.0/16".parse().unwrap()];
        assert_eq!(
            told(&config, None, Some("eth0")),
            "from 10.244.0.0/16 (sourceCIDRs); from other sources it is left alone\n\
             not sent by the node itself (masqNodeTraffic: false); that is left alone"
        );
        assert_eq!(told(&config, Some("10.244.0.1"), Some("eth0")), "");
    }

    #[test]
    fn interfaces_are_a_condition_that_today_s_route_meets_or_does_not() {
        let config = Config {
            output_interfaces: vec!["eth*".to_owned()],
            masq_node_traffic: false,
            ..Config::default()
        };
        for way in [Some("eth0"), None] {
            assert_eq!(
                told(&config, Some("10.244.0.1"), way),
                "by eth* (outputInterfaces); what leaves by others is left alone"
            );
        }
        // It is left alone, whoever sends it.
        for source in [Some("10.244.0.1"), None] {
            assert_eq!(
                told(&config, source, Some("wg0")),
                "by wg0, as today's route leads; what leaves by eth* (outputInterfaces) is looked at"
            );
        }
    }
}
