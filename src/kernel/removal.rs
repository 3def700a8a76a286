//! The daemon's tables, whatever their name, and the end of one.

use serde::Deserialize;
use serde_json::json;
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
        }
        let request = json!({ "nftables": [{ "list": { "tables": {} } }] }).to_string();
        let listing: Listing = self.access.list("listing all tables", &request).await?;
        for (family, name) in listing.candidates(chosen) {
            match self.observe(family, &name).await {
                Ok(Observation::Table(header, table)) if is_a_daemon_s(&table) => {
                    found.push(FoundTable {
                        family,
                        name,
                        header,
                    });
                }
                Ok(_) => {}
                Err(error) => {
                    let family = family.name();
                    warn!(
                        "table {family} {name} is taken for another's, since it cannot be read: {error}"
                    );
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

#[derive(Deserialize)]
struct Listing {
    nftables: Vec<Object>,
}

/// `{"table": {…}}`, or something else, of which there is nothing to be read.
#[derive(Deserialize)]
struct Object {
    table: Option<ListedTable>,
}

#[derive(Deserialize)]
struct ListedTable {
    family: String,
    name: String,
}

impl Listing {
    /// The tables that may be the daemon's. Those that `--table` never takes are not even looked at: what iptables-nft
    /// keeps there may be more than libnftables can read.
    fn candidates(self, chosen: &str) -> impl Iterator<Item = (Family, String)> {
        let tables = self.nftables.into_iter().filter_map(|object| object.table);
        tables.filter_map(move |table| {
            let family = match table.family.as_str() {
                "ip" => Family::Ip,
                "ip6" => Family::Ip6,
                _ => return None,
            };
            let may_be = table.name != chosen && names::checked_table(&table.name).is_ok();
            may_be.then_some((family, table.name))
        })
    }
}
