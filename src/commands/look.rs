//! What commands ask of the kernel. Nothing here is ever committed, but for what `cleanup` deletes.

use std::io;

use nix::sys::socket::SockFlag;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::runtime::Runtime;
use tracing::debug;

use super::features::{self, Feature};
use super::listed_rules::ListedRules;
use super::other_nat::{ChainListing, NatTable};
use crate::daemon::worker::{Worker, WorkerError};
use crate::kernel::difference::{Comparison, Difference};
use crate::kernel::error::KernelError;
use crate::kernel::libnftables::Mode;
use crate::kernel::netlink::{Netlink, TableHeader};
use crate::kernel::notifications::Notifications;
use crate::kernel::observed::Observed;
use crate::ruleset::json::{self, Form};
use crate::ruleset::transaction::{Command, TableFlags, Transaction};
use crate::ruleset::{Family, Ruleset, SetNames, Tables, names};

/// How often a listing that is no JSON is asked for: one that a writer interrupted comes out cut.
const LISTING_TRIES: usize = 3;

/// strerror(3) of ENOENT (no module for an expression or a type of chain), EOPNOTSUPP and EAFNOSUPPORT (none for the
/// family). Other refusals, EPERM say, tell nothing of what the kernel has.
const ABSENT: [&str; 3] = [
    "No such file or directory",
    "Operation not supported",
    "Address family not supported by protocol",
];

/// strerror(3) of EOPNOTSUPP, and of EINVAL, which the kernel says before Linux 5.12.
const FLAGS_UNKNOWN: [&str; 2] = ["Operation not supported", "Invalid argument"];

fn is_one_of(reasons: &[&str], said: &str) -> bool {
    reasons.iter().any(|reason| said.contains(reason))
}

/// A socket to look with, and a worker for what libnftables lists and judges.
pub(super) struct Look {
    netlink: Netlink,
    runtime: Runtime,
    worker: Worker,
}

/// A table that the daemon is to have made.
pub(super) struct SeenTable {
    /// `None`: there is none.
    pub(super) observed: Option<Observed>,
    /// In what it differs from what is wanted; `None`: that is not known.
    pub(super) differences: Result<Option<Vec<Difference>>, WorkerError>,
}

/// A table of the daemon that the kernel has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FoundTable {
    pub(super) family: Family,
    pub(super) name: String,
    pub(super) header: TableHeader,
}

impl Look {
    pub(super) fn new() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(Self {
            netlink: Netlink::open(0, SockFlag::empty())?,
            runtime,
            worker: Worker::of_a_command(),
        })
    }

    /// The family's table of this name, whoever owns it, held against `wanted`; `None`: what is wanted is not known.
    pub(super) fn table(
        &mut self,
        family: Family,
        name: &str,
        wanted: Option<&Tables>,
    ) -> Result<SeenTable, WorkerError> {
        let ruleset = wanted.and_then(|tables| tables.of(family));
        let observed = self.observe(family, name, ruleset)?;
        let differences = wanted.map(|_| match (ruleset, &observed) {
            (None, None) => Ok(Vec::new()),
            (None, Some(_)) => Ok(vec![Difference::TableUnwanted]),
            (Some(_), None) => Ok(vec![Difference::TableMissing]),
            (Some(ruleset), Some(observed)) => self.differences(ruleset, observed),
        });
        Ok(SeenTable {
            observed,
            differences: differences.transpose(),
        })
    }

    /// `ruleset`: what may be in the table.
    fn observe(
        &self,
        family: Family,
        name: &str,
        ruleset: Option<&Ruleset>,
    ) -> Result<Option<Observed>, WorkerError> {
        let chains = ruleset.into_iter().flat_map(|ruleset| &ruleset.chains);
        let chains = chains.map(|chain| chain.name.as_str());
        let observed = Observed::read(&self.netlink, family, name, chains);
        Ok(observed.map_err(KernelError::from)?)
    }

    /// Rules are compared as far as a listing shows them.
    fn differences(
        &mut self,
        ruleset: &Ruleset,
        observed: &Observed,
    ) -> Result<Vec<Difference>, WorkerError> {
        let family = ruleset.family;
        let rules = self.rules(family, &ruleset.table)?;
        let rules_are = |chain: &_, set_names: &_| rules.are(family, chain, set_names);
        // Whether they can count, the daemon finds out when it makes them.
        Ok(Comparison::new(ruleset, observed, true, rules_are).differences)
    }

    /// The rules of a table that the daemon has made, as libnftables lists them.
    pub(super) fn rules(
        &mut self,
        family: Family,
        table: &str,
    ) -> Result<ListedRules, WorkerError> {
        self.list(
            format!("listing table {} {table}", family.name()),
            &json::list_table(family.name(), table),
            Mode::Terse,
        )
    }

    /// The table, if it is there.
    pub(super) fn found(
        &self,
        family: Family,
        name: &str,
    ) -> Result<Option<FoundTable>, WorkerError> {
        let header = self.netlink.table(family.name(), name);
        Ok(header.map_err(KernelError::from)?.map(|header| FoundTable {
            family,
            name: name.to_owned(),
            header,
        }))
    }

    /// The tables of either family that have this name, and those that an earlier `--table` has left: they hold the
    /// daemon's set and counter. None is listed: libnftables dies of some.
    pub(super) fn tables_of_a_daemon(&self, chosen: &str) -> Result<Vec<FoundTable>, WorkerError> {
        let mut found = Vec::new();
        for family in Family::ALL {
            found.extend(self.found(family, chosen)?);
            let tables = self.netlink.tables(family.name());
            for name in tables.map_err(KernelError::from)? {
                // What is in the tables that `--table` never takes is not the daemon's, whatever its name.
                if name == chosen || names::checked_table(&name).is_err() {
                    continue;
                }
                let observed = self.observe(family, &name, None)?;
                if observed.is_some_and(|observed| observed.is_a_daemon_s()) {
                    found.extend(self.found(family, &name)?);
                }
            }
        }
        Ok(found)
    }

    /// Deletes the table with all that stands in it. Not by libnftables, which dies of some sets of others.
    pub(super) fn delete(&self, table: &FoundTable) -> io::Result<()> {
        self.netlink.delete_table(table.family.name(), &table.name)
    }

    /// Who commits from now on.
    pub(super) fn notifications(&self) -> io::Result<Notifications> {
        let _entered = self.runtime.enter();
        Notifications::subscribe()
    }

    /// What `ruleset` needs and this kernel lacks, each tried alone in a dry run.
    ///
    /// # Errors
    /// Also where one is refused for another reason: then it is not known.
    pub(super) fn missing_features(
        &mut self,
        ruleset: &Ruleset,
    ) -> Result<Vec<Feature>, WorkerError> {
        if matches!(self.netlink.generation(), Err(error) if error.kind() == io::ErrorKind::Unsupported)
        {
            return Ok(vec![features::NF_TABLES]);
        }
        let mut missing = Vec::new();
        let set_names = SetNames::first();
        for (feature, probe) in features::probes(ruleset) {
            if missing.iter().any(|other| feature.stands_on(*other)) {
                continue;
            }
            let creation = probe.creation(&set_names).into_iter();
            let commands = creation.flat_map(|made| made.commands).collect();
            let refusal = self.refusal(&probe.transaction(&set_names, commands))?;
            match refusal {
                None => {}
                Some(said) if is_one_of(&ABSENT, &said) => missing.push(feature),
                Some(said) => {
                    return Err(KernelError::refused(format!("trying {feature}"), &said).into());
                }
            }
        }
        Ok(missing)
    }

    /// Whether the kernel takes a table with `flags owner,persist`, by a dry run. libnftables before 1.1.0 drops the flags
    /// without a word, so that its answer says nothing.
    pub(super) fn takes_owner(&mut self, family: Family) -> Result<bool, WorkerError> {
        let (probe, set_names) = (features::empty_table(family), SetNames::first());
        let with_flags = vec![Command::AddTable(TableFlags::OwnerPersist)];
        match self.refusal(&probe.transaction(&set_names, with_flags))? {
            None => Ok(true),
            Some(said) if is_one_of(&FLAGS_UNKNOWN, &said) => Ok(false),
            Some(said) => {
                let doing = "trying a table with an owner".to_owned();
                Err(KernelError::refused(doing, &said).into())
            }
        }
    }

    /// Why libnftables or the kernel would refuse it, if they would.
    fn refusal(&mut self, transaction: &Transaction<'_>) -> Result<Option<String>, WorkerError> {
        let document = json::document([transaction], Form::Portable);
        let document = document.map_err(KernelError::from)?;
        let said = self
            .runtime
            .block_on(self.worker.take(&document, Mode::DryRun))?;
        Ok((!said.succeeded).then_some(said.error))
    }

    /// The chains of all tables, less the base chains of dormant ones, which are not hooked.
    ///
    /// Chains only: a listing of rules or sets is a matter of its own, since libnftables 1.0.6 dies of sets that a newer nft
    /// has written.
    pub(super) fn chains(&mut self) -> Result<ChainListing, WorkerError> {
        let request = json!({ "nftables": [{ "list": { "chains": {} } }] }).to_string();
        let doing = "listing the chains of all tables".to_owned();
        let mut listing: ChainListing = self.list(doing, &request, Mode::Full)?;
        listing.nat_chains.retain(|chain| {
            let header = self.netlink.table(&chain.family, &chain.table);
            // What cannot be told counts as hooked.
            !matches!(header, Ok(Some(header)) if header.is_dormant())
        });
        Ok(listing)
    }

    /// A table of any family. Of some sets of others libnftables 1.0.6 dies, and the worker with it.
    pub(super) fn nat_table(&mut self, family: &str, table: &str) -> Result<NatTable, WorkerError> {
        let doing = format!("listing table {family} {table}");
        self.list(doing, &json::list_table(family, table), Mode::Full)
    }

    fn list<T: DeserializeOwned>(
        &mut self,
        doing: String,
        request: &str,
        mode: Mode,
    ) -> Result<T, WorkerError> {
        let mut unread = None;
        for _ in 0..LISTING_TRIES {
            let said = self.runtime.block_on(self.worker.take(request, mode))?;
            if !said.succeeded {
                return Err(KernelError::refused(doing, &said.error).into());
            }
            match serde_json::from_str(&said.output) {
                Ok(listed) => return Ok(listed),
                Err(error) => debug!("{doing}: {}", unread.insert(error)),
            }
        }
        let unread = unread.map(|error| error.to_string()).unwrap_or_default();
        Err(KernelError::refused(doing, &format!("no JSON: {unread}")).into())
    }
}

impl Drop for Look {
    /// A command leaves no process behind, not even one that has ended.
    fn drop(&mut self) {
        self.runtime.block_on(self.worker.close());
    }
}
