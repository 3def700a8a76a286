//! Durations as Go writes them (`time.ParseDuration`), because the files of ip-masq-agent hold them; and of these the
//! interval of the resync.

use std::time::Duration;

use thiserror::Error;

use super::MIN_RESYNC_INTERVAL;

/// Why a text is no resync interval. The texts follow Go's own; [`ResyncIntervalError::remedy`] says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ResyncIntervalError {
    /// No number stands where one must.
    #[error("not a duration")]
    Invalid,
    /// A number without a unit; only `0` needs none. The whole text, where that is all that it is.
    #[error("a duration without a unit")]
    MissingUnit(Option<u64>),
    /// A unit that Go does not know, such as `d`.
    #[error("a duration with an unknown unit")]
    UnknownUnit,
    /// More than 2^63 - 1 ns.
    #[error("a duration out of range (about 292 years)")]
    OutOfRange,
    /// Less than [`MIN_RESYNC_INTERVAL`], zero and negative ones as well.
    #[error("shorter than {} ms", MIN_RESYNC_INTERVAL.as_millis())]
    TooShort,
}

impl ResyncIntervalError {
    /// What to write instead.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::MissingUnit(number) => with_unit(*number),
            Self::TooShort => "write a longer duration such as 60s".into(),
            Self::Invalid | Self::UnknownUnit | Self::OutOfRange => with_unit(None),
        }
    }
}

/// What to write for a number without a unit. Programs print durations as nanoseconds; what is neither those nor likely seconds is left
/// open. Each form that is named is a valid interval.
pub(super) fn with_unit(number: Option<u64>) -> String {
    match number {
        Some(seconds @ 1..=3_600) => format!("write {seconds}s"),
        Some(number @ 3_601..100_000_000) => {
            format!("write {number}ms or {number}s, whichever is meant")
        }
        Some(nanoseconds) if (100_000_000..=MAX_NANOSECONDS).contains(&nanoseconds) => {
            format!("write {}", written(nanoseconds))
        }
        _ => "write a number with ms, s, m or h, such as 60s".into(),
    }
}

fn written(nanoseconds: u64) -> String {
    let units = [(1_000_000_000, "s"), (1_000_000, "ms")];
    let whole = units
        .iter()
        .find(|(unit, _)| nanoseconds.is_multiple_of(*unit));
    let (unit, name) = whole.unwrap_or(&(1, "ns"));
    format!("{}{name}", nanoseconds / unit)
}

/// The longest duration of Go, 2^63 - 1 ns.
const MAX_NANOSECONDS: u64 = i64::MAX as u64;

/// The resync interval that `text` means: an optional sign, then decimal numbers with an optional fraction and a unit each (`ns`, `us`,
/// `µs`, `ms`, `s`, `m`, `h`), such as `1h30m` or `1.5s`. What a fraction holds beyond a nanosecond is cut off.
///
/// # Errors
/// [`ResyncIntervalError`] where it is none, or too short.
pub fn parse_resync_interval(text: &str) -> Result<Duration, ResyncIntervalError> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let nanoseconds = match unsigned {
        "0" => 0,
        _ => nanoseconds(unsigned)?,
    };
    let interval = Duration::from_nanos(nanoseconds);
    if text.starts_with('-') || interval < MIN_RESYNC_INTERVAL {
        return Err(ResyncIntervalError::TooShort);
    }
    Ok(interval)
}

fn nanoseconds(text: &str) -> Result<u64, ResyncIntervalError> {
    if text.is_empty() {
        return Err(ResyncIntervalError::Invalid);
    }
    let (mut sum, mut rest) = (0_u128, text);
    while !rest.is_empty() {
        let (whole, after) = split_digits(rest);
        let (fraction, after) = after.strip_prefix('.').map_or(("", after), split_digits);
        if whole.is_empty() && fraction.is_empty() {
            return Err(ResyncIntervalError::Invalid);
        }
        let end = after
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let unit = match unit {
            "ns" => 1,
            // U+00B5 is the micro sign, U+03BC the Greek letter; keyboards give either.
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "" => return Err(ResyncIntervalError::MissingUnit(text.parse().ok())),
            _ => return Err(ResyncIntervalError::UnknownUnit),
        };
        // More digits of a fraction make no nanosecond, not even of an hour.
        let fraction = fraction.get(..18).unwrap_or(fraction);
        let digits = |digits: &str| {
            digits.bytes().try_fold(0_u128, |value, digit| {
                value.checked_mul(10)?.checked_add(u128::from(digit - b'0'))
            })
        };
        let scale = 10_u128.pow(u32::try_from(fraction.len()).unwrap_or(0));
        let part = digits(whole)
            .and_then(|whole| whole.checked_mul(unit))
            .zip(digits(fraction).map(|fraction| fraction * unit / scale));
        sum = part
            .and_then(|(whole, fraction)| sum.checked_add(whole)?.checked_add(fraction))
            .filter(|sum| *sum <= u128::from(MAX_NANOSECONDS))
            .ok_or(ResyncIntervalError::OutOfRange)?;
        rest = after;
    }
    u64::try_from(sum).map_err(|_| ResyncIntervalError::OutOfRange)
}

fn split_digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit());
    text.split_at(end.unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const US: u64 = 1_000;
    const MS: u64 = 1_000 * US;
    const S: u64 = 1_000 * MS;
    const M: u64 = 60 * S;
    const H: u64 = 60 * M;

    /// The cases that Go's own test of `time.ParseDuration` holds to be right, without those that have a sign.
    #[test]
    fn takes_what_go_takes() {
        let cases: &[(&str, u64)] = &[
            ("5s", 5 * S),
            ("30s", 30 * S),
            ("1478s", 1478 * S),
            ("5.0s", 5 * S),
            ("5.6s", 5 * S + 600 * MS),
            ("5.s", 5 * S),
            (".5s", 500 * MS),
            ("1.0s", S),
            ("1.00s", S),
            ("1.004s", S + 4 * MS),
            ("1.0040s", S + 4 * MS),
            ("100.00100s", 100 * S + MS),
            ("10ns", 10),
            ("11us", 11 * US),
            ("12\u{b5}s", 12 * US),
            ("12\u{3bc}s", 12 * US),
            ("13ms", 13 * MS),
            ("14s", 14 * S),
            ("15m", 15 * M),
            ("16h", 16 * H),
            ("3h30m", 3 * H + 30 * M),
            ("10.5s4m", 4 * M + 10 * S + 500 * MS),
            ("1h2m3s4ms5us6ns", H + 2 * M + 3 * S + 4 * MS + 5 * US + 6),
            ("39h9m14.425s", 39 * H + 9 * M + 14 * S + 425 * MS),
            ("52763797000ns", 52_763_797_000),
            ("9007199254740993ns", (1 << 53) + 1),
            ("9223372036854775807ns", MAX_NANOSECONDS),
            ("9223372036854775.807us", MAX_NANOSECONDS),
            ("9223372036s854ms775us807ns", MAX_NANOSECONDS),
            ("0.100000000000000000000h", 6 * M),
            ("0.830103483285477580700h", 49 * M + 48 * S + 372_539_827),
            // Not in Go's table: the order of units is free and a unit may repeat.
            ("1s1s", 2 * S),
            ("1m1h", H + M),
            ("0s", 0),
            ("0.9ns", 0),
        ];
        for (text, meant) in cases {
            assert_eq!(nanoseconds(text), Ok(*meant), "{text:?}");
        }
    }

    /// The cases that Go's own test holds to be wrong, without those that are not UTF-8.
    #[test]
    fn refuses_what_go_refuses() {
        use ResyncIntervalError::{Invalid, MissingUnit, OutOfRange, UnknownUnit};
        let cases = [
            ("", Invalid),
            ("3", MissingUnit(Some(3))),
            ("-", Invalid),
            ("s", Invalid),
            (".", Invalid),
            ("-.", Invalid),
            (".s", Invalid),
            ("+.s", Invalid),
            ("1d", UnknownUnit),
            ("\u{fffd}", Invalid),
            ("\u{fffd} hello \u{fffd} world", Invalid),
            ("9223372036854775810ns", OutOfRange),
            ("9223372036854775808ns", OutOfRange),
            ("9223372036854776us", OutOfRange),
            ("3000000h", OutOfRange),
            ("9223372036854775.808us", OutOfRange),
            ("9223372036854ms775us808ns", OutOfRange),
            // Not in Go's table.
            ("1", MissingUnit(Some(1))),
            ("1.5", MissingUnit(None)),
            ("00", MissingUnit(Some(0))),
            ("--1s", Invalid),
            ("1s ", UnknownUnit),
            (" 1s", Invalid),
            ("1S", UnknownUnit),
            ("1e3s", UnknownUnit),
            ("1s-1s", UnknownUnit),
            ("1.2.3s", MissingUnit(None)),
            ("\u{661}s", Invalid),
        ];
        for (text, error) in cases {
            assert_eq!(nanoseconds(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn a_sign_is_taken_and_what_is_short_refused() {
        for (text, interval) in [
            ("+5s", Ok(Duration::from_secs(5))),
            ("100ms", Ok(MIN_RESYNC_INTERVAL)),
            ("0.1s", Ok(MIN_RESYNC_INTERVAL)),
            ("99.999999ms", Err(ResyncIntervalError::TooShort)),
            ("0", Err(ResyncIntervalError::TooShort)),
            ("-0", Err(ResyncIntervalError::TooShort)),
            ("-5s", Err(ResyncIntervalError::TooShort)),
            ("--5s", Err(ResyncIntervalError::Invalid)),
            ("-5", Err(ResyncIntervalError::MissingUnit(Some(5)))),
        ] {
            assert_eq!(parse_resync_interval(text), interval, "{text}");
        }
    }

    #[test]
    fn what_is_to_be_written_for_a_number_is_a_valid_interval() {
        for (number, remedy) in [
            (0, "write a number with ms, s, m or h, such as 60s"),
            (1, "write 1s"),
            (3_600, "write 3600s"),
            (30_000, "write 30000ms or 30000s, whichever is meant"),
            (
                99_999_999,
                "write 99999999ms or 99999999s, whichever is meant",
            ),
            (100_000_000, "write 100ms"),
            (60_000_000_000, "write 60s"),
            (90_000_000_001, "write 90000000001ns"),
            (u64::MAX, "write a number with ms, s, m or h, such as 60s"),
        ] {
            assert_eq!(with_unit(Some(number)), remedy);
            for form in remedy
                .split([' ', ','])
                .filter(|word| word.starts_with(|c: char| c.is_ascii_digit()))
            {
                assert!(parse_resync_interval(form).is_ok(), "{form}");
            }
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "[-+]?[0-9.nuµμmshx]{0,40}|.{0,20}") {
            let _ = parse_resync_interval(&text);
        }

        #[test]
        fn reads_back_whole_nanoseconds(number in 0..=MAX_NANOSECONDS) {
            prop_assert_eq!(nanoseconds(&format!("{number}ns")), Ok(number));
            prop_assert_eq!(nanoseconds(&written(number)), Ok(number));
        }
    }
}
