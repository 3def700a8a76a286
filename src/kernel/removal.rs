//! The daemon's tables, whatever their name, and the end of one.

use tracing::warn;

use super::Kernel;
use super::access::Observation;
use super::error::KernelError;
use super::netlink::TableHeader;
use super::tables::is_a_daemon_s;
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
    /// daemon's set and counter. A table of another name that cannot be read is not the daemon's for all that is known.
    ///
    /// # Errors
    /// Where the worker or the kernel refuses.
    pub async fn tables_of_a_daemon(
        &mut self,
        chosen: &str,
    ) -> Result<Vec<FoundTable>, KernelError> {
        let mut found = Vec::new();
        for family in [Family::Ip, Family::Ip6] {
            // Known by its name, it need not be listed, which may fail.
            found.extend(self.found(family, chosen)?);
            for name in self.access.tables(family)? {
                // Those that `--table` never takes are not even looked at: what iptables-nft keeps there may be more
                // than libnftables can read.
                if name != chosen && names::checked_table(&name).is_ok() {
                    found.extend(self.made_by_a_daemon(family, name).await);
                }
            }
        }
        Ok(found)
    }

    async fn made_by_a_daemon(&mut self, family: Family, name: String) -> Option<FoundTable> {
        match self.observe(family, &name).await {
            Ok(Observation::Table(header, table)) if is_a_daemon_s(&table) => Some(FoundTable {
                family,
                name,
                header,
            }),
            Ok(_) => None,
            Err(error) => {
                let family = family.name();
                warn!(
                    "table {family} {name} is taken for another's, since it cannot be read: {error}"
                );
                None
            }
        }
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
