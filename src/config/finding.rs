//! What is wrong or odd about a file, as the user reads it.

use std::fmt;

/// How many errors of all files together are shown.
pub const MAX_ERRORS_SHOWN: usize = 1_000;

/// How many characters of a value are shown.
const MAX_CHARACTERS_SHOWN: usize = 64;

/// One error or warning about a file, or about what all files and flags say together.
///
/// Its `Display` is one line, `FILE:LINE: KEY: VALUE: reason; remedy`, without what is not meant. It never holds a control character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file, as the user named it; none where all files and flags together are meant.
    pub file: Option<String>,
    /// Counted from 1, lines end at a line feed; none where the file as a whole is meant.
    pub line: Option<usize>,
    /// The key as written; none where the file as a whole is meant.
    pub key: Option<String>,
    /// The value as written, cut to a line; none where no value is meant.
    pub value: Option<String>,
    /// What is wrong.
    pub reason: String,
    /// What to write instead.
    pub remedy: String,
}

impl Finding {
    /// About what a key means on a machine, whichever file gives it.
    #[must_use]
    pub fn about_key(key: &str, reason: String, remedy: String) -> Self {
        Self {
            file: None,
            line: None,
            key: Some(key.to_owned()),
            value: None,
            reason,
            remedy,
        }
    }

    /// All of the line but the remedy.
    #[must_use]
    pub fn without_remedy(&self) -> String {
        let mut said = match (&self.file, self.line) {
            (Some(file), Some(line)) => format!("{}:{line}: ", Escaped(file)),
            (Some(file), None) => format!("{}: ", Escaped(file)),
            (None, _) => String::new(),
        };
        for part in [&self.key, &self.value].into_iter().flatten() {
            said += &format!("{}: ", Escaped(part));
        }
        said + &Escaped(&self.reason).to_string()
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.without_remedy(), Escaped(&self.remedy))
    }
}

/// What is wrong, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Advice {
    pub(super) reason: String,
    pub(super) remedy: String,
}

impl Advice {
    pub(super) fn new(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            remedy: remedy.into(),
        }
    }

    /// Of this key and value, in a place that is still to be said.
    pub(super) fn about(self, key: impl Into<Option<String>>, value: Option<String>) -> Finding {
        Finding {
            file: None,
            line: None,
            key: key.into(),
            value,
            reason: self.reason,
            remedy: self.remedy,
        }
    }
}

/// All errors of all files, in the order of the files and of their lines. `Display` is one error a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    /// The first [`MAX_ERRORS_SHOWN`] of them, at least one.
    pub errors: Vec<Finding>,
    /// How many more there are.
    pub more: usize,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        match self.more {
            0 => Ok(()),
            1 => f.write_str("\n… and 1 more error"),
            more => write!(f, "\n… and {more} more errors"),
        }
    }
}

impl std::error::Error for ConfigErrors {}

/// What is found while files are judged, in the order of the files and of their lines.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// At most [`MAX_ERRORS_SHOWN`].
    errors: Vec<(Order, Finding)>,
    more_errors: usize,
    warnings: Vec<(Order, Finding)>,
}

/// The index of a file, and the line.
type Order = (usize, Option<usize>);

/// A place in one of the files.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spot<'a> {
    /// Of the file.
    pub(super) index: usize,
    pub(super) name: &'a str,
    /// None where the file as a whole is meant.
    pub(super) line: Option<usize>,
}

impl Spot<'_> {
    /// Another line of the same file.
    pub(super) fn on(self, line: usize) -> Self {
        let line = Some(line);
        Self { line, ..self }
    }

    fn order(self) -> Order {
        (self.index, self.line)
    }

    fn place(self, finding: Finding) -> Finding {
        Finding {
            file: Some(self.name.to_owned()),
            line: self.line,
            ..finding
        }
    }
}

impl Findings {
    /// An error. Where it will not be shown, it is counted and not built.
    pub(super) fn error(&mut self, spot: Spot<'_>, finding: impl FnOnce() -> Finding) {
        let order = spot.order();
        let index = self.errors.partition_point(|(before, _)| *before <= order);
        if index >= MAX_ERRORS_SHOWN {
            self.more_errors += 1;
            return;
        }
        self.errors.insert(index, (order, spot.place(finding())));
        if self.errors.len() > MAX_ERRORS_SHOWN {
            self.errors.pop();
            self.more_errors += 1;
        }
    }

    /// A warning. There are at most two for each known key of a file.
    pub(super) fn warning(&mut self, spot: Spot<'_>, finding: Finding) {
        self.warnings.push((spot.order(), spot.place(finding)));
    }

    /// # Errors
    /// Where there is any error; the warnings otherwise.
    pub(super) fn warnings(mut self) -> Result<Vec<Finding>, ConfigErrors> {
        let findings =
            |found: Vec<(Order, Finding)>| found.into_iter().map(|(_, finding)| finding).collect();
        if self.errors.is_empty() {
            self.warnings.sort_by_key(|(order, _)| *order);
            return Ok(findings(self.warnings));
        }
        Err(ConfigErrors {
            errors: findings(self.errors),
            more: self.more_errors,
        })
    }
}

/// `text` cut to what a message shows of it; quotes, backslashes and what does not print are escaped.
pub(super) fn shown_text(text: &str) -> String {
    cut(text, MAX_CHARACTERS_SHOWN, |c, shown| match c {
        '\'' => shown.push(c),
        _ => shown.extend(c.escape_debug()),
    })
}

/// What a library says of a file, cut and escaped: it may quote the file.
pub(super) fn shown_message(message: &str) -> String {
    cut(message, 4 * MAX_CHARACTERS_SHOWN, push_printable)
}

fn cut(text: &str, limit: usize, push: fn(char, &mut String)) -> String {
    let mut characters = text.chars();
    let mut shown = String::new();
    for c in characters.by_ref().take(limit) {
        push(c, &mut shown);
    }
    if characters.next().is_some() {
        shown.push('…');
    }
    shown
}

/// Control characters and marks that change the direction of text must reach no log.
fn push_printable(c: char, shown: &mut String) {
    match c {
        '"' | '\'' | '\\' => shown.push(c),
        _ => shown.extend(c.escape_debug()),
    }
}

pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = String::with_capacity(self.0.len());
        for c in self.0.chars() {
            push_printable(c, &mut shown);
        }
        f.write_str(&shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(line: Option<usize>) -> Finding {
        Finding {
            file: Some("/etc/f".into()),
            line,
            key: Some("nonMasqueradeCIDRs".into()),
            value: Some("\"x\"".into()),
            reason: "not a CIDR".into(),
            remedy: "write a CIDR".into(),
        }
    }

    #[test]
    fn a_finding_is_one_line() {
        assert_eq!(
            finding(Some(3)).to_string(),
            "/etc/f:3: nonMasqueradeCIDRs: \"x\": not a CIDR; write a CIDR"
        );
        let whole = Finding {
            file: Some("a\nb".into()),
            key: None,
            value: None,
            ..finding(None)
        };
        assert_eq!(whole.to_string(), "a\\nb: not a CIDR; write a CIDR");
        let of_all_files = Finding {
            file: None,
            value: None,
            ..finding(None)
        };
        assert_eq!(
            of_all_files.to_string(),
            "nonMasqueradeCIDRs: not a CIDR; write a CIDR"
        );
    }

    #[test]
    fn errors_are_one_a_line_and_the_rest_is_counted() {
        let errors = ConfigErrors {
            errors: vec![finding(Some(1)), finding(Some(2))],
            more: 7,
        };
        let said = errors.to_string();
        assert_eq!(said.lines().count(), 3);
        assert!(said.ends_with("\n… and 7 more errors"), "{said}");
    }

    #[test]
    fn a_value_is_cut_and_escaped() {
        assert_eq!(
            shown_text("a\n\u{1b}[31m\u{202e}\"'é"),
            r#"a\n\u{1b}[31m\u{202e}\"'é"#
        );
        assert_eq!(shown_text(&"x".repeat(64)), "x".repeat(64));
        assert_eq!(shown_text(&"x".repeat(65)), format!("{}…", "x".repeat(64)));
    }
}
