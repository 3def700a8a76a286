//! Configuration files in two versions, and the rulesets that they mean.

use std::fmt;
use std::io;

use non_masquerade_daemon::config::{Flags, judge};
use non_masquerade_daemon::policy::Policy;
use non_masquerade_daemon::ruleset::{ChosenNames, Ruleset};

/// What the second version changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Every other CIDR.
    Half,
    /// The one in the middle.
    One,
}

/// A file that is changed to and fro.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flip {
    pub(crate) cidrs: usize,
    pub(crate) change: Change,
}

impl fmt::Display for Flip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cidrs = with_separators(self.cidrs);
        f.pad(&match self.change {
            Change::Half => format!("{cidrs} CIDRs, half of them changed"),
            Change::One => format!("{cidrs} CIDRs, one changed"),
        })
    }
}

impl Flip {
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

    /// The list: version 0 for even numbers, version 1 for odd ones. Neighbours, from 10.0.0.0/24 on; what is changed
    /// goes to where no other version has a CIDR.
    pub(crate) fn cidrs(self, version: usize) -> Vec<String> {
        let is_changed = version % 2 == 1;
        let cidr = |index| {
            let is_other = match self.change {
                Change::Half => index % 2 == 0,
                Change::One => index == self.cidrs / 2,
            };
            let net = if is_changed && is_other { 12 } else { 10 };
            let (net, index) = (net + index / 65_536, index % 65_536);
            format!("{net}.{}.{}.0/24", index / 256, index % 256)
        };
        (0..self.cidrs).map(cidr).collect()
    }

    /// The same as a file.
    pub(crate) fn file(self, version: usize) -> String {
        file_of(&self.cidrs(version))
    }

    /// What the daemon makes of [`Self::file`].
    pub(crate) fn ruleset(self, version: usize) -> io::Result<Ruleset> {
        let flags = Flags::default();
        let judged = judge("f", self.file(version).as_bytes(), &flags).map_err(io::Error::other)?;
        Ok(Ruleset::ipv4(
            &Policy::new(&judged.config),
            &ChosenNames::default(),
        ))
    }
}

/// A file that exempts these, and nothing else of its own.
pub(crate) fn file_of(cidrs: &[String]) -> String {
    let items: String = cidrs.iter().map(|cidr| format!("  - {cidr}\n")).collect();
    format!("nonMasqueradeCIDRs:\n{items}")
}

/// 10,000 rather than 10000.
pub(crate) fn with_separators(number: usize) -> String {
    if number < 1_000 {
        return number.to_string();
    }
    format!("{},{:03}", with_separators(number / 1_000), number % 1_000)
}
