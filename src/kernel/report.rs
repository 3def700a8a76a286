//! What became of a sync, or of a look.

use std::fmt;

use super::difference::Difference;
use super::error;
use super::ownership::Protection;

/// What a sync did, or a look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncReport {
    /// In what the kernel differed before; empty: its contents were right.
    pub differences: Vec<Difference>,
    /// The table's owner had ended; the worker is its owner now.
    pub adopted: bool,
    /// What protects the table from others; `None`: there is no table.
    pub protection: Option<Protection>,
    /// All commits up to this generation have been taken into account.
    pub generation: u32,
}

impl fmt::Display for SyncReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let adopted = if self.adopted { "adopted, " } else { "" };
        match self.differences.as_slice() {
            [] if self.adopted => f.write_str("adopted, in step already"),
            [] => f.write_str("in step already, nothing written"),
            [Difference::TableUnwanted] => f.write_str("deleted, since IPv6 is off"),
            differences => write!(
                f,
                "{adopted}applied and read back ({})",
                error::listed(differences)
            ),
        }
    }
}
