//! What a pass is asked for, and what it came to.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::difference::{Comparison, Difference};
use super::error::{self, KernelError};
use super::observed::ObservedElement;
use super::ownership::{Protection, TableOwner};
use crate::ruleset::{Family, Tables};

/// What a pass is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassRequest {
    /// The tables that are wanted; `None`: those of the last request.
    pub tables: Option<Tables>,
    /// The families whose tables may be written; others are compared.
    pub repairs: Vec<Family>,
    /// `--table-owner`
    pub table_owner: TableOwner,
}

/// What a pass came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassReport {
    /// Of each family, but for one that is off and has no table.
    pub tables: Vec<TablePass>,
    /// The netlink port id of the socket that the worker commits on: notifications name it.
    pub port: Option<u32>,
    /// The version of libnftables.
    pub libnftables: Option<String>,
}

/// How the pass over one table ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TablePass {
    /// The table's family.
    pub family: Family,
    /// What was done, or found.
    pub result: Result<TableReport, KernelError>,
    /// Elements of sets that are gone, as they were last, which have counted connections.
    pub counted: Vec<ObservedElement>,
}

/// What was found of a table, which is right now unless it is withheld.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableReport {
    /// In what it differed before; empty: nothing was known against it.
    pub differences: Vec<Difference>,
    /// Nobody of ours was known to have written its rules, so that they were written once more.
    pub rules_were_unknown: bool,
    /// It differs still: it was not to be written.
    pub is_withheld: bool,
    /// The table's owner had ended; the worker is its owner now.
    pub is_adopted: bool,
    /// What protects it from others; `None`: there is no table.
    pub protection: Option<Protection>,
    /// Connections to exempt destinations are not counted: libnftables writes no counters of elements.
    pub is_uncounted: bool,
    /// All commits up to this generation have been taken into account.
    pub generation: u32,
}

impl TableReport {
    /// Notes what a look has found that is not right.
    pub(super) fn note(&mut self, is_missing: bool, comparison: &Comparison<'_>) {
        if is_missing {
            self.differences = vec![Difference::TableMissing];
            return;
        }
        self.rules_were_unknown |= comparison.rules_are_unknown;
        // Others may write as well, between two rounds.
        for difference in &comparison.differences {
            let is_told = self.differences.contains(difference)
                || self.differences.contains(&Difference::TableMissing);
            if !is_told {
                self.differences.push(difference.clone());
            }
        }
    }
}

impl fmt::Display for TableReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let adopted = if self.is_adopted { "adopted, " } else { "" };
        match self.differences.as_slice() {
            [] if self.rules_were_unknown => {
                write!(f, "{adopted}in step, rules written once more and read back")
            }
            [] => write!(f, "{adopted}in step already"),
            [Difference::TableUnwanted] => f.write_str("deleted, since IPv6 is off"),
            differences => write!(
                f,
                "{adopted}applied and read back ({})",
                error::listed(differences)
            ),
        }
    }
}
