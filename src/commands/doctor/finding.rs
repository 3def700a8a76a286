//! What a check found, and how it is told.

use serde::Serialize;

use crate::commands::terminal::{Colour, Terminal, one_line};

/// Of what stands below the check's name.
const INDENTATION: usize = 9;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    Ok,
    Warning,
    Failure,
}

/// One line of the doctor's, or one object with `--format json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What was checked, a stable name.
    pub(super) check: &'static str,
    pub(super) result: Outcome,
    pub(super) finding: String,
    /// The command or setting that mends it; none where all is well.
    pub(super) remedy: Option<String>,
}

impl Finding {
    pub(super) fn ok(check: &'static str, finding: impl Into<String>) -> Self {
        Self {
            check,
            result: Outcome::Ok,
            finding: finding.into(),
            remedy: None,
        }
    }

    pub(super) fn warning(
        check: &'static str,
        finding: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            check,
            result: Outcome::Warning,
            finding: finding.into(),
            remedy: Some(remedy.into()),
        }
    }

    pub(super) fn failure(
        check: &'static str,
        finding: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            result: Outcome::Failure,
            ..Self::warning(check, finding, remedy)
        }
    }

    /// A file of /proc that could not be read.
    pub(super) fn unread(check: &'static str, path: &str, error: &std::io::Error) -> Self {
        let reason = format!("{path} cannot be read: {error}");
        Self::unchecked(check, reason, "run as root, with /proc mounted")
    }

    /// What could not be looked at.
    pub(super) fn unchecked(
        check: &'static str,
        reason: impl std::fmt::Display,
        remedy: &str,
    ) -> Self {
        Self::warning(check, format!("not checked: {reason}"), remedy)
    }
}

/// One line for each, and its remedy on the next. A remedy stays in one piece on a terminal too: half of a command, pasted,
/// does something else.
pub(super) fn text(findings: &[Finding], terminal: Terminal) -> String {
    let mut told = String::new();
    for finding in findings {
        let (result, colour) = match finding.result {
            Outcome::Ok => ("ok", Colour::Green),
            Outcome::Warning => ("warning", Colour::Yellow),
            Outcome::Failure => ("failure", Colour::Red),
        };
        let padding = " ".repeat(INDENTATION.saturating_sub(result.len()));
        let result = terminal.coloured(result, colour);
        let said = one_line(&finding.finding);
        let line = format!("{result}{padding}{}: {said}", finding.check);
        told += &terminal.lines(&line, INDENTATION);
        if let Some(remedy) = &finding.remedy {
            told += &format!("{:INDENTATION$}-> {}\n", "", one_line(remedy));
        }
    }
    told
}

/// The command that deletes one rule, also one of iptables-nft. By its handle: places change whenever another rule comes
/// or goes, as kube-proxy's do all the time.
pub(super) fn rule_deletion(family: &str, table: &str, chain: &str, handle: u64) -> String {
    let (table, chain) = (shell_word(table), shell_word(chain));
    format!("nft delete rule {family} {table} {chain} handle {handle}")
}

/// The program that lists the rules of iptables-nft in a family.
pub(super) fn program_of_nft(family: &str) -> &'static str {
    match family {
        "ip6" => "ip6tables",
        _ => "iptables",
    }
}

/// A name as a shell takes it for one word: anyone in the namespace may have chosen it, and someone pastes the command.
pub(super) fn shell_word(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:+".contains(c);
    if !name.is_empty() && name.chars().all(is_plain) {
        return name.to_owned();
    }
    format!("'{}'", name.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_a_command_is_one_word_whatever_it_is() {
        for (name, word) in [
            ("CNI-0a", "CNI-0a"),
            ("a; reboot", "'a; reboot'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
        ] {
            assert_eq!(shell_word(name), word);
        }
    }

    #[test]
    fn each_finding_is_a_line_and_its_remedy_the_next() {
        let findings = [
            Finding::ok("ipvs", "none"),
            Finding::failure("table", "odd\nname", "mend it"),
        ];
        assert_eq!(
            text(&findings, Terminal::NONE),
            "ok       ipvs: none\nfailure  table: odd\\nname\n         -> mend it\n"
        );
    }

    #[test]
    fn a_finding_is_as_wide_as_the_terminal_and_a_command_in_one_piece() {
        let said = "chain IP-MASQ-AGENT masquerades before this daemon's table is asked";
        let remedy =
            "iptables --wait -t nat -F IP-MASQ-AGENT && iptables --wait -t nat -X IP-MASQ-AGENT";
        let findings = [Finding::failure("ip-masq-agent", said, remedy)];
        let shown = format!(
            "failure  ip-masq-agent: chain IP-MASQ-AGENT masquerades before this daemon's\n\
             \x20        table is asked\n\
             \x20        -> {remedy}\n"
        );
        assert_eq!(text(&findings, Terminal::with_columns(80)), shown);
        let wide = format!("failure  ip-masq-agent: {said}\n         -> {remedy}\n");
        assert_eq!(text(&findings, Terminal::with_columns(120)), wide);
    }
}
