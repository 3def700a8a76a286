//! What promtool says of alerts and queries. It is Debian 13's, in the root that `make test` installs if it is run by root.

use std::fs;
use std::process::Command;

use serde_json::json;

use super::{alerts, dashboard, queries};
use crate::support::daemon::TemporaryDirectory;
use crate::support::netns::succeed;
use crate::support::nft::debian_13_root;

const IN_ROOT: &str = r#"mount --bind "$1" "$0/mnt"; cd "$0/mnt"; shift; exec chroot "$0" sh -euc 'cd /mnt; exec promtool "$@"' sh "$@""#;

/// Runs it in a directory with these files.
#[track_caller]
fn promtool(words: &[&str], files: &[(&str, &str)]) {
    let directory = TemporaryDirectory::new().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ceu", IN_ROOT]);
    command.arg(debian_13_root()).arg(directory.path());
    succeed(command.args(words)).unwrap();
}

/// The file that the operator makes of the object.
fn rules() -> String {
    serde_yaml::to_string(&alerts().spec).unwrap()
}

#[test]
fn the_alerts_are_rules_of_prometheus() {
    let rules = rules();
    promtool(
        &["check", "rules", "--lint-fatal", "rules"],
        &[("rules", &rules)],
    );
}

/// With what each says. Each has a series beside it for which it does not fire.
#[test]
fn each_alert_fires_where_it_should_and_nowhere_else() {
    let tests = include_str!("alerts.yaml");
    for alert in alerts().spec.groups.iter().flat_map(|group| &group.rules) {
        let name = format!("alertname: {}\n", alert.alert);
        assert_eq!(tests.matches(&name).count(), 2, "{}", alert.alert);
    }
    promtool(
        &["test", "rules", "tests"],
        &[("rules", &rules()), ("tests", tests)],
    );
}

/// As rules that record them, since promtool knows no dashboards.
#[test]
fn the_queries_of_the_dashboard_are_promql() {
    let dashboard = dashboard();
    let queries = queries(&dashboard).into_iter().enumerate();
    let rules = queries.map(|(number, query)| {
        let query = query.replace("$__rate_interval", "5m");
        json!({ "record": format!("query:{number}"), "expr": query })
    });
    let rules = json!({ "groups": [{ "name": "queries", "rules": rules.collect::<Vec<_>>() }] });
    promtool(
        &["check", "rules", "rules"],
        &[("rules", &rules.to_string())],
    );
}
