//! The daemon's tables, whatever their name, and the end of one.

use super::Kernel;
use super::error::KernelError;
use super::netlink::TableHeader;
use crate::ruleset::{Family, names};

/// A table of the daemon that the kernel has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundTable {
    /// Its family.
    pub family: Family,
    /// Its name.
    pub name: String,
    /// Who owns it, and its flags.
    pub header: TableHeader,
}

impl Kernel {
    /// The tables of either family that have this name, and those that an earlier `--table` has left: they hold the
    /// daemon's set and counter. None is listed: that takes long of kube-proxy's, and libnftables dies of some.
    ///
    /// # Errors
    /// Where the kernel does not answer.
    pub fn tables_of_a_daemon(&mut self, chosen: &str) -> Result<Vec<FoundTable>, KernelError> {
        let mut found = Vec::new();
        for family in [Family::Ip, Family::Ip6] {
            found.extend(self.found(family, chosen)?);
            for name in self.access.tables(family)? {
                // What is in the tables that `--table` never takes is not the daemon's, whatever its name.
                let is_left = name != chosen
                    && names::checked_table(&name).is_ok()
                    && self.access.is_a_daemon_s(family, &name)?;
                if is_left {
                    found.extend(self.found(family, &name)?);
                }
            }
        }
        Ok(found)
    }

    /// The table, if it is there.
    ///
    /// # Errors
    /// Where the kernel does not answer.
    pub fn found(&mut self, family: Family, name: &str) -> Result<Option<FoundTable>, KernelError> {
        let header = self.access.header(family, name)?;
        Ok(header.map(|header| FoundTable {
            family,
            name: name.to_owned(),
            header,
        }))
    }

    /// Deletes the table with all that stands in it.
    ///
    /// # Errors
    /// Where the kernel refuses, as where another owns the table.
    pub fn delete(&mut self, table: &FoundTable) -> Result<(), KernelError> {
        self.memories.remove(&table.family);
        self.access.delete(table.family, &table.name)
    }
}
