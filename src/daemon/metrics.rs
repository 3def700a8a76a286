//! What `/metrics` tells, in the Prometheus text format. The names are a contract with dashboards and alerts.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family as Labelled;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use super::budget::Outcome;
use super::connections::ConnectionCounts;
use super::contradictions::Contradictions;
use crate::ruleset::{AddressField, Element, Family, Tables};

/// The beginning of each name.
const PREFIX: &str = "non_masquerade_daemon";
/// The `Content-Type` of [`Metrics::text`].
pub(super) const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;
/// In seconds; a sync of some CIDRs takes a few milliseconds, one of 100,000 some seconds.
const DURATION_BUCKETS: [f64; 12] = [
    0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0,
];

type Labels = Vec<(&'static str, String)>;

/// All metrics.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    build: Labelled<Labels, Gauge>,
    config_loads: Labelled<Labels, Counter>,
    last_good_load: Gauge<f64, AtomicU64>,
    syncs: Labelled<Labels, Counter>,
    sync_duration: Histogram,
    drift_repairs: Labelled<Labels, Counter>,
    in_step: Labelled<Labels, Gauge>,
    exempt_cidrs: Labelled<Labels, Gauge>,
    connections: Labelled<Labels, Counter>,
    cidr_connections: Labelled<Labels, Counter>,
    contradicting_connections: Labelled<Labels, Gauge>,
    invalid_dropped: Labelled<Labels, Counter>,
    worker_restarts: Counter,
}

impl Metrics {
    /// `tells_per_cidr`: `--metrics-per-cidr`
    pub(super) fn new(tells_per_cidr: bool) -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let of = &mut registry;
        let sync_duration = Histogram::new(DURATION_BUCKETS);
        let help = "How long all tables took together";
        of.register("sync_duration_seconds", help, sync_duration.clone());
        let mut cidr_connections = Labelled::default();
        if tells_per_cidr {
            let help = "New connections that kept their source address, by the configured CIDR";
            cidr_connections = registered(of, "cidr_connections", help);
        }
        let help =
            "Times that the kernel's table was compared with the configuration and made right";
        let syncs = registered(of, "syncs", help);
        let help = "New connections that left the node, by what happened to their source address";
        let connections = registered(of, "connections", help);
        let help = "When a good configuration was read last";
        let last_good_load = registered(of, "config_last_good_load_timestamp_seconds", help);
        let help = "1 while the kernel's table is what the configuration asks for";
        let in_step = registered(of, "in_step", help);
        let help = "Configured CIDRs that keep their source address";
        let exempt_cidrs = registered(of, "exempt_cidrs", help);
        let help = "Workers that took the place of one that had ended or hung";
        let worker_restarts = registered(of, "worker_restarts", help);
        let metrics = Self {
            build: registered(
                of,
                "build_info",
                "Versions of the daemon and of libnftables",
            ),
            config_loads: registered(of, "config_loads", "Readings of the configuration files"),
            last_good_load,
            syncs,
            sync_duration,
            drift_repairs: registered(of, "drift_repairs", "Changes by others that were undone"),
            in_step,
            exempt_cidrs,
            connections,
            cidr_connections,
            contradicting_connections: registered(
                of,
                "contradicting_connections",
                "Connections that were not treated as the policy in force asks for, by kind; counted every 5 minutes at most",
            ),
            invalid_dropped: registered(
                of,
                "invalid_dropped",
                "Packets that belong to no connection and were dropped, by dropInvalid",
            ),
            worker_restarts,
            registry,
        };
        metrics.libnftables("");
        for result in ["success", "failure"] {
            drop(
                metrics
                    .config_loads
                    .get_or_create(&labels([("result", result)])),
            );
        }
        metrics
    }

    pub(super) fn libnftables(&self, version: &str) {
        self.build.clear();
        let of = labels([
            ("version", env!("CARGO_PKG_VERSION")),
            ("libnftables", version),
        ]);
        self.build.get_or_create(&of).set(1);
    }

    pub(super) fn good_load(&self) {
        let of = labels([("result", "success")]);
        self.config_loads.get_or_create(&of).inc();
        // A clock before 1970 has no time to tell.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        self.last_good_load
            .set(now.unwrap_or_default().as_secs_f64());
    }

    pub(super) fn bad_load(&self) {
        let of = labels([("result", "failure")]);
        self.config_loads.get_or_create(&of).inc();
    }

    /// These tables are to be there.
    pub(super) fn wants(&self, tables: &Tables) {
        for ruleset in tables.wanted() {
            let family = ("family", ruleset.family.name());
            for result in ["success", "failure"] {
                let of = labels([family, ("result", result)]);
                drop(self.syncs.get_or_create(&of));
            }
            drop(self.drift_repairs.get_or_create(&labels([family])));
            let exempt = ruleset.set(AddressField::Destination);
            let elements = exempt.map_or(&[][..], |set| &set.elements);
            let cidrs: HashSet<String> = elements.iter().map(Element::origin).collect();
            let count = i64::try_from(cidrs.len()).unwrap_or(i64::MAX);
            self.exempt_cidrs
                .get_or_create(&labels([family]))
                .set(count);
        }
        if tables.ip6.is_none() {
            let ip6 = labels([("family", Family::Ip6.name())]);
            self.exempt_cidrs.remove(&ip6);
        }
    }

    pub(super) fn sync_took(&self, duration: Duration) {
        self.sync_duration.observe(duration.as_secs_f64());
    }

    /// A pass over a table has ended.
    pub(super) fn passed(&self, family: Family, outcome: Outcome) {
        let family = ("family", family.name());
        let result = match outcome {
            Outcome::Failed | Outcome::Owned { .. } => "failure",
            _ => "success",
        };
        let of = labels([family, ("result", result)]);
        self.syncs.get_or_create(&of).inc();
        if outcome == Outcome::Repaired {
            self.drift_repairs.get_or_create(&labels([family])).inc();
        }
    }

    /// So many workers have been started.
    pub(super) fn workers_started(&self, starts: u32) {
        set(&self.worker_restarts, starts.saturating_sub(1).into());
    }

    /// Before the tables are told: a CIDR that is not in a table any more is to go.
    pub(super) fn forget_cidrs(&self) {
        self.cidr_connections.clear();
    }

    /// How a table is, and what it has counted; `is_in_step` is `None` where there is to be no such table.
    pub(super) fn tell(&self, family: Family, is_in_step: Option<bool>, counts: &ConnectionCounts) {
        let family = ("family", family.name());
        let Some(is_in_step) = is_in_step else {
            self.in_step.remove(&labels([family]));
            return;
        };
        let in_step = self.in_step.get_or_create(&labels([family]));
        in_step.set(is_in_step.into());
        let verdicts = [
            ("masquerade", counts.masquerade.total),
            ("non_masquerade", counts.non_masquerade),
        ];
        for (verdict, count) in verdicts {
            let of = labels([family, ("verdict", verdict)]);
            set(&self.connections.get_or_create(&of), count);
        }
        let of = labels([family]);
        set(
            &self.invalid_dropped.get_or_create(&of),
            counts.dropped_invalid.total,
        );
        for (cidr, count) in counts.by_cidr.iter().flatten() {
            let of = labels([family, ("cidr", cidr)]);
            set(&self.cidr_connections.get_or_create(&of), *count);
        }
    }

    /// So many connections contradict the policy; nothing, where that is not known.
    pub(super) fn contradict(&self, counts: &Contradictions) {
        self.contradicting_connections.clear();
        for ((family, kind), count) in counts {
            let of = labels([("family", family.name()), ("kind", kind.name())]);
            let gauge = self.contradicting_connections.get_or_create(&of);
            gauge.set((*count).into());
        }
    }

    /// The page.
    ///
    /// # Errors
    /// Where the crate cannot write it; not known to happen.
    pub(super) fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn labels<const N: usize>(pairs: [(&'static str, &str); N]) -> Labels {
    pairs.map(|(name, value)| (name, value.to_owned())).into()
}

/// A sum that was made elsewhere, and never goes backwards.
fn set(counter: &Counter, sum: u64) {
    counter.inner().store(sum, Ordering::Relaxed);
}

/// A new metric that is told.
fn registered<M: Metric + Clone + Default>(of: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    of.register(name, help, metric.clone());
    metric
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::judgement::Contradiction;

    #[test]
    fn the_names_and_labels_are_those_that_are_promised() {
        let metrics = Metrics::new(true);
        metrics.libnftables("1.0.6");
        metrics.good_load();
        metrics.bad_load();
        metrics.sync_took(Duration::from_millis(4));
        metrics.passed(Family::Ip, Outcome::Repaired);
        let mut counts = ConnectionCounts::default();
        counts.masquerade.total = 3;
        counts.non_masquerade = 4;
        counts.dropped_invalid.total = 5;
        counts.by_cidr = Some([("10.0.0.0/8".to_owned(), 4)].into());
        metrics.tell(Family::Ip, Some(true), &counts);
        metrics.contradict(&[((Family::Ip6, Contradiction::OtherAddress), 6)].into());
        let text = metrics.text().unwrap();
        let version = env!("CARGO_PKG_VERSION");
        let build = format!("build_info{{version=\"{version}\",libnftables=\"1.0.6\"}} 1");
        for line in [
            build.as_str(),
            "config_loads_total{result=\"success\"} 1",
            "config_loads_total{result=\"failure\"} 1",
            "config_last_good_load_timestamp_seconds 1",
            "syncs_total{family=\"ip\",result=\"success\"} 1",
            "sync_duration_seconds_bucket{le=\"0.005\"} 1",
            "sync_duration_seconds_count 1",
            "drift_repairs_total{family=\"ip\"} 1",
            "in_step{family=\"ip\"} 1",
            "connections_total{family=\"ip\",verdict=\"masquerade\"} 3",
            "connections_total{family=\"ip\",verdict=\"non_masquerade\"} 4",
            "invalid_dropped_total{family=\"ip\"} 5",
            "cidr_connections_total{family=\"ip\",cidr=\"10.0.0.0/8\"} 4",
            "contradicting_connections{family=\"ip6\",kind=\"other_address\"} 6",
            "worker_restarts_total 0",
        ] {
            let line = format!("\nnon_masquerade_daemon_{line}");
            assert!(text.contains(&line), "{line}\n{text}");
        }
        assert!(
            text.contains("# TYPE non_masquerade_daemon_syncs_total counter"),
            "{text}"
        );
        assert!(
            !Metrics::new(false)
                .text()
                .unwrap()
                .contains("cidr_connections")
        );
    }

    #[test]
    fn contradictions_that_are_not_known_are_not_told() {
        let metrics = Metrics::new(false);
        metrics.contradict(&[((Family::Ip, Contradiction::OtherAddress), 1)].into());
        metrics.contradict(&Contradictions::default());
        let text = metrics.text().unwrap();
        assert!(!text.contains("contradicting_connections{"), "{text}");
    }

    #[test]
    fn a_family_that_is_switched_off_is_in_step_with_nothing() {
        let metrics = Metrics::new(false);
        let counts = ConnectionCounts::default();
        metrics.tell(Family::Ip6, Some(false), &counts);
        assert!(
            metrics
                .text()
                .unwrap()
                .contains("in_step{family=\"ip6\"} 0")
        );
        metrics.tell(Family::Ip6, None, &counts);
        assert!(!metrics.text().unwrap().contains("in_step{"));
    }
}
