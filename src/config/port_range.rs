//! Ranges of source ports, as ip-masq-agent's `--to-ports` has them: `1024-29999,32768-65535`.

use std::fmt;

use thiserror::Error;

use super::finding::shown_text;

/// How many ranges a list may hold: each one is a rule for each protocol.
pub const MAX_PORT_RANGES: usize = 64;

/// Ports from `first` to `last`, both included; `first` ≤ `last`, neither 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct PortRange {
    /// The lowest port.
    pub first: u16,
    /// The highest port.
    pub last: u16,
}

/// As it is written: `1024-29999`, and `5000` for a single port.
impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            self.first.fmt(f)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// Why a text is not a list of port ranges. Each text is the reason; [`PortRangeError::remedy`] says what to
/// write instead.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PortRangeError {
    /// `1024, 2048`
    #[error("white space in port ranges")]
    WhiteSpace,
    /// `1024,,2048`
    #[error("an empty port range")]
    Empty,
    /// Anything that is not digits, with at most one `-` between them.
    #[error("\"{0}\" is not a port range")]
    NotARange(String),
    /// 0, or more than 16 bits hold.
    #[error("{0} is not a port from 1 to 65535")]
    NotAPort(String),
    /// `2048-1024`
    #[error("the port range {first}-{last} is reversed")]
    Reversed {
        /// As written, the higher one.
        first: u16,
        /// The lower one.
        last: u16,
    },
    /// A port that stood in both would be chosen more often than the others.
    #[error("the port ranges {0} and {1} overlap")]
    Overlap(PortRange, PortRange),
    /// More ranges than [`MAX_PORT_RANGES`].
    #[error("more than {MAX_PORT_RANGES} port ranges")]
    TooMany,
}

impl PortRangeError {
    /// What to write instead.
    pub fn remedy(&self) -> String {
        match self {
            Self::WhiteSpace | Self::Empty => {
                "write ranges with nothing but commas between them, such as 1024-29999,32768-65535"
                    .into()
            }
            Self::NotARange(_) | Self::NotAPort(_) => {
                "write ranges such as 1024-29999,32768-65535".into()
            }
            Self::Reversed { first, last } => format!("write {last}-{first}"),
            Self::Overlap(a, b) => {
                let joined = PortRange {
                    first: a.first.min(b.first),
                    last: a.last.max(b.last),
                };
                format!("write {joined} for both")
            }
            Self::TooMany => "join ranges, or leave some out".into(),
        }
    }
}

/// The ranges that `text` means, in ascending order and disjoint; none for an empty text, with which the kernel
/// chooses. Ranges that only adjoin stay apart.
///
/// # Errors
/// [`PortRangeError`], the first one.
pub fn parse_port_ranges(text: &str) -> Result<Vec<PortRange>, PortRangeError> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let mut ranges = Vec::new();
    for item in text.split(',') {
        if ranges.len() == MAX_PORT_RANGES {
            return Err(PortRangeError::TooMany);
        }
        ranges.push(parse_range(item)?);
    }
    ranges.sort_by_key(|range| range.first);
    for (lower, higher) in ranges.iter().zip(ranges.iter().skip(1)) {
        if higher.first <= lower.last {
            return Err(PortRangeError::Overlap(*lower, *higher));
        }
    }
    Ok(ranges)
}

fn parse_range(item: &str) -> Result<PortRange, PortRangeError> {
    if item.contains(char::is_whitespace) {
        return Err(PortRangeError::WhiteSpace);
    }
    if item.is_empty() {
        return Err(PortRangeError::Empty);
    }
    let (first, last) = item.split_once('-').unwrap_or((item, item));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !is_number(first) || !is_number(last) {
        return Err(PortRangeError::NotARange(shown_text(item)));
    }
    let (first, last) = (parse_port(first)?, parse_port(last)?);
    if first > last {
        return Err(PortRangeError::Reversed { first, last });
    }
    Ok(PortRange { first, last })
}

/// `digits` are nothing else; leading zeros count for nothing, as in Go.
fn parse_port(digits: &str) -> Result<u16, PortRangeError> {
    match digits.trim_start_matches('0').parse() {
        Ok(port) => Ok(port),
        Err(_) => Err(PortRangeError::NotAPort(shown_text(digits))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(text: &str) -> String {
        let ranges = parse_port_ranges(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
        ranges.join(",")
    }

    #[test]
    fn takes_what_ip_masq_agent_s_flag_takes() {
        for (text, meant) in [
            ("", ""),
            ("1024-65535", "1024-65535"),
            ("1024-29999,32768-65535", "1024-29999,32768-65535"),
            ("42-44,80", "42-44,80"),
            ("42", "42"),
            ("42-42", "42"),
            ("80-88,42-44", "42-44,80-88"),
            ("42,43,44", "42,43,44"),
            ("1-65535", "1-65535"),
            ("01024-002048", "1024-2048"),
            ("1024-1999,2000-2999", "1024-1999,2000-2999"),
        ] {
            assert_eq!(written(text), meant, "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong_and_what_to_write() {
        for (text, said) in [
            (
                "2048-1024",
                "the port range 2048-1024 is reversed; write 1024-2048",
            ),
            (
                "0",
                "0 is not a port from 1 to 65535; write ranges such as 1024-29999,32768-65535",
            ),
            (
                "1024-65536",
                "65536 is not a port from 1 to 65535; write ranges such as 1024-29999,32768-65535",
            ),
            (
                "40-50,60-70,45-55",
                "the port ranges 40-50 and 45-55 overlap; write 40-55 for both",
            ),
            (
                "40-50,50-60",
                "the port ranges 40-50 and 50-60 overlap; write 40-60 for both",
            ),
            (
                "40-50,45",
                "the port ranges 40-50 and 45 overlap; write 40-50 for both",
            ),
            (
                "1024-x",
                "\"1024-x\" is not a port range; write ranges such as 1024-29999,32768-65535",
            ),
        ] {
            let error = parse_port_ranges(text).expect_err(text);
            assert_eq!(format!("{error}; {}", error.remedy()), said, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_list_of_ranges() {
        for text in ["1024, 2048", " 1024", "1024 - 2048", "1024\n", "\u{a0}1"] {
            assert_eq!(parse_port_ranges(text), Err(PortRangeError::WhiteSpace));
        }
        for text in [",", "1024,", ",1024", "1024,,2048"] {
            assert_eq!(parse_port_ranges(text), Err(PortRangeError::Empty));
        }
        for text in [
            "-", "1-", "-1", "1-2-3", "+1", "1:2", "0x10", "a", "1.5", "٣",
        ] {
            let error = parse_port_ranges(text);
            assert!(
                matches!(error, Err(PortRangeError::NotARange(_))),
                "{text}: {error:?}"
            );
        }
        for text in ["0", "000", "0-42", "65536", "99999999999999999999999"] {
            let error = parse_port_ranges(text);
            assert!(
                matches!(error, Err(PortRangeError::NotAPort(_))),
                "{text}: {error:?}"
            );
        }
    }

    #[test]
    fn there_is_a_limit_to_how_many_ranges_there_are() {
        let of = |count: u16| {
            let ports: Vec<String> = (1..=count).map(|n| (2 * n).to_string()).collect();
            parse_port_ranges(&ports.join(","))
        };
        assert_eq!(of(64).map(|ranges| ranges.len()), Ok(64));
        assert_eq!(of(65), Err(PortRangeError::TooMany));
    }

    proptest! {
        #[test]
        fn never_panics_and_what_it_takes_is_ascending_and_disjoint(text in ".{0,30}|[0-9,-]{0,60}") {
            if let Ok(ranges) = parse_port_ranges(&text) {
                let mut above = 0;
                for range in ranges {
                    prop_assert!(above < range.first && range.first <= range.last);
                    above = range.last;
                }
            }
        }

        #[test]
        fn what_is_taken_is_written_and_read_again(a in 1_u16.., b in 1_u16..) {
            let range = PortRange { first: a.min(b), last: a.max(b) };
            prop_assert_eq!(parse_port_ranges(&range.to_string()), Ok(vec![range]));
        }
    }
}
