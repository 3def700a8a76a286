//! What goes on for a while beside all else.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long one lasts, and whether it is to end before.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    end: Instant,
    is_stopped: Arc<AtomicBool>,
}

impl Span {
    pub(crate) fn is_over(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed) || Instant::now() >= self.end
    }

    /// Sleeps for this time, or until it is over.
    pub(crate) fn sleep(&self, time: Duration) {
        const STEP: Duration = Duration::from_millis(20);
        let wake = Instant::now() + time;
        while !self.is_over() {
            match wake.saturating_duration_since(Instant::now()) {
                Duration::ZERO => return,
                left => std::thread::sleep(left.min(STEP)),
            }
        }
    }

    /// Sleeps until it is over.
    pub(crate) fn wait(&self) {
        self.sleep(self.end.saturating_duration_since(Instant::now()));
    }
}

struct Condition {
    name: &'static str,
    /// The daemon may be unable to follow, as long as it lasts.
    hinders: bool,
    span: Span,
    thread: JoinHandle<io::Result<()>>,
}

/// Those that go on.
#[derive(Default)]
pub(crate) struct Conditions {
    going_on: Vec<Condition>,
    hindered_until: Option<Instant>,
}

impl Conditions {
    /// Begins one that does this work until its span is over.
    pub(crate) fn begin(
        &mut self,
        name: &'static str,
        length: Duration,
        hinders: bool,
        work: impl FnOnce(&Span) -> io::Result<()> + Send + 'static,
    ) {
        let span = Span {
            end: Instant::now() + length,
            is_stopped: Arc::default(),
        };
        let thread = {
            let span = span.clone();
            std::thread::spawn(move || work(&span))
        };
        if hinders {
            self.hindered_until = self.hindered_until.max(Some(span.end));
        }
        self.going_on.push(Condition {
            name,
            hinders,
            span,
            thread,
        });
    }

    pub(crate) fn is_going_on(&self, name: &str) -> bool {
        self.going_on.iter().any(|condition| condition.name == name)
    }

    pub(crate) fn number(&self) -> usize {
        self.going_on.len()
    }

    /// Until when the daemon was or will be hindered; `None`: it never was.
    pub(crate) fn hindered_until(&self) -> Option<Instant> {
        self.hindered_until
    }

    /// Whether one that hinders goes on.
    pub(crate) fn hinder(&self) -> bool {
        self.going_on.iter().any(|condition| condition.hinders)
    }

    /// Takes away those that have ended; their names.
    pub(crate) fn ended(&mut self) -> io::Result<Vec<&'static str>> {
        let is_over = |condition: &mut Condition| condition.thread.is_finished();
        let over: Vec<Condition> = self.going_on.extract_if(.., is_over).collect();
        self.join(over)
    }

    /// Ends all.
    pub(crate) fn stop(&mut self) -> io::Result<Vec<&'static str>> {
        let all = std::mem::take(&mut self.going_on);
        for condition in &all {
            condition.span.is_stopped.store(true, Ordering::Relaxed);
        }
        self.join(all)
    }

    fn join(&mut self, conditions: Vec<Condition>) -> io::Result<Vec<&'static str>> {
        let mut names = Vec::new();
        for Condition {
            name,
            hinders,
            thread,
            ..
        } in conditions
        {
            let ended = thread.join().expect("a condition's thread");
            ended.map_err(|error| io::Error::other(format!("{name}: {error}")))?;
            // It may have taken longer than it was to.
            if hinders {
                self.hindered_until = self.hindered_until.max(Some(Instant::now()));
            }
            names.push(name);
        }
        Ok(names)
    }
}

impl Drop for Conditions {
    fn drop(&mut self) {
        // The run has failed already.
        let _ = self.stop();
    }
}
