//! The manifests as the API server reads them, and that what they name is what the binary has.

pub(crate) mod kustomize;
mod needs_root;
pub(crate) mod operator;
pub(crate) mod read;
use std::collections::BTreeSet;
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use crate::DAEMON;
use crate::support::daemon::Daemon;
use crate::support::http::{self, get};
use crate::support::netns::Namespace;
use crate::support::outcome::Outcome;
use clap::CommandFactory;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, EnvVar, HTTPGetAction, PodSecurityContext, PodSpec, SeccompProfile,
    SecurityContext, Toleration,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use non_masquerade_daemon::cli::Cli;
use serde_json::json;

use operator::PodMonitor;
use read::{documents, only_document, repository, typed};

const NAME: &str = "non-masquerade-daemon";
const LABEL: &str = "app.kubernetes.io/name";
const BASE: &str = "base/non-masquerade-daemon.yaml";
/// What the names of the daemon's environment variables begin with.
const PREFIX: &str = "NON_MASQUERADE_DAEMON_";
/// The worst file takes about 370 MiB while it is judged.
const MIB_FOR_THE_WORST_FILE: u64 = 400;

fn base() -> DaemonSet {
    typed(&only_document(BASE)).unwrap()
}

fn spec_of(set: &DaemonSet) -> &DaemonSetSpec {
    set.spec.as_ref().unwrap()
}

fn pod_of(set: &DaemonSet) -> &PodSpec {
    spec_of(set).template.spec.as_ref().unwrap()
}

/// The only one.
fn container_of(set: &DaemonSet) -> &Container {
    let [container] = pod_of(set).containers.as_slice() else {
        panic!("not one container");
    };
    container
}

fn variable<'a>(container: &'a Container, option: &str) -> Option<&'a str> {
    let name = format!("{PREFIX}{option}");
    let mut variables = container.env.iter().flatten();
    variables
        .find(|variable| variable.name == name)?
        .value
        .as_deref()
}

/// The default of an option of the binary.
fn default_of(option: &str) -> String {
    let command = Cli::command();
    let argument = command
        .get_arguments()
        .find(|argument| argument.get_id() == option)
        .unwrap();
    let [default] = argument.get_default_values() else {
        panic!("{option} has not one default");
    };
    default.to_str().unwrap().to_owned()
}

/// Each variable is an option's, its value is one that the option takes, and there is no other way in which options come.
fn assert_options_are_the_binarys(variables: &[EnvVar]) {
    let command = Cli::command();
    let known: BTreeSet<&str> = command
        .get_arguments()
        .filter_map(|argument| argument.get_env()?.to_str())
        .collect();
    let mut check = Command::new(DAEMON);
    check.env_clear().arg("check");
    for EnvVar { name, value, .. } in variables {
        assert!(known.contains(name.as_str()), "{name}");
        check.env(name, value.as_deref().unwrap());
    }
    Outcome::of(&mut check).assert_code(0);
}

#[test]
fn a_field_that_the_api_does_not_know_is_an_error() {
    let mut document = only_document(BASE);
    assert!(typed::<DaemonSet>(&document).is_ok());
    document["spec"]["template"]["spec"]["hostNetwrok"] = json!(true);
    let error = typed::<DaemonSet>(&document).unwrap_err();
    assert!(error.contains("hostNetwrok"), "{error}");
    let mut document = only_document(BASE);
    document["spec"]["template"]["spec"]["hostNetwork"] = json!("true");
    assert!(typed::<DaemonSet>(&document).is_err());
}

#[test]
fn each_file_is_yaml_without_an_empty_document_and_no_tab() {
    let files = read::yaml_files();
    // Base and kustomization, three components, five overlays.
    assert!(files.len() >= 15, "{files:?}");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        assert!(!text.contains('\t'), "{}", file.display());
        let documents = documents(&text);
        assert!(!documents.is_empty(), "{}", file.display());
        assert!(
            !documents.iter().any(serde_json::Value::is_null),
            "{}",
            file.display()
        );
    }
}

#[test]
fn the_daemon_set_is_in_kube_system_and_selects_its_own_pods() {
    let set = base();
    assert_eq!(set.metadata.name.as_deref(), Some(NAME));
    assert_eq!(set.metadata.namespace.as_deref(), Some("kube-system"));
    let labels = spec_of(&set).template.metadata.clone().unwrap().labels;
    assert_eq!(labels.clone().unwrap()[LABEL], NAME);
    assert_eq!(spec_of(&set).selector.match_labels, labels);
    assert_eq!(spec_of(&set).selector.match_expressions, None);
}

#[test]
fn a_tenth_of_the_nodes_is_updated_at_a_time_and_no_node_has_two_daemons() {
    let strategy = spec_of(&base()).update_strategy.clone().unwrap();
    assert_eq!(strategy.type_.as_deref(), Some("RollingUpdate"));
    let rolling = strategy.rolling_update.unwrap();
    let tenth = IntOrString::String("10%".to_owned());
    assert_eq!(rolling.max_unavailable, Some(tenth));
    assert_eq!(rolling.max_surge, Some(IntOrString::Int(0)));
}

#[test]
fn the_pod_runs_on_each_linux_node_in_its_network_before_all_others() {
    let set = base();
    let pod = pod_of(&set);
    assert_eq!(pod.host_network, Some(true));
    assert_eq!(
        pod.priority_class_name.as_deref(),
        Some("system-node-critical")
    );
    let everything = Toleration {
        operator: Some("Exists".to_owned()),
        ..Toleration::default()
    };
    assert_eq!(pod.tolerations, Some(vec![everything]));
    let linux = [("kubernetes.io/os".to_owned(), "linux".to_owned())].into();
    assert_eq!(pod.node_selector, Some(linux));
    assert_eq!(pod.affinity, None);
    // Longer than the daemon takes to end, also while the kernel takes a long list.
    assert!(pod.termination_grace_period_seconds.unwrap() >= 10);
}

#[test]
fn the_pod_has_net_admin_and_nothing_else() {
    let set = base();
    let pod = pod_of(&set);
    assert_eq!(pod.automount_service_account_token, Some(false));
    assert_eq!(pod.service_account_name, None);
    assert_eq!(pod.enable_service_links, Some(false));
    assert_eq!((pod.host_pid, pod.host_ipc), (None, None));
    for volume in pod.volumes.iter().flatten() {
        assert_eq!(volume.host_path, None, "{}", volume.name);
    }
    let of_pod = PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(65_532),
        run_as_group: Some(65_532),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            ..SeccompProfile::default()
        }),
        ..PodSecurityContext::default()
    };
    assert_eq!(pod.security_context, Some(of_pod));
    let of_container = SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            add: Some(vec!["NET_ADMIN".to_owned()]),
        }),
        ..SecurityContext::default()
    };
    let container = container_of(&set);
    assert_eq!(container.security_context, Some(of_container));
}

#[test]
fn memory_is_limited_above_what_the_worst_file_takes_and_cpu_is_not() {
    let resources = container_of(&base()).resources.clone().unwrap();
    let requests = resources.requests.unwrap();
    assert_eq!(requests.keys().collect::<Vec<_>>(), ["cpu", "memory"]);
    let limits = resources.limits.unwrap();
    let [(kind, Quantity(limit))] = Vec::from_iter(limits).try_into().unwrap();
    assert_eq!(kind, "memory");
    let mib: u64 = limit.strip_suffix("Mi").unwrap().parse().unwrap();
    assert!(mib >= MIB_FOR_THE_WORST_FILE, "{limit}");
}

#[test]
fn the_config_map_is_optional_and_its_key_is_the_file_that_the_daemon_reads() {
    let set = base();
    let container = container_of(&set);
    let [volume] = pod_of(&set).volumes.as_deref().unwrap() else {
        panic!("not one volume");
    };
    let source = volume.config_map.as_ref().unwrap();
    assert_eq!((source.name.as_str(), source.optional), (NAME, Some(true)));
    let [item] = source.items.as_deref().unwrap() else {
        panic!("not one item");
    };
    // What `kubectl create configmap --from-file=daemon-config/config` makes of the sample.
    assert!(repository().join("daemon-config").join(&item.key).is_file());
    let [mount] = container.volume_mounts.as_deref().unwrap() else {
        panic!("not one mount");
    };
    assert_eq!(mount.name, volume.name);
    assert_eq!(mount.read_only, Some(true));
    assert_eq!((&mount.sub_path, &mount.sub_path_expr), (&None, &None));
    let file = Path::new(&mount.mount_path).join(&item.path);
    assert_eq!(file.to_str(), Some(default_of("config").as_str()));
    assert_eq!(variable(container, "CONFIG"), file.to_str());
}

#[test]
fn options_are_variables_that_the_binary_knows_and_never_arguments() {
    let set = base();
    let container = container_of(&set);
    assert_eq!((&container.command, &container.args), (&None, &None));
    assert_options_are_the_binarys(container.env.as_deref().unwrap());
    assert_eq!(container.env_from, None);
}

#[test]
fn the_image_has_the_name_and_the_version_of_the_binary() {
    let image = container_of(&base()).image.clone().unwrap();
    assert_eq!(image, format!("{NAME}:v{}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_probes_ask_the_node_itself_where_the_daemon_serves_by_default() {
    let set = base();
    let container = container_of(&set);
    let address = default_of("http_address");
    assert_eq!(variable(container, "HTTP_ADDRESS"), Some(address.as_str()));
    for (probe, path) in [
        (&container.liveness_probe, "/healthz"),
        (&container.readiness_probe, "/readyz"),
    ] {
        let probe = probe.clone().unwrap();
        let asked = HTTPGetAction {
            host: Some("127.0.0.1".to_owned()),
            port: IntOrString::Int(http::PORT.into()),
            path: Some(path.to_owned()),
            ..HTTPGetAction::default()
        };
        assert_eq!(probe.http_get, Some(asked));
        // The kubelet counts whole seconds from a start that it may know to the second only. A probe before the daemon
        // serves would be a Warning event.
        assert_eq!(probe.initial_delay_seconds, Some(2));
    }
    assert_eq!(address, format!("127.0.0.1:{}", http::PORT));
    assert_eq!(container.startup_probe, None);
}

/// The kubelet counts 200 to 399 as success.
#[test]
fn a_bad_file_at_the_first_start_makes_the_pod_not_ready_and_does_not_have_it_restarted() {
    let namespace = Namespace::new().unwrap();
    let daemon = Daemon::start(DAEMON, &namespace, "nonMasqueradeCIDRs:\n", &[]).unwrap();
    daemon.wait_for_log("serving").unwrap();
    assert_eq!(get(&namespace, "/healthz").unwrap().status, 200);
    assert_eq!(get(&namespace, "/readyz").unwrap().status, 503);
    daemon.replace_configuration("").unwrap();
    daemon.wait_for_log("applied and read back").unwrap();
    assert_eq!(get(&namespace, "/healthz").unwrap().status, 200);
    assert_eq!(get(&namespace, "/readyz").unwrap().status, 200);
}

#[test]
fn what_is_scraped_and_what_is_probed_are_served_at_the_address_for_monitoring() {
    let monitor: PodMonitor =
        typed(&only_document("overlays/monitoring/pod-monitor.yaml")).unwrap();
    assert_eq!(
        (monitor.api_version.as_str(), monitor.kind.as_str()),
        ("monitoring.coreos.com/v1", "PodMonitor")
    );
    assert_eq!(monitor.metadata.namespace, base().metadata.namespace);
    assert_eq!(monitor.spec.selector, spec_of(&base()).selector);
    let [endpoint] = monitor.spec.pod_metrics_endpoints.as_slice() else {
        panic!("not one endpoint");
    };
    let patch = only_document("overlays/monitoring/http-address.yaml");
    let address = &patch["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"];
    let address = address.as_str().unwrap();
    let namespace = Namespace::new().unwrap();
    let arguments = ["--http-address", address];
    let daemon = Daemon::start(DAEMON, &namespace, "", &arguments).unwrap();
    daemon.wait_for_log("applied and read back").unwrap();
    for path in ["/healthz", "/readyz", &endpoint.path] {
        // From 127.0.0.1, as the kubelet.
        assert_eq!(get(&namespace, path).unwrap().status, 200, "{path}");
    }
    namespace.ip("address add 192.0.2.1/32 dev lo").unwrap();
    let at_the_node = || TcpStream::connect(("192.0.2.1", http::PORT));
    assert!(namespace.run(at_the_node).is_ok());
}
