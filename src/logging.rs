//! Logging, to standard error.

use std::borrow::Cow;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing::field::Field;
use tracing::level_filters::LevelFilter;
use tracing::warn;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
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
    // A log that cannot be written (a full disk, a closed pipe) must not end the daemon: without
    // `log_internal_errors(false)` the subscriber panics where standard error is closed.
    let layer = fmt::layer()
        .with_writer(|| Unblocked)
        .with_target(false)
        .with_ansi(false)
        .log_internal_errors(false);
    let layer = match options.log_format {
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
const SAID_IN_WORDS: [&str; 7] = [
    "added",
    "change",
    "changed_by",
    "differences",
    "family",
    "libnftables",
    "removed",
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
struct Unblocked;

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
            lost => writeln!(stderr, "{lost} log lines were lost: nobody took them")?,
        }
        stderr.write_all(&shortened(line))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn shortened(line: &[u8]) -> Cow<'_, [u8]> {
    match line.get(..LONGEST_LINE) {
        Some(cut) if cut.len() < line.len() => Cow::Owned([cut, b" [cut]\n"].concat()),
        _ => Cow::Borrowed(line),
    }
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
        for length in [0, 1, LONGEST_LINE, LONGEST_LINE + 1, 2_000_000] {
            let line = vec![b'x'; length];
            let shortened = shortened(&line);
            assert!(lost.len() + shortened.len() < PIPE_BUF);
            assert_eq!(shortened.as_ref() == line, length <= LONGEST_LINE);
        }
    }
}
