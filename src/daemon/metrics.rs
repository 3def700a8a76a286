//! What `/metrics` tells, in the Prometheus text format. The names are a contract with dashboards and alerts.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family as Labelled;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use super::connections::ConnectionCounts;
use crate::ruleset::{AddressField, Element, Family, Tables};

/// The beginning of each name.
const PREFIX: &str = "non_masquerade_daemon";
/// The `Content-Type` of [`Metrics::text`].
pub(super) const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;
/// In seconds; a sync of some CIDRs takes a few milliseconds, one of 100,000 some seconds.
const DURATION_BUCKETS: [f64; 12] = [
    0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0,
];

type Labels<const N: usize> = [(&'static str, &'static str); N];
type OwnedLabels = Vec<(&'static str, String)>;

/// All metrics.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    build: Labelled<OwnedLabels, Gauge>,
    config_loads: Labelled<Labels<1>, Counter>,
    last_good_load: Gauge<f64, AtomicU64>,
    syncs: Labelled<Labels<2>, Counter>,
    sync_duration: Histogram,
    drift_repairs: Labelled<Labels<1>, Counter>,
    in_step: Labelled<Labels<1>, Gauge>,
    exempt_cidrs: Labelled<Labels<1>, Gauge>,
    connections: Labelled<Labels<2>, Counter>,
    cidr_connections: Labelled<OwnedLabels, Counter>,
    worker_restarts: Counter,
}

impl Metrics {
    /// `tells_per_cidr`: `--metrics-per-cidr`
    pub(super) fn new(tells_per_cidr: bool) -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix(PREFIX),
            build: Labelled::default(),
            config_loads: Labelled::default(),
            last_good_load: Gauge::default(),
            syncs: Labelled::default(),
            sync_duration: Histogram::new(DURATION_BUCKETS),
            drift_repairs: Labelled::default(),
            in_step: Labelled::default(),
            exempt_cidrs: Labelled::default(),
            connections: Labelled::default(),
            cidr_connections: Labelled::default(),
            worker_restarts: Counter::default(),
        };
        metrics.register(tells_per_cidr);
        metrics.libnftables("");
        for result in ["success", "failure"] {
            drop(metrics.config_loads.get_or_create(&[("result", result)]));
        }
        metrics
    }

    fn register(&mut self, tells_per_cidr: bool) {
        let registry = &mut self.registry;
        let mut register = |name: &str, help: &str, metric: &dyn Registered| {
            metric.register(registry, name, help);
        };
        register(
            "build_info",
            "Versions of the daemon and of libnftables",
            &self.build,
        );
        register(
            "config_loads",
            "Readings of the configuration files",
            &self.config_loads,
        );
        register(
            "config_last_good_load_timestamp_seconds",
            "When a good configuration was read last",
            &self.last_good_load,
        );
        register(
            "syncs",
            "Times that the kernel's table was compared with the configuration and made right",
            &self.syncs,
        );
        register(
            "sync_duration_seconds",
            "How long all tables took together",
            &self.sync_duration,
        );
        register(
            "drift_repairs",
            "Changes by others that were undone",
            &self.drift_repairs,
        );
        register(
            "in_step",
            "1 while the kernel's table is what the configuration asks for",
            &self.in_step,
        );
        self.register_connections(tells_per_cidr);
    }

    fn register_connections(&mut self, tells_per_cidr: bool) {
        let registry = &mut self.registry;
        let mut register = |name: &str, help: &str, metric: &dyn Registered| {
            metric.register(registry, name, help);
        };
        register(
            "exempt_cidrs",
            "Configured CIDRs that keep their source address",
            &self.exempt_cidrs,
        );
        register(
            "connections",
            "New connections that left the node, by what happened to their source address",
            &self.connections,
        );
        if tells_per_cidr {
            register(
                "cidr_connections",
                "New connections that kept their source address, by the configured CIDR",
                &self.cidr_connections,
            );
        }
        register(
            "worker_restarts",
            "Workers that took the place of one that had ended or hung",
            &self.worker_restarts,
        );
    }

    pub(super) fn libnftables(&self, version: &str) {
        self.build.clear();
        let labels = vec![
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("libnftables", version.to_owned()),
        ];
        self.build.get_or_create(&labels).set(1);
    }

    pub(super) fn good_load(&self) {
        self.config_loads
            .get_or_create(&[("result", "success")])
            .inc();
        // A clock before 1970 has no time to tell.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        self.last_good_load
            .set(now.unwrap_or_default().as_secs_f64());
    }

    pub(super) fn bad_load(&self) {
        self.config_loads
            .get_or_create(&[("result", "failure")])
            .inc();
    }

    /// These tables are to be there.
    pub(super) fn wants(&self, tables: &Tables) {
        for ruleset in tables.wanted() {
            let family = ("family", ruleset.family.name());
            for result in ["success", "failure"] {
                drop(self.syncs.get_or_create(&[family, ("result", result)]));
            }
            drop(self.drift_repairs.get_or_create(&[family]));
            let exempt = ruleset.set(AddressField::Destination);
            let elements = exempt.map_or(&[][..], |set| &set.elements);
            let mut cidrs: Vec<String> = elements.iter().map(Element::origin).collect();
            cidrs.sort_unstable();
            cidrs.dedup();
            let count = i64::try_from(cidrs.len()).unwrap_or(i64::MAX);
            self.exempt_cidrs.get_or_create(&[family]).set(count);
        }
        if tables.ip6.is_none() {
            self.exempt_cidrs.remove(&[("family", Family::Ip6.name())]);
        }
    }

    pub(super) fn sync_took(&self, duration: Duration) {
        self.sync_duration.observe(duration.as_secs_f64());
    }

    pub(super) fn synced(&self, family: Family, has_succeeded: bool) {
        let result = if has_succeeded { "success" } else { "failure" };
        let labels = [("family", family.name()), ("result", result)];
        self.syncs.get_or_create(&labels).inc();
    }

    pub(super) fn repaired(&self, family: Family) {
        let labels = [("family", family.name())];
        self.drift_repairs.get_or_create(&labels).inc();
    }

    /// `None`: no table of this family is wanted.
    pub(super) fn is_in_step(&self, family: Family, is_in_step: Option<bool>) {
        let labels = [("family", family.name())];
        match is_in_step {
            Some(is_in_step) => {
                self.in_step
                    .get_or_create(&labels)
                    .set(i64::from(is_in_step));
            }
            None => {
                self.in_step.remove(&labels);
            }
        }
    }

    /// So many workers have been started.
    pub(super) fn workers_started(&self, starts: u32) {
        let restarts = u64::from(starts.saturating_sub(1));
        self.worker_restarts
            .inner()
            .store(restarts, Ordering::Relaxed);
    }

    /// What tables have counted.
    pub(super) fn counted<'a>(
        &self,
        families: impl Iterator<Item = (Family, &'a ConnectionCounts)>,
    ) {
        self.cidr_connections.clear();
        for (family, counts) in families {
            self.counted_of(family, counts);
        }
    }

    /// The counts never go backwards, so that they may be stored as they are.
    fn counted_of(&self, family: Family, counts: &ConnectionCounts) {
        let family = ("family", family.name());
        let verdicts = [
            ("masquerade", counts.masquerade),
            ("non_masquerade", counts.non_masquerade),
        ];
        for (verdict, count) in verdicts {
            let labels = [family, ("verdict", verdict)];
            let counter = self.connections.get_or_create(&labels);
            counter.inner().store(count, Ordering::Relaxed);
        }
        for (cidr, count) in counts.by_cidr.iter().flatten() {
            let labels = vec![("family", family.1.to_owned()), ("cidr", cidr.clone())];
            let counter = self.cidr_connections.get_or_create(&labels);
            counter.inner().store(*count, Ordering::Relaxed);
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

/// So that metrics of all types can be registered alike.
trait Registered {
    fn register(&self, registry: &mut Registry, name: &str, help: &str);
}

impl<M: Metric + Clone> Registered for M {
    fn register(&self, registry: &mut Registry, name: &str, help: &str) {
        registry.register(name, help, self.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_and_labels_are_those_that_are_promised() {
        let metrics = Metrics::new(true);
        metrics.libnftables("1.0.6");
        metrics.good_load();
        metrics.bad_load();
        metrics.sync_took(Duration::from_millis(4));
        metrics.synced(Family::Ip, true);
        metrics.repaired(Family::Ip);
        metrics.is_in_step(Family::Ip, Some(true));
        let mut counts = ConnectionCounts::default();
        counts.masquerade = 3;
        counts.non_masquerade = 4;
        counts.by_cidr = Some([("10.0.0.0/8".to_owned(), 4)].into());
        metrics.counted_of(Family::Ip, &counts);
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
            "cidr_connections_total{family=\"ip\",cidr=\"10.0.0.0/8\"} 4",
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
    fn a_family_that_is_switched_off_is_in_step_with_nothing() {
        let metrics = Metrics::new(false);
        metrics.is_in_step(Family::Ip6, Some(false));
        assert!(
            metrics
                .text()
                .unwrap()
                .contains("in_step{family=\"ip6\"} 0")
        );
        metrics.is_in_step(Family::Ip6, None);
        assert!(!metrics.text().unwrap().contains("in_step{"));
    }
}
