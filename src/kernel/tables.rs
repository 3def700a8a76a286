//! All tables in one pass: each family by itself, so that what fails for one never holds up the other.

use super::access::Observation;
use super::difference::Difference;
use super::error::KernelError;
use super::netlink::is_after;
use super::observed::ObservedTable;
use super::{Kernel, ROUNDS, SyncReport};
use crate::ruleset::transaction::Command;
use crate::ruleset::{Family, Ruleset, Tables, names};

/// How often a table is looked at again because a later one's pass saw a newer generation.
const LOOKS_AGAIN: usize = 2;

/// How the pass over one table ended.
#[derive(Debug)]
pub struct TablePass {
    /// The table's family.
    pub family: Family,
    /// What was done, or found.
    pub result: Result<SyncReport, KernelError>,
}

impl Kernel {
    /// Makes the kernel's tables those of `tables`, in place, and reads them back; see [`Self::sync`]. A table whose
    /// family is off is deleted. Of the others none is without a pass.
    pub async fn sync_all(&mut self, tables: &Tables) -> Vec<TablePass> {
        let mut passes = Vec::new();
        for ruleset in tables.wanted() {
            passes.push(TablePass {
                family: ruleset.family,
                result: self.sync(ruleset).await,
            });
        }
        if tables.ip6.is_none() {
            let removal = self.remove(Family::Ip6, &tables.ip).await;
            passes.extend(removal.transpose().map(|result| TablePass {
                family: Family::Ip6,
                result,
            }));
        }
        self.bring_to_one_generation(tables, &mut passes).await;
        passes
    }

    /// Compares the kernel's tables with `tables` and writes nothing.
    pub async fn look_all(&mut self, tables: &Tables) -> Vec<TablePass> {
        let mut passes = Vec::new();
        for ruleset in tables.wanted() {
            passes.push(TablePass {
                family: ruleset.family,
                result: self.look(ruleset).await,
            });
        }
        passes
    }

    /// Reads the wanted tables for their counters ([`Self::connections`]), and nothing else.
    ///
    /// # Errors
    /// Where the worker or the kernel refuses.
    pub async fn count_all(&mut self, tables: &Tables) -> Result<(), KernelError> {
        for ruleset in tables.wanted() {
            self.read_back(ruleset).await?;
        }
        Ok(())
    }

    /// What others committed to the first table while the second had its pass would otherwise count as looked at.
    async fn bring_to_one_generation(&mut self, tables: &Tables, passes: &mut [TablePass]) {
        for _ in 0..LOOKS_AGAIN {
            let newest = newest_generation(passes);
            for pass in passes.iter_mut() {
                let Ok(report) = &mut pass.result else {
                    continue;
                };
                let ruleset = tables.wanted().find(|wanted| wanted.family == pass.family);
                if let Some(ruleset) = ruleset
                    && Some(report.generation) != newest
                {
                    match self.sync(ruleset).await {
                        Ok(again) => report.continued_by(again),
                        Err(failure) => pass.result = Err(failure),
                    }
                }
            }
        }
    }

    /// Deletes the table of the name that `other` has, in a family that is off; `None`: there is none. One that the daemon
    /// did not make stays.
    async fn remove(
        &mut self,
        family: Family,
        other: &Ruleset,
    ) -> Result<Option<SyncReport>, KernelError> {
        let unwanted = Ruleset {
            family,
            ..other.clone()
        };
        let mut rounds = 0;
        loop {
            // Before the look, also at what was deleted: who makes it again later is still to be looked at.
            let generation = self.access.generation()?;
            let Some(observation) = self.leftover(&unwanted).await? else {
                return Ok((rounds > 0).then(|| SyncReport {
                    differences: vec![Difference::TableUnwanted],
                    adopted: false,
                    protection: None,
                    generation,
                }));
            };
            if rounds == ROUNDS {
                return Err(KernelError::StillDiffers {
                    rounds,
                    differences: vec![Difference::TableUnwanted],
                });
            }
            rounds += 1;
            let standing = self.standing(family, &observation)?;
            let deletion = unwanted.transaction(vec![Command::DeleteTable]);
            self.apply(&[deletion], self.claims.flags(standing)).await?;
            self.memories.remove(&family);
        }
    }

    /// The table, if a daemon has made it.
    async fn leftover(&mut self, unwanted: &Ruleset) -> Result<Option<Observation>, KernelError> {
        let (family, table) = (unwanted.family, &unwanted.table);
        if self.access.header(family, table)?.is_none() {
            return Ok(None);
        }
        let observation = self.observe(family, table).await?;
        let is_made_by_a_daemon = match &observation {
            Observation::Missing | Observation::Unreadable(_) => false,
            // Empty, it was left by a daemon that was killed after it had claimed it.
            Observation::Table(_, table) => is_a_daemon_s(table) || table.is_empty(),
        };
        Ok(is_made_by_a_daemon.then_some(observation))
    }
}

impl SyncReport {
    fn continued_by(&mut self, later: Self) {
        self.differences.extend(later.differences);
        self.adopted |= later.adopted;
        self.protection = later.protection;
        self.generation = later.generation;
    }
}

fn newest_generation(passes: &[TablePass]) -> Option<u32> {
    let reports = passes.iter().filter_map(|pass| pass.result.as_ref().ok());
    let generations = reports.map(|report| report.generation);
    generations.reduce(|one, other| if is_after(other, one) { other } else { one })
}

/// Each version of the daemon makes these two, under whatever name of the table.
fn is_a_daemon_s(table: &ObservedTable) -> bool {
    let has_set = table.sets.iter().any(|set| set.name == names::EXEMPT_SET);
    let mut counters = table.counters.iter();
    has_set && counters.any(|counter| counter.name == names::MASQUERADED_COUNTER)
}
