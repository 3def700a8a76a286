//! The two ways to the kernel's tables: libnftables, in the worker, and nfnetlink for what it does not tell, and for
//! whether what it told still holds.

use std::collections::HashMap;
use std::io;

use nix::sys::socket::SockFlag;
use serde::de::DeserializeOwned;
use tracing::debug;

use super::error::{KernelError, UNSUPPORTED};
use super::libnftables::Said;
use super::listed::Listed;
use super::netlink::{Elements, Netlink, Outline, TableHeader};
use super::observed::{self, ObservedSet, ObservedTable};
use super::worker::{Worker, WorkerError};
use crate::ruleset::Family;
use crate::ruleset::json::{self, Form, TableFlags};
use crate::ruleset::names;
use crate::ruleset::text;
use crate::ruleset::transaction::{Command, Transaction};

/// How often a listing that is no JSON is asked for: one that a writer interrupted comes out cut.
const LISTING_TRIES: usize = 3;

/// What the kernel has under a table's name.
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
    /// What the kernel says of the table besides its contents, where there is one.
    pub(super) fn header(&self) -> Option<TableHeader> {
        match self {
            Self::Missing => None,
            Self::Table(header, _) | Self::Unreadable(header) => Some(*header),
        }
    }
}

/// The worker, and a socket.
pub(super) struct Access {
    pub(super) worker: Worker,
    netlink: Option<Netlink>,
    listed: HashMap<Family, Listed>,
    form: Form,
}

impl Access {
    pub(super) fn new(worker: Worker) -> Self {
        Self {
            worker,
            netlink: None,
            listed: HashMap::new(),
            form: Form::Typeof,
        }
    }

    /// The generation of the ruleset. Read before a listing, it says which commits the listing shows for sure.
    pub(super) fn generation(&mut self) -> Result<u32, KernelError> {
        self.ask(Netlink::generation)
    }

    /// The table's flags and owner; `None`: there is no such table.
    pub(super) fn header(
        &mut self,
        family: Family,
        table: &str,
    ) -> Result<Option<TableHeader>, KernelError> {
        self.header_of(family.name(), table)
    }

    /// The same for a table of any family, by nft's name of it.
    pub(super) fn header_of(
        &mut self,
        family: &str,
        table: &str,
    ) -> Result<Option<TableHeader>, KernelError> {
        self.ask(|netlink| netlink.table(family, table))
    }

    /// The names of a family's tables.
    pub(super) fn tables(&mut self, family: Family) -> Result<Vec<String>, KernelError> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.ask(|netlink| netlink.tables(family.name())) {
                Err(KernelError::Netlink(error))
                    if error.kind() == io::ErrorKind::Interrupted && tries < LISTING_TRIES => {}
                names => return names,
            }
        }
    }

    /// Whether the table has what each version of the daemon makes, under whatever name of the table.
    pub(super) fn is_a_daemon_s(
        &mut self,
        family: Family,
        table: &str,
    ) -> Result<bool, KernelError> {
        let made = [names::EXEMPT_SET, names::MASQUERADED_COUNTER];
        self.ask(|netlink| netlink.has_set_and_counter(family, table, made))
    }

    /// Deletes the table with all that stands in it, without libnftables, which dies of some sets of others.
    pub(super) fn delete(&mut self, family: Family, table: &str) -> Result<(), KernelError> {
        let family = family.name();
        self.ask(|netlink| netlink.delete_table(family, table))
            .map_err(|error| match error {
                KernelError::Netlink(refusal) => KernelError::refused(
                    format!("deleting table {family} {table}"),
                    &refusal.to_string(),
                ),
                other => other,
            })
    }

    /// A socket whose request has failed is not put back: its answer might still come.
    fn take_netlink(&mut self) -> Result<Netlink, KernelError> {
        match self.netlink.take() {
            Some(netlink) => Ok(netlink),
            None => Netlink::open(0, SockFlag::empty()).map_err(KernelError::Netlink),
        }
    }

    fn ask<T>(&mut self, request: impl Fn(&Netlink) -> io::Result<T>) -> Result<T, KernelError> {
        let netlink = self.take_netlink()?;
        let answer = request(&netlink).map_err(KernelError::Netlink)?;
        self.netlink = Some(netlink);
        Ok(answer)
    }

    /// Reads the table.
    pub(super) async fn observe(
        &mut self,
        family: Family,
        table: &str,
    ) -> Result<Observation, KernelError> {
        let Some(header) = self.header(family, table)? else {
            return Ok(Observation::Missing);
        };
        let mut observation = match self.listed_before(family, table) {
            Some(listed) => Observation::Table(header, listed),
            None => self.list_table(header, family, table).await?,
        };
        if let Observation::Table(_, listed) = &mut observation {
            for set in &mut listed.sets {
                self.read_elements(family, table, set).await?;
            }
        }
        Ok(observation)
    }

    /// The listing of the table, where the kernel says the same of it as when libnftables listed it. Where the kernel
    /// does not say, libnftables is asked; and where the worker has ended, which starts another before it is needed.
    fn listed_before(&mut self, family: Family, table: &str) -> Option<ObservedTable> {
        let listed = self.listed.remove(&family)?;
        if !listed.is_of(table) || !self.worker.is_running() {
            return None;
        }
        let outline = self.outline(family, table, listed.table())?;
        let observed = listed.table_of(&outline)?;
        self.listed.insert(family, listed);
        Some(observed)
    }

    /// What the kernel says of the table with the chains of `listed`, if it does.
    fn outline(&mut self, family: Family, table: &str, listed: &ObservedTable) -> Option<Outline> {
        let chains = || listed.chains.iter().map(|chain| chain.name.as_str());
        let outline = self.ask(|netlink| netlink.outline(family, table, chains()));
        outline.unwrap_or_else(|error| {
            debug!("table {} {table} has no outline: {error}", family.name());
            None
        })
    }

    /// The table was as it should be when it was read last, in `generation`. Its listing is kept, if nobody has committed
    /// since.
    pub(super) fn keep(
        &mut self,
        family: Family,
        table: &str,
        right: &ObservedTable,
        generation: u32,
    ) -> Result<(), KernelError> {
        // Another one than was read last is not there any more.
        if let Some(listed) = self.listed.get_mut(&family) {
            listed.is_right = true;
            return Ok(());
        }
        let outline = self.outline(family, table, right);
        if self.generation()? == generation
            && let Some(listed) = outline.and_then(|outline| Listed::new(table, right, outline))
        {
            self.listed.insert(family, listed);
        }
        Ok(())
    }

    /// Has libnftables list the table; its sets have no elements yet.
    async fn list_table(
        &mut self,
        header: TableHeader,
        family: Family,
        table: &str,
    ) -> Result<Observation, KernelError> {
        let request = json::list_table(family, table);
        for _ in 0..LISTING_TRIES {
            let said = match self.worker.run_tersely(&request).await {
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
                Ok(listed) => return Ok(Observation::Table(header, listed)),
                Err(error) => debug!("a listing that is no JSON: {error}"),
            }
        }
        Ok(Observation::Unreadable(header))
    }

    /// Reads what the set has. Where commits come too fast to read it in one, what is missing because of one of them is
    /// seen by the look to which that commit leads.
    async fn read_elements(
        &mut self,
        family: Family,
        table: &str,
        set: &mut ObservedSet,
    ) -> Result<(), KernelError> {
        let has_intervals = set.flags.iter().any(|flag| flag == "interval");
        let mut elements = Elements::default();
        for _ in 0..LISTING_TRIES {
            let netlink = self.take_netlink()?;
            let read = netlink.elements(family, table, &set.name, has_intervals);
            elements = read.await.map_err(KernelError::Netlink)?;
            self.netlink = Some(netlink);
            if elements.is_consistent {
                break;
            }
        }
        set.elements = elements.readable;
        set.strange_elements = elements.strange;
        Ok(())
    }

    /// Has libnftables list what `request` asks for, `doing` that.
    pub(super) async fn list<T: DeserializeOwned>(
        &mut self,
        doing: &str,
        request: &str,
    ) -> Result<T, KernelError> {
        let mut tries = 0;
        loop {
            let said = self.worker.run(request).await?;
            if !said.succeeded {
                return Err(KernelError::refused(doing.to_owned(), &said.error));
            }
            tries += 1;
            match serde_json::from_str(&said.output) {
                Ok(listed) => return Ok(listed),
                Err(error) if tries == LISTING_TRIES => return Err(KernelError::Listing(error)),
                Err(error) => debug!("a listing that is no JSON: {error}"),
            }
        }
    }

    /// Applies the transactions in order, each as a whole or not at all, up to the first that is refused; in the form
    /// that libnftables and the kernel take. Gives the flags that were written.
    ///
    /// Trying is what tells: Debian and others port fixes to old versions, so a version number does not.
    pub(super) async fn apply(
        &mut self,
        transactions: &[Transaction<'_>],
        mut flags: TableFlags,
    ) -> Result<TableFlags, KernelError> {
        for transaction in transactions {
            if let Some(listed) = self.listed.get_mut(&transaction.ruleset.family) {
                listed.is_right = false;
            }
        }
        let mut left = transactions;
        let mut form = self.form;
        loop {
            let documents = left
                .iter()
                .map(|transaction| match text::deletion(transaction) {
                    Some(text) => Ok(text),
                    None => json::document([transaction], form, flags),
                });
            let said = self.worker.run_all(documents).await?;
            let refusal = said.iter().find(|said| !said.succeeded);
            left = left
                .get(said.iter().filter(|said| said.succeeded).count()..)
                .unwrap_or_default();
            let (Some(refusal), Some(refused)) = (refusal, left.first()) else {
                break;
            };
            let is_refused_flag = flags == TableFlags::OwnerPersist
                && refusal.error.contains(UNSUPPORTED)
                && makes_table(refused);
            if is_refused_flag {
                flags = TableFlags::Plain;
            } else if form == Form::Typeof && refusal.error.contains(UNKNOWN_TYPE) {
                // libnftables before 1.1.0 does not know `typeof` in JSON. After any other refusal, which may pass, all
                // sets would be declared by `type` from then on, of which older hosts' nft dies.
                form = Form::Portable;
            } else {
                return Err(refusal_of(refused, refusal));
            }
        }
        if form != self.form {
            debug!("libnftables takes no typeof in JSON; sets are declared by type");
            self.form = form;
        }
        Ok(flags)
    }

    /// Whether the kernel lacks something that the transaction needs; nothing is applied.
    pub(super) async fn lacks_a_feature(
        &mut self,
        transaction: &Transaction<'_>,
    ) -> Result<bool, KernelError> {
        let document = json::document([transaction], Form::Portable, TableFlags::Plain)?;
        let said = self.worker.check(&document).await?;
        Ok(!said.succeeded && ABSENT.iter().any(|reason| said.error.contains(reason)))
    }
}

/// strerror(3) of ENOENT (no module for an expression or a type of chain), EOPNOTSUPP and EAFNOSUPPORT (none for the
/// family). Other refusals, EPERM say, tell nothing of what the kernel has.
const ABSENT: [&str; 3] = [
    "No such file or directory",
    UNSUPPORTED,
    "Address family not supported by protocol",
];

/// Of the type in a set's declaration (`json_parse_cmd_add_set`, src/parser_json.c of nftables).
const UNKNOWN_TYPE: &str = "Invalid set type";

/// ENOENT, which libnftables tells by strerror(3) only; it never calls setlocale, so in English.
fn is_missing(said: &Said) -> bool {
    said.error.contains("No such file or directory")
}

fn makes_table(transaction: &Transaction<'_>) -> bool {
    transaction.commands.contains(&Command::AddTable)
}

fn refusal_of(transaction: &Transaction<'_>, said: &Said) -> KernelError {
    let (family, table) = (
        transaction.ruleset.family.name(),
        &transaction.ruleset.table,
    );
    let doing = match transaction.commands.as_slice() {
        // Anyone's to choose, and not to forge a line of the log.
        [Command::Delete(kind, name)] => format!(
            "deleting the foreign {} {} of table {family} {table}",
            kind.escape_debug(),
            name.escape_debug()
        ),
        _ => format!("changing table {family} {table}"),
    };
    KernelError::refused(doing, &said.error)
}
