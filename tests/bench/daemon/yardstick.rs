//! What libnftables alone needs: one context for its whole life, as in the worker, and the very
//! documents that the daemon sends, written in advance.

use std::ffi::CString;
use std::io;
use std::time::{Duration, Instant};

use nix::sys::socket::SockFlag;
use non_masquerade_daemon::kernel::difference::{Comparison, RulesAre};
use non_masquerade_daemon::kernel::libnftables::{Context, Mode, Said};
use non_masquerade_daemon::kernel::netlink::Netlink;
use non_masquerade_daemon::kernel::observed::Observed;
use non_masquerade_daemon::ruleset::json::{self, Form};
use non_masquerade_daemon::ruleset::transaction::{Command, TableFlags, add_rules};
use non_masquerade_daemon::ruleset::{AddressField, Family, Ruleset, SetNames, names};
use serde_json::json;

use crate::configurations::Flip;
use crate::support::generations::Generations;
use crate::support::netns::Namespace;

/// libnftables in a namespace of its own. It stays in the thread that made it.
pub(crate) struct Yardstick {
    context: Context,
    form: Form,
    listing: CString,
    /// A daemon's transactions are listened to, so these are.
    generations: Generations,
    in_use: Turn,
}

/// Which of the two sets that take turns the rules look up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    First,
    Second,
}

impl Turn {
    fn next(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    fn set_names(self) -> SetNames {
        let mut set_names = SetNames::first();
        if self == Self::Second {
            let second = names::numbered(names::EXEMPT_SET, 2);
            set_names.put(AddressField::Destination, second);
        }
        set_names
    }
}

/// What the daemon does about a change or a damage: its documents, by which set is in use before, and which one is after.
pub(crate) struct Work {
    of_first: (Vec<CString>, Turn),
    of_second: (Vec<CString>, Turn),
}

impl Work {
    fn of(&self, in_use: Turn) -> &(Vec<CString>, Turn) {
        match in_use {
            Turn::First => &self.of_first,
            Turn::Second => &self.of_second,
        }
    }
}

/// What the daemon has to make anew.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lost {
    Table,
    /// The set that is in use, or what it is to hold.
    Set,
    Rules,
}

/// How long a change took, and how long the listing of what it made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Changed {
    pub(crate) applied: Duration,
    pub(crate) listed: Duration,
}

impl Yardstick {
    /// To be called inside of `namespace`: the context's socket belongs where it was made.
    pub(crate) fn new(namespace: &Namespace) -> io::Result<Self> {
        Ok(Self {
            context: Context::new().map_err(io::Error::other)?,
            form: form()?,
            listing: listing()?,
            generations: Generations::of(namespace)?,
            in_use: Turn::First,
        })
    }

    /// Makes the table in version 0 and prepares its changes: version 0 is in the first set, version 1 in the second.
    pub(crate) fn prepare(&mut self, flip: Flip) -> io::Result<Work> {
        let (first, second) = (flip.ruleset(0)?, flip.ruleset(1)?);
        self.apply(&self.creation(&first)?)?;
        Ok(Work {
            of_first: (self.next_set(&second, Turn::First)?, Turn::Second),
            of_second: (self.next_set(&first, Turn::Second)?, Turn::First),
        })
    }

    /// The documents that make the table where there is none: the table, its sets, the rest.
    pub(crate) fn creation(&self, ruleset: &Ruleset) -> io::Result<Vec<CString>> {
        let sets = ruleset.sets.iter().map(Command::AddSet).collect();
        let counters = ruleset
            .counters
            .iter()
            .map(|name| Command::AddCounter(name));
        let chains = ruleset.chains.iter().map(Command::AddChain);
        let rules = ruleset.chains.iter().flat_map(add_rules);
        let rest = counters.chain(chains).chain(rules).collect();
        [vec![Command::AddTable(TableFlags::Plain)], sets, rest]
            .into_iter()
            .map(|commands| self.written(ruleset, Turn::First, commands))
            .collect()
    }

    /// What mends the table, whichever set is in use.
    pub(crate) fn mending(&self, ruleset: &Ruleset, lost: Lost) -> io::Result<Work> {
        let of = |in_use: Turn| {
            Ok::<_, io::Error>(match lost {
                Lost::Table => (self.creation(ruleset)?, Turn::First),
                Lost::Set => (self.next_set(ruleset, in_use)?, in_use.next()),
                Lost::Rules => (vec![self.rules(ruleset, in_use)?], in_use),
            })
        };
        Ok(Work {
            of_first: of(Turn::First)?,
            of_second: of(Turn::Second)?,
        })
    }

    /// The set that is in use.
    pub(crate) fn set(&self) -> String {
        let set_names = self.in_use.set_names();
        set_names.of(AddressField::Destination).to_owned()
    }

    /// Damages the table and mends it: how long the mending took.
    pub(crate) fn mend(&mut self, damage: &str, mending: &Work) -> io::Result<Duration> {
        succeeded(&self.context.run(&CString::new(damage)?, Mode::Full))?;
        let took = self.timed(mending)?;
        self.generations.take()?;
        Ok(took)
    }

    /// Changes the table to the other version and lists it.
    pub(crate) fn change(&mut self, work: &Work) -> io::Result<Changed> {
        let applied = self.timed(work)?;
        let listed = self.list()?;
        self.generations.take()?;
        Ok(Changed { applied, listed })
    }

    /// Makes a context, the table, and lists it: how long it took.
    pub(crate) fn create(&mut self, creation: &[CString]) -> io::Result<Duration> {
        let started = Instant::now();
        self.context = Context::new().map_err(io::Error::other)?;
        self.apply(creation)?;
        self.list()?;
        Ok(started.elapsed())
    }

    /// Lists the table: how long it took.
    pub(crate) fn list(&mut self) -> io::Result<Duration> {
        let started = Instant::now();
        let said = self.context.run(&self.listing, Mode::Full);
        let took = started.elapsed();
        succeeded(&said)?;
        Ok(took)
    }

    fn timed(&mut self, work: &Work) -> io::Result<Duration> {
        let (documents, in_use) = work.of(self.in_use);
        let started = Instant::now();
        self.apply(documents)?;
        let took = started.elapsed();
        self.in_use = *in_use;
        Ok(took)
    }

    pub(crate) fn apply(&mut self, documents: &[CString]) -> io::Result<()> {
        documents
            .iter()
            .try_for_each(|document| succeeded(&self.context.run(document, Mode::Full)))
    }

    /// The next set with its elements, the rules that look it up, the deletion of the set before: three transactions.
    fn next_set(&self, ruleset: &Ruleset, in_use: Turn) -> io::Result<Vec<CString>> {
        let next = in_use.next();
        let sets = ruleset.sets.iter().map(Command::AddSet).collect();
        let set_names = in_use.set_names();
        let before = set_names.of(AddressField::Destination);
        let before = json!({ "family": "ip", "table": ruleset.table, "name": before });
        let deletion = json!({ "nftables": [{ "delete": { "set": before } }] });
        Ok(vec![
            self.written(ruleset, next, sets)?,
            self.rules(ruleset, next)?,
            CString::new(deletion.to_string())?,
        ])
    }

    /// All rules in place of those that are there.
    fn rules(&self, ruleset: &Ruleset, in_use: Turn) -> io::Result<CString> {
        let chains = || ruleset.chains.iter();
        let flushes = chains().map(|chain| Command::FlushChain(&chain.name));
        let additions = chains().map(Command::AddChain);
        let rules = chains().flat_map(add_rules);
        let commands = flushes.chain(additions).chain(rules).collect();
        self.written(ruleset, in_use, commands)
    }

    fn written(
        &self,
        ruleset: &Ruleset,
        in_use: Turn,
        commands: Vec<Command<'_>>,
    ) -> io::Result<CString> {
        let set_names = in_use.set_names();
        let transaction = ruleset.transaction(&set_names, commands);
        let document = json::document([&transaction], self.form)?;
        Ok(CString::new(document)?)
    }
}

/// An error unless the namespace's table is what the file in this version asks for: otherwise the times are of something
/// else. Rules are counted.
pub(crate) fn check(namespace: &Namespace, flip: Flip, version: usize) -> io::Result<()> {
    let ruleset = flip.ruleset(version)?;
    let chains = ruleset.chains.iter().map(|chain| chain.name.as_str());
    let observed = namespace.run(|| {
        let netlink = Netlink::open(0, SockFlag::empty())?;
        Observed::read(&netlink, Family::Ip, names::DEFAULT_TABLE, chains)
    })?;
    let observed = observed.ok_or_else(|| io::Error::other(format!("{flip}: no table")))?;
    let comparison = Comparison::new(&ruleset, &observed, false, |_, _| RulesAre::Right);
    let rules: usize = ruleset.chains.iter().map(|chain| chain.rules.len()).sum();
    if comparison.differences.is_empty() && observed.rules.len() == rules {
        return Ok(());
    }
    let (differences, found) = (comparison.differences, observed.rules.len());
    Err(io::Error::other(format!(
        "{flip}: {differences:?}, {found} rules"
    )))
}

fn listing() -> io::Result<CString> {
    Ok(CString::new(json::list_table("ip", names::DEFAULT_TABLE))?)
}

/// The form that this libnftables takes, found as the daemon finds it: by trying.
fn form() -> io::Result<Form> {
    let ruleset = Flip::one_of(4).ruleset(0)?;
    let set_names = SetNames::first();
    let mut context = Context::new().map_err(io::Error::other)?;
    let [objects, _] = ruleset.creation(&set_names);
    let document = json::document([&objects], Form::Typeof)?;
    let document = CString::new(document)?;
    if !context.run(&document, Mode::Full).succeeded {
        return Ok(Form::Portable);
    }
    succeeded(&context.run(&deletion()?, Mode::Full))?;
    Ok(Form::Typeof)
}

/// Deletes the table.
pub(crate) fn deletion() -> io::Result<CString> {
    let table = names::DEFAULT_TABLE;
    let document =
        format!(r#"{{"nftables":[{{"delete":{{"table":{{"family":"ip","name":"{table}"}}}}}}]}}"#);
    Ok(CString::new(document)?)
}

fn succeeded(said: &Said) -> io::Result<()> {
    if said.succeeded {
        return Ok(());
    }
    Err(io::Error::other(format!("libnftables: {}", said.error)))
}
