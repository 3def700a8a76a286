//! The kernel: reads back what it has, makes it the ruleset's.

pub mod capability;
pub mod difference;
pub mod drift;
pub mod error;
pub mod libnftables;
mod listing;
pub mod netlink;
pub mod notifications;
pub mod observed;
pub mod owner;
mod sys;
pub mod worker;

use std::fmt;
use std::io;
use std::path::PathBuf;

use nix::sys::socket::SockFlag;
use tracing::{debug, warn};

use crate::ruleset::json::{self, Form};
use crate::ruleset::transaction::{Command, Transaction};
use crate::ruleset::{Family, Ruleset};
use difference::Difference;
use drift::Drift;
use error::KernelError;
use libnftables::Said;
use netlink::{Netlink, TableHeader};
use observed::ObservedTable;
use worker::{Worker, WorkerError};

/// How often a listing that is no JSON is asked for: one that a writer interrupted comes out cut.
const LISTING_TRIES: usize = 3;

/// How often the table is written before what still differs is an error: others may write as well.
const ROUNDS: usize = 3;

/// After so many syncs in a row that fail over the table's contents, it is deleted and made anew: a map that has the
/// set's name, an object that libnftables dies of listing. A moment's interruption is better than no NAT.
const DEFEATS: u32 = 3;

/// The nftables of this network namespace, as far as the daemon's table goes.
pub struct Kernel {
    worker: Worker,
    netlink: Option<Netlink>,
    form: Form,
    last_read_back: Option<ReadBack>,
    /// Syncs in a row that failed over the table's contents.
    defeats: u32,
}

/// What the kernel had in a generation.
struct ReadBack {
    generation: u32,
    observation: Observation,
}

/// What the kernel has under the table's name.
#[derive(Debug)]
pub enum Observation {
    /// No table.
    Missing,
    /// A table.
    Table(TableHeader, ObservedTable),
    /// A table, whose listing cannot be read.
    Unreadable(TableHeader),
}

impl Observation {
    /// The netlink port id of the socket that alone may change the table.
    fn owner(&self) -> Option<u32> {
        match self {
            Self::Missing => None,
            Self::Table(header, _) | Self::Unreadable(header) => header.owner,
        }
    }
}

/// What a sync did, or a look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncReport {
    /// In what the kernel differed before; empty: nothing was written.
    pub differences: Vec<Difference>,
    /// All commits up to this generation have been taken into account.
    pub generation: u32,
}

impl fmt::Display for SyncReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.differences.is_empty() {
            return f.write_str("in step already, nothing written");
        }
        write!(
            f,
            "applied and read back ({})",
            error::listed(&self.differences)
        )
    }
}

impl Kernel {
    /// Through a worker that runs `program`; it starts with the first request.
    #[must_use]
    pub fn new(program: PathBuf) -> Self {
        Self {
            worker: Worker::new(program),
            netlink: None,
            form: Form::Typeof,
            last_read_back: None,
            defeats: 0,
        }
    }

    /// Makes the kernel's table that of `ruleset`, in place, and reads it back. Writes nothing where
    /// it is so already. A table whose contents defeat that several times is made anew.
    ///
    /// # Errors
    /// Where the worker or the kernel refuses, or something else is there after each of
    /// `ROUNDS` rounds. Each transaction took effect as a whole or not at all.
    pub async fn sync(&mut self, ruleset: &Ruleset) -> Result<SyncReport, KernelError> {
        let mut result = self.converge(ruleset).await;
        if let Err(error) = &result
            && error.is_about_the_contents()
        {
            self.defeats = self.defeats.saturating_add(1);
            if self.defeats >= DEFEATS && self.apply(&ruleset.recreation()).await.is_ok() {
                warn!("the table was deleted and made anew, because nothing else helped: {error}");
                result = self.converge(ruleset).await;
            }
        }
        if result.is_ok() {
            self.defeats = 0;
            self.worker.succeeded();
        }
        result
    }

    async fn converge(&mut self, ruleset: &Ruleset) -> Result<SyncReport, KernelError> {
        let mut found: Option<Vec<Difference>> = None;
        let mut rounds = 0;
        let mut refusal = None;
        loop {
            let read_back = match self.known(ruleset)? {
                Some(known) => known,
                None => self.read_back(ruleset).await?,
            };
            let drift = drift_of(ruleset, &read_back.observation)?;
            if drift.differences.is_empty() {
                let generation = read_back.generation;
                self.last_read_back = Some(read_back);
                return Ok(SyncReport {
                    differences: found.unwrap_or_default(),
                    generation,
                });
            }
            if let Some(port) = read_back.observation.owner() {
                return Err(KernelError::OwnedByAnother {
                    port,
                    process: owner::process_of_port(port),
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
            refusal = match self.repair(&drift).await {
                Ok(()) => None,
                Err(refused @ KernelError::Refused { .. }) => Some(refused),
                Err(other) => return Err(other),
            };
            found.get_or_insert(drift.differences);
        }
    }

    /// Compares the kernel's table with `ruleset` and writes nothing.
    ///
    /// # Errors
    /// Where the worker or the kernel refuses.
    pub async fn look(&mut self, ruleset: &Ruleset) -> Result<SyncReport, KernelError> {
        let ReadBack {
            generation,
            observation,
        } = self.read_back(ruleset).await?;
        Ok(SyncReport {
            differences: drift_of(ruleset, &observation)?.differences,
            generation,
        })
    }

    async fn read_back(&mut self, ruleset: &Ruleset) -> Result<ReadBack, KernelError> {
        // Before the listing: a commit in between is then one that is still to be looked at.
        let generation = self.generation()?;
        let observation = self.observe(ruleset.family, &ruleset.table).await?;
        Ok(ReadBack {
            generation,
            observation,
        })
    }

    /// What was read back last, where nobody has committed since and `ruleset` is another one: it saves the listing,
    /// which for 10,000 elements takes longer than the change. That all is in step is never taken from memory.
    fn known(&mut self, ruleset: &Ruleset) -> Result<Option<ReadBack>, KernelError> {
        let Some(last) = self.last_read_back.take() else {
            return Ok(None);
        };
        let is_current = last.generation == self.generation()?;
        let is_to_be_changed = !drift_of(ruleset, &last.observation)?.differences.is_empty();
        Ok((is_current && is_to_be_changed).then_some(last))
    }

    /// The generation of the ruleset. Read before a listing, it says which commits the listing shows for sure.
    ///
    /// # Errors
    /// Where the kernel does not answer.
    pub fn generation(&mut self) -> Result<u32, KernelError> {
        self.ask(Netlink::generation)
    }

    fn ask<T>(&mut self, request: impl Fn(&Netlink) -> io::Result<T>) -> Result<T, KernelError> {
        let netlink = match self.netlink.take() {
            Some(netlink) => netlink,
            None => Netlink::open(0, SockFlag::empty()).map_err(KernelError::Netlink)?,
        };
        // A socket whose request has failed is not used again: its answer might still come.
        let answer = request(&netlink).map_err(KernelError::Netlink)?;
        self.netlink = Some(netlink);
        Ok(answer)
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
        let Some(header) = self.ask(|netlink| netlink.table(family, table))? else {
            return Ok(Observation::Missing);
        };
        let request = json::list_table(family, table);
        for _ in 0..LISTING_TRIES {
            let said = match self.worker.run(&request).await {
                Err(death @ WorkerError::Ended { .. }) => {
                    return Err(KernelError::DiedOfContents(death));
                }
                said => said?,
            };
            if !said.succeeded {
                if is_missing(&said) {
                    return Ok(Observation::Missing);
                }
                let doing = format!("listing table {} {table}", family.name());
                return Err(KernelError::refused(doing, &said.error));
            }
            match observed::read(&said.output) {
                Ok(table) => return Ok(Observation::Table(header, table)),
                Err(error) => debug!("a listing that is no JSON: {error}"),
            }
        }
        Ok(Observation::Unreadable(header))
    }

    /// Applies the transactions, up to the first that is refused.
    async fn repair(&mut self, drift: &Drift<'_>) -> Result<(), KernelError> {
        for transaction in &drift.repair {
            let is_deletion = matches!(transaction.commands.as_slice(), [Command::Delete(..)]);
            match self.apply(transaction).await {
                Err(KernelError::Worker(death @ WorkerError::Ended { .. })) if is_deletion => {
                    return Err(KernelError::DiedOfContents(death));
                }
                applied => applied?,
            }
        }
        Ok(())
    }

    /// Applies one transaction, as a whole or not at all.
    async fn apply(&mut self, transaction: &Transaction<'_>) -> Result<(), KernelError> {
        let mut said = self.run(transaction, self.form).await?;
        // libnftables before 1.1.0 does not know `typeof` in JSON. Trying is what tells: Debian and
        // others port fixes to old versions, so a version number does not.
        if !said.succeeded && self.form == Form::Typeof && declares_a_set(transaction) {
            said = self.run(transaction, Form::Portable).await?;
            if said.succeeded {
                debug!("libnftables takes no typeof in JSON; sets are declared by type");
                self.form = Form::Portable;
            }
        }
        if said.succeeded {
            Ok(())
        } else {
            Err(refused(transaction, &said))
        }
    }

    async fn run(
        &mut self,
        transaction: &Transaction<'_>,
        form: Form,
    ) -> Result<Said, KernelError> {
        let document = json::document(transaction, form)?;
        Ok(self.worker.run(&document).await?)
    }
}

fn drift_of<'a>(
    ruleset: &'a Ruleset,
    observation: &'a Observation,
) -> Result<Drift<'a>, KernelError> {
    Ok(match observation {
        Observation::Missing => Drift::of_missing_table(ruleset),
        Observation::Unreadable(_) => Drift::of_unreadable_table(ruleset),
        Observation::Table(header, table) => Drift::of_table(ruleset, *header, table)?,
    })
}

/// ENOENT, which libnftables tells by strerror(3) only; it never calls setlocale, so in English.
fn is_missing(said: &Said) -> bool {
    said.error.contains("No such file or directory")
}

fn declares_a_set(transaction: &Transaction<'_>) -> bool {
    transaction
        .commands
        .iter()
        .any(|command| matches!(command, Command::AddSet(..)))
}

fn refused(transaction: &Transaction<'_>, said: &Said) -> KernelError {
    let ruleset = transaction.ruleset;
    let doing = format!("changing table {} {}", ruleset.family.name(), ruleset.table);
    KernelError::refused(doing, &said.error)
}
