//! The configuration: as written (`file`), then as meant (`validate`). Pure: text in, values out.

use std::time::Duration;

use ipnet::IpNet;

pub mod cidr;
pub mod duration;
mod file;
mod finding;
mod node;
mod positions;
mod remarks;
pub mod reserved_ranges;
mod scan;
mod validate;

pub use finding::{ConfigErrors, Finding, MAX_ERRORS_SHOWN, Place};

/// The largest file that is judged: 8 MiB. A ConfigMap holds at most 1 MiB.
pub const MAX_FILE_BYTES: usize = 8 << 20;

/// How often the file and the kernel are compared without any event, where no file says so.
pub const DEFAULT_RESYNC_INTERVAL: Duration = Duration::from_secs(60);

/// The shortest resync interval that a file may ask for.
pub const MIN_RESYNC_INTERVAL: Duration = Duration::from_millis(100);

/// The configuration as meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Destinations that keep their source address, in the order written, duplicates and overlaps included.
    /// Host bits are zero.
    pub non_masquerade_cidrs: Vec<IpNet>,
    /// No file gave the list: it is the default list.
    pub non_masquerade_cidrs_are_default: bool,
    /// Traffic to 169.254.0.0/16 (RFC 3927) is masqueraded too.
    pub masq_link_local: bool,
    /// Traffic to fe80::/10 (RFC 4291) is masqueraded too.
    pub masq_link_local_ipv6: bool,
    /// Source ports are chosen at random (`masquerade fully-random`, nft(8)).
    pub random_fully: bool,
    /// How often the file and the kernel are compared without any event; at least [`MIN_RESYNC_INTERVAL`].
    pub resync_interval: Duration,
}

/// What the command line contributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flags {
    /// The default list is [`reserved_ranges::ALL_RESERVED`].
    pub nomasq_all_reserved_ranges: bool,
    /// See [`Config::random_fully`].
    pub random_fully: bool,
}

/// A configuration that holds, with what is odd about its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The configuration.
    pub config: Config,
    /// What is taken, but not the documented form; in the order of the file.
    pub warnings: Vec<Finding>,
}

/// The configuration without any file.
pub fn defaults(flags: &Flags) -> Config {
    Config {
        non_masquerade_cidrs: reserved_ranges::default_non_masquerade_cidrs(
            flags.nomasq_all_reserved_ranges,
        ),
        non_masquerade_cidrs_are_default: true,
        masq_link_local: false,
        masq_link_local_ipv6: false,
        random_fully: flags.random_fully,
        resync_interval: DEFAULT_RESYNC_INTERVAL,
    }
}

/// Judges the text of one file, named `file_name` in what is said of it. Any `bytes` are judged within a
/// second; an empty file means the defaults.
///
/// # Errors
/// All errors of the file at once, the first [`MAX_ERRORS_SHOWN`] of them in full.
pub fn judge(file_name: &str, bytes: &[u8], flags: &Flags) -> Result<Judged, ConfigErrors> {
    let unreadable = |error: file::ReadError| ConfigErrors {
        errors: vec![Finding {
            file: file_name.into(),
            place: error.line().map_or(Place::File, Place::Line),
            key: None,
            value: None,
            reason: error.to_string(),
            remedy: error.remedy().into(),
        }],
        more: 0,
    };
    let text = file::text(bytes).map_err(unreadable)?;
    let file = file::ConfigFile::read(text).map_err(unreadable)?;
    let meant = validate::validate(&file, flags);
    let warnings = meant.remarks.findings(file_name, text, &file)?;
    Ok(Judged {
        config: meant.config,
        warnings,
    })
}

#[cfg(test)]
mod tests;
