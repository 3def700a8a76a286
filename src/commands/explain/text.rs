//! The answers for people.

use std::fmt::Write;

use super::Answers;
use super::answer::{Answer, DecidedBy, Element, KernelAnswer};
use super::verdict::{Reason, Verdict};
use crate::ruleset::AddressField;

/// All answers, an empty line between two.
pub(super) fn told(answers: &Answers, table: &str) -> String {
    let destinations = answers.destinations.iter();
    let told = destinations.map(|answer| one(answer, table));
    let daemon = answers.daemon.iter().map(|daemon| format!("{daemon}\n"));
    told.chain(daemon).collect::<Vec<_>>().join("\n")
}

fn one(answer: &Answer, table: &str) -> String {
    let mut text = format!("{}\n", answer.destination);
    let mut line = |label: &str, said: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {label:12} {said}");
    };
    if let Some(error) = &answer.error {
        line("error", error);
    }
    if let Some(verdict) = answer.verdict {
        line("verdict", &verdict_told(verdict, answer.reason));
        if verdict != Verdict::LeftAlone {
            line("decided by", &decided_by(answer.decided_by.as_ref()));
        }
    }
    if let Some(masqueraded_as) = &answer.masqueraded_as {
        line("as", &masqueraded_as.to_string());
    }
    for condition in &answer.conditions {
        line("if", condition);
    }
    if let Some(kernel) = &answer.kernel {
        let family = if answer.destination.is_ipv4() {
            "ip"
        } else {
            "ip6"
        };
        line("kernel", &kernel_told(kernel, &format!("{family} {table}")));
    }
    for (index, chain) in answer.other_chains.iter().enumerate() {
        let label = if index == 0 { "other NAT" } else { "" };
        line(label, &chain.to_string());
    }
    if let Some(error) = &answer.other_chains_error {
        line("other NAT", &format!("cannot be listed: {error}"));
    }
    text
}

fn verdict_told(verdict: Verdict, reason: Option<Reason>) -> String {
    let why = match reason {
        None => {
            let what = match verdict {
                Verdict::Masqueraded => "masqueraded",
                Verdict::KeepsSource => "keeps its source address",
                Verdict::LeftAlone => "left alone",
            };
            return what.to_owned();
        }
        Some(Reason::Ipv6Off) => "IPv6 is off (enableIPv6: false)",
        Some(Reason::NoSourceOfFamily) => "sourceCIDRs names no source of this family",
        Some(Reason::LocalDestination) => "a LOCAL address, one of this host's own",
        Some(Reason::NodeTraffic) => "the node itself sends it (masqNodeTraffic: false)",
        Some(Reason::SourceNotListed) => "the source is in none of sourceCIDRs",
    };
    format!("left alone: {why}")
}

fn decided_by(decided_by: Option<&DecidedBy>) -> String {
    let Some(decided_by) = decided_by else {
        return "no configured CIDR: what none contains is masqueraded".to_owned();
    };
    let DecidedBy { cidr, list, .. } = decided_by;
    match (&decided_by.place, decided_by.is_default) {
        (Some(place), _) => format!("{cidr} of {list} ({place})"),
        (None, true) if *list == "link-local" => format!("{cidr}, exempt by default ({list})"),
        (None, true) => format!("{cidr} of the default list of {list}"),
        (None, false) => format!("{cidr} of {list}"),
    }
}

fn kernel_told(kernel: &KernelAnswer, table: &str) -> String {
    let found = match &kernel.element {
        Some(element) => {
            let element = element_told(element);
            format!(
                "set {} of table {table} has {element}",
                AddressField::Destination.set()
            )
        }
        None => format!(
            "set {} of table {table} has no element for it",
            AddressField::Destination.set()
        ),
    };
    match (kernel.table, kernel.agrees) {
        ("not_permitted", _) => {
            "not looked at: CAP_NET_ADMIN is missing, run as root to compare".to_owned()
        }
        ("unknown", _) => format!(
            "table {table} cannot be listed: {}",
            kernel.error.as_deref().unwrap_or_default()
        ),
        ("unreadable", _) => format!("the listing of table {table} cannot be understood"),
        ("missing", Some(true)) => format!("agrees: there is no table {table}"),
        ("missing", _) => format!("disagrees: there is no table {table}; is the daemon running?"),
        (_, Some(true)) => format!("agrees: {found}"),
        (_, _) => format!("disagrees: {}; {found}", kernel.disagreements.join("; ")),
    }
}

fn element_told(element: &Element) -> String {
    let Element {
        first,
        last,
        comment,
    } = element;
    let interval = if first == last {
        first.to_string()
    } else {
        format!("{first}-{last}")
    };
    match comment {
        // Anyone's to choose.
        Some(comment) => format!("{interval} \"{}\"", comment.escape_debug()),
        None => interval,
    }
}
