//! What libnftables alone needs: one context for its whole life, as in the worker, and the very
//! documents that the daemon sends, written in advance.

use std::ffi::{CStr, CString};
use std::io;
use std::time::{Duration, Instant};

use nix::sys::socket::SockFlag;
use non_masquerade_daemon::kernel::drift::Drift;
use non_masquerade_daemon::kernel::libnftables::{Context, Said};
use non_masquerade_daemon::kernel::netlink::{Netlink, TableHeader};
use non_masquerade_daemon::kernel::observed::{self, ObservedTable};
use non_masquerade_daemon::ruleset::json::{self, Form, TableFlags};
use non_masquerade_daemon::ruleset::transaction::Transaction;
use non_masquerade_daemon::ruleset::{Family, Ruleset, names};

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
}

/// A change of the table: to version 0 and to version 1.
pub(crate) struct Documents([Vec<CString>; 2]);

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
        })
    }

    /// Makes the table in version 0 and prepares its changes.
    pub(crate) fn prepare(&mut self, flip: Flip) -> io::Result<Documents> {
        let versions = [flip.ruleset(0)?, flip.ruleset(1)?];
        let [first, second] = &versions;
        self.apply(&self.creation(first)?)?;
        let there = self.change_to(second)?;
        self.apply(&there)?;
        let back = self.change_to(first)?;
        self.apply(&back)?;
        Ok(Documents([back, there]))
    }

    /// The documents that make the table where there is none.
    pub(crate) fn creation(&self, ruleset: &Ruleset) -> io::Result<Vec<CString>> {
        self.written(&ruleset.creation())
    }

    /// Makes the table, and gives the documents that mend what `damage` does to it.
    pub(crate) fn prepare_mending(
        &mut self,
        ruleset: &Ruleset,
        damage: &CStr,
    ) -> io::Result<Vec<CString>> {
        let creation = self.creation(ruleset)?;
        self.apply(&creation)?;
        succeeded(&self.context.run(damage))?;
        let mending = match self.list() {
            Ok(_) => self.change_to(ruleset)?,
            Err(missing) if missing.to_string().contains("No such file") => creation,
            Err(error) => return Err(error),
        };
        self.apply(&mending)?;
        Ok(mending)
    }

    /// Damages the table and mends it: how long the mending took.
    pub(crate) fn mend(&mut self, damage: &CStr, mending: &[CString]) -> io::Result<Duration> {
        succeeded(&self.context.run(damage))?;
        let took = self.timed(mending)?;
        self.generations.take()?;
        Ok(took)
    }

    /// Changes the table to the version and lists it.
    pub(crate) fn change(&mut self, documents: &Documents, version: usize) -> io::Result<Changed> {
        let [back, there] = &documents.0;
        let applied = self.timed(if version.is_multiple_of(2) {
            back
        } else {
            there
        })?;
        let listed = self.list()?;
        self.generations.take()?;
        Ok(Changed { applied, listed })
    }

    /// Makes a context, the table, and lists it: how long it took.
    pub(crate) fn create(&mut self, creation: &[CString]) -> io::Result<Duration> {
        let started = Instant::now();
        let context = Context::new().map_err(io::Error::other)?;
        let made = started.elapsed();
        self.context = context;
        Ok(made + self.timed(creation)? + self.list()?)
    }

    /// Lists the table: how long it took.
    pub(crate) fn list(&mut self) -> io::Result<Duration> {
        let started = Instant::now();
        let said = self.context.run(&self.listing);
        let took = started.elapsed();
        succeeded(&said)?;
        Ok(took)
    }

    fn timed(&mut self, documents: &[CString]) -> io::Result<Duration> {
        let started = Instant::now();
        self.apply(documents)?;
        Ok(started.elapsed())
    }

    pub(crate) fn apply(&mut self, documents: &[CString]) -> io::Result<()> {
        documents
            .iter()
            .try_for_each(|document| succeeded(&self.context.run(document)))
    }

    /// What the daemon would do to the table as it is now.
    fn change_to(&mut self, ruleset: &Ruleset) -> io::Result<Vec<CString>> {
        let table = self.observe()?;
        self.written(&Drift::of_table(ruleset, TableHeader::default(), &table)?.repair)
    }

    fn observe(&mut self) -> io::Result<ObservedTable> {
        observe(&mut self.context, &self.listing)
    }

    fn written(&self, transactions: &[Transaction<'_>]) -> io::Result<Vec<CString>> {
        transactions
            .iter()
            .map(|transaction| {
                let document = json::document([transaction], self.form, TableFlags::Plain)?;
                Ok(CString::new(document)?)
            })
            .collect()
    }
}

/// An error unless the namespace's table is what the file in this version asks for: otherwise the times are of something
/// else.
pub(crate) fn check(namespace: &Namespace, flip: Flip, version: usize) -> io::Result<()> {
    let ruleset = flip.ruleset(version)?;
    let listing = listing()?;
    let table = namespace.run(|| {
        let mut context = Context::new().map_err(io::Error::other)?;
        observe(&mut context, &listing)
    })?;
    let differences = Drift::of_table(&ruleset, TableHeader::default(), &table)?.differences;
    if differences.is_empty() {
        return Ok(());
    }
    Err(io::Error::other(format!("{flip}: {differences:?}")))
}

/// In the network namespace where the context was made.
fn observe(context: &mut Context, listing: &CString) -> io::Result<ObservedTable> {
    let said = context.run(listing);
    succeeded(&said)?;
    let mut table = observed::read(&said.output)?;
    let netlink = Netlink::open(0, SockFlag::empty())?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    for set in &mut table.sets {
        let elements = netlink.elements(Family::Ip, names::DEFAULT_TABLE, &set.name, true);
        let elements = runtime.block_on(elements)?;
        set.elements = elements.readable;
        set.strange_elements = elements.strange;
    }
    Ok(table)
}

fn listing() -> io::Result<CString> {
    Ok(CString::new(json::list_table(
        Family::Ip,
        names::DEFAULT_TABLE,
    ))?)
}

/// The form that this libnftables takes, found as the daemon finds it: by trying.
fn form() -> io::Result<Form> {
    let ruleset = Flip::one_of(4).ruleset(0)?;
    let mut context = Context::new().map_err(io::Error::other)?;
    let creation = ruleset.creation();
    let objects = creation.first().expect("the table and its sets");
    let document = json::document([objects], Form::Typeof, TableFlags::Plain)?;
    let document = CString::new(document)?;
    if !context.run(&document).succeeded {
        return Ok(Form::Portable);
    }
    succeeded(&context.run(&deletion()?))?;
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
