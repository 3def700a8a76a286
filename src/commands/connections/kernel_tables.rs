//! The policy that the kernel's tables follow, read off them: what connections are judged by where the file is bad and no
//! daemon tells the last good one. Only as far as a connection shows it: which ports masqueraded ones get, `enforce` and
//! `dropInvalid` make no difference to a judgement.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use crate::cli::Options;
use crate::commands::listed_rules::ListedRules;
use crate::commands::look::Look;
use crate::commands::policy_here;
use crate::config::Config;
use crate::daemon::worker::WorkerError;
use crate::kernel::observed::{Observed, ObservedElement};
use crate::policy::Policy;
use crate::policy::prefix_table::{Entry, Interval, Origin};
use crate::ruleset::{AddressField, ChosenNames, Family, longest_prefix_of, names};

/// Reads it. `None`: there is no table of this name for IPv4.
pub(super) fn policy(look: &mut Look, options: &Options) -> Result<Option<Policy>, WorkerError> {
    let chosen = options.chosen_names();
    let mut config = Config::default();
    let Some(ipv4) = read(look, Family::Ip, &chosen, &mut config)? else {
        return Ok(None);
    };
    let ipv6 = read(look, Family::Ip6, &chosen, &mut config)?;
    config.enable_ipv6 = ipv6.is_some();
    let mut policy = policy_here(&config);
    policy.ipv4.destinations = ipv4;
    if let (Some(of_family), Some(ipv6)) = (&mut policy.ipv6, ipv6) {
        of_family.destinations = ipv6;
    }
    Ok(Some(policy))
}

/// Gives the destinations for which the family's table decides; what else it says goes into `config`.
fn read(
    look: &mut Look,
    family: Family,
    chosen: &ChosenNames,
    config: &mut Config,
) -> Result<Option<Vec<Interval>>, WorkerError> {
    let Some(table) = look.table(family, &chosen.table, None)?.observed else {
        return Ok(None);
    };
    let rules = look.rules(family, &chosen.table)?;
    let sources = elements(&table, AddressField::Source).iter();
    config.source_cidrs.extend(sources.filter_map(prefix));
    what_rules_say(&rules, chosen, config);
    let destinations = elements(&table, AddressField::Destination).iter();
    Ok(Some(destinations.filter_map(interval).collect()))
}

fn elements(table: &Observed, field: AddressField) -> &[ObservedElement] {
    table.set_in_use(field).map_or(&[], |set| &set.elements)
}

fn prefix(element: &ObservedElement) -> Option<IpNet> {
    longest_prefix_of(element.first, element.last)
}

/// By the configured CIDR that its comment names.
fn interval(element: &ObservedElement) -> Option<Interval> {
    let comment = element.comment.as_deref();
    let configured = comment.and_then(|comment| comment.parse().ok());
    Some(Interval {
        first: element.first,
        last: element.last,
        decided_by: Entry {
            prefix: configured.or_else(|| prefix(element))?,
            origin: match comment {
                Some("link-local") => Origin::LinkLocal,
                _ => Origin::NonMasqueradeCidrs,
            },
        },
    })
}

/// ```text
/// fib saddr type local return         # in postrouting: masqNodeTraffic: false
/// oifname "eth*" …                    # in postrouting: outputInterfaces
/// snat to 192.0.2.1[:FIRST-LAST] …    # snatAddressCIDRs
/// ```
fn what_rules_say(rules: &ListedRules, chosen: &ChosenNames, config: &mut Config) {
    for statement in rules.statements_of(names::POSTROUTING_CHAIN) {
        let says = |place, what| statement.pointer(place).is_some_and(|said| said == what);
        if says("/match/left/fib/flags/0", "saddr") {
            config.masq_node_traffic = false;
        }
        let interface = statement.pointer("/match/right").and_then(Value::as_str);
        if says("/match/left/meta/key", "oifname") {
            let interface = interface.map(str::to_owned);
            config.output_interfaces.extend(interface);
        }
    }
    for statement in rules.statements_of(&chosen.masq_chain) {
        let address = statement.pointer("/snat/addr").and_then(Value::as_str);
        let address = address.and_then(|text| text.parse::<IpAddr>().ok());
        config.snat_address_cidrs.extend(address.map(IpNet::from));
    }
}
