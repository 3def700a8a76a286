//! What was done when, and how long it took until the kernel was in step again.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use crate::log::shortened;

/// How much of the timeline around a moment is shown.
const AROUND: Duration = Duration::from_secs(1);

pub(crate) struct Timeline {
    pub(crate) started: Instant,
    lines: Vec<(Duration, String)>,
}

impl Timeline {
    pub(crate) fn new(started: Instant) -> Self {
        Self {
            started,
            lines: Vec::new(),
        }
    }

    pub(crate) fn note(&mut self, what: impl Into<String>) {
        self.lines.push((self.started.elapsed(), what.into()));
    }

    pub(crate) fn last(&self, number: usize) -> String {
        let from = self.lines.len().saturating_sub(number);
        shown(&self.lines[from..])
    }

    pub(crate) fn around(&self, moment: Instant) -> String {
        let moment = moment.duration_since(self.started);
        let is_near = |(when, _): &&(Duration, String)| when.abs_diff(moment) < AROUND;
        let near: Vec<_> = self.lines.iter().filter(is_near).cloned().collect();
        shown(&near)
    }
}

fn shown(lines: &[(Duration, String)]) -> String {
    let lines = lines
        .iter()
        .map(|(when, what)| format!("  {:9.3} s  {}", when.as_secs_f64(), shortened(what)));
    lines.collect::<Vec<_>>().join("\n")
}

/// Why the kernel was out of step; the last one that applies counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    /// The file was changed.
    File,
    /// Daemon or worker was ended.
    Kill,
    /// A foreign hand changed the table.
    Hand,
    /// A second daemon wrote it.
    SecondDaemon,
    /// Something kept the daemon from its work meanwhile: it was stopped or limited, or libnftables died.
    Hindered,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::File => "the file was changed",
            Self::Kill => "the daemon or its worker was ended",
            Self::Hand => "a foreign hand changed the table",
            Self::SecondDaemon => "a second daemon wrote it",
            Self::Hindered => "the daemon was hindered",
        })
    }
}

/// How often, and for how long, the kernel was out of step.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    pending: Option<(Instant, Cause)>,
    times: BTreeMap<Cause, Vec<Duration>>,
}

impl Steps {
    /// The kernel is out of step from now on, or may be.
    pub(crate) fn is_out(&mut self, cause: Cause) {
        let now = Instant::now();
        self.pending = Some(match self.pending {
            Some((since, before)) if before > Cause::File && cause != Cause::SecondDaemon => {
                (since, before.max(cause))
            }
            // The last file counts, and the end of a second daemon.
            _ => (now, cause),
        });
    }

    pub(crate) fn is_by(&self, cause: Cause) -> bool {
        self.pending.is_some_and(|(_, by)| by == cause)
    }

    pub(crate) fn since(&self) -> Option<Instant> {
        self.pending.map(|(since, _)| since)
    }

    /// The kernel is in step again; how long it was not.
    pub(crate) fn is_in(&mut self) -> Option<(Duration, Cause)> {
        let (since, cause) = self.pending.take()?;
        let time = since.elapsed();
        self.times.entry(cause).or_default().push(time);
        Some((time, cause))
    }

    pub(crate) fn longest(&self) -> Duration {
        let times = self.times.values().flatten();
        times.max().copied().unwrap_or_default()
    }

    /// While nothing kept the daemon from its work.
    pub(crate) fn longest_unhindered(&self) -> Duration {
        let unhindered = self.times.range(..Cause::Hindered);
        let times = unhindered.flat_map(|(_, times)| times);
        times.max().copied().unwrap_or_default()
    }
}

impl fmt::Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (cause, times) in &self.times {
            let mut times = times.clone();
            times.sort_unstable();
            let milliseconds = |time: &Duration| time.as_secs_f64() * 1_000.0;
            let median = milliseconds(&times[times.len() / 2]);
            let longest = times.last().map_or(0.0, milliseconds);
            writeln!(
                f,
                "    {cause:<36}{:>6} times, median {median:>9.1} ms, longest {longest:>9.1} ms",
                times.len()
            )?;
        }
        Ok(())
    }
}
