//! `check`: is the configuration good, and what does it mean?

use std::fmt::Write;
use std::path::PathBuf;

use super::{ExitStatus, bad_configuration, load, print, print_warnings};
use crate::cli::Options;
use crate::config_source::{self, Loaded};
use crate::policy::Policy;
use crate::policy::prefix_table::{ExemptInterval, Origin};

/// Judges `files`, or what `--config` names, and prints the policy that is in force with it.
pub(super) fn check(options: &Options, files: &[PathBuf]) -> ExitStatus {
    let loaded = if files.is_empty() {
        load(options)
    } else {
        config_source::load_existing(files, &options.flags())
    };
    match loaded {
        Ok(loaded) => {
            print_warnings(&loaded.warnings);
            print(&described(&loaded))
        }
        Err(error) => bad_configuration(&error),
    }
}

fn described(loaded: &Loaded) -> String {
    let Loaded { config, found, .. } = loaded;
    let policy = Policy::new(config);
    let mut text = String::from(match (found, config.non_masquerade_cidrs_are_default) {
        (false, _) => "The configuration is good: there is no file, so all is as by default.\n",
        (true, true) => "The configuration is good; it leaves nonMasqueradeCIDRs as by default.\n",
        (true, false) => "The configuration is good.\n",
    });
    text.push_str("\nDestinations that keep their source address (the longest prefix decides):\n");
    if policy.exempt_ipv4.is_empty() {
        text.push_str("  none\n");
    }
    let mut prefixes: Vec<&ExemptInterval> = policy.exempt_ipv4.iter().collect();
    prefixes.sort_by_key(|interval| interval.prefix);
    prefixes.dedup_by_key(|interval| interval.prefix);
    for interval in prefixes {
        let origin = match interval.origin {
            Origin::Listed => "",
            Origin::LinkLocal => "  link-local, RFC 3927 (masqLinkLocal: false)",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {}{origin}", interval.prefix);
    }
    let ports = if policy.random_fully {
        "fully random"
    } else {
        "kept where possible"
    };
    let _ = writeln!(
        text,
        "\nAll other traffic not bound for a LOCAL address is masqueraded; source ports: {ports}.\n\
         File and kernel are compared every {:?}.",
        config.resync_interval
    );
    text
}
