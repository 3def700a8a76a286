//! `check`: is the configuration good, and what does it mean?

use std::path::PathBuf;

use super::{
    ExitStatus, bad_configuration, failed, load, policy_here, print, print_json, print_warnings,
    print_warnings_here,
};
use crate::cli::{Options, PolicyFormat};
use crate::config::Config;
use crate::config_source::{self, Loaded, Origin};
use crate::policy::Policy;

/// Judges `files`, or what `--config` names, and prints the policy that is in force with it.
pub(super) fn check(options: &Options, files: &[PathBuf], format: PolicyFormat) -> ExitStatus {
    let (paths, loaded) = if files.is_empty() {
        (options.config.as_slice(), load(options))
    } else {
        let loaded = config_source::load_existing(files, &options.flags());
        (files, loaded)
    };
    match loaded {
        Ok(loaded) => {
            print_warnings(&loaded.warnings);
            print_warnings(&silent(&loaded));
            let policy = policy_here(&loaded.config);
            print_warnings_here(&policy);
            let config = loaded.config.normalised();
            match format {
                PolicyFormat::Text => print(&described(
                    &loaded.config,
                    &policy,
                    &Origin::of(&loaded, paths),
                )),
                PolicyFormat::Json => print_json(&config),
                PolicyFormat::Yaml => match serde_yaml::to_string(&config) {
                    Ok(text) => print(&text),
                    Err(error) => failed(&format!("it cannot be written as YAML: {error}")),
                },
            }
        }
        Err(error) => bad_configuration(&error),
    }
}

/// A file that says nothing is as good as none, and hardly ever what was to be checked: `jsonpath` of a wrong key writes one.
fn silent(loaded: &Loaded) -> Vec<String> {
    let silent = loaded.silent_files.iter();
    silent
        .map(|file| {
            format!(
                "{}: no key in it, so that it says nothing; write keys with values, such as masqLinkLocal: false",
                file.display()
            )
        })
        .collect()
}

fn described(config: &Config, policy: &Policy, origin: &Origin) -> String {
    let more = match origin {
        Origin::Defaults(_) => format!(": {origin}"),
        Origin::Files(_) if config.non_masquerade_cidrs_are_default => {
            "; it leaves nonMasqueradeCIDRs as by default".to_owned()
        }
        Origin::Files(_) => String::new(),
    };
    let policy = policy.at_length();
    let interval = config.resync_interval;
    format!(
        "The configuration is good{more}.\n\n{policy}\nFile and kernel are compared every {interval:?}.\n"
    )
}
