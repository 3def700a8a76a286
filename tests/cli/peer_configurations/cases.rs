//! The table of files.

mod ip_masq_agent;
mod ip_masq_agent_v2;

/// Whose file it is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Peer {
    /// ip-masq-agent: the file `ip-masq-agent`.
    Agent,
    /// ip-masq-agent-v2: the files in the directory whose names begin with `ip-masq`.
    AgentV2,
}

/// What becomes of it there.
#[derive(Debug)]
pub(crate) enum There {
    /// Destinations that keep their source address, by the rules that are written, link-local included.
    Exempt(&'static [&'static str]),
    /// An error; v2 ends by it, and what iptables-restore refuses counts too.
    Refused,
}

/// What becomes of it here.
#[derive(Debug)]
pub(crate) enum Here {
    /// The same.
    Same { warnings: usize },
    /// Refused as there; part of what is said.
    Refused { said: &'static str },
    /// Refused on purpose; `row` begins a row of the README's tables of what differs.
    RefusedOnPurpose {
        row: &'static str,
        said: &'static str,
    },
    /// These destinations on purpose.
    ExemptOnPurpose {
        row: &'static str,
        cidrs: &'static [&'static str],
    },
}

/// One row.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) peer: Peer,
    pub(crate) name: &'static str,
    /// Flags that both know.
    pub(crate) flags: &'static str,
    /// Name and text of each file; without a text, a directory.
    pub(crate) files: &'static [(&'static str, Option<&'static str>)],
    pub(crate) there: There,
    pub(crate) here: Here,
}

const LINK_LOCAL: &str = "169.254.0.0/16";
const LINK_LOCAL_IPV6: &str = "fe80::/10";
const DEFAULT: &[&str] = &["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", LINK_LOCAL];
const ALL_RESERVED: &[&str] = &[
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "240.0.0.0/4",
    LINK_LOCAL,
];
const SAME: Here = Here::Same { warnings: 0 };
const SAME_WITH_A_WARNING: Here = Here::Same { warnings: 1 };

const fn refused(said: &'static str) -> Here {
    Here::Refused { said }
}

const NULL_LIST: &str = "`nonMasqueradeCIDRs:` without a value";

/// 65 CIDRs, within 10.0.0.0/8.
macro_rules! sixty_five {
    () => {
        concat!(
            "nonMasqueradeCIDRs: [10.0.0.0/8, 10.0.0.0/16, 10.1.0.0/16, 10.2.0.0/16, 10.3.0.0/16, ",
            "10.4.0.0/16, 10.5.0.0/16, 10.6.0.0/16, 10.7.0.0/16, 10.8.0.0/16, 10.9.0.0/16, 10.10.0.0/16, ",
            "10.11.0.0/16, 10.12.0.0/16, 10.13.0.0/16, 10.14.0.0/16, 10.15.0.0/16, 10.16.0.0/16, 10.17.0.0/16, ",
            "10.18.0.0/16, 10.19.0.0/16, 10.20.0.0/16, 10.21.0.0/16, 10.22.0.0/16, 10.23.0.0/16, 10.24.0.0/16, ",
            "10.25.0.0/16, 10.26.0.0/16, 10.27.0.0/16, 10.28.0.0/16, 10.29.0.0/16, 10.30.0.0/16, 10.31.0.0/16, ",
            "10.32.0.0/16, 10.33.0.0/16, 10.34.0.0/16, 10.35.0.0/16, 10.36.0.0/16, 10.37.0.0/16, 10.38.0.0/16, ",
            "10.39.0.0/16, 10.40.0.0/16, 10.41.0.0/16, 10.42.0.0/16, 10.43.0.0/16, 10.44.0.0/16, 10.45.0.0/16, ",
            "10.46.0.0/16, 10.47.0.0/16, 10.48.0.0/16, 10.49.0.0/16, 10.50.0.0/16, 10.51.0.0/16, 10.52.0.0/16, ",
            "10.53.0.0/16, 10.54.0.0/16, 10.55.0.0/16, 10.56.0.0/16, 10.57.0.0/16, 10.58.0.0/16, 10.59.0.0/16, ",
            "10.60.0.0/16, 10.61.0.0/16, 10.62.0.0/16, 10.63.0.0/16]\n"
        )
    };
}
pub(crate) use sixty_five;

/// All of them.
pub(crate) fn cases() -> impl Iterator<Item = &'static Case> {
    ip_masq_agent::CASES.iter().chain(ip_masq_agent_v2::CASES)
}
