//! What else is to be seen of the kernel, for those who only look: nothing here is ever committed.

use serde_json::json;

use super::difference::Difference;
use super::error::KernelError;
use super::features::{self, Feature};
use super::netlink::TableHeader;
use super::other_nat::{ChainListing, NatTable};
use super::{Kernel, drift_of};
use crate::ruleset::json::{self, Form, TableFlags};
use crate::ruleset::transaction::Command;
use crate::ruleset::{Family, Ruleset};

impl Kernel {
    /// What `ruleset` needs and this kernel lacks, each tried alone in a dry run.
    ///
    /// # Errors
    /// Where the worker gives no answer.
    pub async fn missing_features(
        &mut self,
        ruleset: &Ruleset,
    ) -> Result<Vec<Feature>, KernelError> {
        let mut missing = Vec::new();
        for probe in features::probes(ruleset) {
            let transaction = probe.ruleset.transaction(probe.commands());
            if self.access.lacks_a_feature(&transaction).await? {
                missing.push(probe.feature);
            }
        }
        Ok(missing)
    }

    /// Whether the kernel takes a table with `flags owner,persist`, by a dry run. libnftables before 1.1.0 drops the flags
    /// without a word, so that its answer says nothing.
    ///
    /// # Errors
    /// Where the worker gives no answer.
    pub async fn takes_owner(&mut self, family: Family) -> Result<bool, KernelError> {
        let probe = features::empty_table(family);
        let creation = probe.transaction(vec![Command::AddTable]);
        let document = json::document([&creation], Form::Portable, TableFlags::OwnerPersist)?;
        Ok(self.access.worker.check(&document).await?.succeeded)
    }

    /// The table's flags and owner, and in what it differs from `ruleset`, whoever owns it; no header: there is no table.
    ///
    /// # Errors
    /// Where the worker or the kernel refuses.
    pub async fn compare(
        &mut self,
        ruleset: &Ruleset,
    ) -> Result<(Option<TableHeader>, Vec<Difference>), KernelError> {
        let observation = self.observe(ruleset.family, &ruleset.table).await?;
        let differences = drift_of(ruleset, &observation)?.differences;
        Ok((observation.header(), differences))
    }

    /// The chains of all tables, less the base chains of dormant ones, which are not hooked.
    ///
    /// Chains only: a listing of rules or sets is a matter of its own, since libnftables 1.0.6 dies of sets that a newer nft
    /// has written.
    ///
    /// # Errors
    /// Where the worker or the kernel refuses.
    pub async fn chains(&mut self) -> Result<ChainListing, KernelError> {
        let request = json!({ "nftables": [{ "list": { "chains": {} } }] }).to_string();
        let doing = "listing the chains of all tables";
        let mut listing: ChainListing = self.access.list(doing, &request).await?;
        listing
            .nat_chains
            .retain(|chain| !self.is_dormant(&chain.family, &chain.table));
        Ok(listing)
    }

    /// What cannot be told counts as hooked.
    fn is_dormant(&mut self, family: &str, table: &str) -> bool {
        let header = self.access.header_of(family, table);
        matches!(header, Ok(Some(header)) if header.is_dormant())
    }

    /// A table of any family. Of some sets of others libnftables 1.0.6 dies, and the worker with it.
    ///
    /// # Errors
    /// Where the worker or the kernel refuses.
    pub async fn nat_table(&mut self, family: &str, table: &str) -> Result<NatTable, KernelError> {
        let doing = format!("listing table {family} {table}");
        let request = json::list_table_of(family, table);
        self.access.list(&doing, &request).await
    }
}
