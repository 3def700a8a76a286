//! Who may change the table: `flags owner,persist`, nft(8) "TABLES".
//!
//! The owner is a netlink socket: that of the worker's one libnftables context. Others get EPERM, and their `flush
//! ruleset` leaves the table alone. It outlives its owner, and the next daemon adopts it in place. The kernel has
//! `persist` from Linux 6.9 on, libnftables writes table flags by JSON from 1.1.0 on; no version number is asked for,
//! since both are ported back: the flags are tried, and read back.

use std::fmt;

use super::netlink::TableHeader;
use crate::ruleset::json::TableFlags;

/// `--table-owner`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableOwner {
    /// Own the table where kernel and libnftables can.
    Auto,
    /// Never own it.
    Off,
}

/// What protects the table from others, besides that their changes are undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
                "the table was made without an owner and stays so until it is made anew (reboot, or delete it while the \
                 daemon is stopped); what others change in it is undone"
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

/// What the worker owns, and may own.
#[derive(Debug)]
pub(super) struct Claims {
    mode: TableOwner,
    /// False: the flags were tried, and are not to be had.
    are_possible: bool,
    /// Which worker the next two are about: a socket's claims end with it.
    worker: u32,
    /// The netlink port id of the worker's socket, once it has become known as an owner.
    port: Option<u32>,
    /// The worker has written the flags, and nobody else can have done so since.
    has_claimed: bool,
}

impl Claims {
    pub(super) fn new(mode: TableOwner) -> Self {
        Self {
            mode,
            are_possible: true,
            worker: 0,
            port: None,
            has_claimed: false,
        }
    }

    /// What is known is about the `worker` of this number, counted from the first.
    pub(super) fn are_of(&mut self, worker: u32) {
        if self.worker != worker {
            self.worker = worker;
            self.port = None;
            self.has_claimed = false;
        }
    }

    /// Whose a table with this header is.
    pub(super) fn standing(&mut self, header: TableHeader) -> Standing {
        let has_claimed = std::mem::take(&mut self.has_claimed);
        match header.owner {
            Some(port) if has_claimed || self.port == Some(port) => {
                self.port = Some(port);
                Standing::Own
            }
            Some(port) => Standing::Foreign(port),
            None if header.is_persistent() => Standing::Orphan,
            None => {
                // libnftables before 1.1.0 drops the flags without a word.
                self.are_possible &= !has_claimed;
                Standing::Plain
            }
        }
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

    /// Whether a table whose owner has ended is to be adopted.
    pub(super) fn may_claim(&self) -> bool {
        self.mode == TableOwner::Auto && self.are_possible
    }

    /// The worker has written both flags.
    pub(super) fn were_written(&mut self) {
        self.has_claimed = true;
    }

    /// The flags were refused, and not because of the table that is there.
    pub(super) fn are_refused(&mut self) {
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

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: TableHeader = TableHeader {
        flags: 0,
        owner: None,
    };
    const ORPHAN: TableHeader = TableHeader {
        flags: 4,
        owner: None,
    };

    fn owned(port: u32) -> TableHeader {
        TableHeader {
            flags: 6,
            owner: Some(port),
        }
    }

    #[test]
    fn what_is_found_at_start_is_taken_as_it_is() {
        let mut claims = Claims::new(TableOwner::Auto);
        assert_eq!(claims.flags(None), TableFlags::OwnerPersist);
        for (header, standing, flags) in [
            (PLAIN, Standing::Plain, TableFlags::Plain),
            (ORPHAN, Standing::Orphan, TableFlags::OwnerPersist),
            (owned(7), Standing::Foreign(7), TableFlags::Plain),
        ] {
            assert_eq!(claims.standing(header), standing);
            assert_eq!(claims.flags(Some(standing)), flags);
        }
        assert_eq!(claims.protection(Standing::Plain), Protection::FoundPlain);
    }

    #[test]
    fn the_worker_s_port_is_the_one_that_owns_after_it_wrote_the_flags() {
        let mut claims = Claims::new(TableOwner::Auto);
        claims.are_of(1);
        claims.were_written();
        assert_eq!(claims.standing(owned(7)), Standing::Own);
        assert_eq!(claims.standing(owned(7)), Standing::Own);
        assert_eq!(claims.standing(owned(8)), Standing::Foreign(8));
        claims.are_of(2);
        assert_eq!(claims.standing(owned(7)), Standing::Foreign(7));
        claims.were_written();
        assert_eq!(claims.standing(owned(9)), Standing::Own);
    }

    #[test]
    fn flags_that_were_written_and_are_not_there_are_not_tried_again() {
        let mut claims = Claims::new(TableOwner::Auto);
        claims.were_written();
        assert_eq!(claims.standing(PLAIN), Standing::Plain);
        assert_eq!(claims.flags(None), TableFlags::Plain);
        assert_eq!(claims.protection(Standing::Plain), Protection::Unsupported);
    }

    /// `persist` alone cannot be taken off (EOPNOTSUPP), so that a dormant table is woken with it.
    #[test]
    fn switched_off_nothing_is_claimed() {
        let mut claims = Claims::new(TableOwner::Off);
        assert_eq!(claims.flags(None), TableFlags::Plain);
        assert_eq!(claims.standing(ORPHAN), Standing::Orphan);
        assert_eq!(claims.flags(Some(Standing::Orphan)), TableFlags::Persist);
        assert!(!claims.may_claim());
    }
}
