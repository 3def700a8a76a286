//! The kernel: reads back what it has, makes it the ruleset's.

mod access;
pub mod capability;
pub mod connections;
pub mod daemons;
pub mod difference;
pub mod drift;
pub mod error;
pub mod features;
pub mod legacy_nat;
pub mod libnftables;
mod listed;
mod listing;
pub mod local_address;
pub mod netlink;
pub mod notifications;
pub mod observed;
pub mod other_nat;
pub mod owner;
pub mod ownership;
pub(crate) mod proc;
pub mod removal;
mod report;
mod survey;
mod sys;
pub mod tables;
pub mod worker;
mod write;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Instant;

use tracing::{debug, warn};

use crate::ruleset::{Family, Ruleset};
use access::Access;
pub use access::Observation;
use connections::ConnectionCounts;
use difference::Difference;
use drift::Drift;
use error::KernelError;
use ownership::{Claims, Standing, TableOwner};
pub use report::SyncReport;
pub(crate) use sys::give_freed_memory_back;
use worker::Worker;

/// How often the table is written before what still differs is an error: others may write as well.
const ROUNDS: usize = 3;

/// After so many syncs in a row that fail over the table's contents, it is deleted and made anew: a map that has the
/// set's name, an object that libnftables dies of listing. A moment's interruption is better than no NAT.
const DEFEATS: u32 = 3;

/// The nftables of this network namespace, as far as the daemon's table goes.
pub struct Kernel {
    access: Access,
    claims: Claims,
    memories: HashMap<Family, Memory>,
    counts_per_cidr: bool,
    connections: HashMap<Family, ConnectionCounts>,
    libnftables: Option<String>,
}

/// What is remembered of a table from one sync to the next.
#[derive(Default)]
struct Memory {
    last_read_back: Option<ReadBack>,
    /// Syncs in a row that failed over the table's contents.
    defeats: Option<Defeats>,
    /// The netlink port id of another who owns the table, where its process was to be seen.
    owner_seen: Option<u32>,
}

struct Defeats {
    number: u32,
    began: Instant,
}

impl Default for Defeats {
    fn default() -> Self {
        Self {
            number: 0,
            began: Instant::now(),
        }
    }
}

/// What the kernel had in a generation.
struct ReadBack {
    generation: u32,
    /// Who listed it. The end of an owner changes a table without a new generation.
    worker: u32,
    observation: Observation,
}

impl Kernel {
    /// Through a worker that runs `program`; it starts with the first request.
    #[must_use]
    pub fn new(program: PathBuf, table_owner: TableOwner) -> Self {
        Self {
            access: Access::new(Worker::new(program)),
            claims: Claims::new(table_owner),
            memories: HashMap::new(),
            counts_per_cidr: false,
            connections: HashMap::new(),
            libnftables: None,
        }
    }

    /// The same for a command that runs once, and that owns nothing.
    #[must_use]
    pub fn of_a_command(program: PathBuf) -> Self {
        Self {
            access: Access::new(Worker::of_a_command(program)),
            ..Self::new(PathBuf::new(), TableOwner::Off)
        }
    }

    /// Counts connections for each configured CIDR as well.
    #[must_use]
    pub fn counting_per_cidr(self, counts_per_cidr: bool) -> Self {
        Self {
            counts_per_cidr,
            ..self
        }
    }

    /// The connections of a family as of the last listing of its table; `None`: it was never listed.
    #[must_use]
    pub fn connections(&self, family: Family) -> Option<&ConnectionCounts> {
        self.connections.get(&family)
    }

    /// The version of the worker's libnftables, once a table has been listed.
    #[must_use]
    pub fn libnftables(&self) -> Option<&str> {
        self.libnftables.as_deref()
    }

    /// How many workers have been started.
    #[must_use]
    pub fn workers_started(&self) -> u32 {
        self.access.worker.number()
    }

    /// Makes the kernel's table that of `ruleset`, in place, and reads it back. Writes nothing where
    /// it is so already. A table whose contents defeat that several times is made anew.
    ///
    /// # Errors
    /// Where the worker or the kernel refuses, another owns the table, or something else is there after each of
    /// `ROUNDS` rounds. Each transaction took effect as a whole or not at all.
    pub async fn sync(&mut self, ruleset: &Ruleset) -> Result<SyncReport, KernelError> {
        self.access.worker.work_for(ruleset.family);
        let mut result = match self.converge(ruleset).await {
            Err(refusal @ KernelError::Refused { .. }) => {
                Err(self.explained(refusal, ruleset).await)
            }
            other => other,
        };
        if let Err(error) = &result
            && let Some(patience) = error.patience()
        {
            let defeats = self.memory(ruleset.family).defeats.get_or_insert_default();
            defeats.number = defeats.number.saturating_add(1);
            let is_sure = defeats.number >= DEFEATS && defeats.began.elapsed() >= patience;
            if is_sure && self.recreate(ruleset).await.is_ok() {
                warn!("the table was deleted and made anew, because nothing else helped: {error}");
                result = self.converge(ruleset).await;
            }
        }
        if result.is_ok() {
            self.memory(ruleset.family).defeats = None;
            self.access.worker.succeeded();
        }
        result
    }

    /// A refusal, with what the kernel lacks if that is why.
    async fn explained(&mut self, refusal: KernelError, ruleset: &Ruleset) -> KernelError {
        // Where there is no answer, it is the refusal that counts.
        let missing = self.missing_features(ruleset).await.unwrap_or_default();
        if missing.is_empty() {
            return refusal;
        }
        KernelError::FeaturesMissing {
            refusal: Box::new(refusal),
            missing,
        }
    }

    async fn converge(&mut self, ruleset: &Ruleset) -> Result<SyncReport, KernelError> {
        let mut found: Vec<Difference> = Vec::new();
        let mut adopted = false;
        let mut rounds = 0;
        let mut refusal = None;
        loop {
            let (read_back, is_remembered) = match self.known(ruleset.family)? {
                Some(known) => (known, true),
                None => (self.read_back(ruleset).await?, false),
            };
            let standing = self.standing(ruleset.family, &read_back.observation)?;
            let claims =
                matches!(standing, None | Some(Standing::Orphan)) && self.claims.may_claim();
            let drift = drift_of(ruleset, &read_back.observation)?;
            if let (Some(standing), false, []) = (standing, claims, drift.differences.as_slice()) {
                if is_remembered {
                    continue;
                }
                let generation = read_back.generation;
                self.remember(ruleset, read_back)?;
                return Ok(SyncReport {
                    differences: found,
                    adopted,
                    protection: Some(self.claims.protection(standing)),
                    generation,
                });
            }
            if rounds == ROUNDS {
                return Err(refusal.unwrap_or(KernelError::StillDiffers {
                    rounds,
                    differences: drift.differences,
                }));
            }
            rounds += 1;
            // A table that someone else changed in between may refuse a transaction: look again.
            refusal = match self.write(ruleset, &drift, standing, claims).await {
                Ok(claimed) => {
                    adopted |= claimed && standing.is_some();
                    None
                }
                Err(refused @ KernelError::Refused { .. }) => Some(refused),
                Err(other) => return Err(other),
            };
            // Others may write as well, in between.
            for difference in drift.differences {
                if !found.contains(&difference) {
                    found.push(difference);
                }
            }
        }
    }

    /// What was read back is the ruleset.
    fn remember(&mut self, ruleset: &Ruleset, read_back: ReadBack) -> Result<(), KernelError> {
        if let Observation::Table(_, table) = &read_back.observation {
            self.access
                .keep(ruleset.family, &ruleset.table, table, read_back.generation)?;
        }
        self.memory(ruleset.family).last_read_back = Some(read_back);
        Ok(())
    }

    fn memory(&mut self, family: Family) -> &mut Memory {
        self.memories.entry(family).or_default()
    }

    /// Whose the table is; `None`: there is none.
    fn standing(
        &mut self,
        family: Family,
        observation: &Observation,
    ) -> Result<Option<Standing>, KernelError> {
        self.claims.are_of(self.access.worker.number());
        let standing = observation
            .header()
            .map(|header| self.claims.standing(header));
        match standing {
            Some(Standing::Foreign(port)) => {
                let process = owner::process_of_port(port);
                let seen = process.is_some().then_some(port);
                let before = std::mem::replace(&mut self.memory(family).owner_seen, seen);
                Err(KernelError::OwnedByAnother {
                    port,
                    is_ending: process.is_none() && before == Some(port),
                    process,
                })
            }
            other => Ok(other),
        }
    }

    /// Compares the kernel's table with `ruleset` and writes nothing.
    ///
    /// # Errors
    /// Where the worker or the kernel refuses.
    pub async fn look(&mut self, ruleset: &Ruleset) -> Result<SyncReport, KernelError> {
        self.access.worker.work_for(ruleset.family);
        let read_back = self.read_back(ruleset).await?;
        let standing = self.standing(ruleset.family, &read_back.observation)?;
        Ok(SyncReport {
            differences: drift_of(ruleset, &read_back.observation)?.differences,
            adopted: false,
            protection: standing.map(|standing| self.claims.protection(standing)),
            generation: read_back.generation,
        })
    }

    /// Waits until the worker, which nothing is asked of, has ended; says how. For ever where there is none.
    pub async fn worker_ended(&mut self) -> String {
        let how = self.access.worker.ended().await;
        // What it owned, it owns no longer.
        self.memories.clear();
        how
    }

    /// Ends the worker. The rules stay; they have no owner any more when this returns.
    pub async fn close(self) {
        self.access.worker.close().await;
    }

    async fn read_back(&mut self, ruleset: &Ruleset) -> Result<ReadBack, KernelError> {
        // Before the listing: a commit in between is then one that is still to be looked at.
        let generation = self.access.generation()?;
        debug!("table {} is looked at", ruleset.family.name());
        let observation = self.observe(ruleset.family, &ruleset.table).await?;
        self.note_counts(ruleset, &observation);
        Ok(ReadBack {
            generation,
            worker: self.access.worker.number(),
            observation,
        })
    }

    fn note_counts(&mut self, ruleset: &Ruleset, observation: &Observation) {
        let counts_per_cidr = self.counts_per_cidr;
        let new = || ConnectionCounts::new(counts_per_cidr);
        let counts = self.connections.entry(ruleset.family).or_insert_with(new);
        match observation {
            Observation::Missing => counts.table_is_missing(),
            Observation::Unreadable(_) => {}
            Observation::Table(_, table) => {
                counts.note(table, ruleset);
                if table.libnftables.is_some() && self.libnftables != table.libnftables {
                    self.libnftables.clone_from(&table.libnftables);
                }
            }
        }
    }

    /// What was read back last, where nobody has committed since; once, so that in step is never taken from memory. It saves
    /// the listing, which for 10,000 elements takes longer than the change.
    fn known(&mut self, family: Family) -> Result<Option<ReadBack>, KernelError> {
        let Some(last) = self.memory(family).last_read_back.take() else {
            return Ok(None);
        };
        let is_current = last.worker == self.access.worker.number()
            && last.generation == self.access.generation()?;
        Ok(is_current.then_some(last))
    }

    /// Reads the table.
    ///
    /// # Errors
    /// Where the worker or the kernel refuses.
    pub async fn observe(
        &mut self,
        family: Family,
        table: &str,
    ) -> Result<Observation, KernelError> {
        self.access.observe(family, table).await
    }
}

fn drift_of<'a>(
    ruleset: &'a Ruleset,
    observation: &'a Observation,
) -> Result<Drift<'a>, KernelError> {
    Ok(match observation {
        Observation::Missing => Drift::of_missing_table(ruleset),
        Observation::Unreadable(header) => Drift::of_unreadable_table(ruleset, *header),
        Observation::Table(header, table) => Drift::of_table(ruleset, *header, table)?,
    })
}
