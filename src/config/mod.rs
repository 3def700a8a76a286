//! The configuration: each file as written (`document`), then what it says of each key (`said`, by the table in `keys`), then all files
//! together (`merge`). Pure: text in, values out.

use std::time::Duration;

use ipnet::IpNet;

pub mod cidr;
mod document;
pub mod duration;
mod finding;
pub mod interface_name;
mod keys;
mod lookalike;
mod manifest;
mod merge;
mod node;
mod other_names;
mod oversights;
pub mod port_range;
pub mod provenance;
pub mod reserved_ranges;
mod said;
mod value;

pub use finding::{ConfigErrors, Finding, MAX_ERRORS_SHOWN};
pub use port_range::PortRange;

use finding::Findings;

/// The largest size of a file: 1 MiB, which is what a ConfigMap holds.
pub const MAX_FILE_BYTES: usize = 1 << 20;

/// The largest size of all files together: 8 MiB.
pub const MAX_BYTES_TOGETHER: usize = 8 << 20;

/// How often the file and the kernel are compared without any event, where no file and no option says so.
pub const DEFAULT_RESYNC_INTERVAL: Duration = Duration::from_secs(60);

/// The shortest resync interval that may be asked for.
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
    /// Only traffic that leaves by interfaces of these names is looked at, each with a `*` at its end for any that begins so; empty:
    /// by any.
    pub output_interfaces: Vec<String>,
    /// Masqueraded connections get the node's own address that lies in one of these, the first before the others; empty: that of
    /// the interface by which they leave.
    pub snat_address_cidrs: Vec<IpNet>,
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
    /// Source ports of masqueraded TCP, UDP and SCTP connections, in ascending order and disjoint; empty: as the
    /// kernel chooses.
    pub to_ports: Vec<PortRange>,
    /// Exempt destinations keep their source address whatever other NAT rules say, but for what those translated to another
    /// destination.
    pub enforce: bool,
    /// Packets that belong to no connection, and so cannot be masqueraded, do not leave for destinations that are masqueraded.
    pub drop_invalid: bool,
    /// What becomes of connections that the policy treats otherwise once it has changed.
    pub existing_connections: ExistingConnections,
    /// How long each list that files give may be; none: as long as it is.
    pub cidr_limit: Option<u64>,
    /// How often the file and the kernel are compared without any event; at least [`MIN_RESYNC_INTERVAL`].
    pub resync_interval: Duration,
}

/// What becomes of connections when the policy changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExistingConnections {
    /// They keep their treatment.
    Keep,
    /// Those that it treats otherwise now are ended.
    Follow,
}

impl ExistingConnections {
    /// As a file has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Follow => "follow",
        }
    }
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
    /// See [`Config::resync_interval`].
    pub resync_interval: Duration,
}

/// As without any option.
impl Default for Flags {
    fn default() -> Self {
        Self {
            nomasq_all_reserved_ranges: false,
            enable_ipv6: false,
            random_fully: true,
            to_ports: Vec::new(),
            resync_interval: DEFAULT_RESYNC_INTERVAL,
        }
    }
}

/// As without any file or option.
impl Default for Config {
    fn default() -> Self {
        defaults(&Flags::default())
    }
}

impl Config {
    /// As one file in place of all. There `cidrLimit` would refuse a longer default list, for it holds for lists that a file
    /// gives.
    #[must_use]
    pub fn normalised(&self) -> Self {
        let length = u64::try_from(self.non_masquerade_cidrs.len()).unwrap_or(u64::MAX);
        let is_kept = |limit: &u64| !self.non_masquerade_cidrs_are_default || length <= *limit;
        Self {
            cidr_limit: self.cidr_limit.filter(is_kept),
            ..self.clone()
        }
    }
}

/// A configuration that holds, with what is odd about its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The configuration.
    pub config: Config,
    /// What is taken, but not the documented form, or has no effect, in the order of the files; then what is likely
    /// not meant by all of them together.
    pub warnings: Vec<Finding>,
    /// The files that hold no key, by their index: nothing, or comments alone.
    pub silent_files: Vec<usize>,
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
        output_interfaces: Vec::new(),
        snat_address_cidrs: Vec::new(),
        masq_node_traffic: true,
        masq_link_local: false,
        masq_link_local_ipv6: false,
        enable_ipv6: flags.enable_ipv6,
        random_fully: flags.random_fully,
        to_ports: flags.to_ports.clone(),
        enforce: false,
        drop_invalid: false,
        existing_connections: ExistingConnections::Keep,
        cidr_limit: None,
        resync_interval: flags.resync_interval,
    }
}

/// A configuration file to be judged.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// How it is called in what is said of it.
    pub name: &'a str,
    /// What it holds; none: it is there and cannot be read, which its reader tells, so that what depends on it is
    /// not judged.
    pub bytes: Option<&'a [u8]>,
}

/// Judges one file alone, as [`judge_together`] does.
///
/// # Errors
/// As [`judge_together`].
pub fn judge(file_name: &str, bytes: &[u8], flags: &Flags) -> Result<Judged, ConfigErrors> {
    let file = Source {
        name: file_name,
        bytes: Some(bytes),
    };
    judge_together(&[file], flags)
}

/// Judges what `files` say together, in their order. A file is judged within a second, and all that may be read
/// together within a few; no file, and an empty
/// one, means the defaults.
///
/// # Errors
/// All errors of all files at once, the first [`MAX_ERRORS_SHOWN`] of them in full.
pub fn judge_together(files: &[Source<'_>], flags: &Flags) -> Result<Judged, ConfigErrors> {
    let mut findings = Findings::default();
    let said = said::all(files, &mut findings);
    let config = merge::merge(&said, flags, &mut findings);
    let mut warnings = findings.warnings()?;
    warnings.extend(oversights::oversights(&config));
    let silent = said.iter().flatten().filter(|said| said.is_silent);
    Ok(Judged {
        silent_files: silent.map(|said| said.file.index).collect(),
        config,
        warnings,
    })
}

#[cfg(test)]
mod key_tests;
#[cfg(test)]
mod tests;
