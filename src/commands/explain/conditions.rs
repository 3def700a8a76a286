//! What else must hold for what the configuration means for one destination.

use std::net::IpAddr;

use crate::in_words;
use crate::policy::interfaces::Interfaces;
use crate::policy::{Policy, Sources};

/// What else must hold for a verdict, of the interface, and where no source is given; in words.
pub(super) fn conditions(
    policy: &Policy,
    source: Option<IpAddr>,
    destination: IpAddr,
) -> Vec<String> {
    let interfaces = match &policy.output_interfaces {
        Interfaces::Any => None,
        Interfaces::Only(names) => Some(format!(
            "by {} (outputInterfaces); what leaves by others is left alone",
            in_words::all(names, ", ")
        )),
    };
    if source.is_some() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn without_a_source_its_conditions_are_named() {
        let mut config = Config::default();
        let conditions = |config: &Config, source: Option<&str>| {
            let source = source.map(|source| source.parse().unwrap());
            conditions(&Policy::new(config), source, [1, 1, 1, 1].into()).join("\n")
        };
        assert_eq!(conditions(&config, None), "");
        config.masq_node_traffic = false;
        config.source_cidrs = vec!["10.244.0.0/16".parse().unwrap()];
        assert_eq!(
            conditions(&config, None),
            "from 10.244.0.0/16 (sourceCIDRs); from other sources it is left alone\n\
             not sent by the node itself (masqNodeTraffic: false); that is left alone"
        );
        assert_eq!(conditions(&config, Some("10.244.0.1")), "");
        config.output_interfaces = vec!["eth*".to_owned()];
        assert_eq!(
            conditions(&config, Some("10.244.0.1")),
            "by eth* (outputInterfaces); what leaves by others is left alone"
        );
    }
}
