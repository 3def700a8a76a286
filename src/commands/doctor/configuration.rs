//! The configuration files: there, readable, good.

use std::path::PathBuf;

use super::finding::Finding;
use crate::config_source::{LoadError, Loaded, Origin};

const CHECK: &str = "configuration";

/// `paths`: where the configuration was looked for.
pub(super) fn findings(loaded: &Result<Loaded, LoadError>, paths: &[PathBuf]) -> Vec<Finding> {
    match loaded {
        Ok(loaded) if loaded.warnings.is_empty() => {
            vec![Finding::ok(CHECK, Origin::of(loaded, paths).to_string())]
        }
        Ok(loaded) => {
            let warnings = loaded.warnings.iter();
            let found =
                warnings.map(|odd| Finding::warning(CHECK, odd.without_remedy(), &odd.remedy));
            found.collect()
        }
        Err(error) => failures(error),
    }
}

fn failures(error: &LoadError) -> Vec<Finding> {
    let unread = error.unread.iter();
    let unread = unread.map(|error| Finding::failure(CHECK, error.to_string(), error.remedy()));
    let bad = error.bad.iter().flat_map(|bad| &bad.errors);
    let bad = bad.map(|error| Finding::failure(CHECK, error.without_remedy(), &error.remedy));
    let more = error.bad.iter().filter(|bad| bad.more > 0).map(|bad| {
        let said = format!("{} more errors", bad.more);
        Finding::failure(CHECK, said, "mend the first ones")
    });
    unread.chain(bad).chain(more).collect()
}
