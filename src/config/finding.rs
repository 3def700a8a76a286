//! What is wrong or odd about a file, as the user reads it.

use std::fmt;

/// How many errors of all files together are shown.
pub const MAX_ERRORS_SHOWN: usize = 1_000;

/// How many characters of a value are shown.
const MAX_CHARACTERS_SHOWN: usize = 64;

/// One error or warning about a file, or about what all files and flags say together.
///
/// Its `Display` is one line, `FILE:LINE: KEY: VALUE: reason; remedy`; where the line is not known,
/// `FILE: PATH: VALUE: reason; remedy`; without a file, `KEY: reason; remedy`. It never holds a control character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file, as the user named it; empty where [`Place::Configuration`] is meant.
    pub file: String,
    /// Where in the file.
    pub place: Place,
    /// The key as written; none where the file as a whole is meant.
    pub key: Option<String>,
    /// The value as written, cut to a line; none where no value is meant.
    pub value: Option<String>,
    /// What is wrong.
    pub reason: String,
    /// What to write instead.
    pub remedy: String,
}

/// Where in a file a [`Finding`] stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The file as a whole.
    File,
    /// A line, counted from 1; lines end at a line feed.
    Line(usize),
    /// A key or an item, `nonMasqueradeCIDRs[1]`, counted from 0: its line is not known.
    Path(String),
    /// No place in a file: what all files and flags say together.
    Configuration,
}

impl Finding {
    /// All of the line but the remedy.
    #[must_use]
    pub fn without_remedy(&self) -> String {
        let mut said = match self.place {
            Place::Configuration => String::new(),
            Place::Line(line) => format!("{}:{line}: ", Escaped(&self.file)),
            Place::File | Place::Path(_) => format!("{}: ", Escaped(&self.file)),
        };
        let key = match &self.place {
            Place::Path(path) => Some(path),
            Place::File | Place::Line(_) | Place::Configuration => self.key.as_ref(),
        };
        for part in [key, self.value.as_ref()].into_iter().flatten() {
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

    fn finding(place: Place) -> Finding {
        Finding {
            file: "/etc/f".into(),
            place,
            key: Some("nonMasqueradeCIDRs".into()),
            value: Some("\"x\"".into()),
            reason: "not a CIDR".into(),
            remedy: "write a CIDR".into(),
        }
    }

    #[test]
    fn a_finding_is_one_line() {
        assert_eq!(
            finding(Place::Line(3)).to_string(),
            "/etc/f:3: nonMasqueradeCIDRs: \"x\": not a CIDR; write a CIDR"
        );
        assert_eq!(
            finding(Place::Path("nonMasqueradeCIDRs[1]".into())).to_string(),
            "/etc/f: nonMasqueradeCIDRs[1]: \"x\": not a CIDR; write a CIDR"
        );
        let whole = Finding {
            file: "a\nb".into(),
            key: None,
            value: None,
            ..finding(Place::File)
        };
        assert_eq!(whole.to_string(), "a\\nb: not a CIDR; write a CIDR");
        let of_all_files = Finding {
            file: String::new(),
            value: None,
            ..finding(Place::Configuration)
        };
        assert_eq!(
            of_all_files.to_string(),
            "nonMasqueradeCIDRs: not a CIDR; write a CIDR"
        );
    }

    #[test]
    fn errors_are_one_a_line_and_the_rest_is_counted() {
        let errors = ConfigErrors {
            errors: vec![finding(Place::Line(1)), finding(Place::Line(2))],
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
