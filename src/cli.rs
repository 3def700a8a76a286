//! The command line: options and commands, each option from the environment as well.

mod address;
mod environment;
mod go_arguments;
mod klog;
pub mod protocol;

use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

use crate::config::port_range::parse_port_ranges;
use crate::config::{Flags, PortRange};
use crate::in_words;
use crate::kernel::ownership;
use crate::ruleset::{ChosenNames, names};

/// Where the configuration is, without `--config`.
const DEFAULT_CONFIG: &str = "/etc/config/non-masquerade-daemon";
const CONFIG_VARIABLE: &str = "NON_MASQUERADE_DAEMON_CONFIG";

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed; status: out of step
  2  wrong arguments
  3  bad configuration
  4  not permitted: CAP_NET_ADMIN is missing";

const CONNECTIONS_EXAMPLES: &str = "\
Examples:
  non-masquerade-daemon connections --contradicting --from 10.244.0.0/16
  non-masquerade-daemon connections --watch --protocol tcp --to 10.0.0.0/8
  non-masquerade-daemon connections --end --yes --to 10.0.0.0/8";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  non-masquerade-daemon explain 10.0.0.1 1.1.1.1 2001:db8::1
  non-masquerade-daemon explain --from 10.244.1.2 --format json 1.1.1.1";

/// Keeps the pod's source address towards the configured CIDRs and masquerades all other traffic
/// that leaves the node, with one nftables table of its own.
///
/// Options stand before or after the command; the last of a repeated one counts. Booleans take Go's
/// spellings: --flag, --flag=true, =1, =T, =false, =0, =F.
#[derive(Debug, Parser)]
#[command(name = "non-masquerade-daemon", version, args_override_self = true)]
#[command(override_usage = "non-masquerade-daemon [OPTIONS] [COMMAND]")]
#[command(after_long_help = EXIT_CODES)]
pub struct Cli {
    /// What stands on the command line besides the command.
    #[command(flatten)]
    pub options: Options,
    /// `run` where none is given.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Options {
    /// Configuration file, YAML or JSON, or a directory of such files; absent: the defaults. Repeatable: all are
    /// merged; in the environment, paths are separated by ':'.
    #[arg(
        long, global = true, value_name = "PATH", default_value = DEFAULT_CONFIG,
        env = CONFIG_VARIABLE
    )]
    pub config: Vec<PathBuf>,

    /// Exempt by default all IPv4 ranges that RFCs reserve, not only those of RFC 1918. Counts where no file has
    /// nonMasqueradeCIDRs.
    #[arg(
        long, global = true, value_name = "BOOL", value_parser = go_arguments::boolean, num_args = 0..=1,
        require_equals = true, default_missing_value = "true", default_value = "false",
        action = clap::ArgAction::Set, env = "NON_MASQUERADE_DAEMON_NOMASQ_ALL_RESERVED_RANGES"
    )]
    pub nomasq_all_reserved_ranges: bool,

    /// Program IPv6 too. Counts where no file has enableIPv6.
    #[arg(
        long = "enable-ipv6", global = true, value_name = "BOOL", value_parser = go_arguments::boolean, num_args = 0..=1,
        require_equals = true, default_missing_value = "true", default_value = "false",
        action = clap::ArgAction::Set, env = "NON_MASQUERADE_DAEMON_ENABLE_IPV6"
    )]
    pub enable_ipv6: bool,

    /// Choose the source ports of masqueraded connections at random (masquerade fully-random). Counts where no file
    /// has randomFully.
    #[arg(
        long, global = true, value_name = "BOOL", value_parser = go_arguments::boolean, num_args = 0..=1,
        require_equals = true, default_missing_value = "true", default_value = "true",
        action = clap::ArgAction::Set, env = "NON_MASQUERADE_DAEMON_RANDOM_FULLY"
    )]
    pub random_fully: bool,

    /// Source ports of masqueraded TCP, UDP and SCTP connections, such as 1024-29999,32768-65535; empty: as the
    /// kernel chooses. Counts where no file has toPorts.
    #[arg(
        long,
        global = true,
        value_name = "RANGES",
        default_value = "",
        hide_default_value = true,
        env = "NON_MASQUERADE_DAEMON_TO_PORTS"
    )]
    pub to_ports: ToPorts,

    /// How often files and tables are compared without any event; a bare number is seconds, as for
    /// ip-masq-agent-v2. Counts where no file has resyncInterval.
    #[arg(
        long, global = true, value_name = "DURATION", value_parser = go_arguments::resync_interval,
        default_value = "60s", env = "NON_MASQUERADE_DAEMON_RESYNC_INTERVAL"
    )]
    pub resync_interval: Duration,

    /// Name of the chain that decides; another name takes the place of the one before.
    #[arg(
        long, global = true, value_name = "NAME", value_parser = names::checked_masq_chain,
        default_value = names::DEFAULT_MASQ_CHAIN, env = "NON_MASQUERADE_DAEMON_MASQ_CHAIN"
    )]
    pub masq_chain: String,

    /// Name of the table; not one of iptables-nft's.
    #[arg(
        long, global = true, value_name = "NAME", value_parser = names::checked_table,
        default_value = names::DEFAULT_TABLE, env = "NON_MASQUERADE_DAEMON_TABLE"
    )]
    pub table: String,

    /// Own the table (flags owner,persist), so that other processes cannot change it: auto, where the kernel
    /// (Linux 6.9) and libnftables (1.1.0) can; off, never.
    #[arg(
        long,
        global = true,
        value_name = "auto|off",
        default_value = "auto",
        env = "NON_MASQUERADE_DAEMON_TABLE_OWNER"
    )]
    pub table_owner: TableOwner,

    /// Where to serve /metrics, /healthz, /readyz and /configuration, or off.
    #[arg(
        long,
        global = true,
        value_name = "ADDR:PORT|off",
        default_value = "127.0.0.1:19110",
        env = "NON_MASQUERADE_DAEMON_HTTP_ADDRESS"
    )]
    pub http_address: HttpAddress,

    /// Tell the connections of each configured CIDR in /metrics, as a label.
    #[arg(
        long, global = true, value_name = "BOOL", value_parser = go_arguments::boolean, num_args = 0..=1,
        require_equals = true, default_missing_value = "true", default_value = "false",
        action = clap::ArgAction::Set, env = "NON_MASQUERADE_DAEMON_METRICS_PER_CIDR"
    )]
    pub metrics_per_cidr: bool,

    /// How log lines are written, to standard error.
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "text",
        env = "NON_MASQUERADE_DAEMON_LOG_FORMAT"
    )]
    pub log_format: LogFormat,

    /// error, warn, info, debug or trace [default: RUST_LOG, or else info]
    #[arg(
        long,
        global = true,
        value_name = "LEVEL",
        env = "NON_MASQUERADE_DAEMON_LOG_LEVEL"
    )]
    pub log_level: Option<LogLevel>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Program the table and keep it in step with the file (the default)
    ///
    /// Runs until SIGTERM or SIGINT; the rules stay. SIGHUP reloads the configuration. Needs CAP_NET_ADMIN. Exit code
    /// 0: done, 1: failed, 4: CAP_NET_ADMIN is missing; with --once also 3: bad configuration.
    Run {
        /// Apply the configuration, read it back, and exit
        #[arg(
            long, value_name = "BOOL", value_parser = go_arguments::boolean, num_args = 0..=1, require_equals = true,
            default_missing_value = "true", default_value = "false", action = clap::ArgAction::Set
        )]
        once: bool,
    },
    /// Validate configuration files and print the effective policy; needs no privilege
    ///
    /// All errors are told at once, each with its file, line and what to write instead. Exit code 0: good, 3: bad.
    Check {
        /// text: what the configuration means; yaml, json: one file that says the same as all files and flags together
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        format: PolicyFormat,
        /// File or directory in place of --config; it is an error where one is not there
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Print the table as JSON for `nft -j -f -`; needs no privilege
    ///
    /// It is what makes the table in a kernel that has none, in the form that each version of nft takes. Exit code 3:
    /// bad configuration.
    Render,
    /// Say for each destination whether traffic to it is masqueraded, and why
    ///
    /// Tells the verdict, the configured CIDR that decides with its file and line, what the table in the kernel says,
    /// and which other NAT chains may decide otherwise. Only what it says of the kernel needs CAP_NET_ADMIN. Exit code
    /// 0: explained, 2: not an address, or SOURCE is of another family than a destination, 3: bad configuration.
    #[command(after_long_help = EXPLAIN_EXAMPLES)]
    Explain {
        /// Source address of the traffic; without it, conditions on the source are named
        #[arg(long, value_name = "SOURCE", value_parser = address::address)]
        from: Option<IpAddr>,
        /// How the answer is printed
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        format: OutputFormat,
        /// IPv4 or IPv6 addresses
        #[arg(value_name = "DESTINATION", required = true, value_parser = address::address)]
        destinations: Vec<IpAddr>,
    },
    /// Say what the kernel has, who owns it, and whether it is in step with the file
    ///
    /// Shows each element of the table with the connections that met it since the table was made. Writes nothing.
    /// Needs CAP_NET_ADMIN. Exit code 0: in step, 1: out of step, 3: bad configuration, 4: CAP_NET_ADMIN is missing.
    Status {
        /// How the answer is printed
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        format: OutputFormat,
    },
    /// Say what became of the node's connections
    ///
    /// Judges each entry of the kernel's conntrack table by its addresses: which contradict the configuration, and in
    /// what. Without an option it sums up. Changes nothing
    /// but with --end. Needs CAP_NET_ADMIN. Exit code 0: done, 1: with --contradicting or --watch, some contradict, 2: wrong
    /// arguments, 3: bad configuration, 4: CAP_NET_ADMIN is missing.
    #[command(after_long_help = CONNECTIONS_EXAMPLES)]
    Connections(Connections),
    /// Remove the daemon's tables; stop the daemon first
    ///
    /// Removes the table that --table names, of both families, and those that an earlier --table has left. Needs
    /// CAP_NET_ADMIN. Exit code 0: nothing is left, 1: a running daemon owns a table, has put one back
    /// or may do so, 4: CAP_NET_ADMIN is missing.
    Cleanup,
    /// Say what is missing or in the way on this host, and what mends it
    ///
    /// A line for each finding, and the command or setting that mends it on the next. Changes nothing; without
    /// CAP_NET_ADMIN it says what it could not check. Exit code 0: no failure, 1: a failure.
    Doctor {
        /// text: a line for each check, its remedy on the next; json: an array of {check, result, finding, remedy}
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        format: OutputFormat,
    },
    /// Print what completes this command line in a shell; `make install` installs it
    Completions {
        /// The shell
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
    /// Print the manual page, in the language of man(7); `make install` installs it
    Man,
}

/// `completions SHELL`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// What `connections` is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Connections {
    /// List those that contradict the configuration, one a line
    #[arg(long)]
    pub contradicting: bool,
    /// List each connection as it begins, until SIGINT (Ctrl-C), and sum up; with --contradicting only those
    #[arg(long, conflicts_with = "end")]
    pub watch: bool,
    /// End those that contradict the configuration: their entries are deleted, so that their next packets meet the rules
    /// anew. Asks first
    #[arg(long)]
    pub end: bool,
    /// End them without asking
    #[arg(long, requires = "end")]
    pub yes: bool,
    /// Only those that come from here: an address or a CIDR
    #[arg(long, value_name = "SOURCE", value_parser = address::network)]
    pub from: Option<IpNet>,
    /// Only those that go there, after any translation by a Service
    #[arg(long, value_name = "DESTINATION", value_parser = address::network)]
    pub to: Option<IpNet>,
    /// Only those of this protocol: tcp, udp, sctp, dccp, udplite, icmp, icmpv6, gre, or a number
    #[arg(long, value_name = "PROTOCOL", value_parser = protocol::number)]
    pub protocol: Option<u8>,
    /// At most so many are listed or ended
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// text: for people; json: an object, with --watch one a line
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: OutputFormat,
}

/// `--format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people.
    Text,
    /// One JSON document.
    Json,
}

/// `check --format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PolicyFormat {
    /// For people.
    Text,
    /// A configuration file.
    Yaml,
    /// A configuration file.
    Json,
}

/// `--to-ports`: in ascending order and disjoint; empty: none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToPorts(pub Vec<PortRange>);

impl FromStr for ToPorts {
    type Err = String;

    fn from_str(written: &str) -> Result<Self, String> {
        parse_port_ranges(written)
            .map(Self)
            .map_err(|error| format!("{error}; {}", error.remedy()))
    }
}

impl fmt::Display for ToPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&in_words::all(&self.0, ","))
    }
}

/// `--http-address`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpAddress {
    /// `ADDR:PORT`
    On(SocketAddr),
    /// `off`
    Off,
}

impl FromStr for HttpAddress {
    type Err = String;

    fn from_str(written: &str) -> Result<Self, String> {
        if written == "off" {
            return Ok(Self::Off);
        }
        written.parse().map(Self::On).map_err(|_| {
            "write an IP address and a port, 127.0.0.1:19110 or [::1]:19110, or off".to_owned()
        })
    }
}

impl fmt::Display for HttpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::On(address) => address.fmt(f),
            Self::Off => f.write_str("off"),
        }
    }
}

impl HttpAddress {
    /// `None`: off.
    #[must_use]
    pub fn socket_address(self) -> Option<SocketAddr> {
        match self {
            Self::On(address) => Some(address),
            Self::Off => None,
        }
    }
}

/// `--table-owner`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TableOwner {
    /// Where kernel and libnftables can.
    Auto,
    /// Never.
    Off,
}

impl fmt::Display for TableOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Off => "off",
        })
    }
}

impl From<TableOwner> for ownership::TableOwner {
    fn from(option: TableOwner) -> Self {
        match option {
            TableOwner::Auto => Self::Auto,
            TableOwner::Off => Self::Off,
        }
    }
}

/// `--log-format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// `--log-level`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Options {
    /// What the command line contributes to the configuration.
    #[must_use]
    pub fn flags(&self) -> Flags {
        Flags {
            nomasq_all_reserved_ranges: self.nomasq_all_reserved_ranges,
            enable_ipv6: self.enable_ipv6,
            random_fully: self.random_fully,
            to_ports: self.to_ports.0.clone(),
            resync_interval: self.resync_interval,
        }
    }

    /// The names that the command line chooses.
    #[must_use]
    pub fn chosen_names(&self) -> ChosenNames {
        ChosenNames {
            table: self.table.clone(),
            masq_chain: self.masq_chain.clone(),
        }
    }
}

/// What was asked for, and what was passed over.
#[derive(Debug)]
pub struct Parsed {
    /// What was asked for.
    pub cli: Cli,
    /// klog's flags that were given.
    pub klog_flags: Vec<String>,
    /// Variables that have the name of no option.
    pub unknown_variables: Vec<String>,
}

/// Reads the arguments, the program's name first.
///
/// # Errors
/// What clap prints: a wrong argument (exit code 2), or the help or version that was asked for
/// (exit code 0).
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Parsed, clap::Error> {
    let all = Cli::command();
    let unknown_variables = environment::unknown_variables(&all);
    let command = klog::with_flags(environment::without_empty_variables(all));
    let arguments = go_arguments::normal(arguments, &command);
    let matches = command.clone().try_get_matches_from(arguments);
    let mut matches =
        matches.map_err(|error| environment::naming_the_variable(error, command.clone()))?;
    let of_command = matches
        .subcommand()
        .map_or(&matches, |(_, of_command)| of_command);
    let klog_flags = klog::given(of_command);
    let is_from_environment = of_command.value_source("config") == Some(ValueSource::EnvVariable);
    let mut cli = Cli::from_arg_matches_mut(&mut matches)
        .map_err(|error| error.format(&mut command.clone()))?;
    if is_from_environment && let [paths] = cli.options.config.as_slice() {
        let paths = environment::paths(CONFIG_VARIABLE, paths.as_os_str(), command)?;
        cli.options.config = paths;
    }
    Ok(Parsed {
        cli,
        klog_flags,
        unknown_variables,
    })
}

#[cfg(test)]
mod tests;
