//! What changed from one policy to the next, in few words: a log that shows two long lists shows nobody the difference.

use std::fmt;

use ipnet::IpNet;

use super::prefix_table::Verdict;
use super::{FamilyPolicy, Policy, Sources};
use crate::config::PortRange;
use crate::in_words;

/// The difference of two policies. Its `Display` is empty where there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyChange {
    /// Prefixes that decide, or are looked at as sources, and did not before; of all lists together.
    pub added: usize,
    /// Prefixes that do so no longer.
    pub removed: usize,
    /// `+2 −1 exempt CIDRs` and the like, one for each list and option that changed.
    pub words: Vec<String>,
}

impl PolicyChange {
    /// From `before` to `after`.
    #[must_use]
    pub fn between(before: &Policy, after: &Policy) -> Self {
        let mut change = Self::default();
        let has_both = before.ipv6.is_some() || after.ipv6.is_some();
        let name = |family| if has_both { family } else { "" };
        change.family(name("IPv4 "), Some(&before.ipv4), Some(&after.ipv4));
        change.family(name("IPv6 "), before.ipv6.as_ref(), after.ipv6.as_ref());
        let ipv6 = [before, after].map(|policy| policy.ipv6.is_some());
        change.option("enableIPv6", ipv6);
        let of = |value: fn(&Policy) -> bool| [before, after].map(value);
        change.option("masqNodeTraffic", of(|policy| policy.masq_node_traffic));
        change.option("randomFully", of(|policy| policy.random_fully));
        change.option("enforce", of(|policy| policy.enforce));
        if before.to_ports != after.to_ports {
            let ports = format!("toPorts now {}", ports(&after.to_ports));
            change.words.push(ports);
        }
        change
    }

    fn family(&mut self, name: &str, before: Option<&FamilyPolicy>, after: Option<&FamilyPolicy>) {
        for (verdict, kind) in [
            (Verdict::NonMasquerade, "exempt CIDRs"),
            (Verdict::Masquerade, "masqueraded CIDRs"),
        ] {
            let of = |policy: Option<&FamilyPolicy>| {
                policy.map_or(Vec::new(), |policy| prefixes(policy, verdict))
            };
            self.list(&format!("{name}{kind}"), &of(before), &of(after));
        }
        let of = |policy: Option<&FamilyPolicy>| match policy.map(|policy| &policy.sources) {
            Some(Sources::Only(sources)) => sources.clone(),
            Some(Sources::Any) | None => Vec::new(),
        };
        self.list(&format!("{name}source CIDRs"), &of(before), &of(after));
    }

    /// Both in ascending order, each prefix once.
    fn list(&mut self, name: &str, before: &[IpNet], after: &[IpNet]) {
        let kept = in_both(before, after);
        let (added, removed) = (after.len() - kept, before.len() - kept);
        if added + removed > 0 {
            self.words.push(format!("+{added} −{removed} {name}"));
            self.added += added;
            self.removed += removed;
        }
    }

    fn option(&mut self, name: &str, [before, after]: [bool; 2]) {
        if before != after {
            self.words.push(format!("{name} now {after}"));
        }
    }
}

impl fmt::Display for PolicyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words.join(", "))
    }
}

fn prefixes(policy: &FamilyPolicy, verdict: Verdict) -> Vec<IpNet> {
    let deciding = policy.deciding().into_iter();
    deciding
        .filter(|entry| entry.origin.verdict() == verdict)
        .map(|entry| entry.prefix)
        .collect()
}

/// How many prefixes are in both, which are in ascending order.
fn in_both(these: &[IpNet], others: &[IpNet]) -> usize {
    let mut others = others.iter().peekable();
    let is_in_both = |prefix: &&IpNet| {
        while others.next_if(|other| other < prefix).is_some() {}
        others.next_if_eq(prefix).is_some()
    };
    these.iter().filter(is_in_both).count()
}

/// As many ranges as a log line bears.
const RANGES_SHOWN: usize = 8;

fn ports(ranges: &[PortRange]) -> String {
    if ranges.is_empty() {
        return "as the kernel chooses".to_owned();
    }
    in_words::first(ranges, RANGES_SHOWN, ",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn change(of: impl FnOnce(&mut Config)) -> PolicyChange {
        let before = Config::default();
        let mut after = before.clone();
        of(&mut after);
        PolicyChange::between(&Policy::new(&before), &Policy::new(&after))
    }

    #[test]
    fn added_and_removed_cidrs_are_counted_by_kind() {
        let change = change(|config| {
            let listed = ["10.0.0.0/8", "192.0.2.0/24", "198.51.100.0/24"];
            config.non_masquerade_cidrs = listed.map(|cidr| cidr.parse().unwrap()).into();
            config.masquerade_cidrs = vec!["10.1.0.0/16".parse().unwrap()];
        });
        assert_eq!(
            change.to_string(),
            "+2 −2 exempt CIDRs, +1 −0 masqueraded CIDRs"
        );
        assert_eq!((change.added, change.removed), (3, 2));
    }

    #[test]
    fn each_option_that_changed_is_named_with_its_new_value() {
        let change = change(|config| {
            config.enable_ipv6 = true;
            config.masq_node_traffic = false;
            config.random_fully = false;
            config.enforce = true;
            config.source_cidrs = vec!["10.2.0.0/16".parse().unwrap()];
            config.to_ports = vec![PortRange {
                first: 1024,
                last: 29999,
            }];
        });
        assert_eq!(
            change.to_string(),
            "+1 −0 IPv4 source CIDRs, +1 −0 IPv6 exempt CIDRs, enableIPv6 now true, masqNodeTraffic now false, \
             randomFully now false, enforce now true, toPorts now 1024-29999"
        );
    }

    #[test]
    fn nothing_is_said_of_two_alike() {
        assert_eq!(change(|_| {}), PolicyChange::default());
    }
}
