//! The policy as one line of the log, however long its lists are.

use std::fmt;

use super::prefix_table::{Entry, Origin, Verdict};
use super::{FamilyPolicy, NOT_ENFORCED, Policy, Sources};
use crate::in_words;

/// As many of a list as a log line bears; `check` and `render` show all of them.
const SHOWN_IN_ONE_LINE: usize = 16;

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.ipv6 {
            None => write!(f, "{}", self.ipv4)?,
            Some(ipv6) => write!(f, "IPv4: {}; IPv6: {ipv6}", self.ipv4)?,
        }
        f.write_str("; masquerade all other traffic not bound for a LOCAL address")?;
        match (self.random_fully, self.to_ports.as_slice()) {
            (false, []) => {}
            (true, []) => f.write_str(", source ports fully random")?,
            (_, ranges) => {
                let random = if self.random_fully {
                    " fully random"
                } else {
                    ""
                };
                write!(
                    f,
                    ", source ports{random} of {}",
                    in_words::first(ranges, SHOWN_IN_ONE_LINE, ", ")
                )?;
                f.write_str(" (TCP, UDP, SCTP)")?;
            }
        }
        if !self.masq_node_traffic {
            f.write_str("; leave the node's own traffic alone")?;
        }
        if self.enforce {
            write!(
                f,
                "; enforce: what keeps its source keeps it whatever other NAT rules say, but for {NOT_ENFORCED}"
            )?;
        }
        Ok(())
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
        f.write_str("keep the source address to ")?;
        match exempt.as_slice() {
            [] => f.write_str("no destination")?,
            exempt => f.write_str(&listed(exempt))?,
        }
        match masqueraded.as_slice() {
            [] => Ok(()),
            masqueraded => write!(f, " but not to {}", listed(masqueraded)),
        }
    }
}

fn listed(entries: &[Entry]) -> String {
    let entries: Vec<Shown<'_>> = entries.iter().map(Shown).collect();
    in_words::first(&entries, SHOWN_IN_ONE_LINE, ", ")
}

/// Written only where it is shown, which is not each of ten thousand.
struct Shown<'a>(&'a Entry);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.prefix)?;
        match self.0.origin {
            Origin::LinkLocal => f.write_str(" (link-local)"),
            Origin::NonMasqueradeCidrs | Origin::MasqueradeCidrs => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, PortRange};

    fn line(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        change(&mut config);
        Policy::new(&config).to_string()
    }

    #[test]
    fn the_defaults() {
        assert_eq!(
            line(|_| {}),
            "keep the source address to 10.0.0.0/8, 169.254.0.0/16 (link-local), 172.16.0.0/12, \
             192.168.0.0/16; masquerade all other traffic not bound for a LOCAL address, source \
             ports fully random"
        );
    }

    #[test]
    fn everything_that_is_not_as_by_default_is_said() {
        let said = line(|config| {
            config.enable_ipv6 = true;
            config.non_masquerade_cidrs = vec!["10.0.0.0/8".parse().unwrap()];
            config.masquerade_cidrs = vec!["10.1.0.0/16".parse().unwrap()];
            config.source_cidrs = vec![
                "10.2.0.0/16".parse().unwrap(),
                "fd00:2::/32".parse().unwrap(),
            ];
            config.masq_node_traffic = false;
            config.masq_link_local = true;
            config.enforce = true;
            config.to_ports = vec![PortRange {
                first: 1024,
                last: 29999,
            }];
        });
        assert_eq!(
            said,
            "IPv4: from 10.2.0.0/16 only, keep the source address to 10.0.0.0/8 but not to 10.1.0.0/16; IPv6: from \
             fd00:2::/32 only, keep the source address to fe80::/10 (link-local); masquerade all other traffic not \
             bound for a LOCAL address, source ports fully random of 1024-29999 (TCP, UDP, SCTP); leave the node's \
             own traffic alone; enforce: what keeps its source keeps it whatever other NAT rules say, but for what was \
             translated to another destination (Services)"
        );
    }

    #[test]
    fn a_family_that_is_left_alone_is_said_to_be() {
        let said = line(|config| {
            config.enable_ipv6 = true;
            config.source_cidrs = vec!["10.0.0.0/8".parse().unwrap()];
        });
        assert!(
            said.contains("IPv6: left alone, sourceCIDRs names no source of this family;"),
            "{said}"
        );
    }

    #[test]
    fn empty_lists_and_defaults_say_nothing_of_themselves() {
        let said = line(|config| {
            config.non_masquerade_cidrs.clear();
            config.masq_link_local = true;
            config.random_fully = false;
        });
        assert_eq!(
            said,
            "keep the source address to no destination; masquerade all other traffic not bound for a LOCAL address"
        );
    }

    #[test]
    fn the_line_is_bounded_however_long_the_lists_are() {
        let said = line(|config| {
            let cidrs = |net: u32| {
                (0..5_000_u32).map(move |n| format!("{net}.{}.{}.0/24", n / 256, n % 256))
            };
            let parsed = |net| cidrs(net).map(|cidr| cidr.parse().unwrap()).collect();
            config.non_masquerade_cidrs = parsed(10);
            config.masquerade_cidrs = parsed(11);
            config.source_cidrs = parsed(12);
            config.to_ports = (1..5_000)
                .map(|first| PortRange { first, last: first })
                .collect();
        });
        assert_eq!(said.matches(" more").count(), 4, "{said}");
        assert!(said.len() < 2_000, "{} bytes", said.len());
    }
}
