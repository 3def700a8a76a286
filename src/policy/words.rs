//! A policy in words: at length for `check`, as one line for the log however long its lists are, and what changed from one
//! to the next.

use std::collections::BTreeSet;
use std::fmt;

use ipnet::IpNet;

use super::interfaces::Interfaces;
use super::node_address::SnatAddress;
use super::prefix_table::{Entry, Origin, Verdict};
use super::{FamilyPolicy, NOT_ENFORCED, Policy, Sources};
use crate::in_words;

/// As many of a list as a log line bears; `check` and `render` show all of them.
const SHOWN_IN_ONE_LINE: usize = 16;

/// The line of the log.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.ipv6 {
            None => write!(f, "{}", self.ipv4)?,
            Some(ipv6) => write!(f, "IPv4: {}; IPv6: {ipv6}", self.ipv4)?,
        }
        f.write_str("; masquerade all other traffic")?;
        let clauses = self.clauses(SHOWN_IN_ONE_LINE);
        clauses
            .iter()
            .try_for_each(|clause| write!(f, "; {clause}"))
    }
}

impl fmt::Display for FamilyPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.sources {
            Sources::Any => {}
            Sources::Only(sources) if sources.is_empty() => {
                return f.write_str("left alone, sourceCIDRs names no source of this family");
            }
            Sources::Only(sources) => {
                let sources = in_words::first(sources, SHOWN_IN_ONE_LINE, ", ");
                write!(f, "from {sources} only, ")?;
            }
        }
        let (exempt, masqueraded): (Vec<Entry>, Vec<Entry>) = self
            .deciding()
            .iter()
            .partition(|entry| entry.origin.verdict() == Verdict::NonMasquerade);
        let listed = |entries: &[Entry]| in_words::first(entries, SHOWN_IN_ONE_LINE, ", ");
        match exempt.as_slice() {
            [] => f.write_str("keep the source address to no destination")?,
            exempt => write!(f, "keep the source address to {}", listed(exempt))?,
        }
        if !masqueraded.is_empty() {
            write!(f, " but not to {}", listed(&masqueraded))?;
        }
        match self.snat_address.family() {
            None => Ok(()),
            Some(_) => write!(f, ", what is masqueraded gets {}", self.snat_address),
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.origin {
            Origin::LinkLocal => write!(f, "{} (link-local)", self.prefix),
            Origin::NonMasqueradeCidrs | Origin::MasqueradeCidrs => self.prefix.fmt(f),
        }
    }
}

impl Policy {
    /// All that it says: a paragraph for each family, and one for what holds for both.
    #[must_use]
    pub fn at_length(&self) -> String {
        let ipv6 = match &self.ipv6 {
            Some(ipv6) => ipv6.at_length("IPv6"),
            None => "IPv6 traffic is left alone (enableIPv6: false).\n".to_owned(),
        };
        let sentences = self.clauses(usize::MAX).into_iter().map(in_words::sentence);
        let of_both = in_words::all(sentences, "\n");
        format!("{}\n{ipv6}\n{of_both}\n", self.ipv4.at_length("IPv4"))
    }

    /// Which address masqueraded connections get on this machine, a sentence for each family that `snatAddressCIDRs` names.
    #[must_use]
    pub fn snat_addresses_in_words(&self) -> Vec<String> {
        let of_families = self.snat_addresses();
        of_families.filter_map(SnatAddress::in_words).collect()
    }

    /// What holds for both families; `most` of a list are shown.
    fn clauses(&self, most: usize) -> Vec<String> {
        let mut clauses = vec!["traffic bound for a LOCAL address is left alone".to_owned()];
        if let Interfaces::Only(names) = &self.output_interfaces {
            let names = in_words::first(names, most, ", ");
            clauses.push(format!(
                "what leaves by other interfaces than {names} is left alone (outputInterfaces)"
            ));
        }
        if !self.masq_node_traffic {
            let node = "what the node itself sends is left alone (masqNodeTraffic: false)";
            clauses.push(node.to_owned());
        }
        clauses.push(match self.enforce {
            true => format!(
                "with enforce: true, what keeps its source address keeps it whatever other NAT rules say, but for {NOT_ENFORCED}"
            ),
            false => "other NAT rules that come first may masquerade what is to keep its source address (enforce: false)".to_owned(),
        });
        if self.drop_invalid {
            clauses.push("packets that belong to no connection, and so cannot be masqueraded, are dropped where they would have to be (dropInvalid: true)".to_owned());
        }
        let random = match self.random_fully {
            true => "fully random",
            false => "kept where possible",
        };
        let within = match self.to_ports.as_slice() {
            [] => String::new(),
            ranges => format!(
                "; of TCP, UDP and SCTP within {} (toPorts)",
                in_words::first(ranges, most, ", ")
            ),
        };
        clauses.push(format!(
            "source ports of what is masqueraded: {random}{within}"
        ));
        clauses
    }
}

impl FamilyPolicy {
    fn at_length(&self, name: &str) -> String {
        let from = match &self.sources {
            Sources::Any => String::new(),
            Sources::Only(sources) if sources.is_empty() => {
                return format!(
                    "{name} traffic is left alone: sourceCIDRs names no {name} source.\n"
                );
            }
            Sources::Only(sources) => {
                let sources = in_words::all(sources, ", ");
                format!(" from {sources} (other sources are left alone)")
            }
        };
        let decided = self.deciding().into_iter().map(|entry| {
            let what = match entry.origin {
                Origin::NonMasqueradeCidrs => "keeps its source address",
                Origin::MasqueradeCidrs => "is masqueraded",
                Origin::LinkLocal if entry.prefix.addr().is_ipv4() => {
                    "keeps its source address (link-local, RFC 3927; masqLinkLocal: false)"
                }
                Origin::LinkLocal => {
                    "keeps its source address (link-local, RFC 4291; masqLinkLocalIPv6: false)"
                }
            };
            (entry.prefix.to_string(), what)
        });
        let all_other = ("any other".to_owned(), "is masqueraded");
        let all: Vec<(String, &str)> = decided.chain([all_other]).collect();
        let width = all.iter().map(|(to, _)| to.len()).max().unwrap_or_default();
        let lines = all
            .iter()
            .map(|(to, what)| format!("  {to:width$}  {what}\n"));
        let snat_address = self.snat_address.in_words();
        let snat_address = snat_address.map(|said| format!("{said}\n"));
        format!(
            "{name} traffic{from}, by the longest prefix that contains its destination:\n{}{}",
            lines.collect::<String>(),
            snat_address.unwrap_or_default()
        )
    }
}

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
        for (now, then) in switches(after).into_iter().zip(switches(before)) {
            if now != then {
                let (name, is_on) = now;
                change.words.push(format!("{name} now {is_on}"));
            }
        }
        if before.to_ports != after.to_ports {
            let ports = match after.to_ports.as_slice() {
                [] => "as the kernel chooses".to_owned(),
                ranges => in_words::first(ranges, SHOWN_IN_ONE_LINE, ","),
            };
            change.words.push(format!("toPorts now {ports}"));
        }
        if before.output_interfaces != after.output_interfaces {
            let interfaces = match &after.output_interfaces {
                Interfaces::Any => "any".to_owned(),
                Interfaces::Only(names) => in_words::first(names, SHOWN_IN_ONE_LINE, ","),
            };
            change
                .words
                .push(format!("outputInterfaces now {interfaces}"));
        }
        change
    }

    fn family(&mut self, name: &str, before: Option<&FamilyPolicy>, after: Option<&FamilyPolicy>) {
        for ((kind, after), (_, before)) in lists(after).into_iter().zip(lists(before)) {
            let added = after.difference(&before).count();
            let removed = before.difference(&after).count();
            if added + removed > 0 {
                self.words.push(format!("+{added} −{removed} {name}{kind}"));
                self.added += added;
                self.removed += removed;
            }
        }
        let snat_address =
            |policy: Option<&FamilyPolicy>| policy.map(|policy| policy.snat_address.to_string());
        if let (Some(before), Some(after)) = (snat_address(before), snat_address(after))
            && before != after
        {
            self.words
                .push(format!("{name}snatAddressCIDRs now {after}"));
        }
    }
}

impl fmt::Display for PolicyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words.join(", "))
    }
}

/// What is on or off for both families, by the keys of the file.
fn switches(policy: &Policy) -> [(&'static str, bool); 5] {
    [
        ("enableIPv6", policy.ipv6.is_some()),
        ("masqNodeTraffic", policy.masq_node_traffic),
        ("randomFully", policy.random_fully),
        ("enforce", policy.enforce),
        ("dropInvalid", policy.drop_invalid),
    ]
}

/// The prefixes of a family, by what they are for. `None`: it is left alone.
fn lists(policy: Option<&FamilyPolicy>) -> [(&'static str, BTreeSet<IpNet>); 3] {
    let deciding = policy.map(FamilyPolicy::deciding).unwrap_or_default();
    let of = |verdict| {
        let entries = deciding.iter();
        let entries = entries.filter(|entry| entry.origin.verdict() == verdict);
        entries.map(|entry| entry.prefix).collect()
    };
    let sources = match policy.map(|policy| &policy.sources) {
        Some(Sources::Only(sources)) => sources.iter().copied().collect(),
        Some(Sources::Any) | None => BTreeSet::new(),
    };
    [
        ("exempt CIDRs", of(Verdict::NonMasquerade)),
        ("masqueraded CIDRs", of(Verdict::Masquerade)),
        ("source CIDRs", sources),
    ]
}

#[cfg(test)]
mod tests;
