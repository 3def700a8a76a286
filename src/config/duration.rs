//! Durations as Go writes them (`time.ParseDuration`), because the files of ip-masq-agent hold them; and of these the
//! interval of the resync.

use std::time::Duration;

use thiserror::Error;

use super::MIN_RESYNC_INTERVAL;

/// 2^63: the magnitude of the most negative duration, in nanoseconds.
const LARGEST_MAGNITUDE: u64 = 1 << 63;

/// Why a text is not a duration. The texts follow Go's own.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DurationError {
    /// No number stands where one must.
    #[error("not a duration")]
    Invalid,
    /// A number without a unit; only `0` needs none.
    #[error("a duration without a unit")]
    MissingUnit,
    /// A unit that Go does not know, such as `d`.
    #[error("a duration with an unknown unit")]
    UnknownUnit,
    /// More than 2^63 - 1 ns (about 292 years), or less than -2^63 ns.
    #[error("a duration out of range (about 292 years)")]
    OutOfRange,
}

/// Why a text is no resync interval.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ResyncIntervalError {
    /// No duration.
    #[error(transparent)]
    NoDuration(#[from] DurationError),
    /// Less than [`MIN_RESYNC_INTERVAL`], zero and negative ones as well.
    #[error("shorter than {} ms", MIN_RESYNC_INTERVAL.as_millis())]
    TooShort,
}

impl ResyncIntervalError {
    /// What to write instead.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NoDuration(_) => "write a number with ms, s, m or h, such as 60s",
            Self::TooShort => "write a longer duration such as 60s",
        }
    }
}

/// The resync interval that `text` means, a duration as [`parse_nanoseconds`] takes it.
///
/// # Errors
/// [`ResyncIntervalError`] where it is none, or too short.
pub fn parse_resync_interval(text: &str) -> Result<Duration, ResyncIntervalError> {
    let nanoseconds = u64::try_from(parse_nanoseconds(text)?);
    let interval = Duration::from_nanos(nanoseconds.unwrap_or_default());
    if interval < MIN_RESYNC_INTERVAL {
        return Err(ResyncIntervalError::TooShort);
    }
    Ok(interval)
}

/// The nanoseconds that `text` means, judged as Go's `time.ParseDuration` does: an optional sign, then
/// decimal numbers with an optional fraction and a unit each (`ns`, `us`, `µs`, `ms`, `s`, `m`, `h`), such as
/// `1h30m` or `-1.5s`. What a fraction holds beyond a nanosecond is cut off.
///
/// # Errors
/// [`DurationError`] where Go reports an error.
pub fn parse_nanoseconds(text: &str) -> Result<i64, DurationError> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(DurationError::Invalid);
    }
    let mut magnitude: u64 = 0;
    while !rest.is_empty() {
        let (nanoseconds, after) = component(rest)?;
        magnitude = magnitude
            .checked_add(nanoseconds)
            .filter(|sum| *sum <= LARGEST_MAGNITUDE)
            .ok_or(DurationError::OutOfRange)?;
        rest = after;
    }
    let signed = if negative {
        -i128::from(magnitude)
    } else {
        i128::from(magnitude)
    };
    i64::try_from(signed).map_err(|_| DurationError::OutOfRange)
}

/// One number with its unit at the start of `text`, in nanoseconds, and what follows it.
fn component(text: &str) -> Result<(u64, &str), DurationError> {
    let (integer_digits, rest) = split_digits(text);
    let (fraction_digits, rest) = match rest.strip_prefix('.') {
        Some(rest) => split_digits(rest),
        None => ("", rest),
    };
    if integer_digits.is_empty() && fraction_digits.is_empty() {
        return Err(DurationError::Invalid);
    }
    let integer = leading_integer(integer_digits)?;
    let (unit, rest) = rest.split_at(
        rest.find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(rest.len()),
    );
    let unit = unit_nanoseconds(unit)?;
    integer
        .checked_mul(unit)
        .filter(|whole| *whole <= LARGEST_MAGNITUDE)
        .and_then(|whole| whole.checked_add(fraction_nanoseconds(fraction_digits, unit)))
        .filter(|sum| *sum <= LARGEST_MAGNITUDE)
        .map(|nanoseconds| (nanoseconds, rest))
        .ok_or(DurationError::OutOfRange)
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len()),
    )
}

/// The value of `digits`, which may be none (0).
fn leading_integer(digits: &str) -> Result<u64, DurationError> {
    digits
        .bytes()
        .try_fold(0_u64, |value, digit| {
            value
                .checked_mul(10)?
                .checked_add(u64::from(digit - b'0'))
                .filter(|value| *value <= LARGEST_MAGNITUDE)
        })
        .ok_or(DurationError::OutOfRange)
}

/// The nanoseconds of a fraction of a unit. Digits beyond the 63 bits that Go keeps count for nothing.
fn fraction_nanoseconds(digits: &str, unit: u64) -> u64 {
    let mut value: u64 = 0;
    let mut scale: f64 = 1.0;
    for digit in digits.bytes() {
        let next = value
            .checked_mul(10)
            .and_then(|value| value.checked_add(u64::from(digit - b'0')))
            .filter(|next| value <= (LARGEST_MAGNITUDE - 1) / 10 && *next <= LARGEST_MAGNITUDE);
        match next {
            Some(next) => value = next,
            None => break,
        }
        scale *= 10.0;
    }
    // Go multiplies in this order; another one rounds differently.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at most one unit, 3.6e12 ns, never negative; the cut is Go's"
    )]
    let nanoseconds = (value as f64 * (unit as f64 / scale)) as u64;
    nanoseconds
}

fn unit_nanoseconds(unit: &str) -> Result<u64, DurationError> {
    match unit {
        "ns" => Ok(1),
        // U+00B5 is the micro sign, U+03BC the Greek letter; keyboards give either.
        "us" | "\u{b5}s" | "\u{3bc}s" => Ok(1_000),
        "ms" => Ok(1_000_000),
        "s" => Ok(1_000_000_000),
        "m" => Ok(60 * 1_000_000_000),
        "h" => Ok(3_600 * 1_000_000_000),
        "" => Err(DurationError::MissingUnit),
        _ => Err(DurationError::UnknownUnit),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const US: i64 = 1_000;
    const MS: i64 = 1_000 * US;
    const S: i64 = 1_000 * MS;
    const M: i64 = 60 * S;
    const H: i64 = 60 * M;

    /// The cases that Go's own test of `time.ParseDuration` holds to be right.
    #[test]
    fn takes_what_go_takes() {
        let cases: &[(&str, i64)] = &[
            ("0", 0),
            ("5s", 5 * S),
            ("30s", 30 * S),
            ("1478s", 1478 * S),
            ("-5s", -5 * S),
            ("+5s", 5 * S),
            ("-0", 0),
            ("+0", 0),
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
            ("-2m3.4s", -(2 * M + 3 * S + 400 * MS)),
            ("1h2m3s4ms5us6ns", H + 2 * M + 3 * S + 4 * MS + 5 * US + 6),
            ("39h9m14.425s", 39 * H + 9 * M + 14 * S + 425 * MS),
            ("52763797000ns", 52_763_797_000),
            ("0.3333333333333333333h", 20 * M),
            ("9007199254740993ns", (1 << 53) + 1),
            ("9223372036854775807ns", i64::MAX),
            ("9223372036854775.807us", i64::MAX),
            ("9223372036s854ms775us807ns", i64::MAX),
            ("-9223372036854775808ns", i64::MIN),
            ("-9223372036854775.808us", i64::MIN),
            ("-9223372036s854ms775us808ns", i64::MIN),
            ("-2562047h47m16.854775808s", i64::MIN),
            ("0.100000000000000000000h", 6 * M),
            ("0.830103483285477580700h", 49 * M + 48 * S + 372_539_827),
            // Not in Go's table: the order of units is free and a unit may repeat.
            ("1s1s", 2 * S),
            ("1m1h", H + M),
            ("0s", 0),
            ("0.9ns", 0),
        ];
        for (text, nanoseconds) in cases {
            assert_eq!(parse_nanoseconds(text), Ok(*nanoseconds), "{text:?}");
        }
    }

    /// The cases that Go's own test holds to be wrong, without those that are not UTF-8.
    #[test]
    fn refuses_what_go_refuses() {
        use DurationError::{Invalid, MissingUnit, OutOfRange, UnknownUnit};
        let cases = [
            ("", Invalid),
            ("3", MissingUnit),
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
            ("-9223372036854775809ns", OutOfRange),
            ("9223372036854776us", OutOfRange),
            ("3000000h", OutOfRange),
            ("9223372036854775.808us", OutOfRange),
            ("9223372036854ms775us808ns", OutOfRange),
            // Not in Go's table.
            ("1", MissingUnit),
            ("1.5", MissingUnit),
            ("00", MissingUnit),
            ("--1s", Invalid),
            ("1s ", UnknownUnit),
            (" 1s", Invalid),
            ("1S", UnknownUnit),
            ("1e3s", UnknownUnit),
            ("1s-1s", UnknownUnit),
            ("1.2.3s", MissingUnit),
            ("\u{661}s", Invalid),
        ];
        for (text, error) in cases {
            assert_eq!(parse_nanoseconds(text), Err(error), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "[-+]?[0-9.nuµμmshx]{0,40}|.{0,20}") {
            let _ = parse_nanoseconds(&text);
        }

        #[test]
        fn reads_back_whole_nanoseconds(nanoseconds: i64) {
            prop_assert_eq!(parse_nanoseconds(&format!("{nanoseconds}ns")), Ok(nanoseconds));
        }
    }
}
