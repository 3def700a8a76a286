//! Logging, to standard error.

use std::borrow::Cow;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Map, Value, json};
use tracing::field::Field;
use tracing::level_filters::LevelFilter;
use tracing::warn;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::cli::{LogFormat, LogLevel, Options};

/// Starts logging as the command line says; without `--log-level`, as `RUST_LOG` says.
pub fn start(options: &Options) {
    let rust_log = std::env::var("RUST_LOG").ok().filter(|set| !set.is_empty());
    let from_environment = rust_log.as_deref().map(str::parse::<Targets>);
    let filter = match (options.log_level, &from_environment) {
        (Some(level), _) => Targets::new().with_default(filter_of(level)),
        (None, Some(Ok(targets))) => targets.clone(),
        (None, _) => Targets::new().with_default(LevelFilter::INFO),
    };
    let format = options.log_format;
    // A log that cannot be written (a full disk, a closed pipe) must not end the daemon: without
    // `log_internal_errors(false)` the subscriber panics where standard error is closed.
    let layer = fmt::layer()
        .with_writer(move || Unblocked(format))
        .with_target(false)
        .with_ansi(false)
        .log_internal_errors(false);
    let layer = match format {
        LogFormat::Text => layer.fmt_fields(debug_fn(write_field)).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    let subscriber = tracing_subscriber::registry().with(layer.with_filter(filter));
    if subscriber.try_init().is_err() {
        return; // Logging has been started before: it goes on as it was.
    }
    if let (None, Some(Err(error))) = (options.log_level, from_environment) {
        warn!("RUST_LOG is not understood, so it is taken for info: {error}");
    }
}

/// Fields that are there for `--log-format json`: the message says the same in words.
const SAID_IN_WORDS: [&str; 8] = [
    "added",
    "change",
    "changed_by",
    "differences",
    "family",
    "libnftables",
    "removed",
    "repairs",
];

fn write_field(
    writer: &mut Writer<'_>,
    field: &Field,
    value: &dyn std::fmt::Debug,
) -> std::fmt::Result {
    match field.name() {
        "message" => write!(writer, "{value:?}"),
        name if SAID_IN_WORDS.contains(&name) => Ok(()),
        name => write!(writer, " {name}={value:?}"),
    }
}

fn filter_of(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// Standard error, where a line that nobody takes is lost instead of waited for: a log pipe that is
/// full, because its reader hangs, must not keep the daemon from its work.
struct Unblocked(LogFormat);

/// Less than `PIPE_BUF`, 4096 bytes, by what may come before and behind it.
const LONGEST_LINE: usize = 3_900;

/// Lines lost since the last one that was taken.
static LOST_LINES: AtomicU64 = AtomicU64::new(0);

impl Write for Unblocked {
    /// One line a call, as the subscriber has it. A pipe that polls as writable takes `PIPE_BUF` bytes
    /// (pipe(7)) without blocking, so what is longer is cut.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut stderr = io::stderr().lock();
        if !takes_a_line(&stderr) {
            LOST_LINES.fetch_add(1, Ordering::Relaxed);
            return Ok(line.len());
        }
        match LOST_LINES.swap(0, Ordering::Relaxed) {
            0 => {}
            lost => writeln!(stderr, "{}", losses(lost, self.0))?,
        }
        stderr.write_all(&shortened(line, self.0))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn losses(lost: u64, format: LogFormat) -> String {
    let words = format!("{lost} log lines were lost: nobody took them");
    match format {
        LogFormat::Text => words,
        LogFormat::Json => {
            let mut now = String::new();
            // Writing to a String cannot fail.
            let _ = SystemTime.format_time(&mut Writer::new(&mut now));
            json!({"timestamp": now, "level": "WARN", "message": words}).to_string()
        }
    }
}

/// Behind what was cut.
const CUT: &str = " [cut]";

fn shortened(line: &[u8], format: LogFormat) -> Cow<'_, [u8]> {
    let content = line.strip_suffix(b"\n").unwrap_or(line);
    if content.len() <= LONGEST_LINE {
        return Cow::Borrowed(line);
    }
    let mut text = match format {
        LogFormat::Text => cut(&String::from_utf8_lossy(content), LONGEST_LINE),
        LogFormat::Json => {
            shortened_object(content).unwrap_or_else(|| json!({"message": CUT}).to_string())
        }
    };
    text.push('\n');
    Cow::Owned(text.into_bytes())
}

/// The same object with its longest texts cut; none where it cannot be made short so.
fn shortened_object(line: &[u8]) -> Option<String> {
    let mut object: Map<String, Value> = serde_json::from_slice(line).ok()?;
    loop {
        let text = serde_json::to_string(&object).ok()?;
        if text.len() <= LONGEST_LINE {
            return Some(text);
        }
        let excess = text.len() - LONGEST_LINE;
        let texts = object.values_mut().filter_map(|value| match value {
            Value::String(text) => Some(text),
            _ => None,
        });
        let longest = texts.max_by_key(|text| text.len())?;
        let whole = longest.strip_suffix(CUT).unwrap_or(longest);
        // A byte less of it is a byte less as JSON, or more. Of two long texts, something of both is to be left.
        let least = whole.len().saturating_sub(excess + CUT.len());
        let shorter = cut(whole, least.max(whole.len() / 2));
        if shorter.len() >= longest.len() {
            return None;
        }
        *longest = shorter;
    }
}

/// At most so many bytes of `text`, and that it was cut.
fn cut(text: &str, most: usize) -> String {
    let mut characters = text.char_indices();
    let end = characters.find(|(start, character)| start + character.len_utf8() > most);
    let kept = end.and_then(|(end, _)| text.get(..end)).unwrap_or(text);
    format!("{kept}{CUT}")
}

fn takes_a_line(stderr: &impl AsFd) -> bool {
    let mut polled = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    match poll(&mut polled, PollTimeout::ZERO) {
        Ok(ready) => ready > 0,
        // Not to be told; a write says what is wrong.
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `PIPE_BUF`, linux/limits.h.
    const PIPE_BUF: usize = 4096;

    #[test]
    fn no_line_outgrows_what_a_pipe_takes_without_blocking() {
        let lost = "18446744073709551615 log lines were lost: nobody took them\n";
        assert_eq!(losses(u64::MAX, LogFormat::Text), lost.trim_end());
        for length in [0, 1, LONGEST_LINE, LONGEST_LINE + 1, 2_000_000] {
            let line = vec![b'x'; length];
            let shortened = shortened(&line, LogFormat::Text);
            assert!(lost.len() + shortened.len() < PIPE_BUF);
            assert_eq!(shortened.as_ref() == line, length <= LONGEST_LINE);
        }
    }

    fn object(line: &[u8]) -> Map<String, Value> {
        serde_json::from_slice(line).unwrap()
    }

    #[test]
    fn a_json_line_of_any_length_stays_an_object_with_the_beginning_of_each_text() {
        let lost = losses(u64::MAX, LogFormat::Json) + "\n";
        assert_eq!(object(lost.as_bytes())["level"], "WARN");
        for unit in ["x", "−", "\"", "\u{1}", "𝄞\\"] {
            for [first, second] in [
                [0, 0],
                [900, 10],
                [1_500, 1_400],
                [2_125, 1_925],
                [40_000, 900],
                [9, 300_000],
            ] {
                let message = unit.repeat(first);
                let change = unit.repeat(second);
                let whole =
                    json!({"level": "INFO", "added": 240, "message": message, "change": change});
                let line = format!("{whole}\n");
                let shortened = shortened(line.as_bytes(), LogFormat::Json);
                assert!(lost.len() + shortened.len() < PIPE_BUF);
                assert_eq!(shortened.last(), Some(&b'\n'));
                let shortened = object(&shortened);
                assert_eq!(shortened.len(), 4);
                assert_eq!(
                    (&shortened["level"], &shortened["added"]),
                    (&"INFO".into(), &240.into())
                );
                for (key, text) in [("message", &message), ("change", &change)] {
                    let left = shortened[key].as_str().unwrap();
                    let beginning = left.strip_suffix(CUT).unwrap_or(left);
                    assert!(text.starts_with(beginning), "{left}");
                    assert!(left == text || beginning.len() > 150, "{left}");
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_shortened_as_json_is_an_object_nevertheless() {
        let numbers = Vec::from_iter(0..9_000);
        for line in [json!({"numbers": numbers}).to_string(), "x".repeat(9_000)] {
            let shortened = shortened(line.as_bytes(), LogFormat::Json);
            assert_eq!(object(&shortened)["message"], CUT);
        }
    }
}
