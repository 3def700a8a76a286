//! The daemon's table as the host's nft lists it, whatever its sets are called.

use std::io;

use super::lab::Family;
use super::netns::{Namespace, succeed};
use super::nft::{Nft, TABLE};

/// What every name begins with that the set of exempt destinations may have.
const EXEMPT: &str = "non-masquerade-cidrs";

/// The table of one family, each object with its handle.
#[derive(Debug)]
pub struct Listing(pub String);

impl Listing {
    /// An error if there is no table.
    pub fn of(family: Family, namespace: &Namespace) -> io::Result<Self> {
        let mut nft = Nft::host().command(namespace);
        let output = succeed(nft.args(["--handle", "list", "table", family.nft(), TABLE]))?;
        String::from_utf8(output.stdout)
            .map(Self)
            .map_err(io::Error::other)
    }

    /// The table's own handle: a table that is deleted and made again has another one.
    pub fn handle(&self) -> u64 {
        self.handle_of(&format!(" {TABLE} {{")).expect("a table")
    }

    /// The handle of the first object or rule whose line holds these words.
    pub fn handle_of(&self, words: &str) -> Option<u64> {
        let line = self.0.lines().find(|line| line.contains(words))?;
        // Behind a table's handle may stand the name of its owner.
        let (_, handle) = line.rsplit_once("# handle ")?;
        handle.split_whitespace().next()?.parse().ok()
    }

    /// The set of exempt destinations that rules look up.
    pub fn exempt_set(&self) -> &str {
        let named = self.0.split('@').skip(1);
        let mut names = named.filter_map(|rest| rest.split_whitespace().next());
        names
            .find(|name| name.starts_with(EXEMPT))
            .expect("a rule that looks exempt destinations up")
    }

    /// Names of sets of exempt destinations that no rule looks up: the next set may get each of them.
    pub fn idle_names(&self) -> Vec<String> {
        let names = [1, 2].map(|number| format!("{EXEMPT}-{number}"));
        let in_use = self.exempt_set();
        names.into_iter().filter(|name| name != in_use).collect()
    }

    /// Sets and maps that no rule looks up.
    pub fn unused_sets(&self) -> Vec<&str> {
        let lines = self.0.lines().map(str::trim_start);
        let named =
            lines.filter_map(|line| line.strip_prefix("set ").or(line.strip_prefix("map ")));
        let names = named.filter_map(|rest| rest.split_whitespace().next());
        names
            .filter(|name| !self.0.contains(&format!("@{name} ")))
            .collect()
    }
}
