//! The configuration files: there, readable, good.

use std::path::PathBuf;

use super::finding::Finding;
use crate::config;
use crate::config_source::{self, LoadError, Loaded};
use crate::in_words;

const CHECK: &str = "configuration";

/// `paths`: where the configuration was looked for.
pub(super) fn findings(loaded: &Result<Loaded, LoadError>, paths: &[PathBuf]) -> Vec<Finding> {
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(error) => return failures(error),
    };
    if loaded.warnings.is_empty() {
        return vec![Finding::ok(CHECK, good(loaded, paths))];
    }
    let warnings = loaded.warnings.iter();
    warnings
        .map(|warning| Finding::warning(CHECK, place_and_reason(warning), &warning.remedy))
        .collect()
}

fn good(loaded: &Loaded, paths: &[PathBuf]) -> String {
    if loaded.files.is_empty() {
        let absence = config_source::absence(paths);
        return format!("{absence}, so all is as by default");
    }
    let files = loaded.files.iter().map(|file| file.display());
    format!("{} is good", in_words::all(files, ", "))
}

fn failures(error: &LoadError) -> Vec<Finding> {
    match error {
        LoadError::Several(errors) => errors.iter().flat_map(failures).collect(),
        LoadError::Bad(bad) => {
            let shown = bad.errors.iter();
            let mut failures: Vec<Finding> = shown
                .map(|error| Finding::failure(CHECK, place_and_reason(error), &error.remedy))
                .collect();
            if bad.more > 0 {
                let more = format!("{} more errors", bad.more);
                failures.push(Finding::failure(CHECK, more, "mend the first ones"));
            }
            failures
        }
        // What is wrong, and after the semicolon what to do.
        other => {
            let told = other.to_string();
            let (finding, remedy) = told.rsplit_once("; ").unwrap_or((&told, "see check"));
            vec![Finding::failure(CHECK, finding, remedy)]
        }
    }
}

/// A finding as `check` tells it, without its remedy.
fn place_and_reason(finding: &config::Finding) -> String {
    let told = finding.to_string();
    let remedy = format!("; {}", finding.remedy);
    match told.strip_suffix(&remedy) {
        Some(rest) => rest.to_owned(),
        // The remedy holds what had to be escaped.
        None if finding.file.is_none() => finding.reason.clone(),
        None => told,
    }
}
