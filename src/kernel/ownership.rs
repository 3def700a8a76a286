//! Who may change the table: `flags owner,persist`, nft(8) "TABLES".
//!
//! The owner is a netlink socket: that of the worker's one libnftables context. Others get EPERM, and their `flush
//! ruleset` leaves the table alone. It outlives its owner, and the next daemon adopts it in place. The kernel has
//! `persist` from Linux 6.9 on, libnftables writes table flags by JSON from 1.1.0 on; no version number is asked for,
//! since both are ported back: the flags are tried, and read back.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::netlink::TableHeader;
use crate::ruleset::transaction::TableFlags;

/// `--table-owner`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TableOwner {
    /// Own the table where kernel and libnftables can.
    Auto,
    /// Never own it.
    Off,
}

/// What protects the table from others, besides that their changes are undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protection {
    /// This daemon's worker owns it.
    Owned,
    /// It was found without an owner, and no flag can be added to a table that has none (EOPNOTSUPP).
    FoundPlain,
    /// The kernel or libnftables cannot.
    Unsupported,
    /// `--table-owner off`
    SwitchedOff,
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Owned => "the table is owned: other processes cannot change it",
            Self::FoundPlain => {
                "the table was made without an owner and stays so until it is made anew, by Linux 6.9 and libnftables 1.1.0 \
                 or later; what others change in it is undone"
            }
            Self::Unsupported => {
                "the table has no owner, which takes Linux 6.9 and libnftables 1.1.0; what others change in it is undone"
            }
            Self::SwitchedOff => {
                "the table has no owner, as --table-owner off asks; what others change in it is undone"
            }
        })
    }
}

/// Whose the table is that the kernel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The worker's.
    Own,
    /// Nobody's, and never was anyone's.
    Plain,
    /// Nobody's: its owner has ended.
    Orphan,
    /// Another socket's, of this netlink port id.
    Foreign(u32),
}

/// What the worker may own.
#[derive(Debug)]
pub(super) struct Claims {
    mode: TableOwner,
    /// False: the flags were tried, and are not to be had.
    are_possible: bool,
}

impl Claims {
    pub(super) fn new(mode: TableOwner) -> Self {
        Self {
            mode,
            are_possible: true,
        }
    }

    /// Another `--table-owner`, from the next request on.
    pub(super) fn set_mode(&mut self, mode: TableOwner) {
        self.mode = mode;
    }

    /// Whether a table whose owner has ended, or a new one, is to be owned.
    pub(super) fn may_claim(&self) -> bool {
        self.mode == TableOwner::Auto && self.are_possible
    }

    /// The flags to write on a table of this standing; `None`: there is no table yet.
    pub(super) fn flags(&self, standing: Option<Standing>) -> TableFlags {
        match standing {
            Some(Standing::Own) => TableFlags::OwnerPersist,
            Some(Standing::Plain | Standing::Foreign(_)) => TableFlags::Plain,
            None | Some(Standing::Orphan) if self.may_claim() => TableFlags::OwnerPersist,
            None => TableFlags::Plain,
            Some(Standing::Orphan) => TableFlags::Persist,
        }
    }

    /// The flags were refused, or written and are not there: libnftables before 1.1.0 drops them without a word.
    pub(super) fn give_up(&mut self) {
        self.are_possible = false;
    }

    pub(super) fn protection(&self, standing: Standing) -> Protection {
        match (standing, self.mode) {
            (Standing::Own, _) => Protection::Owned,
            (_, TableOwner::Off) => Protection::SwitchedOff,
            (_, TableOwner::Auto) if self.are_possible => Protection::FoundPlain,
            (_, TableOwner::Auto) => Protection::Unsupported,
        }
    }
}

/// Whose a table with this header is, seen by the socket with `own_port`.
pub(super) fn standing(header: TableHeader, own_port: u32) -> Standing {
    match header.owner {
        Some(port) if port == own_port => Standing::Own,
        Some(port) => Standing::Foreign(port),
        None if header.is_persistent() => Standing::Orphan,
        None => Standing::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(flags: u32, owner: Option<u32>) -> TableHeader {
        TableHeader {
            flags,
            owner,
            uses: 0,
        }
    }

    #[test]
    fn what_is_found_is_taken_as_it_is() {
        let claims = Claims::new(TableOwner::Auto);
        assert_eq!(claims.flags(None), TableFlags::OwnerPersist);
        for (found, of, flags) in [
            (header(0, None), Standing::Plain, TableFlags::Plain),
            (header(4, None), Standing::Orphan, TableFlags::OwnerPersist),
            (header(6, Some(7)), Standing::Foreign(7), TableFlags::Plain),
            (header(6, Some(1)), Standing::Own, TableFlags::OwnerPersist),
        ] {
            assert_eq!(standing(found, 1), of);
            assert_eq!(claims.flags(Some(of)), flags);
        }
        assert_eq!(claims.protection(Standing::Plain), Protection::FoundPlain);
    }

    #[test]
    fn flags_that_are_not_to_be_had_are_not_tried_again() {
        let mut claims = Claims::new(TableOwner::Auto);
        claims.give_up();
        assert_eq!(claims.flags(None), TableFlags::Plain);
        assert_eq!(claims.protection(Standing::Plain), Protection::Unsupported);
    }

    /// `persist` alone cannot be taken off (EOPNOTSUPP), so that a dormant table is woken with it.
    #[test]
    fn switched_off_nothing_is_claimed() {
        let claims = Claims::new(TableOwner::Off);
        assert_eq!(claims.flags(None), TableFlags::Plain);
        assert_eq!(claims.flags(Some(Standing::Orphan)), TableFlags::Persist);
        assert!(!claims.may_claim());
    }
}
