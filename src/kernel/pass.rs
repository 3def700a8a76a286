//! A pass over the tables: look, compare, repair, read back.
//!
//! A set that rules look up is never changed. What differs is mended in up to three steps, each a transaction of its own:
//! the next set is declared with its elements, the rules move over, the last set goes. Between any two of them packets meet
//! the old policy or the new one (design §2 and §6 have the measured reasons).

use std::collections::HashMap;
use std::ffi::CString;
use std::io;

use nix::sys::socket::SockFlag;

use super::difference::{Comparison, Difference};
use super::error::KernelError;
use super::libnftables::{Context, Mode, Said, writes_counters};
use super::memory::Memory;
use super::netlink::Netlink;
use super::observed::Observed;
use super::owner;
use super::ownership::{Claims, Standing, TableOwner, standing};
pub use super::report::{PassReport, PassRequest, TablePass, TableReport};
use crate::ruleset::json::Form;
use crate::ruleset::{AddressField, Family, Ruleset, Tables};

/// How often the table is written before what still differs is an error: others may write as well.
const ROUNDS: usize = 3;

/// The conversation with nf_tables, and what it has taught. All of it ends with the worker, as its ownership does.
pub struct Kernel {
    pub(super) context: Context,
    pub(super) reader: Netlink,
    pub(super) form: Form,
    pub(super) claims: Claims,
    /// They may have met the rules before the last ones.
    pub(super) packets_may_be_under_way: bool,
    tables: Option<Tables>,
    memories: HashMap<Family, Memory>,
    libnftables: Option<String>,
}

/// What a look has found.
pub(super) struct Found<'a> {
    pub(super) ruleset: &'a Ruleset,
    /// Whose the table is; `None`: there is none.
    pub(super) standing: Option<Standing>,
    /// It is to be owned from now on.
    pub(super) is_claimed: bool,
    /// An empty one where there is none.
    pub(super) table: Observed,
    pub(super) comparison: Comparison<'a>,
}

impl Found<'_> {
    pub(super) fn is_missing(&self) -> bool {
        self.standing.is_none()
    }

    fn is_uncounted(&self) -> bool {
        let exempt = self.table.set_in_use(AddressField::Destination);
        exempt.is_some_and(|set| !set.counts())
    }

    fn is_right(&self) -> bool {
        !self.is_missing() && !self.is_claimed && self.comparison.is_in_step()
    }
}

impl Kernel {
    /// Opens both sockets.
    ///
    /// # Errors
    /// Where there is no socket, or libnftables makes no context.
    pub fn new() -> Result<Self, KernelError> {
        // First: libnftables ends its caller where it gets no socket, and does not say that the kernel lacks nf_tables.
        let reader = Netlink::open(0, SockFlag::empty())?;
        Ok(Self {
            context: Context::new()?,
            reader,
            form: Form::Typeof,
            claims: Claims::new(TableOwner::Auto),
            packets_may_be_under_way: false,
            tables: None,
            memories: HashMap::new(),
            libnftables: None,
        })
    }

    /// Has libnftables take a document.
    ///
    /// # Errors
    /// Where there is a NUL in it.
    pub fn take(&mut self, document: &str, mode: Mode) -> Result<Said, KernelError> {
        let document = CString::new(document);
        let document = document.map_err(|error| KernelError::Encode(error.to_string()))?;
        Ok(self.context.run(&document, mode))
    }

    /// Makes the kernel's tables the wanted ones, in place, and reads them back: each family by itself, so that what fails
    /// for one never holds up the other. A table whose family is off is deleted, if a daemon has made it.
    pub fn pass(&mut self, request: PassRequest) -> PassReport {
        self.claims.set_mode(request.table_owner);
        let Some(tables) = request.tables.or_else(|| self.tables.take()) else {
            return PassReport::default();
        };
        let mut passes = Vec::new();
        for family in Family::ALL {
            let may_write = request.repairs.contains(&family);
            let result = match tables.of(family) {
                Some(ruleset) => self.sync(ruleset, may_write).map(Some),
                None if may_write => self.remove(family, &tables.ip),
                None => Ok(None),
            };
            if matches!(result, Err(KernelError::Netlink(_))) {
                self.open_reader_anew();
            }
            passes.extend(result.transpose().map(|result| TablePass {
                family,
                result,
                counted: std::mem::take(&mut self.memory(family).counted),
            }));
        }
        self.tables = Some(tables);
        PassReport {
            tables: passes,
            port: self.context.socket().port().ok(),
            libnftables: self.version(),
        }
    }

    /// What is left of an answer that was not read to its end would be taken for the answer to the next request.
    fn open_reader_anew(&mut self) {
        // Without a new one it stays as it is: the next pass fails as well, and tries this again.
        if let Ok(reader) = Netlink::open(0, SockFlag::empty()) {
            self.reader = reader;
        }
    }

    pub(super) fn memory(&mut self, family: Family) -> &mut Memory {
        self.memories.entry(family).or_default()
    }

    /// Each listing in JSON begins with the version. This one holds nothing else, because no flowtable is of this family,
    /// and libnftables from 1.0.1 on reads neither rules nor elements for it. For a listing of tables it reads all of both
    /// before 1.1.0, and frees the only flag of a table before it prints it (`table_flags_json`, src/json.c).
    pub(super) fn version(&mut self) -> Option<String> {
        if self.libnftables.is_none() {
            let nothing = c"{\"nftables\":[{\"list\":{\"flowtables\":{\"family\":\"arp\"}}}]}";
            let said = self.context.run(nothing, Mode::Full);
            let listing: serde_json::Value = serde_json::from_str(&said.output).ok()?;
            let version = listing.pointer("/nftables/0/metainfo/version")?;
            self.libnftables = version.as_str().map(str::to_owned);
        }
        self.libnftables.clone()
    }

    /// Makes the table right, in up to `ROUNDS` rounds of looking and writing, if it `may_write`.
    fn sync(&mut self, ruleset: &Ruleset, may_write: bool) -> Result<TableReport, KernelError> {
        let mut report = TableReport::default();
        let (mut refusal, mut undeletable) = (None, Vec::new());
        for round in 0..=ROUNDS {
            // Before the look: a commit in between is then one that is still to be looked at.
            report.generation = self.reader.generation()?;
            let found = self.look(ruleset)?;
            if found.is_right() {
                report.protection = found.standing.map(|of| self.claims.protection(of));
                report.is_uncounted = found.is_uncounted();
                return Ok(report);
            }
            report.is_withheld = !may_write;
            report.note(found.is_missing(), &found.comparison);
            if report.is_withheld {
                return Ok(report);
            }
            let differences = &found.comparison.differences;
            if !undeletable.is_empty() && is_all_foreign(differences) {
                return Err(KernelError::Undeletable(undeletable));
            }
            if round == ROUNDS {
                let differences = differences.clone();
                let still = KernelError::StillDiffers {
                    rounds: ROUNDS,
                    differences,
                };
                return Err(refusal.unwrap_or(still));
            }
            // A table that someone else changed in between may refuse a transaction: look again.
            refusal = match self.write(&found) {
                Ok(left) => {
                    undeletable = left;
                    report.is_adopted |=
                        found.is_claimed && !found.is_missing() && self.claims.may_claim();
                    None
                }
                Err(refused @ KernelError::Refused { .. }) => Some(refused),
                Err(other) => return Err(other),
            };
        }
        Ok(report)
    }

    fn look<'a>(&mut self, ruleset: &'a Ruleset) -> Result<Found<'a>, KernelError> {
        let observed = self.observe(ruleset)?;
        let standing = self.standing(ruleset.family, observed.as_ref())?;
        let table = observed.unwrap_or_default();
        let version = self.version();
        let may_lack_counters = version.is_some_and(|version| !writes_counters(&version));
        let memory = self.memory(ruleset.family);
        let comparison = Comparison::new(ruleset, &table, may_lack_counters, |chain, set_names| {
            memory.rules_are(chain, set_names, &table)
        });
        let is_claimable = matches!(standing, None | Some(Standing::Orphan));
        Ok(Found {
            ruleset,
            standing,
            is_claimed: is_claimable && self.claims.may_claim(),
            comparison,
            table,
        })
    }

    pub(super) fn observe(&self, ruleset: &Ruleset) -> io::Result<Option<Observed>> {
        let chains = ruleset.chains.iter().map(|chain| chain.name.as_str());
        Observed::read(&self.reader, ruleset.family, &ruleset.table, chains)
    }

    /// Whose the table is; `None`: there is none.
    fn standing(
        &mut self,
        family: Family,
        observed: Option<&Observed>,
    ) -> Result<Option<Standing>, KernelError> {
        let Some(observed) = observed else {
            return Ok(None);
        };
        match standing(observed.header, self.context.socket().port()?) {
            Standing::Foreign(port) => {
                let process = owner::with_port(port).map(|process| process.to_string());
                let seen = process.is_some().then_some(port);
                let before = std::mem::replace(&mut self.memory(family).owner_seen, seen);
                Err(KernelError::OwnedByAnother {
                    port,
                    is_ending: process.is_none() && before == Some(port),
                    process,
                })
            }
            standing => Ok(Some(standing)),
        }
    }

    /// Deletes the table of the name that `other` has, in a family that is off; `None`: there is none. One that no daemon
    /// has made stays.
    fn remove(
        &mut self,
        family: Family,
        other: &Ruleset,
    ) -> Result<Option<TableReport>, KernelError> {
        let unwanted = Ruleset {
            family,
            ..other.clone()
        };
        let generation = self.reader.generation()?;
        let observed = self.observe(&unwanted)?;
        let is_made_by_one =
            |table: &Observed| table.is_a_daemon_s() || table.has_sets_of_a_daemon_only();
        let Some(table) = observed.filter(is_made_by_one) else {
            return Ok(None);
        };
        self.standing(family, Some(&table))?;
        let socket = self.context.socket();
        socket.delete_table(family.name(), &unwanted.table)?;
        self.memories.remove(&family);
        Ok(Some(TableReport {
            differences: vec![Difference::TableUnwanted],
            // Who makes it again is still to be looked at.
            generation,
            ..TableReport::default()
        }))
    }
}

fn is_all_foreign(differences: &[Difference]) -> bool {
    let is_foreign = |difference: &Difference| matches!(difference, Difference::Foreign(..));
    differences.iter().all(is_foreign)
}
