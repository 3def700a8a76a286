//! The writing half of a pass: what makes a table right that was found wrong.

use std::io;

use super::error::KernelError;
use super::ffi;
use super::libnftables::{Context, Mode, Said, is_too_old};
use super::observed::{self, Object, Observed, ObservedElement};
use super::pass::{Found, Kernel};
use crate::ruleset::json::{self, Form};
use crate::ruleset::transaction::{Command, TableFlags, Transaction, add_rules};
use crate::ruleset::{AddressField, Chain, Ruleset, SetNames, names};

/// Of the type in a set's declaration (`json_parse_cmd_add_set`, src/parser_json.c of nftables).
const UNKNOWN_TYPE: &str = "Invalid set type";
/// strerror(3) of ENOBUFS, which libnftables tells in English: it never calls setlocale. The kernel refuses each message of
/// elements, up to 64 KiB, in one that holds it, and libnftables before 1.1.5 makes no room for several. Its socket is out
/// of step then: it takes later answers for those of other requests.
const ANSWERS_LOST: &str = "No buffer space available";
/// strerror(3) of EOPNOTSUPP, the same.
const NOT_SUPPORTED: &str = "Operation not supported";
/// strerror(3) of ENOENT, the same.
const NOT_THERE: &str = "No such file or directory";

impl Kernel {
    /// One round. Gives what of others cannot be deleted.
    pub(super) fn write(&mut self, found: &Found<'_>) -> Result<Vec<String>, KernelError> {
        let Found {
            ruleset,
            table,
            comparison,
            ..
        } = found;
        let transaction = |commands| ruleset.transaction(&comparison.set_names, commands);
        let mut left = self.delete(found, &comparison.unnamed_sets);
        if found.is_missing() || found.is_claimed || table.header.is_dormant() {
            let flags = self.claims.flags(found.standing);
            self.apply(&transaction(vec![Command::AddTable(flags)]))?;
            if found.is_claimed {
                self.see_the_claim(ruleset)?;
            }
        }
        if !comparison.sets_to_make.is_empty() {
            let sets = comparison.sets_to_make.iter().copied();
            self.apply(&transaction(sets.map(Command::AddSet).collect()))?;
        }
        if comparison.rules_are_to_be_written {
            // The kernel keeps two generations of a chain, and the next transaction overwrites the last one. A packet
            // that is stopped in the base chain meanwhile, as on a guest's processor, would jump from its old rules into
            // the new ones of the next chain. Where one chain alone has other rules, that does no harm before more changes:
            // an address of the node that comes and goes at once does not wait.
            let is_of_one_chain = comparison.is_of_one_chain();
            if !is_of_one_chain && std::mem::take(&mut self.packets_may_be_under_way) {
                ffi::wait_for_packets_under_way();
            }
            self.write_rules(&transaction(rules_in_place_of(
                table,
                ruleset,
                &comparison.maps_in_rules,
            )))?;
            if is_of_one_chain {
                self.packets_may_be_under_way = true;
            } else if comparison.has_other_rules() {
                ffi::wait_for_packets_under_way();
            }
        }
        left.extend(self.delete(found, &comparison.objects_to_delete));
        Ok(left)
    }

    /// libnftables before 1.1.0 drops the flags without a word.
    fn see_the_claim(&mut self, ruleset: &Ruleset) -> Result<(), KernelError> {
        let header = self.reader.table(ruleset.family.name(), &ruleset.table)?;
        let owner = header.and_then(|header| header.owner);
        if owner != Some(self.context.socket().port()?) {
            self.claims.give_up();
        }
        Ok(())
    }

    /// Writes the rules, and remembers how the kernel shows them.
    fn write_rules(&mut self, transaction: &Transaction<'_>) -> Result<(), KernelError> {
        let ruleset = transaction.ruleset;
        let before = self.reader.generation()?;
        self.apply(transaction)?;
        let rules = observed::rules(&self.reader, ruleset.family, &ruleset.table)?;
        let is_alone = self.reader.generation()? == before.wrapping_add(1);
        self.memory(ruleset.family)
            .wrote(ruleset, transaction.set_names, rules, is_alone);
        Ok(())
    }

    /// Deletes each by itself, so that one that stays does not keep the others. Gives those that stay, and why.
    fn delete(&mut self, found: &Found<'_>, objects: &[Object]) -> Vec<String> {
        let (family, table) = (found.ruleset.family, &found.ruleset.table);
        let mut left = Vec::new();
        for object in objects {
            self.count_what_goes(found, object);
            if let Err(error) = object.delete(self.context.socket(), family, table) {
                left.push(format!("{object}: {error}"));
            }
        }
        left
    }

    /// Reads once more what a set of exempt destinations has counted that is to go: no rule looks it up any longer.
    fn count_what_goes(&mut self, found: &Found<'_>, object: &Object) {
        let (family, table) = (found.ruleset.family, &found.ruleset.table);
        let is_exempt = names::is_one_of(AddressField::Destination.set(), &object.name);
        if object.kind != "set" || !is_exempt {
            return;
        }
        let elements = || self.reader.elements(family, table, &object.name, true);
        // What cannot be read any more is lost to the metrics, and to nothing else.
        let elements = self.reader.while_nobody_commits(elements);
        let elements = elements.map(|elements| elements.readable);
        let has_counted = |of: &ObservedElement| of.connections.is_some_and(|number| number > 0);
        let counted = elements.into_iter().flatten().filter(has_counted);
        self.memory(family).counted.extend(counted);
    }

    /// Applies the transaction as a whole or not at all, in the form that libnftables takes.
    ///
    /// Trying is what tells: Debian and others port fixes to old versions, so a version number does not. Only a libnftables
    /// that writes something else without a word is refused by its version.
    fn apply(&mut self, transaction: &Transaction<'_>) -> Result<(), KernelError> {
        let doing = format!(
            "changing table {} {}",
            transaction.ruleset.family.name(),
            transaction.ruleset.table
        );
        // The daemon has it where the worker dies of what comes next.
        eprintln!("{doing}");
        if let Some(version) = self.version().filter(|version| is_too_old(version)) {
            return Err(KernelError::TooOld(version));
        }
        let mut said = self.run(transaction, Mode::Full)?;
        if !said.succeeded && self.form == Form::Typeof && said.error.contains(UNKNOWN_TYPE) {
            // libnftables before 1.1.2 does not know `typeof` in JSON. After any other refusal, which may pass, all sets
            // would be declared by `type` from then on, of which older hosts' nft dies.
            self.form = Form::Portable;
            said = self.run(transaction, Mode::Full)?;
        }
        if said.succeeded {
            return Ok(());
        }
        if said.error.contains(ANSWERS_LOST) {
            // With another socket of libnftables', which owns nothing yet.
            self.context = Context::new()?;
        }
        if transaction.commands == [Command::AddTable(TableFlags::OwnerPersist)] {
            self.try_the_flags_alone(transaction, &said)?;
        }
        if said.error.contains(NOT_THERE)
            && let Some(gone) = self.what_is_gone(transaction)?
        {
            let said = format!("{gone} is gone: another program has deleted it meanwhile");
            return Err(KernelError::refused(doing, &said));
        }
        Err(KernelError::refused(doing, &said.error))
    }

    /// What the transaction needs and another has deleted. The kernel says of it what it says of a module that it lacks.
    fn what_is_gone(&self, refused: &Transaction<'_>) -> io::Result<Option<String>> {
        let (ruleset, commands) = (refused.ruleset, &refused.commands);
        if matches!(commands.as_slice(), [Command::AddTable(_)]) {
            return Ok(None);
        }
        let Some(table) = self.observe(ruleset)? else {
            return Ok(Some("the table".to_owned()));
        };
        let sets = ruleset.sets.iter();
        let needed = sets.filter(|set| !commands.contains(&Command::AddSet(set)));
        let mut needed = needed.map(|set| refused.set_names.of(set.field));
        let gone = needed.find(|name| table.sets.iter().all(|found| found.name != *name));
        Ok(gone.map(|name| format!("set {name}")))
    }

    fn run(&mut self, transaction: &Transaction<'_>, mode: Mode) -> Result<Said, KernelError> {
        self.take(&json::document([transaction], self.form)?, mode)
    }

    /// A kernel before Linux 6.9 refuses the flags wherever they stand (before 5.12 with EINVAL, then with EOPNOTSUPP:
    /// nf_tables_newtable, net/netfilter/nf_tables_api.c); any kernel refuses them on a table that another has
    /// made without them. A table whose owner has ended takes both; refused there, they were not written: libnftables before
    /// 1.1.0 drops them, and `persist` cannot be taken off.
    fn try_the_flags_alone(
        &mut self,
        refused: &Transaction<'_>,
        said: &Said,
    ) -> Result<(), KernelError> {
        let ruleset = refused.ruleset;
        let found = self.reader.table(ruleset.family.name(), &ruleset.table)?;
        let is_orphan = found.is_some_and(|found| found.owner.is_none() && found.is_persistent());
        if is_orphan && said.error.contains(NOT_SUPPORTED) {
            self.claims.give_up();
            return Ok(());
        }
        let probe = Ruleset {
            table: names::PROBE_TABLE.to_owned(),
            ..ruleset.clone()
        };
        let set_names = SetNames::first();
        let mut is_taken = |flags| {
            let probe = probe.transaction(&set_names, vec![Command::AddTable(flags)]);
            self.run(&probe, Mode::DryRun).map(|said| said.succeeded)
        };
        // What refuses a table without them too, a family that the kernel lacks for one, says nothing of the other family's.
        if !is_taken(TableFlags::OwnerPersist)? && is_taken(TableFlags::Plain)? {
            self.claims.give_up();
        }
        Ok(())
    }
}

/// All rules of the ruleset, in place of those that stand in the table. What is of a wrong kind is made anew with them: a
/// base chain, a counter with a comment; so that it can be, nothing refers to it meanwhile.
fn rules_in_place_of<'a>(
    table: &'a Observed,
    ruleset: &'a Ruleset,
    maps: &'a [String],
) -> Vec<Command<'a>> {
    let chain_is_wrong = |chain: &&Chain| {
        let mut chains = table.chains.iter();
        chains.any(|found| found.name == chain.name && !found.is_right_for(chain))
    };
    let wrong_chains: Vec<&Chain> = ruleset.chains.iter().filter(chain_is_wrong).collect();
    let mut commands: Vec<Command<'a>> = Vec::new();
    commands.extend(
        table
            .chains
            .iter()
            .map(|chain| Command::FlushChain(&chain.name)),
    );
    commands.extend(maps.iter().map(|map| Command::DeleteMap(map)));
    commands.extend(
        wrong_chains
            .iter()
            .map(|chain| Command::DeleteChain(&chain.name)),
    );
    for counter in &ruleset.counters {
        let found = table.counters.iter().find(|found| found.name == *counter);
        if found.is_some_and(|found| found.is_commented) {
            commands.push(Command::DeleteCounter(counter));
        }
        if found.is_none_or(|found| found.is_commented) {
            commands.push(Command::AddCounter(counter));
        }
    }
    commands.extend(ruleset.chains.iter().map(Command::AddChain));
    commands.extend(ruleset.chains.iter().flat_map(add_rules));
    commands
}
