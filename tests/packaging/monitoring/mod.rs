//! What Prometheus and Grafana are told to ask for is what the daemon tells.

mod needs_root;

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::DAEMON;
use crate::packaging::manifests::operator::PrometheusRule;
use crate::packaging::manifests::read::{only_document, repository, typed};
use crate::support::daemon::Daemon;
use crate::support::http::get;
use crate::support::netns::Namespace;

fn alerts() -> PrometheusRule {
    typed(&only_document("overlays/monitoring/prometheus-rule.yaml")).unwrap()
}

fn dashboard() -> Value {
    let path = "manifests/overlays/monitoring/dashboard.json";
    let text = fs::read_to_string(repository().join(path)).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn panels(dashboard: &Value) -> &Vec<Value> {
    dashboard["panels"].as_array().unwrap()
}

/// What the panels ask for.
fn queries(dashboard: &Value) -> Vec<&str> {
    let targets = panels(dashboard)
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    targets
        .map(|target| target["expr"].as_str().unwrap())
        .collect()
}

/// The daemon's page of metrics, with everything on it.
fn page_of_metrics() -> String {
    let namespace = Namespace::new().unwrap();
    let daemon = Daemon::start(DAEMON, &namespace, "", &["--metrics-per-cidr"]).unwrap();
    daemon.wait_for_log("applied and read back").unwrap();
    get(&namespace, "/metrics").unwrap().body
}

/// The line of this metric with these labels, as written.
#[track_caller]
fn told<'a>(page: &'a str, name: &str, labels: &str) -> &'a str {
    let is_of_it = |line: &&str| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' '])) && line.contains(labels)
    };
    let line = page.lines().find(is_of_it);
    line.unwrap_or_else(|| panic!("no {name} {labels} in\n{page}"))
}

/// The daemon's metrics that an expression asks for, each with the labels that it asks for, as written.
fn metrics_in(expression: &str) -> Vec<(&str, &str)> {
    let is_of_a_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let names = expression.split(|c| !is_of_a_name(c));
    let names = names.filter(|word| word.starts_with("non_masquerade_daemon_"));
    names
        .map(|name| {
            let (_, behind) = expression.split_once(name).unwrap();
            let labels = behind.strip_prefix('{').and_then(|b| b.split_once('}'));
            (name, labels.map_or("", |(labels, _)| labels))
        })
        .collect()
}

#[test]
fn alerts_ask_for_metrics_and_labels_that_the_daemon_has() {
    let rule = alerts();
    assert_eq!(
        (rule.api_version.as_str(), rule.kind.as_str()),
        ("monitoring.coreos.com/v1", "PrometheusRule")
    );
    let page = page_of_metrics();
    let mut asked = BTreeSet::new();
    for rule in rule.spec.groups.iter().flat_map(|group| &group.rules) {
        for (name, labels) in metrics_in(&rule.expr) {
            let told = told(&page, name, labels);
            let mut annotations = rule.annotations.values();
            if annotations.any(|text| text.contains("$labels.family")) {
                assert!(told.contains("family="), "{}: {told}", rule.alert);
            }
            asked.insert(name.to_owned());
        }
    }
    let promised = [
        "config_loads_total",
        "contradicting_connections",
        "drift_repairs_total",
        "in_step",
    ];
    let promised = promised.map(|name| format!("non_masquerade_daemon_{name}"));
    assert_eq!(asked, BTreeSet::from(promised));
}

/// The label `node` is not the daemon's: the PodMonitor gives it.
#[test]
fn the_dashboard_asks_for_metrics_and_labels_that_the_daemon_has() {
    let dashboard = dashboard();
    let page = page_of_metrics();
    for query in queries(&dashboard) {
        let metrics = metrics_in(query);
        let [(name, labels)] = metrics[..] else {
            panic!("not one metric: {query}");
        };
        let labels = labels.strip_prefix("node=~\"$node\"").unwrap();
        let told = told(&page, name, labels.trim_start_matches(", "));
        let (_, by) = query.split_once("by (").unwrap();
        let (by, _) = by.split_once(')').unwrap();
        for label in by.split(", ").filter(|label| *label != "node") {
            assert!(told.contains(&format!("{label}=\"")), "{query}: {told}");
        }
    }
    let node = &dashboard["templating"]["list"][1]["query"]["query"];
    let [(name, _)] = metrics_in(node.as_str().unwrap())[..] else {
        panic!("{node}");
    };
    told(&page, name, "");
}

#[test]
fn the_dashboard_shows_what_is_promised() {
    let dashboard = dashboard();
    let queries = queries(&dashboard);
    let shown: BTreeSet<&str> = queries
        .iter()
        .flat_map(|query| metrics_in(query))
        .filter_map(|(name, _)| name.strip_prefix("non_masquerade_daemon_"))
        .collect();
    let promised = [
        "cidr_connections_total",
        "config_last_good_load_timestamp_seconds",
        "config_loads_total",
        "connections_total",
        "contradicting_connections",
        "drift_repairs_total",
        "in_step",
        "invalid_dropped_total",
        "worker_restarts_total",
    ];
    assert_eq!(shown, BTreeSet::from(promised));
}

/// Each in a place of its own, and all of one data source, which the reader chooses.
#[test]
fn the_panels_of_the_dashboard_fit_together() {
    let dashboard = dashboard();
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in panels(&dashboard) {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel:#}");
        let at = |side: &str| panel["gridPos"][side].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{panel:#}");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "{panel:#}");
            }
        }
        for asks in panel["targets"].as_array().unwrap().iter().chain([panel]) {
            assert_eq!(asks["datasource"]["uid"], "${datasource}");
        }
        assert!(!panel["description"].as_str().unwrap().is_empty());
    }
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let names: Vec<&Value> = variables.iter().map(|of| &of["name"]).collect();
    assert_eq!(names, ["datasource", "node"]);
}
