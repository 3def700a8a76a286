//! The chart beside kustomize: for the same choices, the same objects. Helm's own hooks apart, which kustomize does not know.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::NAMESPACE;
use super::helm::rendered;
use crate::packaging::manifests::kustomize::built_in;
use crate::packaging::manifests::read::repository;
use crate::support::daemon::TemporaryDirectory;
use crate::support::netns::succeed;

type Objects = BTreeMap<String, Value>;

/// By kind and name, with what has no order or no form of its own made alike.
fn comparable(objects: Vec<Value>) -> Objects {
    let named = objects.into_iter().map(|mut object| {
        let pod = "/spec/template/spec";
        for containers in ["initContainers", "containers"] {
            let containers = object.pointer_mut(&format!("{pod}/{containers}"));
            for container in containers
                .into_iter()
                .flat_map(|of| of.as_array_mut().unwrap())
            {
                if let Some(variables) = container["env"].as_array_mut() {
                    variables.sort_by_key(|variable| variable["name"].to_string());
                }
            }
        }
        // YAML, or JSON.
        for text in object["data"]
            .as_object_mut()
            .into_iter()
            .flat_map(|data| data.values_mut())
        {
            *text = serde_yaml::from_str(text.as_str().unwrap()).unwrap();
        }
        if object["data"].is_null() {
            object.as_object_mut().unwrap().remove("data");
        }
        let name = format!("{} {}", object["kind"], object["metadata"]["name"]);
        (name, object)
    });
    named.collect()
}

fn of_chart(values: &Value) -> Objects {
    let objects = rendered(values, NAMESPACE).into_iter();
    let is_hook = |object: &Value| object["metadata"]["annotations"]["helm.sh/hook"].is_string();
    comparable(objects.filter(|object| !is_hook(object)).collect())
}

/// Of a kustomization that stands above `manifests` and has the sample configuration beside it.
fn of_kustomize(kustomization: &str) -> Objects {
    let directory = TemporaryDirectory::new().unwrap();
    let own = directory.path().join("kustomization.yaml");
    fs::write(own, kustomization).unwrap();
    let mut copy = Command::new("cp");
    copy.arg("-a");
    copy.args(["manifests", "daemon-config"].map(|name| repository().join(name)));
    succeed(copy.arg(directory.path())).unwrap();
    comparable(built_in(directory.path(), "."))
}

#[track_caller]
fn assert_same(values: &Value, kustomization: &str) {
    let (chart, kustomize) = (of_chart(values), of_kustomize(kustomization));
    let names = |objects: &Objects| objects.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&chart), names(&kustomize));
    for (name, object) in &kustomize {
        assert_eq!(chart[name], *object, "{name}");
    }
}

#[test]
fn without_values_it_is_the_base() {
    assert_same(&json!({}), "resources: [manifests]");
}

#[test]
fn each_choice_is_a_component_or_an_overlay() {
    for (values, of) in [
        (
            json!({ "options": { "enable-ipv6": true } }),
            "overlays/ipv6",
        ),
        (
            json!({ "additionalConfigMaps": ["non-masquerade-daemon-provider"] }),
            "overlays/projected",
        ),
        (json!({ "runAsRoot": true }), "overlays/root"),
        (
            json!({ "monitoring": { "enabled": true } }),
            "overlays/monitoring",
        ),
        (
            json!({ "cleanup": { "enabled": true } }),
            "overlays/cleanup",
        ),
    ] {
        assert_same(&values, &format!("resources: [manifests/{of}]"));
    }
}

#[test]
fn all_choices_go_together() {
    let sample = fs::read_to_string(repository().join("daemon-config/config")).unwrap();
    let config: Value = serde_yaml::from_str(&sample).unwrap();
    let values = json!({
        "image": { "repository": "registry.example.org/team/non-masquerade-daemon", "tag": "v9" },
        "imagePullSecrets": [{ "name": "registry" }],
        "config": config,
        "additionalConfigMaps": ["non-masquerade-daemon-provider"],
        "options": { "enable-ipv6": true, "log-format": "json" },
        "port": 19111,
        "runAsRoot": true,
        "resources": { "requests": { "cpu": "20m", "memory": "64Mi" }, "limits": { "memory": "2Gi" } },
        "nodeSelector": { "example.org/pool": "edge" },
        "tolerations": [{ "key": "example.org/edge", "operator": "Exists" }],
        "monitoring": { "enabled": true, "address": "[::]", "labels": { "release": "prometheus" } },
    });
    assert_same(&values, ALL_CHOICES);
}

const ALL_CHOICES: &str = r#"
resources:
- manifests/overlays/monitoring
components:
- manifests/components/ipv6
- manifests/components/projected
- manifests/components/root
configMapGenerator:
- name: non-masquerade-daemon
  namespace: kube-system
  files: [daemon-config/config]
generatorOptions:
  disableNameSuffixHash: true
images:
- name: non-masquerade-daemon
  newName: registry.example.org/team/non-masquerade-daemon
  newTag: v9
patches:
- target: {group: monitoring.coreos.com}
  patch: |
    - {op: add, path: /metadata/labels/release, value: prometheus}
- patch: |
    apiVersion: apps/v1
    kind: DaemonSet
    metadata: {name: non-masquerade-daemon, namespace: kube-system}
    spec:
      template:
        spec:
          imagePullSecrets: [{name: registry}]
          nodeSelector: {example.org/pool: edge}
          tolerations: [{key: example.org/edge, operator: Exists}]
          containers:
          - name: non-masquerade-daemon
            env:
            - {name: NON_MASQUERADE_DAEMON_HTTP_ADDRESS, value: "[::]:19111"}
            - {name: NON_MASQUERADE_DAEMON_LOG_FORMAT, value: json}
            ports:
            - {name: metrics, containerPort: 19110, $patch: delete}
            - {name: metrics, containerPort: 19111}
            livenessProbe: {httpGet: {port: 19111}}
            readinessProbe: {httpGet: {port: 19111}}
            resources: {requests: {cpu: 20m, memory: 64Mi}, limits: {memory: 2Gi}}
"#;

#[test]
fn the_cleanup_is_that_of_the_overlay_with_the_images_that_are_named() {
    let values = json!({
        "image": { "repository": "registry.example.org/team/non-masquerade-daemon", "tag": "v9" },
        "runAsRoot": true,
        "monitoring": { "enabled": false },
        "cleanup": { "enabled": true, "idleImage": "registry.example.org/pause:3.10" },
    });
    let kustomization = "
resources:
- manifests/overlays/cleanup
components:
- manifests/components/root
images:
- name: non-masquerade-daemon
  newName: registry.example.org/team/non-masquerade-daemon
  newTag: v9
- name: registry.k8s.io/pause
  newName: registry.example.org/pause
";
    assert_same(&values, kustomization);
}
