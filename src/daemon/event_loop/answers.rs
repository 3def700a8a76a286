//! What the daemon answers at its HTTP address, and what it counts for that.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use hyper::StatusCode;

use super::EventLoop;
use crate::daemon::connections::Counters;
use crate::daemon::contradictions::{self, Contradictions};
use crate::daemon::http::{self, Answer, Page, Question, Reply};
use crate::daemon::metrics;
use crate::daemon::work::{Order, WorkEvent, beside_all_orders};

impl EventLoop {
    pub(super) fn asked(&mut self, question: Question) {
        let Question { page, reply } = question;
        let answer = match page {
            Page::Health => http::text(StatusCode::OK, "ok\n"),
            Page::Readiness => match self.reasons().as_slice() {
                [] => http::text(StatusCode::OK, self.ready()),
                reasons => http::text(StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n"),
            },
            Page::Configuration => self.configuration_page(),
            Page::Metrics => return self.asked_for_metrics(reply),
        };
        // That nobody waits for the answer any more is no error.
        let _ = reply.send(answer);
    }

    /// The last good one, as one file.
    fn configuration_page(&self) -> Answer {
        let Some(desired) = self.configuration.desired() else {
            let text = "no good configuration has been read yet\n";
            return http::text(StatusCode::SERVICE_UNAVAILABLE, text);
        };
        match serde_json::to_string(&desired.config.normalised()) {
            Ok(text) => http::answer(StatusCode::OK, "application/json", text + "\n"),
            Err(error) => http::failed(&format!("the configuration cannot be written: {error}")),
        }
    }

    /// During a pass they tell what was read last: sets may be about to go, whose counts the pass tells.
    pub(super) fn asked_for_metrics(&mut self, reply: Reply) {
        let now = Instant::now();
        let in_force = self.following.in_force();
        if !in_force.is_empty() && self.last_count.is_outdated(now) {
            self.last_count.begins(now);
            let count = move || contradictions::count(&in_force);
            let event = move |counts| WorkEvent::CountedContradictions(counts, reply);
            return beside_all_orders(&self.tell, count, event);
        }
        match self.configuration.desired() {
            Some(desired) if !self.keeper.is_under_way() && !self.is_counting => {
                self.is_counting = true;
                let tables = Arc::clone(&desired.tables);
                self.order(Order::Count { tables, reply });
            }
            _ => drop(reply.send(self.metrics_page())),
        }
    }

    pub(super) fn counted_contradictions(&mut self, counts: io::Result<Contradictions>) {
        let counts = counts.unwrap_or_else(|error| {
            let text = format!("connections that contradict the policy cannot be counted: {error}");
            self.errors.warn(&text);
            Contradictions::default()
        });
        self.metrics.contradict(&counts);
    }

    pub(super) fn counted(&mut self, counters: io::Result<Vec<Counters>>) {
        self.is_counting = false;
        match counters {
            Ok(read) => {
                for table in &mut self.tables {
                    let its = read.iter().filter(|its| its.family == table.family);
                    its.for_each(|counters| table.connections.read(counters));
                }
            }
            Err(error) => {
                let text = format!("the counters cannot be read: {error}");
                self.errors.warn(&text);
            }
        }
    }

    /// Why the daemon is not ready, one line each; empty: it is, for the configuration is good, and every wanted table is in
    /// the kernel and was read back.
    fn reasons(&self) -> Vec<String> {
        let now = Instant::now();
        let mut reasons = Vec::from_iter(self.configuration.reason());
        if let Some(desired) = self.configuration.desired() {
            for table in &self.tables {
                let is_contested = self.keeper.is_withheld(table.family, now);
                reasons.extend(table.reason(&desired.tables, is_contested));
            }
        }
        reasons
    }

    /// With what is to be known of the node's addresses.
    fn ready(&self) -> String {
        let mut lines = vec!["ready".to_owned()];
        if let Some(desired) = self.configuration.desired() {
            lines.extend(desired.policy.snat_addresses_in_words());
            let warnings = desired.policy.warnings();
            lines.extend(warnings.iter().map(ToString::to_string));
        }
        lines.join("\n") + "\n"
    }

    pub(super) fn metrics_page(&mut self) -> Answer {
        self.metrics.forget_cidrs();
        if let Some(desired) = self.configuration.desired() {
            for table in &mut self.tables {
                let is_in_step = table.is_in_step(&desired.tables);
                self.metrics
                    .tell(table.family, is_in_step, &table.connections);
            }
        }
        match self.metrics.text() {
            Ok(text) => http::answer(StatusCode::OK, metrics::CONTENT_TYPE, text),
            Err(error) => http::failed(&format!("the metrics cannot be written: {error}")),
        }
    }
}
