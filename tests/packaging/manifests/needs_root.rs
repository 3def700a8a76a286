//! What kubectl makes of each kustomization. It is Debian 13's, in the root that `make test` installs if it is run by
//! root.

use std::process::Command;

use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapProjection, ContainerPort, KeyToPath, ProjectedVolumeSource,
    VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::Value;

use super::kustomize::built_in;
use super::operator::PrometheusRule;
use super::*;
use crate::support::daemon::TemporaryDirectory;
use crate::support::netns::succeed;

/// The objects of `manifests/PATH`.
fn built(path: &str) -> Vec<Value> {
    built_in(&repository().join("manifests"), path)
}

/// The objects of the kustomization that a page shows for this resource, where it is to stand: above `manifests`.
fn built_as_in_the_page(page: &str, resource: &str) -> Vec<Value> {
    let page = fs::read_to_string(repository().join(page)).unwrap();
    let beginning = format!("resources:\n- {resource}\n");
    let mut blocks = page.split("```yaml\n").skip(1);
    let block = blocks.find(|block| block.starts_with(&beginning)).unwrap();
    let (kustomization, _) = block.split_once("```").unwrap();
    let directory = TemporaryDirectory::new().unwrap();
    let own = directory.path().join("kustomization.yaml");
    fs::write(own, kustomization).unwrap();
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(repository().join("manifests"));
    succeed(copy.arg(directory.path())).unwrap();
    built_in(directory.path(), ".")
}

fn images(set: &DaemonSet) -> Vec<&str> {
    let pod = pod_of(set);
    let before = pod.init_containers.iter().flatten();
    let containers = before.chain(&pod.containers);
    containers.map(|of| of.image.as_deref().unwrap()).collect()
}

/// The only object.
fn built_set(path: &str) -> DaemonSet {
    let [set] = built(path).try_into().unwrap();
    typed(&set).unwrap()
}

/// The base with a change.
fn changed(change: impl FnOnce(&mut PodSpec)) -> DaemonSet {
    let mut set = base();
    let template = &mut set.spec.as_mut().unwrap().template;
    change(template.spec.as_mut().unwrap());
    set
}

/// kubectl puts new variables first: their order says nothing here, as none refers to another.
fn with_sorted_variables(mut set: DaemonSet) -> DaemonSet {
    let pod = set.spec.as_mut().unwrap().template.spec.as_mut().unwrap();
    for container in &mut pod.containers {
        let variables = container.env.iter_mut();
        variables.for_each(|of| of.sort_by(|one, other| one.name.cmp(&other.name)));
    }
    set
}

#[track_caller]
fn assert_same(actual: DaemonSet, expected: DaemonSet) {
    assert_options_are_the_binarys(container_of(&actual).env.as_deref().unwrap());
    assert_eq!(
        with_sorted_variables(actual),
        with_sorted_variables(expected)
    );
}

fn set_variable(container: &mut Container, option: &str, value: &str) {
    let name = format!("{PREFIX}{option}");
    let variables = container.env.as_mut().unwrap();
    variables.retain(|variable| variable.name != name);
    variables.push(EnvVar {
        name,
        value: Some(value.to_owned()),
        ..EnvVar::default()
    });
}

#[test]
fn the_directory_of_all_manifests_and_the_base_are_the_file_of_the_base() {
    for path in [".", "base"] {
        assert_eq!(built(path), [only_document(BASE)], "{path}");
    }
}

#[test]
fn each_overlay_is_one_that_a_test_here_knows() {
    let overlays = fs::read_dir(repository().join("manifests/overlays")).unwrap();
    let names: BTreeSet<String> = overlays
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let known = ["cleanup", "ipv6", "monitoring", "projected", "root"];
    assert_eq!(names, known.map(str::to_owned).into());
    for name in names {
        let kustomization = only_document(&format!("overlays/{name}/kustomization.yaml"));
        assert_eq!(kustomization["resources"][0], "../../base", "{name}");
    }
}

/// In either order, with the base and with each overlay that has a resource of its own.
#[test]
fn components_go_together() {
    let directory = TemporaryDirectory::new().unwrap();
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(repository().join("manifests"));
    succeed(copy.arg(directory.path())).unwrap();
    for (resource, components) in [
        ("base", &["ipv6", "projected", "root"][..]),
        ("base", &["root", "projected", "ipv6"]),
        ("base", &["projected", "ipv6"]),
        ("overlays/monitoring", &["ipv6", "root"]),
        ("overlays/root", &["ipv6"]),
    ] {
        let components: String = components
            .iter()
            .map(|name| format!("- manifests/components/{name}\n"))
            .collect();
        let text = format!("resources:\n- manifests/{resource}\ncomponents:\n{components}");
        fs::write(directory.path().join("kustomization.yaml"), &text).unwrap();
        let built = built_in(directory.path(), ".");
        let mut sets = built.iter().filter(|of| of["kind"] == "DaemonSet");
        let set: DaemonSet = typed(sets.next().unwrap()).unwrap();
        let has = |component: &str| text.contains(&format!("/{component}\n"));
        let container = container_of(&set);
        let config = if has("projected") {
            "/etc/config"
        } else {
            "/etc/config/non-masquerade-daemon"
        };
        assert_eq!(variable(container, "CONFIG"), Some(config), "{text}");
        assert_eq!(
            pod_of(&set).volumes.as_ref().unwrap()[0]
                .projected
                .is_some(),
            has("projected"),
            "{text}"
        );
        assert_eq!(
            variable(container, "ENABLE_IPV6"),
            has("ipv6").then_some("true"),
            "{text}"
        );
        let user = pod_of(&set).security_context.as_ref().unwrap().run_as_user;
        assert_eq!(user == Some(0), has("root"), "{text}");
        assert_options_are_the_binarys(container.env.as_deref().unwrap());
    }
}

const OWN_PAGE: &str = "manifests/README.md";
/// The image that the pages' kustomizations name.
const OWN_IMAGE: &str = "registry.example.org/team/non-masquerade-daemon:v0.2.0";

#[test]
fn the_kustomization_of_the_front_page_is_the_base_with_the_image_that_it_names() {
    let [set] = built_as_in_the_page("README.md", "manifests")
        .try_into()
        .unwrap();
    let expected = changed(|pod| pod.containers[0].image = Some(OWN_IMAGE.to_owned()));
    assert_same(typed(&set).unwrap(), expected);
}

#[test]
fn the_components_of_the_page_go_together() {
    let built = built_as_in_the_page(OWN_PAGE, "manifests/overlays/monitoring");
    let kinds: Vec<&str> = built
        .iter()
        .map(|of| of["kind"].as_str().unwrap())
        .collect();
    let expected = ["ConfigMap", "DaemonSet", "PodMonitor", "PrometheusRule"];
    assert_eq!(kinds, expected);
    let set: DaemonSet = typed(&built[1]).unwrap();
    assert_eq!(images(&set), [OWN_IMAGE]);
    let container = container_of(&set);
    assert_options_are_the_binarys(container.env.as_deref().unwrap());
    let address = format!("0.0.0.0:{}", http::PORT);
    for (option, value) in [
        ("ENABLE_IPV6", "true"),
        ("CONFIG", "/etc/config"),
        ("HTTP_ADDRESS", &*address),
    ] {
        assert_eq!(variable(container, option), Some(value));
    }
    let context = pod_of(&set).security_context.clone().unwrap();
    assert_eq!(context.run_as_user, Some(0));
}

/// As root, and its idle container from another registry.
#[test]
fn the_cleanup_of_the_page_runs_in_the_image_that_it_names_and_as_the_daemon_did() {
    let [set] = built_as_in_the_page(OWN_PAGE, "manifests/overlays/cleanup")
        .try_into()
        .unwrap();
    let set: DaemonSet = typed(&set).unwrap();
    assert_eq!(images(&set), [OWN_IMAGE, "registry.example.org/pause:3.10"]);
    let mut as_by_itself = built_set("overlays/cleanup");
    assert_eq!(images(&as_by_itself)[1], "registry.k8s.io/pause:3.10");
    let pod = as_by_itself
        .spec
        .as_mut()
        .unwrap()
        .template
        .spec
        .as_mut()
        .unwrap();
    let context = pod.security_context.as_mut().unwrap();
    context.run_as_non_root = Some(false);
    context.run_as_user = Some(0);
    context.run_as_group = Some(0);
    pod.containers[0].image = Some("registry.example.org/pause:3.10".to_owned());
    pod.init_containers.as_mut().unwrap()[0].image = Some(OWN_IMAGE.to_owned());
    assert_eq!(set, as_by_itself);
}

#[test]
fn ipv6_is_the_base_with_one_option() {
    let expected = changed(|pod| set_variable(&mut pod.containers[0], "ENABLE_IPV6", "true"));
    assert_same(built_set("overlays/ipv6"), expected);
}

#[test]
fn root_is_the_base_with_another_user_and_no_capability_more() {
    let expected = changed(|pod| {
        let context = pod.security_context.as_mut().unwrap();
        context.run_as_non_root = Some(false);
        context.run_as_user = Some(0);
        context.run_as_group = Some(0);
    });
    assert_same(built_set("overlays/root"), expected);
}

#[test]
fn projected_is_the_base_with_two_optional_config_maps_in_the_directory_that_is_read() {
    let of = |name: &str| VolumeProjection {
        config_map: Some(ConfigMapProjection {
            name: name.to_owned(),
            optional: Some(true),
            items: Some(vec![KeyToPath {
                key: "config".to_owned(),
                path: name.to_owned(),
                mode: None,
            }]),
        }),
        ..VolumeProjection::default()
    };
    let expected = changed(|pod| {
        let volume = &mut pod.volumes.as_mut().unwrap()[0];
        volume.config_map = None;
        volume.projected = Some(ProjectedVolumeSource {
            sources: Some(vec![of("non-masquerade-daemon-provider"), of(NAME)]),
            default_mode: None,
        });
        let container = &mut pod.containers[0];
        let directory = container.volume_mounts.as_ref().unwrap()[0]
            .mount_path
            .clone();
        set_variable(container, "CONFIG", &directory);
        let limits = container
            .resources
            .as_mut()
            .unwrap()
            .limits
            .as_mut()
            .unwrap();
        limits.insert("memory".to_owned(), Quantity("1Gi".to_owned()));
    });
    assert_same(built_set("overlays/projected"), expected);
}

/// The probes go on asking 127.0.0.1, which the address includes.
#[test]
fn monitoring_is_the_base_with_an_address_that_others_reach_and_what_asks_there() {
    let built = built("overlays/monitoring");
    let [dashboard, set, monitor, rule] = built.try_into().unwrap();
    let expected = changed(|pod| {
        let container = &mut pod.containers[0];
        set_variable(
            container,
            "HTTP_ADDRESS",
            &format!("0.0.0.0:{}", http::PORT),
        );
        container.ports = Some(vec![ContainerPort {
            name: Some("metrics".to_owned()),
            container_port: http::PORT.into(),
            ..ContainerPort::default()
        }]);
    });
    let set: DaemonSet = typed(&set).unwrap();
    let monitor: PodMonitor = typed(&monitor).unwrap();
    let ports = container_of(&set).ports.clone().unwrap();
    assert_eq!(
        ports[0].name.as_ref(),
        Some(&monitor.spec.pod_metrics_endpoints[0].port)
    );
    assert_eq!(monitor.metadata.namespace, set.metadata.namespace);
    assert_same(set, expected);
    let dashboard: ConfigMap = typed(&dashboard).unwrap();
    let labels = dashboard.metadata.labels.unwrap();
    assert_eq!(labels["grafana_dashboard"], "1");
    let file =
        fs::read_to_string(repository().join("manifests/overlays/monitoring/dashboard.json"));
    let data = dashboard.data.unwrap();
    assert_eq!(data["non-masquerade-daemon.json"], file.unwrap());
    let rule: PrometheusRule = typed(&rule).unwrap();
    // The operator names a job after the PodMonitor.
    let job = format!("\"kube-system/{}\"", monitor.metadata.name.unwrap());
    let mut asked = rule.spec.groups.iter().flat_map(|group| &group.rules);
    assert!(asked.any(|rule| rule.expr == format!("up{{job={job}}} == 0")));
}

#[test]
fn the_cleanup_runs_the_command_once_as_the_daemon_would_and_then_idles_without_any_capability() {
    let set = built_set("overlays/cleanup");
    let pod = pod_of(&set);
    let [cleanup] = pod.init_containers.as_deref().unwrap() else {
        panic!("not one container before the others");
    };
    let [command] = cleanup.args.as_deref().unwrap() else {
        panic!("not one argument");
    };
    assert!(
        Cli::command().find_subcommand(command).is_some(),
        "{command}"
    );
    assert_eq!(command, "cleanup");
    let mut of_base = container_of(&base()).clone();
    of_base.name = "cleanup".to_owned();
    of_base.args = Some(vec!["cleanup".to_owned()]);
    of_base.liveness_probe = None;
    of_base.readiness_probe = None;
    of_base.volume_mounts = None;
    assert_eq!(*cleanup, of_base);
    let idle = container_of(&set);
    assert_ne!(idle.image, cleanup.image);
    let context = idle.security_context.clone().unwrap();
    assert_eq!(context.capabilities.unwrap().add, None);
    assert_eq!(
        (&idle.args, &idle.liveness_probe, &idle.readiness_probe),
        (&None, &None, &None)
    );
    let expected = changed(|pod| {
        pod.init_containers = Some(vec![cleanup.clone()]);
        pod.containers = vec![idle.clone()];
        pod.volumes = None;
    });
    assert_eq!(*pod, *pod_of(&expected));
}

#[test]
fn the_cleanup_and_the_daemon_never_take_the_pods_of_the_other() {
    let set = built_set("overlays/cleanup");
    assert_ne!(set.metadata.name, base().metadata.name);
    let selector = spec_of(&set).selector.match_labels.clone().unwrap();
    let labels = spec_of(&set).template.metadata.clone().unwrap().labels;
    assert_eq!(Some(&selector), labels.as_ref());
    let selector_of_base = spec_of(&base()).selector.match_labels.clone().unwrap();
    assert_eq!(selector.keys().collect::<Vec<_>>(), [LABEL]);
    assert_eq!(selector_of_base.keys().collect::<Vec<_>>(), [LABEL]);
    assert_ne!(selector, selector_of_base);
}
