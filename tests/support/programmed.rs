//! The daemon's own way to the kernel, without the daemon: applies rulesets in a namespace and reads them back.

use std::io;
use std::path::{Path, PathBuf};

use non_masquerade_daemon::kernel::error::KernelError;
use non_masquerade_daemon::kernel::ownership::TableOwner;
use non_masquerade_daemon::kernel::{Kernel, SyncReport};
use non_masquerade_daemon::ruleset::Ruleset;
use tokio::runtime::Runtime;

use super::daemon::TemporaryDirectory;
use super::netns::{Namespace, succeed};
use super::nft::debian_13_root;

/// Starts the worker below another root. The mounts end with it.
const WORKER_IN_ROOT: &str = r#"#!/bin/sh
exec unshare --mount sh -ceu 'mount --bind "$1" "$0/mnt"; exec chroot "$0" "/mnt/$2" nft-worker' ROOT DIRECTORY PROGRAM
"#;

/// A namespace that the calling thread has entered for good, and one worker in it.
pub struct Programmed {
    /// The namespace.
    pub namespace: Namespace,
    runtime: Runtime,
    kernel: Kernel,
    _script: Option<TemporaryDirectory>,
}

impl Programmed {
    /// A fresh one, with the host's libnftables.
    pub fn new(daemon: &str) -> io::Result<Self> {
        Self::within(Namespace::new()?, daemon)
    }

    /// With the host's libnftables.
    pub fn within(namespace: Namespace, daemon: &str) -> io::Result<Self> {
        Self::by_worker(namespace, PathBuf::from(daemon), None)
    }

    /// A fresh one, with the libnftables of Debian 13 in the root that `make test` installs if it is run by root.
    pub fn on_debian_13(daemon: &str) -> io::Result<Self> {
        let directory = TemporaryDirectory::new()?;
        let script = directory.path().join("worker");
        let daemon = Path::new(daemon).canonicalize()?;
        let quoted = |path: Option<&Path>| format!("'{}'", path.unwrap_or(Path::new("")).display());
        let text = WORKER_IN_ROOT
            .replace("ROOT", &quoted(Some(&debian_13_root())))
            .replace("DIRECTORY", &quoted(daemon.parent()))
            .replace("PROGRAM", &quoted(daemon.file_name().map(Path::new)));
        // Written by another process: what a test beside this one is just starting may hold a copy of what is open
        // here, and then the script could not be run (ETXTBSY, execve(2)).
        let write = r#"printf %s "$1" > "$0"; chmod 755 "$0""#;
        let mut writer = std::process::Command::new("sh");
        succeed(writer.args(["-c", write]).arg(&script).arg(text))?;
        Self::by_worker(Namespace::new()?, script, Some(directory))
    }

    fn by_worker(
        namespace: Namespace,
        program: PathBuf,
        script: Option<TemporaryDirectory>,
    ) -> io::Result<Self> {
        namespace.enter()?;
        Ok(Self {
            namespace,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?,
            kernel: Kernel::new(program, TableOwner::Auto),
            _script: script,
        })
    }

    /// See [`Kernel::sync`].
    pub fn sync(&mut self, ruleset: &Ruleset) -> Result<SyncReport, KernelError> {
        self.runtime.block_on(self.kernel.sync(ruleset))
    }

    /// See [`Kernel::look`].
    pub fn look(&mut self, ruleset: &Ruleset) -> Result<SyncReport, KernelError> {
        self.runtime.block_on(self.kernel.look(ruleset))
    }
}
