//! What a manifest says of a container, and what an OCI runtime is told of it by way of kubelet and containerd.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

/// The profile that `RuntimeDefault` stands for, as Debian's package golang-github-containers-common ships it.
const SECCOMP_PROFILE: &str = "/usr/share/containers/seccomp.json";

/// `securityContext` of a container. A field that is not known here must not pass without its effect.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecurityContext {
    /// Whether the kubelet refuses user 0.
    pub run_as_non_root: bool,
    pub run_as_user: u32,
    pub run_as_group: u32,
    pub allow_privilege_escalation: bool,
    pub read_only_root_filesystem: bool,
    pub capabilities: Capabilities,
    pub seccomp_profile: SeccompProfile,
}

/// Names without `CAP_`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capabilities {
    #[serde(default)]
    pub add: Vec<String>,
    pub drop: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeccompProfile {
    #[serde(rename = "type")]
    pub kind: String,
}

impl SecurityContext {
    /// `process` of the runtime's config.json, as containerd writes it: the sets in which a capability stands are
    /// bounding, permitted and effective, also for a user other than root, whose exec(2) then clears what no file
    /// capability gives.
    pub fn process(&self, arguments: &[String], environment: &[String]) -> Value {
        assert!(
            !(self.run_as_non_root && self.run_as_user == 0),
            "the kubelet does not start root under runAsNonRoot"
        );
        let capabilities = self.capabilities();
        json!({
            "user": {
                "uid": self.run_as_user,
                "gid": self.run_as_group,
                "additionalGids": [self.run_as_group],
            },
            "args": arguments,
            "env": environment,
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities,
                "effective": capabilities,
                "permitted": capabilities,
            },
            "noNewPrivileges": !self.allow_privilege_escalation,
        })
    }

    fn capabilities(&self) -> Vec<String> {
        assert_eq!(
            self.capabilities.drop,
            ["ALL"],
            "the runtime's default set is not known here"
        );
        let added = self.capabilities.add.iter();
        added.map(|name| format!("CAP_{name}")).collect()
    }

    /// `linux.seccomp` of the runtime's config.json.
    pub fn seccomp(&self) -> Value {
        assert_eq!(self.seccomp_profile.kind, "RuntimeDefault");
        let text = fs::read_to_string(SECCOMP_PROFILE).expect("the runtime's default profile");
        let profile: Profile = serde_json::from_str(&text).expect("a profile");
        profile.for_capabilities(&self.capabilities())
    }
}

/// A profile as Docker and containers-common write it: with conditions, which the runtime does not know.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    default_errno_ret: u32,
    arch_map: Vec<Architecture>,
    syscalls: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Architecture {
    architecture: String,
    sub_architectures: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    names: Vec<String>,
    action: String,
    #[serde(default)]
    args: Option<Vec<Value>>,
    #[serde(default)]
    errno_ret: Option<u32>,
    includes: Condition,
    excludes: Condition,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Condition {
    #[serde(default)]
    arches: Vec<String>,
    #[serde(default)]
    caps: Vec<String>,
}

impl Profile {
    fn for_capabilities(self, capabilities: &[String]) -> Value {
        let (architecture, seccomp_architecture) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", "SCMP_ARCH_X86_64"),
            "aarch64" => ("arm64", "SCMP_ARCH_AARCH64"),
            other => panic!("no names of {other} are known here"),
        };
        let of_host = |entry: &&Architecture| entry.architecture == seccomp_architecture;
        let host = self.arch_map.iter().find(of_host).expect("this host");
        let mut architectures = vec![host.architecture.clone()];
        architectures.extend(host.sub_architectures.iter().cloned());
        let rules = self.syscalls.into_iter();
        let rules = rules.filter(|rule| rule.applies(architecture, capabilities));
        json!({
            "defaultAction": self.default_action,
            "defaultErrnoRet": self.default_errno_ret,
            "architectures": architectures,
            "syscalls": rules.map(Rule::without_conditions).collect::<Vec<_>>(),
        })
    }
}

impl Rule {
    fn applies(&self, architecture: &str, capabilities: &[String]) -> bool {
        let has = |name: &String| capabilities.contains(name);
        let is_host = |name: &String| name == architecture;
        let Condition { arches, caps } = &self.includes;
        (arches.is_empty() || arches.iter().any(is_host))
            && caps.iter().all(has)
            && !self.excludes.arches.iter().any(is_host)
            && !self.excludes.caps.iter().any(has)
    }

    fn without_conditions(self) -> Value {
        let mut rule = json!({
            "names": self.names,
            "action": self.action,
            "args": self.args.unwrap_or_default(),
        });
        if let Some(number) = self.errno_ret {
            rule["errnoRet"] = number.into();
        }
        rule
    }
}

/// The parts of the DaemonSet's one container that its rights and its view of the world depend on.
#[derive(Clone, Debug)]
pub struct Manifest {
    pub security_context: SecurityContext,
    /// The literal variables.
    pub environment: BTreeMap<String, String>,
    /// `resources.limits.memory`, in bytes.
    pub memory_limit: u64,
}

impl Manifest {
    /// `manifests/base`.
    pub fn base() -> Self {
        Self::of(&pod_spec("base/non-masquerade-daemon.yaml"), &Value::Null)
    }

    /// With `manifests/components/root`, a patch of which only the pod's rights are read.
    pub fn with_root() -> Self {
        let patch = pod_spec("components/root/root.yaml");
        assert_eq!(patch["containers"], Value::Null, "not read here");
        Self::of(
            &pod_spec("base/non-masquerade-daemon.yaml"),
            &patch["securityContext"],
        )
    }

    /// What the container does not say itself holds for the whole pod.
    fn of(pod: &Value, pod_context_patch: &Value) -> Self {
        let container = &pod["containers"][0];
        let contexts = [
            &pod["securityContext"],
            pod_context_patch,
            &container["securityContext"],
        ];
        let fields = contexts.into_iter().filter_map(Value::as_object).flatten();
        let context = fields
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let variables = container["env"].as_array().into_iter().flatten();
        let literal = |variable: &Value| {
            let text = |key: &str| variable[key].as_str().map(str::to_owned);
            Some((text("name")?, text("value")?))
        };
        Self {
            security_context: serde_json::from_value(Value::Object(context))
                .expect("a securityContext"),
            environment: variables.filter_map(literal).collect(),
            memory_limit: bytes(&container["resources"]["limits"]["memory"]),
        }
    }
}

/// `spec.template.spec` of the DaemonSet in this file.
fn pod_spec(file: &str) -> Value {
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests");
    let text = fs::read_to_string(manifests.join(file)).expect("the manifest");
    let mut daemon_set = serde_yaml::Deserializer::from_str(&text)
        .map(|document| Value::deserialize(document).expect("YAML"))
        .find(|object| object["kind"] == "DaemonSet")
        .expect("a DaemonSet");
    daemon_set["spec"]["template"]["spec"].take()
}

/// A quantity of memory in Kubernetes' notation.
fn bytes(quantity: &Value) -> u64 {
    let mebibytes = quantity.as_str().and_then(|text| text.strip_suffix("Mi"));
    let mebibytes: u64 = mebibytes.and_then(|text| text.parse().ok()).expect("Mi");
    mebibytes * 1024 * 1024
}
