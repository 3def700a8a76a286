//! kubectl's kustomize. It is Debian 13's, in the root that `make test` installs if it is run by root.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::read::documents;
use crate::support::netns::succeed;
use crate::support::nft::debian_13_root;

const IN_ROOT: &str = r#"mount --bind "$1" "$0/mnt"; exec chroot "$0" kubectl kustomize "/mnt/$2""#;

/// The objects of the kustomization at `path` in a directory.
pub(crate) fn built_in(directory: &Path, path: &str) -> Vec<Value> {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ceu", IN_ROOT]);
    command.arg(debian_13_root()).arg(directory).arg(path);
    let output = succeed(&mut command).unwrap();
    documents(&String::from_utf8(output.stdout).unwrap())
}
