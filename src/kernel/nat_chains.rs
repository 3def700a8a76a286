//! The other base chains of type `nat` on hook postrouting: the first one that maps a connection decides over its source
//! address, so each of them may decide otherwise than the daemon's table.
//!
//! Chains only, of all tables: a listing of their rules or sets is a matter of its own, since libnftables 1.0.6 dies of
//! sets that a newer nft has written.

use serde::Deserialize;
use serde_json::json;

use super::Kernel;
use super::error::KernelError;
use crate::ruleset::Family;

/// A base chain of type `nat` on hook postrouting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatChain {
    /// The table's family, nft(8) "ADDRESS FAMILIES": `ip`, `ip6`, `inet`.
    pub family: String,
    /// The table.
    pub table: String,
    /// The chain.
    pub name: String,
    /// Base chains of one hook run in ascending order of it; the order of equal ones is undefined (nft(8)).
    pub priority: i64,
}

impl NatChain {
    /// Whether packets of this family pass it.
    #[must_use]
    pub fn sees(&self, family: Family) -> bool {
        self.family == family.name() || self.family == "inet"
    }
}

impl Kernel {
    /// All base chains of type `nat` on hook postrouting, the daemon's among them, in the order in which they run.
    ///
    /// # Errors
    /// Where the worker or the kernel refuses.
    pub async fn nat_chains(&mut self) -> Result<Vec<NatChain>, KernelError> {
        let request = json!({ "nftables": [{ "list": { "chains": {} } }] }).to_string();
        let listing: Listing = self
            .access
            .list("listing the chains of all tables", &request)
            .await?;
        Ok(listing.nat_chains())
    }
}

#[derive(Deserialize)]
struct Listing {
    nftables: Vec<Object>,
}

/// `{"chain": {…}}`, or something else, of which there is nothing to be read.
#[derive(Deserialize)]
struct Object {
    chain: Option<ListedChain>,
}

#[derive(Deserialize)]
struct ListedChain {
    family: String,
    table: String,
    name: String,
    #[serde(rename = "type")]
    chain_type: Option<String>,
    hook: Option<String>,
    prio: Option<i64>,
}

impl Listing {
    fn nat_chains(self) -> Vec<NatChain> {
        let chains = self.nftables.into_iter().filter_map(|object| object.chain);
        let mut found: Vec<NatChain> = chains.filter_map(ListedChain::into_nat_chain).collect();
        found.sort_by_key(|chain| chain.priority);
        found
    }
}

impl ListedChain {
    fn into_nat_chain(self) -> Option<NatChain> {
        let is_one = self.chain_type.as_deref() == Some("nat")
            && self.hook.as_deref() == Some("postrouting");
        is_one.then_some(NatChain {
            family: self.family,
            table: self.table,
            name: self.name,
            priority: self.prio.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_nat_chains_on_postrouting_are_taken_in_the_order_in_which_they_run() {
        let chain = |family: &str, name: &str, chain_type: &str, hook: &str, prio: i64| {
            json!({"chain": {"family": family, "table": "t", "name": name, "handle": 1, "type": chain_type,
                             "hook": hook, "prio": prio, "policy": "accept"}})
        };
        let listing = json!({"nftables": [
            {"metainfo": {"version": "9"}},
            chain("inet", "late", "nat", "postrouting", 110),
            chain("ip", "early", "nat", "postrouting", -5),
            chain("ip", "output", "nat", "output", 1),
            chain("ip", "mangling", "filter", "postrouting", 1),
            {"chain": {"family": "ip", "table": "t", "name": "regular", "handle": 1}},
            {"unheard of": {}},
        ]});
        let found = serde_json::from_value::<Listing>(listing).unwrap();
        let found = found.nat_chains();
        let names: Vec<&str> = found.iter().map(|chain| chain.name.as_str()).collect();
        assert_eq!(names, ["early", "late"]);
        let [early, late] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert!(late.sees(Family::Ip) && late.sees(Family::Ip6));
        assert!(early.sees(Family::Ip) && !early.sees(Family::Ip6));
    }
}
