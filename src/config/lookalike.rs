//! Characters that look like those of YAML, CIDRs and port ranges, or like nothing, and are none: text from word processors, web pages
//! and input methods holds them, and nobody sees them.

use std::fmt;

/// One in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lookalike {
    /// Counted from 1.
    pub(super) line: usize,
    character: char,
    name: &'static str,
    meant: Option<char>,
}

impl Lookalike {
    /// All in `text` that stand in no comment.
    pub(super) fn all_in(text: &str) -> impl Iterator<Item = Self> {
        (1..).zip(text.split('\n')).flat_map(|(line, written)| {
            let is_comment = |at: usize| {
                let before = written
                    .get(..at)
                    .and_then(|before| before.chars().next_back());
                before.is_none_or(char::is_whitespace)
            };
            let comment = written.match_indices('#').find(|(at, _)| is_comment(*at));
            let end = comment.map_or(written.len(), |(at, _)| at);
            let written = written.get(..end).unwrap_or_default();
            written.chars().filter_map(move |character| {
                let (name, meant) = looks_like(character)?;
                Some(Self {
                    line,
                    character,
                    name,
                    meant,
                })
            })
        })
    }

    /// `text` as it is meant.
    pub(super) fn mended(text: &str) -> String {
        let meant = text.chars().filter_map(|c| match looks_like(c) {
            Some((_, meant)) => meant,
            None => Some(c),
        });
        meant.collect()
    }

    pub(super) fn remedy(&self) -> String {
        match self.meant {
            Some(' ') => "write a plain space or nothing in its place".into(),
            Some(meant) => format!("write {meant} in its place"),
            None => "remove it".into(),
        }
    }
}

/// `a full-width colon (U+FF1A)`
impl fmt::Display for Lookalike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, .. } = self;
        write!(f, "{name} (U+{:04X})", u32::from(self.character))
    }
}

/// Its name, and the character that is meant; none where nothing is.
fn looks_like(c: char) -> Option<(&'static str, Option<char>)> {
    Some(match c {
        '\u{a0}' | '\u{202f}' => ("a no-break space", Some(' ')),
        '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{205f}' => ("a typographic space", Some(' ')),
        '\u{3000}' => ("a full-width space", Some(' ')),
        '\u{85}' | '\u{2028}' | '\u{2029}' => ("a line separator", Some(' ')),
        '\u{200b}' => ("a zero-width space", None),
        '\u{200c}' | '\u{200d}' | '\u{2060}' => ("a zero-width joiner", None),
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            ("a mark of writing direction", None)
        }
        '\u{feff}' => ("a byte order mark", None),
        '\u{ad}' => ("a soft hyphen", None),
        '\u{2010}'..='\u{2015}' | '\u{2212}' => ("a typographic dash", Some('-')),
        '\u{2018}'..='\u{201b}' | '\u{b4}' => ("a typographic apostrophe", Some('\'')),
        '\u{201c}'..='\u{201f}' | '\u{ab}' | '\u{bb}' => ("a typographic quote", Some('"')),
        '\u{2044}' | '\u{2215}' => ("a typographic slash", Some('/')),
        '\u{3001}' => ("a full-width comma", Some(',')),
        '\u{3002}' => ("a full-width full stop", Some('.')),
        '\u{ff01}'..='\u{ff5e}' => {
            let ascii = char::from_u32(u32::from(c) - 0xfee0);
            let name = match ascii {
                Some(':') => "a full-width colon",
                Some(',') => "a full-width comma",
                Some('.') => "a full-width full stop",
                Some('/') => "a full-width slash",
                Some('-') => "a full-width hyphen",
                Some('#') => "a full-width number sign",
                Some('"' | '\'') => "a full-width quote",
                Some('[' | ']' | '{' | '}' | '(' | ')') => "a full-width bracket",
                Some('0'..='9') => "a full-width digit",
                _ => "a full-width character",
            };
            (name, ascii)
        }
        _ => return None,
    })
}
