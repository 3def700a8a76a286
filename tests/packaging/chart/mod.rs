//! The chart for Helm: which values it takes, and that its objects are those of the kustomizations.

mod helm;
mod needs_root;
mod schema;

use clap::CommandFactory;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use non_masquerade_daemon::cli::Cli;
use serde_json::{Value, json};

use crate::packaging::manifests::read::typed;
use helm::{file, rendered};

const NAMESPACE: &str = "kube-system";

/// The object of this kind, which is the only one.
#[track_caller]
fn only(objects: &[Value], kind: &str) -> Value {
    let mut of_kind = objects.iter().filter(|object| object["kind"] == kind);
    let only = of_kind.next().unwrap().clone();
    assert_eq!(of_kind.next(), None);
    only
}

fn pod_of_daemon_set(objects: &[Value]) -> PodSpec {
    let set = only(objects, "DaemonSet");
    typed(&set["spec"]["template"]["spec"]).unwrap()
}

#[test]
fn the_chart_has_the_version_of_the_binary() {
    let metadata = file("Chart.yaml");
    for key in ["version", "appVersion"] {
        assert_eq!(metadata[key], env!("CARGO_PKG_VERSION"), "{key}");
    }
}

#[test]
fn another_configuration_changes_the_config_map_and_no_pod() {
    let first = rendered(&json!({ "config": { "enforce": true } }), NAMESPACE);
    let second = rendered(&json!({ "config": { "enforce": false } }), NAMESPACE);
    assert_ne!(only(&first, "ConfigMap"), only(&second, "ConfigMap"));
    for objects in [&second, &rendered(&json!({}), NAMESPACE)] {
        assert_eq!(only(objects, "DaemonSet"), only(&first, "DaemonSet"));
    }
}

/// With it, Helm would not take a ConfigMap of the user's for its own, and would not install.
#[test]
fn without_a_configuration_there_is_no_config_map() {
    let objects = rendered(&json!({}), NAMESPACE);
    let kinds: Vec<&Value> = objects.iter().map(|object| &object["kind"]).collect();
    assert_eq!(kinds, ["DaemonSet", "Pod"]);
}

#[test]
fn the_test_asks_for_the_status_as_kubectl_exec_would_in_the_daemons_pod() {
    let values = json!({
        "additionalConfigMaps": ["of-a-provider"],
        "monitoring": { "enabled": true },
        "options": { "enable-ipv6": true },
        "runAsRoot": true,
    });
    let objects = rendered(&values, NAMESPACE);
    let pod: Pod = typed(&only(&objects, "Pod")).unwrap();
    let annotations = pod.metadata.annotations.unwrap();
    assert_eq!(annotations["helm.sh/hook"], "test");
    let mut expected = pod_of_daemon_set(&objects);
    expected.restart_policy = Some("Never".to_owned());
    let daemon = expected.containers.remove(0);
    expected.containers.push(Container {
        name: "status".to_owned(),
        args: Some(vec!["status".to_owned()]),
        liveness_probe: None,
        readiness_probe: None,
        ports: None,
        ..daemon
    });
    assert_eq!(pod.spec, Some(expected));
    assert!(Cli::command().find_subcommand("status").is_some());
}

/// That of the operator's objects is the one in which the daemon runs.
#[test]
fn all_objects_are_in_the_namespace_of_the_release() {
    let monitoring = json!({ "enabled": true, "labels": { "release": "prometheus" } });
    let values = json!({ "config": { "enforce": true }, "monitoring": monitoring });
    let objects = rendered(&values, "elsewhere");
    assert!(objects.len() >= 5, "{objects:?}");
    for object in &objects {
        assert_eq!(object["metadata"]["namespace"], "elsewhere");
        assert!(!object.to_string().contains("kube-system"), "{object:#}");
    }
    for kind in ["PodMonitor", "PrometheusRule"] {
        let labels = &only(&objects, kind)["metadata"]["labels"];
        assert_eq!(labels["release"], "prometheus");
        assert_eq!(labels["app.kubernetes.io/name"], "non-masquerade-daemon");
    }
}
