//! Times and how they are shown.

use std::time::Duration;

/// Times of one kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    pub(crate) fn push(&mut self, took: Duration) {
        self.0.push(took);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn median(&self) -> Duration {
        self.percentile(50)
    }

    /// The smallest sample that so many percent of them do not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100);
        sorted
            .get(rank.saturating_sub(1))
            .copied()
            .unwrap_or_default()
    }
}

/// The head of a table of times.
pub(crate) fn print_head(title: &str) {
    println!("\n{title}");
    println!(
        "  {:<34}{:>6}{:>10}{:>10}{:>10}{:>8}",
        "milliseconds", "n", "p50", "p99", "max", "ratio"
    );
}

/// One line: `ratio` compares with `yardstick` by p50, if there is one.
pub(crate) fn print_line(
    what: &str,
    samples: &Samples,
    yardstick: Option<&Samples>,
    verdict: &str,
) {
    let ratio = yardstick.map_or("-".to_owned(), |yardstick| {
        format!("{:.2}", ratio(samples.median(), yardstick.median()))
    });
    println!(
        "  {what:<34}{:>6}{:>10.2}{:>10.2}{:>10.2}{ratio:>8}  {verdict}",
        samples.0.len(),
        milliseconds(samples.median()),
        milliseconds(samples.percentile(99)),
        milliseconds(samples.percentile(100)),
    );
}

pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// How often `yardstick` goes into `time`.
pub(crate) fn ratio(time: Duration, yardstick: Duration) -> f64 {
    time.as_secs_f64() / yardstick.as_secs_f64()
}

/// Whether a bound is kept.
pub(crate) fn verdict(bound: &str, is_kept: bool) -> String {
    format!("{bound}: {}", if is_kept { "ok" } else { "missed" })
}
