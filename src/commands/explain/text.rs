//! The answers for people.

use super::Answers;
use super::answer::{Answer, DecidedBy};
use super::kernel_view::{KernelAnswer, TableState};
use crate::commands::terminal::{Terminal, one_line};
use crate::policy::judgement::Verdict;
use crate::policy::prefix_table::Origin;
use crate::ruleset::AddressField;

/// Of what is said of a destination, behind its label.
const INDENTATION: usize = 15;

/// All answers, an empty line between two.
pub(super) fn told(answers: &Answers, table: &str, terminal: Terminal) -> String {
    let destinations = answers.destinations.iter();
    let told = destinations.map(|answer| one(answer, table, terminal));
    let daemon = answers.daemon.iter();
    let daemon = daemon.map(|daemon| terminal.lines(&one_line(&daemon.to_string()), 0));
    told.chain(daemon).collect::<Vec<_>>().join("\n")
}

fn one(answer: &Answer, table: &str, terminal: Terminal) -> String {
    let mut text = format!("{}\n", answer.destination);
    let mut line = |label: &str, said: &str| {
        let line = format!("  {label:12} {}", one_line(said));
        text += &terminal.lines(&line, INDENTATION);
    };
    if let Some(error) = &answer.error {
        line("error", error);
    }
    if let Some(verdict) = answer.verdict {
        line(
            "verdict",
            &match answer.reason {
                Some(reason) => format!("{verdict}: {reason}"),
                None => verdict.to_string(),
            },
        );
        if verdict != Verdict::LeftAlone {
            line("decided by", &decided_by(answer.decided_by.as_ref()));
        }
    }
    if let Some(masqueraded_as) = &answer.masqueraded_as {
        let has_rival = answer.other_chains.iter().any(|chain| chain.is_rival);
        line(
            "as",
            &match masqueraded_as.is_configured && has_rival {
                true => {
                    format!("{masqueraded_as}; where the other NAT decides, that chain's address")
                }
                false => masqueraded_as.to_string(),
            },
        );
    }
    for condition in &answer.conditions {
        line("if", condition);
    }
    if answer.invalid_is_dropped {
        line(
            "invalid",
            "forwarded packets that belong to no connection are dropped (dropInvalid: true)",
        );
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

fn decided_by(decided_by: Option<&DecidedBy>) -> String {
    let Some(decided_by) = decided_by else {
        return "no configured CIDR: what none contains is masqueraded".to_owned();
    };
    let DecidedBy { cidr, list, .. } = decided_by;
    match (&decided_by.place, decided_by.is_default) {
        (Some(place), _) => format!("{cidr} of {list} ({place})"),
        (None, true) if *list == Origin::LinkLocal => format!("{cidr}, exempt by default ({list})"),
        (None, true) => format!("{cidr} of the default list of {list}"),
        (None, false) => format!("{cidr} of {list}"),
    }
}

fn kernel_told(kernel: &KernelAnswer, table: &str) -> String {
    let set = AddressField::Destination.set();
    let found = match &kernel.element {
        Some(element) => format!("set {set} of table {table} has {element}"),
        None => format!("set {set} of table {table} has no element for it"),
    };
    match (kernel.table, kernel.agrees) {
        (TableState::NotPermitted, _) => {
            "not looked at: CAP_NET_ADMIN is missing, run as root to compare".to_owned()
        }
        (TableState::Unknown, _) => format!(
            "table {table} cannot be looked at: {}",
            kernel.error.as_deref().unwrap_or_default()
        ),
        (TableState::Missing, Some(true)) => format!("agrees: there is no table {table}"),
        (TableState::Missing, _) => {
            format!("disagrees: there is no table {table}; is the daemon running?")
        }
        (TableState::Read, Some(true)) => format!("agrees: {found}"),
        (TableState::Read, _) => {
            format!("disagrees: {}; {found}", kernel.disagreements.join("; "))
        }
    }
}
