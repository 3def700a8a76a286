//! Configuration files in two versions, and the rulesets that they mean.

use std::fmt;
use std::io;

use non_masquerade_daemon::config::{Flags, judge};
use non_masquerade_daemon::policy::Policy;
use non_masquerade_daemon::ruleset::{ChosenNames, Ruleset, names};

/// What the second version changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Every other CIDR.
    Half,
    /// The one in the middle.
    One,
    /// The defaults, with and without the exemption of link-local addresses.
    LinkLocal,
}

/// A file that is changed to and fro.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flip {
    pub(crate) cidrs: usize,
    pub(crate) change: Change,
}

impl fmt::Display for Flip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.change {
            Change::Half => format!("{} CIDRs, half of them changed", self.cidrs),
            Change::One => format!("{} CIDRs, one changed", self.cidrs),
            Change::LinkLocal => "the defaults".to_owned(),
        };
        f.pad(&text)
    }
}

impl Flip {
    pub(crate) const DEFAULTS: Self = Self {
        cidrs: 3,
        change: Change::LinkLocal,
    };

    pub(crate) const fn half_of(cidrs: usize) -> Self {
        Self {
            cidrs,
            change: Change::Half,
        }
    }

    pub(crate) const fn one_of(cidrs: usize) -> Self {
        Self {
            cidrs,
            change: Change::One,
        }
    }

    /// The file: version 0 for even numbers, version 1 for odd ones.
    pub(crate) fn file(self, version: usize) -> String {
        let is_changed = version % 2 == 1;
        if self.change == Change::LinkLocal {
            return format!("masqLinkLocal: {is_changed}\n");
        }
        let mut file = String::from("nonMasqueradeCIDRs:\n");
        for index in 0..self.cidrs {
            let is_other = match self.change {
                Change::Half => index % 2 == 0,
                Change::One => index == self.cidrs / 2,
                Change::LinkLocal => false,
            };
            let net = if is_changed && is_other { 11 } else { 10 };
            file += &format!("  - {net}.{}.{}.0/24\n", index / 256, index % 256);
        }
        file
    }

    /// What the daemon makes of [`Self::file`].
    pub(crate) fn ruleset(self, version: usize) -> io::Result<Ruleset> {
        let flags = Flags::default();
        let judged = judge("f", self.file(version).as_bytes(), &flags).map_err(io::Error::other)?;
        let names = ChosenNames {
            table: names::DEFAULT_TABLE.to_owned(),
            masq_chain: names::DEFAULT_MASQ_CHAIN.to_owned(),
        };
        Ok(Ruleset::ipv4(&Policy::new(&judged.config), &names))
    }
}
