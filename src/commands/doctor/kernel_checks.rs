//! The checks that ask the kernel, through a worker of the doctor's own; they take CAP_NET_ADMIN.

use std::io;

use super::enforcement::Enforcement;
use super::finding::Finding;
use super::{capability, ip_masq_agent, ipvs, other_nat, other_tables, table};
use crate::cli::{Options, TableOwner};
use crate::commands::features;
use crate::commands::holder::Holder;
use crate::commands::legacy_nat::LegacyNat;
use crate::commands::look::{FoundTable, Look};
use crate::commands::other_nat::{ChainListing, NatChain, Survey, Traffic};
use crate::kernel::error;
use crate::policy::Policy;
use crate::ruleset::{Family, Tables};

const ALL: [&str; 7] = [
    table::LIBRARY,
    table::FEATURES,
    table::TABLE,
    table::OWNER,
    other_nat::CHECK,
    other_tables::CHECK,
    ip_masq_agent::CHECK,
];

/// What was found, and what it says of `enforce`. `policy`: none where the configuration is bad.
pub(super) fn findings(
    options: &Options,
    policy: Option<&Policy>,
    legacy: &LegacyNat,
    has_capability: bool,
) -> (Vec<Finding>, Enforcement) {
    let tables = policy.map(|policy| Tables::new(policy, &options.chosen_names()));
    let enforces = policy.is_some_and(|policy| policy.enforce);
    let unchecked = |why: &dyn std::fmt::Display, remedy: &str| {
        let findings = ALL
            .into_iter()
            .map(|check| Finding::unchecked(check, why, remedy));
        let enforcement = Enforcement::new(enforces, None, None, &Traffic::default());
        (findings.collect(), enforcement)
    };
    if !has_capability {
        return unchecked(&"needs CAP_NET_ADMIN", capability::REMEDY);
    }
    let look = match Look::new() {
        Ok(look) => look,
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            let (mut findings, enforcement) = unchecked(&error, "see kernel-features");
            findings.retain(|finding| finding.check != table::FEATURES);
            findings.extend(table::features("ip", &[features::NF_TABLES]));
            return (findings, enforcement);
        }
        Err(error) => {
            let said = error.to_string();
            let remedy = error::remedy(&said).unwrap_or("free memory or files");
            return unchecked(&said, remedy);
        }
    };
    let mut examination = Examination {
        look,
        options,
        enforces,
        traffic: Traffic::of_pods(policy),
        legacy,
        found: Vec::new(),
    };
    let enforcement = examination.run(tables.as_ref());
    (examination.found, enforcement)
}

struct Examination<'a> {
    look: Look,
    options: &'a Options,
    /// As configured.
    enforces: bool,
    traffic: Traffic,
    legacy: &'a LegacyNat,
    found: Vec<Finding>,
}

impl Examination<'_> {
    fn run(&mut self, tables: Option<&Tables>) -> Enforcement {
        let chains = self.look.chains();
        let version = chains
            .as_ref()
            .ok()
            .and_then(|listing| listing.version.as_deref());
        self.found.push(match &chains {
            Err(error) => table::unanswered(table::LIBRARY, error),
            Ok(_) => table::library(version),
        });
        self.own_tables(tables, version);
        match chains {
            Ok(listing) => self.others(&listing, tables),
            Err(error) => {
                self.unreadable(&error);
                self.enforcement(None)
            }
        }
    }

    /// `survey`: none where there is none.
    fn enforcement(&self, survey: Option<&Survey>) -> Enforcement {
        Enforcement::new(self.enforces, ipvs::services(), survey, &self.traffic)
    }

    fn unreadable(&mut self, why: &dyn std::fmt::Display) {
        let remedy = "mend what libnftables says, and look again";
        let checks = [other_nat::CHECK, other_tables::CHECK, ip_masq_agent::CHECK];
        let unchecked = checks.map(|check| Finding::unchecked(check, why, remedy));
        self.found.extend(unchecked);
    }

    /// Without a configuration, IPv4's table: it is there whatever that says.
    fn own_tables(&mut self, tables: Option<&Tables>, version: Option<&str>) {
        let Some(tables) = tables else {
            self.found.push(table::uncompared(table::FEATURES));
            return self.own_table(Family::Ip, None, version);
        };
        for ruleset in tables.wanted() {
            match self.look.missing_features(ruleset) {
                Ok(missing) => {
                    let family = ruleset.family.name();
                    self.found.extend(table::features(family, &missing));
                }
                Err(error) => self.found.push(table::unanswered(table::FEATURES, &error)),
            }
            self.own_table(ruleset.family, Some(tables), version);
        }
    }

    fn own_table(&mut self, family: Family, tables: Option<&Tables>, version: Option<&str>) {
        let options = self.options;
        let name = format!("{} {}", family.name(), options.table);
        let seen = self.look.table(family, &options.table, tables);
        let (observed, differences) =
            match seen.and_then(|seen| Ok((seen.observed, seen.differences?))) {
                Ok(both) => both,
                Err(error) => {
                    let checks = [table::TABLE, table::OWNER];
                    let unanswered = checks.map(|check| table::unanswered(check, &error));
                    return self.found.extend(unanswered);
                }
            };
        let is_there = observed.is_some();
        let in_step = table::in_step(&name, is_there, differences.as_deref());
        self.found.push(in_step);
        let Some(version) = version else {
            let reason = "libnftables tells no version";
            let remedy = "mend what libnftables says, and look again";
            let owner = Finding::unchecked(table::OWNER, reason, remedy);
            return self.found.push(owner);
        };
        let kernel_takes_it = match self.look.takes_owner(family) {
            Ok(takes) => takes,
            Err(error) => return self.found.push(table::unanswered(table::OWNER, &error)),
        };
        self.found.push(table::owner(
            &name,
            observed.map(|table| Holder::of(table.header)).as_ref(),
            options.table_owner == TableOwner::Off,
            table::owner_support(version, kernel_takes_it),
        ));
    }

    /// What stands in the tables of others, and in the daemon's own of other names.
    fn others(&mut self, listing: &ChainListing, tables: Option<&Tables>) -> Enforcement {
        let leftovers = self.leftovers(tables);
        let is_leftover = |chain: &NatChain| {
            leftovers
                .iter()
                .flatten()
                .any(|table| chain.family == table.family.name() && chain.table == table.name)
        };
        let options = self.options;
        let survey = Survey::new(&mut self.look, listing, |chain| {
            !is_own(options, &chain.family, &chain.table, tables) && !is_leftover(chain)
        });
        let enforcement = self.enforcement(Some(&survey));
        let of_others = other_nat::findings(&survey, &self.traffic, enforcement, self.legacy);
        self.found.extend(of_others);
        self.found.extend(
            leftovers
                .iter()
                .flat_map(|found| other_tables::findings(found)),
        );
        self.found
            .extend(ip_masq_agent::findings(&survey.remains, self.legacy));
        enforcement
    }

    /// The tables of a daemon that the configuration does not want. `None`: they cannot be looked for, which is told.
    fn leftovers(&mut self, tables: Option<&Tables>) -> Option<Vec<FoundTable>> {
        match self.look.tables_of_a_daemon(&self.options.table) {
            Ok(mut found) => {
                let options = self.options;
                found.retain(|table| !is_own(options, table.family.name(), &table.name, tables));
                Some(found)
            }
            Err(error) => {
                self.found
                    .push(table::unanswered(other_tables::CHECK, &error));
                None
            }
        }
    }
}

/// One of the tables that the configuration wants; without one, that of either family.
fn is_own(options: &Options, family: &str, table: &str, tables: Option<&Tables>) -> bool {
    let is_wanted = |family: &str| match tables {
        Some(tables) => tables.wanted().any(|own| own.family.name() == family),
        None => Family::ALL.iter().any(|own| own.name() == family),
    };
    table == options.table && is_wanted(family)
}
