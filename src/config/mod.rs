//! The configuration: as written (`file`), then as meant (`validate`). Pure: text in, values out.

use std::time::Duration;

use ipnet::IpNet;

pub mod cidr;
pub mod duration;
mod file;
mod finding;
mod node;
pub mod port_range;
mod positions;
mod remarks;
pub mod reserved_ranges;
mod scan;
mod validate;

pub use port_range::PortRange;

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
    /// Destinations that are masqueraded although a shorter prefix is exempt; as the list above.
    pub masquerade_cidrs: Vec<IpNet>,
    /// Only traffic from these sources is looked at; empty: from any source.
    pub source_cidrs: Vec<IpNet>,
    /// What the node itself sends is treated like all other traffic; false: it is left alone.
    pub masq_node_traffic: bool,
    /// Traffic to 169.254.0.0/16 (RFC 3927) is masqueraded too.
    pub masq_link_local: bool,
    /// Traffic to fe80::/10 (RFC 4291) is masqueraded too.
    pub masq_link_local_ipv6: bool,
    /// IPv6 is programmed too.
    pub enable_ipv6: bool,
    /// Source ports are chosen at random (`masquerade fully-random`, nft(8)).
    pub random_fully: bool,
    /// Source ports of masqueraded TCP, UDP and SCTP connections; empty: as the kernel chooses.
    pub to_ports: Vec<PortRange>,
    /// Exempt destinations keep their source address whatever other NAT rules say.
    pub enforce: bool,
    /// How often the file and the kernel are compared without any event; at least [`MIN_RESYNC_INTERVAL`].
    pub resync_interval: Duration,
}

/// What the command line contributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flags {
    /// The default list is [`reserved_ranges::ALL_RESERVED`].
    pub nomasq_all_reserved_ranges: bool,
    /// See [`Config::enable_ipv6`].
    pub enable_ipv6: bool,
    /// See [`Config::random_fully`].
    pub random_fully: bool,
    /// See [`Config::to_ports`].
    pub to_ports: Vec<PortRange>,
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
        masquerade_cidrs: Vec::new(),
        source_cidrs: Vec::new(),
        masq_node_traffic: true,
        masq_link_local: false,
        masq_link_local_ipv6: false,
        enable_ipv6: flags.enable_ipv6,
        random_fully: flags.random_fully,
        to_ports: flags.to_ports.clone(),
        enforce: false,
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
