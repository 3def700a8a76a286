//! Volumes of Kubernetes that are there while the file in them is not: a key of the ConfigMap has another name, or the kubelet has lost the
//! link to it. With `optional: true` the pod starts all the same, and the defaults apply in silence.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::Finding;
use crate::in_words;

/// The link that the kubelet swaps: what it leads to holds the keys.
const CURRENT_VERSION: &str = "..data";

/// How many keys are named.
const MOST_NAMED: usize = 8;

/// A warning for each of the `paths` that leads to none of the `files`, though it is in a volume that holds something. A volume that
/// holds nothing is that of a ConfigMap which is not there, as is likely meant.
pub(super) fn without_files(paths: &[PathBuf], files: &[PathBuf]) -> Vec<Finding> {
    let is_absent = |path: &&PathBuf| !files.iter().any(|file| file.starts_with(path));
    paths
        .iter()
        .filter(is_absent)
        .filter_map(|path| warning(path))
        .collect()
}

fn warning(path: &Path) -> Option<Finding> {
    let directory = if path.is_dir() { path } else { path.parent()? };
    let entries = fs::read_dir(directory.join(CURRENT_VERSION)).ok()?;
    let names =
        entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()));
    let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
    if names.is_empty() {
        return None;
    }
    names.sort_unstable();
    let is_there = |name: &String| path.ends_with(name) || directory == path;
    let remedy = if names.iter().any(is_there) {
        "delete the pod, so that the kubelet mounts the volume again"
    } else {
        "name that key as the file, or this file as the key"
    };
    Some(Finding {
        file: Some(path.to_string_lossy().into_owned()),
        line: None,
        key: None,
        value: None,
        reason: format!(
            "not there, so that it says nothing, though its volume is mounted and holds {}",
            in_words::first(&names, MOST_NAMED, ", ")
        ),
        remedy: remedy.to_owned(),
    })
}
