//! The checks that ask the kernel, through a worker of the doctor's own; they take CAP_NET_ADMIN.

use std::path::PathBuf;

use super::finding::Finding;
use super::rivals::BaseChain;
use super::{beside, privilege, rivals, table};
use crate::cli::{Options, TableOwner};
use crate::commands::run::OWN_PROGRAM;
use crate::kernel::error::KernelError;
use crate::kernel::other_nat::{Chain, ChainListing, NatTable};
use crate::kernel::{Kernel, owner};
use crate::ruleset::{Family, Ruleset, Tables, names};

const LEFTOVERS: &str = "other-tables";
const RIVALS: &str = "other-nat";
const IP_MASQ_AGENT: &str = "ip-masq-agent";
const ALL: [&str; 7] = [
    table::LIBRARY,
    table::FEATURES,
    table::TABLE,
    table::OWNER,
    RIVALS,
    LEFTOVERS,
    IP_MASQ_AGENT,
];

/// `tables`: those of the configuration; `None`: it is bad.
pub(super) fn findings(
    options: &Options,
    tables: Option<&Tables>,
    enforces: bool,
    has_capability: bool,
) -> Vec<Finding> {
    if !has_capability {
        let unchecked = |check| Finding::unchecked(check, "needs CAP_NET_ADMIN", privilege::REMEDY);
        return ALL.into_iter().map(unchecked).collect();
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let unchecked = |check| Finding::unchecked(check, &error, "free memory or files");
            return ALL.into_iter().map(unchecked).collect();
        }
    };
    let mut examination = Examination {
        kernel: Kernel::new(PathBuf::from(OWN_PROGRAM), options.table_owner.into()),
        options,
        enforces,
        found: Vec::new(),
    };
    runtime.block_on(examination.run(tables));
    examination.found
}

struct Examination<'a> {
    kernel: Kernel,
    options: &'a Options,
    enforces: bool,
    found: Vec<Finding>,
}

impl Examination<'_> {
    async fn run(&mut self, tables: Option<&Tables>) {
        let chains = self.kernel.all_chains().await;
        let version = match &chains {
            Ok(Some(listing)) => listing.version.clone(),
            _ => None,
        };
        match &chains {
            Err(error) => self.found.push(table::unanswered(table::LIBRARY, error)),
            Ok(_) => self.found.push(table::library(version.as_deref())),
        }
        match tables {
            Some(tables) => self.own_tables(tables, version.as_deref()).await,
            None => self
                .found
                .extend([table::FEATURES, table::TABLE, table::OWNER].map(|check| {
                    Finding::unchecked(check, "the configuration is bad", "mend the configuration")
                })),
        }
        match chains {
            Ok(Some(listing)) => self.others(&listing, tables).await,
            Ok(None) => self.unreadable(&"the listing of all chains cannot be read"),
            Err(error) => self.unreadable(&error),
        }
    }

    fn unreadable(&mut self, why: &dyn std::fmt::Display) {
        let remedy = "mend what libnftables says, and look again";
        let checks = [RIVALS, LEFTOVERS, IP_MASQ_AGENT];
        let unchecked = checks.map(|check| Finding::unchecked(check, why, remedy));
        self.found.extend(unchecked);
    }

    async fn own_tables(&mut self, tables: &Tables, version: Option<&str>) {
        for ruleset in tables.wanted() {
            match self.kernel.missing_features(ruleset).await {
                Ok(missing) => {
                    let family = ruleset.family.name();
                    self.found.extend(table::features(family, &missing));
                }
                Err(error) => self.found.push(table::unanswered(table::FEATURES, &error)),
            }
            self.own_table(ruleset, version).await;
        }
    }

    async fn own_table(&mut self, ruleset: &Ruleset, version: Option<&str>) {
        let name = format!("{} {}", ruleset.family.name(), ruleset.table);
        let (header, differences) = match self.kernel.compare(ruleset).await {
            Ok(compared) => compared,
            Err(error) => {
                let checks = [table::TABLE, table::OWNER];
                let unanswered = checks.map(|check| table::unanswered(check, &error));
                return self.found.extend(unanswered);
            }
        };
        let in_step = table::in_step(&name, header.is_some(), &differences);
        self.found.push(in_step);
        let kernel_takes_it = match self.kernel.takes_owner(ruleset.family).await {
            Ok(takes) => takes,
            Err(error) => return self.found.push(table::unanswered(table::OWNER, &error)),
        };
        let port = header.and_then(|header| header.owner);
        self.found.push(table::owner(
            &name,
            header,
            port.and_then(owner::process_of_port).as_deref(),
            self.options.table_owner == TableOwner::Off,
            table::owner_support(version, kernel_takes_it),
        ));
    }

    /// What stands in the tables of others, and in the daemon's own of other names.
    async fn others(&mut self, listing: &ChainListing, tables: Option<&Tables>) {
        let of_others: Vec<&Chain> = listing
            .chains
            .iter()
            .filter(|chain| chain.source_nat_priority.is_some() && !self.is_own(chain, tables))
            .collect();
        let read = self.nat_tables(&of_others).await;
        let mut base_chains = Vec::new();
        let mut leftovers = Vec::new();
        for chain in of_others {
            let Some((_, table)) = read.iter().find(|(name, _)| *name == name_of(chain)) else {
                continue;
            };
            if is_of_a_daemon(chain, table) {
                leftovers.push((chain.family.clone(), chain.table.clone()));
            } else {
                base_chains.extend(self.base_chain(chain, table));
            }
        }
        let rivals = rivals::findings(&base_chains, self.enforces);
        self.found.extend(rivals);
        leftovers.dedup();
        self.found.extend(beside::leftovers(&leftovers));
        let ip_masq_agent = beside::ip_masq_agent(&listing.chains, &read);
        self.found.extend(ip_masq_agent);
    }

    /// The tables of these chains, each once; one that cannot be read is told.
    async fn nat_tables(&mut self, chains: &[&Chain]) -> Vec<(String, NatTable)> {
        let mut names: Vec<String> = Vec::new();
        let mut read = Vec::new();
        for chain in chains {
            let name = name_of(chain);
            if names.contains(&name) {
                continue;
            }
            names.push(name.clone());
            match self.nat_table(chain).await {
                Ok(table) => read.push((name, table)),
                Err(finding) => self.found.push(finding),
            }
        }
        read
    }

    /// `None`: it is not hooked.
    fn base_chain(&mut self, chain: &Chain, table: &NatTable) -> Option<BaseChain> {
        // What cannot be told counts as hooked.
        if matches!(
            self.kernel.is_dormant(&chain.family, &chain.table),
            Ok(true)
        ) {
            return None;
        }
        Some(BaseChain {
            family: chain.family.clone(),
            table: chain.table.clone(),
            name: chain.name.clone(),
            priority: chain.source_nat_priority?,
            rules: table.source_nat_rules(&chain.name),
        })
    }

    /// One of the tables that the configuration wants.
    fn is_own(&self, chain: &Chain, tables: Option<&Tables>) -> bool {
        let is_wanted = |family: &str| match tables {
            Some(tables) => tables.wanted().any(|own| own.family.name() == family),
            None => [Family::Ip, Family::Ip6]
                .iter()
                .any(|own| own.name() == family),
        };
        chain.table == self.options.table && is_wanted(&chain.family)
    }

    async fn nat_table(&mut self, chain: &Chain) -> Result<NatTable, Finding> {
        let listed = self.kernel.nat_table(&chain.family, &chain.table).await;
        let what = format!("table {}", name_of(chain));
        let remedy = "look at it with a newer nft: nft list table";
        match listed {
            Ok(Some(table)) => Ok(table),
            Ok(None) => Err(Finding::unchecked(
                RIVALS,
                format!("the listing of {what} cannot be read"),
                remedy,
            )),
            Err(error @ KernelError::Worker(_)) => Err(Finding::unchecked(
                RIVALS,
                format!("{what}: {error}"),
                remedy,
            )),
            Err(error) => Err(Finding::unchecked(RIVALS, error, remedy)),
        }
    }
}

/// Family and name of the chain's table.
fn name_of(chain: &Chain) -> String {
    format!("{} {}", chain.family, chain.table)
}

/// Each version of the daemon makes these two, under whatever name of the table.
fn is_of_a_daemon(chain: &Chain, table: &NatTable) -> bool {
    let is_ip = [Family::Ip, Family::Ip6]
        .iter()
        .any(|own| own.name() == chain.family);
    is_ip
        && table.sets.iter().any(|set| set == names::EXEMPT_SET)
        && table
            .counters
            .iter()
            .any(|counter| counter == names::MASQUERADED_COUNTER)
}
