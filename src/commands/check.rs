//! `check`: is the configuration good, and what does it mean?

use std::fmt::Write;
use std::path::PathBuf;

use super::{ExitStatus, bad_configuration, load, print, print_warnings};
use crate::cli::Options;
use crate::config::Config;
use crate::config_source::{self, Loaded};
use crate::in_words;
use crate::policy::prefix_table::Origin;
use crate::policy::{FamilyPolicy, NOT_ENFORCED, Policy, Sources};

/// Judges `files`, or what `--config` names, and prints the policy that is in force with it.
pub(super) fn check(options: &Options, files: &[PathBuf]) -> ExitStatus {
    let (paths, loaded) = if files.is_empty() {
        (options.config.as_slice(), load(options))
    } else {
        let loaded = config_source::load_existing(files, &options.flags());
        (files, loaded)
    };
    match loaded {
        Ok(loaded) => {
            print_warnings(&loaded.warnings);
            print_warnings(&silent(&loaded));
            let is_without_file = loaded.files.is_empty();
            let absence = is_without_file.then(|| config_source::absence(paths));
            print(&described(&loaded.config, absence.as_deref()))
        }
        Err(error) => bad_configuration(&error),
    }
}

/// A file that says nothing is as good as none, and hardly ever what was to be checked: `jsonpath` of a wrong key writes one.
fn silent(loaded: &Loaded) -> Vec<String> {
    let silent = loaded.silent_files.iter();
    silent
        .map(|file| {
            format!(
                "{}: no key in it, so that it says nothing; write keys with values, such as masqLinkLocal: false",
                file.display()
            )
        })
        .collect()
}

/// `absence`: that there is no file, in words.
fn described(config: &Config, absence: Option<&str>) -> String {
    let policy = Policy::new(config);
    let more = match (absence, config.non_masquerade_cidrs_are_default) {
        (Some(absence), _) => format!(": {absence}, so all is as by default"),
        (None, true) => "; it leaves nonMasqueradeCIDRs as by default".to_owned(),
        (None, false) => String::new(),
    };
    let introduction = format!("The configuration is good{more}.");
    let ipv6 = match &policy.ipv6 {
        Some(ipv6) => family("IPv6", ipv6),
        None => "IPv6 traffic is left alone (enableIPv6: false).\n".to_owned(),
    };
    let paragraphs = [
        format!("{introduction}\n"),
        family("IPv4", &policy.ipv4),
        ipv6,
        exceptions(&policy),
        format!(
            "File and kernel are compared every {:?}.\n",
            config.resync_interval
        ),
    ];
    paragraphs.join("\n")
}

fn family(name: &str, policy: &FamilyPolicy) -> String {
    let from = match &policy.sources {
        Sources::Any => String::new(),
        Sources::Only(sources) if sources.is_empty() => {
            return format!("{name} traffic is left alone: sourceCIDRs names no {name} source.\n");
        }
        Sources::Only(sources) => {
            let sources = in_words::all(sources, ", ");
            format!(" from {sources} (other sources are left alone)")
        }
    };
    let entries = policy.deciding();
    let decided = entries.iter().map(|entry| {
        let what = match entry.origin {
            Origin::NonMasqueradeCidrs => KEEPS,
            Origin::MasqueradeCidrs => MASQUERADED,
            Origin::LinkLocal if entry.prefix.addr().is_ipv4() => {
                "keeps its source address (link-local, RFC 3927; masqLinkLocal: false)"
            }
            Origin::LinkLocal => {
                "keeps its source address (link-local, RFC 4291; masqLinkLocalIPv6: false)"
            }
        };
        (entry.prefix.to_string(), what)
    });
    let all: Vec<(String, &str)> = decided
        .chain([("any other".to_owned(), MASQUERADED)])
        .collect();
    let width = all.iter().map(|(to, _)| to.len()).max().unwrap_or_default();
    let mut text =
        format!("{name} traffic{from}, by the longest prefix that contains its destination:\n");
    for (to, what) in all {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {to:width$}  {what}");
    }
    text
}

const KEEPS: &str = "keeps its source address";
const MASQUERADED: &str = "is masqueraded";

fn exceptions(policy: &Policy) -> String {
    let mut sentences = vec!["Traffic bound for a LOCAL address is left alone.".to_owned()];
    if !policy.masq_node_traffic {
        let node = "What the node itself sends is left alone (masqNodeTraffic: false).";
        sentences.push(node.to_owned());
    }
    sentences.push(if policy.enforce {
        format!(
            "With enforce: true, what keeps its source address keeps it whatever other NAT rules say, but for {NOT_ENFORCED}."
        )
    } else {
        "Other NAT rules that come first may masquerade what is to keep its source address (enforce: false).".to_owned()
    });
    let random = if policy.random_fully {
        "fully random"
    } else {
        "kept where possible"
    };
    let ranges = in_words::all(&policy.to_ports, ", ");
    let within = if ranges.is_empty() {
        String::new()
    } else {
        format!("; of TCP, UDP and SCTP within {ranges} (toPorts)")
    };
    sentences.push(format!(
        "Source ports of what is masqueraded: {random}{within}."
    ));
    sentences.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PortRange;

    #[test]
    fn the_defaults_are_told_in_full() {
        assert_eq!(
            described(&Config::default(), Some("there is no file /x")),
            "The configuration is good: there is no file /x, so all is as by default.\n\
             \n\
             IPv4 traffic, by the longest prefix that contains its destination:\n\
             \x20 10.0.0.0/8      keeps its source address\n\
             \x20 169.254.0.0/16  keeps its source address (link-local, RFC 3927; masqLinkLocal: false)\n\
             \x20 172.16.0.0/12   keeps its source address\n\
             \x20 192.168.0.0/16  keeps its source address\n\
             \x20 any other       is masqueraded\n\
             \n\
             IPv6 traffic is left alone (enableIPv6: false).\n\
             \n\
             Traffic bound for a LOCAL address is left alone.\n\
             Other NAT rules that come first may masquerade what is to keep its source address (enforce: false).\n\
             Source ports of what is masqueraded: fully random.\n\
             \n\
             File and kernel are compared every 60s.\n"
        );
    }

    #[test]
    fn every_key_shows_in_what_is_told() {
        let config = Config {
            enable_ipv6: true,
            non_masquerade_cidrs: ["10.0.0.0/8", "fd00::/8"]
                .map(|c| c.parse().unwrap())
                .into(),
            non_masquerade_cidrs_are_default: false,
            masquerade_cidrs: ["10.1.0.0/16", "fd00:1::/32"]
                .map(|c| c.parse().unwrap())
                .into(),
            source_cidrs: ["10.2.0.0/16", "10.4.0.0/16", "fd00:2::/32"]
                .map(|c| c.parse().unwrap())
                .into(),
            masq_node_traffic: false,
            masq_link_local: true,
            random_fully: false,
            enforce: true,
            to_ports: [(1024, 29999), (40000, 40000)]
                .map(|(first, last)| PortRange { first, last })
                .into(),
            ..Config::default()
        };
        assert_eq!(
            described(&config, None),
            "The configuration is good.\n\
             \n\
             IPv4 traffic from 10.2.0.0/16, 10.4.0.0/16 (other sources are left alone), by the longest prefix that contains its destination:\n\
             \x20 10.0.0.0/8   keeps its source address\n\
             \x20 10.1.0.0/16  is masqueraded\n\
             \x20 any other    is masqueraded\n\
             \n\
             IPv6 traffic from fd00:2::/32 (other sources are left alone), by the longest prefix that contains its destination:\n\
             \x20 fd00::/8     keeps its source address\n\
             \x20 fd00:1::/32  is masqueraded\n\
             \x20 fe80::/10    keeps its source address (link-local, RFC 4291; masqLinkLocalIPv6: false)\n\
             \x20 any other    is masqueraded\n\
             \n\
             Traffic bound for a LOCAL address is left alone.\n\
             What the node itself sends is left alone (masqNodeTraffic: false).\n\
             With enforce: true, what keeps its source address keeps it whatever other NAT rules say, but for what was translated to another destination (Services).\n\
             Source ports of what is masqueraded: kept where possible; of TCP, UDP and SCTP within 1024-29999, 40000 (toPorts).\n\
             \n\
             File and kernel are compared every 60s.\n"
        );
    }

    #[test]
    fn a_family_without_a_source_is_said_to_be_left_alone() {
        let config = Config {
            enable_ipv6: true,
            source_cidrs: vec!["10.0.0.0/8".parse().unwrap()],
            ..Config::default()
        };
        let told = described(&config, None);
        assert!(
            told.contains("\nIPv6 traffic is left alone: sourceCIDRs names no IPv6 source.\n"),
            "{told}"
        );
    }
}
