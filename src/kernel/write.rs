//! Writes: claims the table, repairs it, makes it anew.

use super::Kernel;
use super::drift::Drift;
use super::error::KernelError;
use super::ownership::Standing;
use super::worker::WorkerError;
use crate::ruleset::json::TableFlags;
use crate::ruleset::transaction::{Command, Transaction};
use crate::ruleset::{Family, Ruleset};

impl Kernel {
    /// Claims the table, if it `claims`, and repairs it; says whether it claimed it.
    pub(super) async fn write(
        &mut self,
        ruleset: &Ruleset,
        drift: &Drift<'_>,
        standing: Option<Standing>,
        claims: bool,
    ) -> Result<bool, KernelError> {
        let claimed = claims && self.claim(ruleset).await?;
        self.repair(drift, self.claims.flags(standing)).await?;
        Ok(claimed)
    }

    /// Makes the worker the owner of a table whose owner has ended, in place, or of a new one; says whether it could. In a
    /// transaction of its own: the kernel refuses with the flags all that stands in the transaction, and where that is
    /// thousands of elements, libnftables cannot read why.
    async fn claim(&mut self, ruleset: &Ruleset) -> Result<bool, KernelError> {
        let claim = ruleset.transaction(vec![Command::AddTable]);
        match self.apply(&[claim], TableFlags::OwnerPersist).await {
            Ok(()) => Ok(true),
            // Without them it was refused as well, so that the table has flags: those that libnftables did not write.
            Err(refused) if refused.is_unsupported() => {
                self.claims.are_refused();
                Ok(false)
            }
            Err(other) => Err(other),
        }
    }

    /// Deletes the table and makes it anew, in one transaction.
    pub(super) async fn recreate(&mut self, ruleset: &Ruleset) -> Result<(), KernelError> {
        let flags = match self.claims.flags(None) {
            // Here they cannot be tried alone.
            TableFlags::OwnerPersist if !self.takes_owner(ruleset.family).await? => {
                TableFlags::Plain
            }
            flags => flags,
        };
        self.apply(&[ruleset.recreation()], flags).await
    }

    /// Applies the transactions, up to the first that is refused.
    async fn repair(&mut self, drift: &Drift<'_>, flags: TableFlags) -> Result<(), KernelError> {
        let is_deletion = |transaction: &Transaction<'_>| {
            matches!(transaction.commands.as_slice(), [Command::Delete(..)])
        };
        let ends = drift.repair.iter().position(is_deletion);
        let (together, one_by_one) = drift
            .repair
            .split_at_checked(ends.unwrap_or(drift.repair.len()))
            .unwrap_or_default();
        self.apply(together, flags).await?;
        for transaction in one_by_one {
            match self.apply(std::slice::from_ref(transaction), flags).await {
                Err(KernelError::Worker(death @ WorkerError::Ended { .. }))
                    if is_deletion(transaction) =>
                {
                    return Err(KernelError::DiedOfContents(death));
                }
                applied => applied?,
            }
        }
        Ok(())
    }

    /// Applies the transactions, up to the first that is refused, and notes what became of the flags.
    pub(super) async fn apply(
        &mut self,
        transactions: &[Transaction<'_>],
        flags: TableFlags,
    ) -> Result<(), KernelError> {
        if transactions.is_empty() {
            return Ok(());
        }
        let written = self.access.apply(transactions, flags).await?;
        // It may have been started for this.
        self.claims.are_of(self.access.worker.number());
        let mut commands = transactions.iter().flat_map(|made| &made.commands);
        let makes_table = commands.any(|command| *command == Command::AddTable);
        match (makes_table, flags, written) {
            (true, _, TableFlags::OwnerPersist) => self.claims.were_written(),
            (true, TableFlags::OwnerPersist, _) => {
                if let Some(transaction) = transactions.first() {
                    self.flags_are_refused(transaction.ruleset.family).await?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Notes that there can be no owner, unless it is this table alone that does not take the flags: one that another has
    /// made without them since it was looked at.
    async fn flags_are_refused(&mut self, family: Family) -> Result<(), KernelError> {
        if !self.takes_owner(family).await? {
            self.claims.are_refused();
        }
        Ok(())
    }
}
