//! The image's container, run by runc(8) on the namespace of a node as containerd has it run for a pod with
//! `hostNetwork: true`.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::daemon::{TemporaryDirectory, WAIT_LIMIT};
use super::netns::{Namespace, succeed};
use super::outcome::Outcome;
use super::root_file_system::{RootFileSystem, dockerfile};
use super::security_context::Manifest;
use super::volume::Volume;
use super::wait_until;

/// What containerd hides from a container that is not privileged, and what it makes read-only.
const MASKED: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/scsi",
];
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];
/// Where the manifest mounts the ConfigMap, and under which name it has the file there.
const MOUNT_PATH: &str = "/etc/config";
const FILE_NAME: &str = "non-masquerade-daemon";

/// A directory laid out as the kubelet lays out a ConfigMap volume: the file is a link into `..data`, which is a link to
/// a directory of its own for each version.
#[derive(Debug)]
pub struct ConfigMapVolume {
    directory: TemporaryDirectory,
    version: AtomicU32,
}

impl ConfigMapVolume {
    /// A volume with one key.
    pub fn new(text: &str) -> io::Result<Self> {
        let volume = Self {
            directory: TemporaryDirectory::new()?,
            version: AtomicU32::new(0),
        };
        volume.update(text)?;
        Ok(volume)
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Swaps to the next version.
    pub fn update(&self, text: &str) -> io::Result<()> {
        let number = self.version.fetch_add(1, Ordering::Relaxed);
        Volume(self.path().to_owned()).publish_all(
            &format!("version-{number}"),
            &[(FILE_NAME, text.to_owned())],
        )
    }
}

/// A container that runs the program, until it is dropped.
#[derive(Debug)]
pub struct Container {
    id: String,
    directory: TemporaryDirectory,
    process: Value,
    runtime: Child,
    namespace: Namespace,
    volume: ConfigMapVolume,
}

impl Container {
    /// Starts the image's entry point with these arguments, as the manifest has its container, with this text as the
    /// ConfigMap's file.
    pub fn start(
        root: &RootFileSystem,
        manifest: &Manifest,
        namespace: &Namespace,
        configuration: &str,
        arguments: &[&str],
    ) -> io::Result<Self> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let id = format!("non-masquerade-daemon-{}-{number}", std::process::id());
        let directory = TemporaryDirectory::new()?;
        let volume = ConfigMapVolume::new(configuration)?;
        let process = manifest
            .security_context
            .process(&entry_point(arguments), &environment(manifest));
        let spec = spec(manifest, &process, &root.path(), volume.path());
        fs::write(directory.path().join("config.json"), spec.to_string())?;
        let log = fs::File::create(directory.path().join("log"))?;
        let mut runc = namespace.command("runc");
        runc.arg("--root").arg(directory.path().join("state"));
        runc.args(["run", "--bundle"])
            .arg(directory.path())
            .arg(&id);
        runc.stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let runtime = runc.spawn()?;
        Ok(Self {
            id,
            directory,
            process,
            runtime,
            namespace: namespace.clone(),
            volume,
        })
    }

    /// Runs it to its end.
    pub fn run_to_end(
        root: &RootFileSystem,
        manifest: &Manifest,
        namespace: &Namespace,
        configuration: &str,
        arguments: &[&str],
    ) -> io::Result<(i32, String)> {
        let mut container = Self::start(root, manifest, namespace, configuration, arguments)?;
        let code = container.wait()?;
        Ok((code, container.log()))
    }

    /// Waits for its end, and tells the exit code.
    pub fn wait(&mut self) -> io::Result<i32> {
        wait_until(WAIT_LIMIT, || !matches!(self.runtime.try_wait(), Ok(None)))
            .map_err(|error| self.with_log(&format!("the container runs on: {error}")))?;
        let status = self.runtime.wait()?;
        status
            .code()
            .ok_or_else(|| self.with_log("runc was killed"))
    }

    /// The ConfigMap that it sees.
    pub fn volume(&self) -> &ConfigMapVolume {
        &self.volume
    }

    /// All that it has logged, and what the runtime said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Waits until its log contains these words.
    pub fn wait_for_log(&self, words: &str) -> io::Result<()> {
        wait_until(WAIT_LIMIT, || self.log().contains(words))
            .map_err(|error| self.with_log(&format!("no line with {words:?}: {error}")))
    }

    /// A second process in the container, as by `kubectl exec`: it has the rights of the first.
    pub fn exec(&self, arguments: &[&str]) -> io::Result<Outcome> {
        let mut process = self.process.clone();
        process["args"] = entry_point(arguments).into();
        let file = self.directory.path().join("process.json");
        fs::write(&file, process.to_string())?;
        let mut runc = self.runc("exec");
        Ok(Outcome::of(runc.arg("--process").arg(file).arg(&self.id)))
    }

    /// The process id of the daemon, in the host's numbers.
    pub fn daemon(&self) -> io::Result<Pid> {
        let state = succeed(self.runc("state").arg(&self.id))?;
        let state: Value = serde_json::from_slice(&state.stdout)?;
        let pid = state["pid"]
            .as_i64()
            .and_then(|pid| i32::try_from(pid).ok());
        pid.map(Pid::from_raw)
            .ok_or_else(|| io::Error::other(format!("no pid: {state}")))
    }

    /// The process id of the daemon's worker.
    pub fn worker(&self) -> io::Result<Pid> {
        let daemon = self.daemon()?;
        let children = fs::read_to_string(format!("/proc/{daemon}/task/{daemon}/children"))?;
        let only = children.trim().parse().map(Pid::from_raw);
        only.map_err(|_| self.with_log(&format!("not one child: {children:?}")))
    }

    /// Ends it by SIGTERM, as the kubelet does, and tells the exit code.
    pub fn terminate(&mut self) -> io::Result<i32> {
        kill(self.daemon()?, Signal::SIGTERM)?;
        self.wait()
    }

    fn runc(&self, command: &str) -> Command {
        let mut runc = self.namespace.command("runc");
        runc.arg("--root").arg(self.directory.path().join("state"));
        runc.arg(command);
        runc
    }

    fn with_log(&self, what: &str) -> io::Error {
        io::Error::other(format!("{what}\nlog of the container:\n{}", self.log()))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // Where it has ended already there is nothing to delete, and the runtime says so.
        let _ = self.runc("delete").arg("--force").arg(&self.id).output();
        let _ = self.runtime.wait();
        if std::thread::panicking() {
            eprintln!("log of the container:\n{}", self.log());
        }
    }
}

/// The image's entry point with these arguments.
fn entry_point(arguments: &[&str]) -> Vec<String> {
    let program: Vec<String> =
        serde_json::from_str(&dockerfile("ENTRYPOINT")).expect("the entry point as a list");
    let arguments = arguments.iter().map(|&word| word.to_owned());
    program.into_iter().chain(arguments).collect()
}

/// The image's and the manifest's.
fn environment(manifest: &Manifest) -> Vec<String> {
    let of_manifest = manifest.environment.iter();
    let of_manifest = of_manifest.map(|(name, value)| format!("{name}={value}"));
    [dockerfile("ENV")].into_iter().chain(of_manifest).collect()
}

/// The runtime's config.json. No network namespace of the container's own: it has that of who calls the runtime, the
/// node's. `oomScoreAdj` is left out: only CAP_SYS_RESOURCE could lower it here.
fn spec(manifest: &Manifest, process: &Value, root: &Path, volume: &Path) -> Value {
    let context = &manifest.security_context;
    let new = ["pid", "ipc", "uts", "mount"].map(|kind| json!({ "type": kind }));
    let linux = json!({
        "namespaces": new,
        "maskedPaths": MASKED,
        "readonlyPaths": READ_ONLY,
        "seccomp": context.seccomp(),
        "resources": {
            "devices": [{ "allow": false, "access": "rwm" }],
            "memory": { "limit": manifest.memory_limit },
        },
    });
    json!({
        "ociVersion": "1.0.2",
        "process": process,
        "root": { "path": root, "readonly": context.read_only_root_filesystem },
        "mounts": mounts(volume),
        "linux": linux,
    })
}

fn mounts(volume: &Path) -> Value {
    let special = |destination: &str, kind: &str, options: &[&str]| json!({ "destination": destination, "type": kind, "source": kind, "options": options });
    json!([
        special("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        special("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        special("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        special("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        {
            "destination": MOUNT_PATH,
            "type": "bind",
            "source": volume,
            "options": ["rbind", "rprivate", "ro"],
        },
    ])
}
