//! iptables-legacy, whose rules only its own program lists.

use std::io;

use super::proc;
use crate::ruleset::Family;

/// Where its table `nat` stands among the base chains: `NF_IP_PRI_NAT_SRC`, linux/netfilter_ipv4.h, and IPv6's alike.
pub(super) const PRIORITY: i64 = 100;

/// The program of a family.
#[must_use]
pub(super) fn program(family: Family) -> &'static str {
    match family {
        Family::Ip => "iptables-legacy",
        Family::Ip6 => "ip6tables-legacy",
    }
}

/// A path, the program whose tables are listed there, and what was read.
type List = (&'static str, &'static str, io::Result<String>);

fn list(family: Family) -> List {
    let path = match family {
        Family::Ip => "/proc/net/ip_tables_names",
        Family::Ip6 => "/proc/net/ip6_tables_names",
    };
    (path, program(family), proc::content(path))
}

/// The tables `nat` of iptables-legacy.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LegacyNat {
    /// Of no program.
    NotLoaded,
    /// Of these programs.
    Loaded(Vec<&'static str>),
    /// The kernel's list is there, and only root may read it.
    Hidden(String),
    /// For another reason than that.
    Unknown(String),
}

impl LegacyNat {
    /// What the kernel tells of these families; the lists are there once its module is loaded, and root's.
    #[must_use]
    pub(super) fn read(families: &[Family]) -> Self {
        Self::new(families.iter().copied().map(list))
    }

    /// Of the paths of the kernel's lists of loaded tables, each with its program and what was read there.
    pub(super) fn new(lists: impl IntoIterator<Item = List>) -> Self {
        let mut loaded = Vec::new();
        for (path, program, names) in lists {
            match names {
                Ok(names) if names.lines().any(|name| name == "nat") => loaded.push(program),
                Ok(_) => {}
                Err(error) => {
                    let reason = format!("{path} cannot be read: {error}");
                    return match error.kind() {
                        io::ErrorKind::PermissionDenied => Self::Hidden(reason),
                        _ => Self::Unknown(reason),
                    };
                }
            }
        }
        if loaded.is_empty() {
            return Self::NotLoaded;
        }
        Self::Loaded(loaded)
    }
}
