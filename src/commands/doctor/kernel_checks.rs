//! The checks that ask the kernel, through a worker of the doctor's own; they take CAP_NET_ADMIN.

use std::collections::HashSet;

use super::enforcement::Enforcement;
use super::finding::Finding;
use super::rivals::BaseChain;
use super::{beside, privilege, rivals, table};
use crate::cli::{Options, TableOwner};
use crate::commands::legacy_nat::LegacyNat;
use crate::commands::look::{FoundTable, Look};
use crate::commands::other_nat::{ChainListing, NatChain, NatTable};
use crate::daemon::worker::WorkerError;
use crate::kernel::owner;
use crate::ruleset::{Family, Ruleset, Tables};

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
    enforcement: Enforcement,
    legacy: &LegacyNat,
    has_capability: bool,
) -> Vec<Finding> {
    if !has_capability {
        let unchecked = |check| Finding::unchecked(check, "needs CAP_NET_ADMIN", privilege::REMEDY);
        return ALL.into_iter().map(unchecked).collect();
    }
    let look = match Look::new() {
        Ok(look) => look,
        Err(error) => {
            let unchecked = |check| Finding::unchecked(check, &error, "free memory or files");
            return ALL.into_iter().map(unchecked).collect();
        }
    };
    let mut examination = Examination {
        look,
        options,
        enforcement,
        legacy,
        found: Vec::new(),
    };
    examination.run(tables);
    examination.found
}

/// A chain of a table that cannot be read, and why.
type Unread = (NatChain, WorkerError);

struct Examination<'a> {
    look: Look,
    options: &'a Options,
    enforcement: Enforcement,
    legacy: &'a LegacyNat,
    found: Vec<Finding>,
}

impl Examination<'_> {
    fn run(&mut self, tables: Option<&Tables>) {
        let chains = self.look.chains();
        let version = chains
            .as_ref()
            .ok()
            .and_then(|listing| listing.version.as_deref());
        self.found.push(match &chains {
            Err(error) => table::unanswered(table::LIBRARY, error),
            Ok(_) => table::library(version),
        });
        match tables {
            Some(tables) => self.own_tables(tables, version),
            None => self.without_configuration(),
        }
        match chains {
            Ok(listing) => self.others(&listing, tables),
            Err(error) => self.unreadable(&error),
        }
    }

    fn unreadable(&mut self, why: &dyn std::fmt::Display) {
        let remedy = "mend what libnftables says, and look again";
        let checks = [RIVALS, LEFTOVERS, IP_MASQ_AGENT];
        let unchecked = checks.map(|check| Finding::unchecked(check, why, remedy));
        self.found.extend(unchecked);
    }

    /// IPv4's table is there whatever the configuration says.
    fn without_configuration(&mut self) {
        let family = Family::Ip;
        let is_there = self.look.found(family, &self.options.table);
        let name = format!("{} {}", family.name(), self.options.table);
        self.found.push(table::uncompared(table::FEATURES));
        self.found.push(match is_there {
            Ok(Some(_)) => table::uncompared(table::TABLE),
            Ok(None) => table::missing(&name, "mend the configuration: the daemon then makes it"),
            Err(error) => table::unanswered(table::TABLE, &error),
        });
        self.found.push(table::uncompared(table::OWNER));
    }

    fn own_tables(&mut self, tables: &Tables, version: Option<&str>) {
        for ruleset in tables.wanted() {
            match self.look.missing_features(ruleset) {
                Ok(missing) => {
                    let family = ruleset.family.name();
                    self.found.extend(table::features(family, &missing));
                }
                Err(error) => self.found.push(table::unanswered(table::FEATURES, &error)),
            }
            self.own_table(ruleset, version);
        }
    }

    fn own_table(&mut self, ruleset: &Ruleset, version: Option<&str>) {
        let name = format!("{} {}", ruleset.family.name(), ruleset.table);
        let observed = self.look.observe(ruleset);
        let compared = observed.and_then(|observed| {
            let differences = self.look.differences(ruleset, observed.as_ref())?;
            Ok((observed.map(|table| table.header), differences))
        });
        let (header, differences) = match compared {
            Ok(compared) => compared,
            Err(error) => {
                let checks = [table::TABLE, table::OWNER];
                let unanswered = checks.map(|check| table::unanswered(check, &error));
                return self.found.extend(unanswered);
            }
        };
        let in_step = table::in_step(&name, header.is_some(), &differences);
        self.found.push(in_step);
        let kernel_takes_it = match self.look.takes_owner(ruleset.family) {
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
    fn others(&mut self, listing: &ChainListing, tables: Option<&Tables>) {
        let leftovers = self.leftovers(tables);
        let is_leftover = |chain: &NatChain| {
            leftovers
                .iter()
                .flatten()
                .any(|table| chain.family == table.family.name() && chain.table == table.name)
        };
        let of_others: Vec<&NatChain> = listing
            .nat_chains
            .iter()
            .filter(|chain| {
                !self.is_own(&chain.family, &chain.table, tables) && !is_leftover(chain)
            })
            .collect();
        let (read, unread) = self.nat_tables(&of_others);
        let mut base_chains = Vec::new();
        for chain in of_others {
            if let Some((_, table)) = read.iter().find(|(name, _)| *name == name_of(chain)) {
                base_chains.push(BaseChain {
                    chain: chain.clone(),
                    rules: table.source_nat_rules(&chain.name),
                });
            }
        }
        self.found.extend(rivals::findings(
            &base_chains,
            &unread,
            self.enforcement,
            self.legacy,
        ));
        self.found.extend(match &leftovers {
            Some(leftovers) => beside::leftovers(leftovers),
            None => Vec::new(),
        });
        let ip_masq_agent = beside::ip_masq_agent(&listing.regular_chains, &read, self.legacy);
        self.found.extend(ip_masq_agent);
    }

    /// The tables of a daemon that the configuration does not want. `None`: they cannot be looked for, which is told.
    fn leftovers(&mut self, tables: Option<&Tables>) -> Option<Vec<FoundTable>> {
        match self.look.tables_of_a_daemon(&self.options.table) {
            Ok(mut found) => {
                found.retain(|table| !self.is_own(table.family.name(), &table.name, tables));
                Some(found)
            }
            Err(error) => {
                self.found.push(table::unanswered(LEFTOVERS, &error));
                None
            }
        }
    }

    /// The tables of these chains, each once: those that can be read, and why the others cannot.
    fn nat_tables(&mut self, chains: &[&NatChain]) -> (Vec<(String, NatTable)>, Vec<Unread>) {
        let (mut read, mut unread) = (Vec::new(), Vec::new());
        let mut names = HashSet::new();
        for chain in chains {
            let name = name_of(chain);
            if !names.insert(name.clone()) {
                continue;
            }
            match self.look.nat_table(&chain.family, &chain.table) {
                Ok(table) => read.push((name, table)),
                Err(error) => unread.push(((*chain).clone(), error)),
            }
        }
        (read, unread)
    }

    /// One of the tables that the configuration wants.
    fn is_own(&self, family: &str, table: &str, tables: Option<&Tables>) -> bool {
        let is_wanted = |family: &str| match tables {
            Some(tables) => tables.wanted().any(|own| own.family.name() == family),
            None => [Family::Ip, Family::Ip6]
                .iter()
                .any(|own| own.name() == family),
        };
        table == self.options.table && is_wanted(family)
    }
}

/// Family and name of the chain's table.
fn name_of(chain: &NatChain) -> String {
    format!("{} {}", chain.family, chain.table)
}
