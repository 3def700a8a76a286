//! Reads manifests into the types of the Kubernetes API, strictly: what a type does not know is an error.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::{Deserialize, DeserializeOwned};
use serde_json::Value;

/// The directory of this repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All documents of a text, in their order.
pub(crate) fn documents(text: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).unwrap())
        .collect()
}

/// The only document of this file below `manifests`.
pub(crate) fn only_document(path: &str) -> Value {
    let path = repository().join("manifests").join(path);
    let text = fs::read_to_string(&path).unwrap();
    let [document] = documents(&text).try_into().unwrap();
    document
}

/// The types pass over fields that they do not know; so the way back must give the same.
///
/// # Errors
/// What is not of the type, or not known to it.
pub(crate) fn typed<T: DeserializeOwned + Serialize>(document: &Value) -> Result<T, String> {
    let typed: T = serde_json::from_value(document.clone()).map_err(|error| error.to_string())?;
    let back = serde_json::to_value(&typed).map_err(|error| error.to_string())?;
    if back == *document {
        return Ok(typed);
    }
    Err(format!("{document:#} is read as {back:#}"))
}

/// All files below `manifests` that end in `.yaml`, but for templates, which are none yet.
pub(crate) fn yaml_files() -> Vec<PathBuf> {
    let mut directories = vec![repository().join("manifests")];
    let mut files = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if !path.ends_with("templates") {
                    directories.push(path);
                }
            } else if path
                .extension()
                .is_some_and(|extension| extension == "yaml")
            {
                files.push(path);
            }
        }
    }
    files
}
