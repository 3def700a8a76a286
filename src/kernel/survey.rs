//! What else is to be seen of the kernel, for those who only look: nothing here is ever committed.

use tracing::debug;

use super::access::LISTING_TRIES;
use super::difference::Difference;
use super::error::KernelError;
use super::features::{self, Feature};
use super::netlink::TableHeader;
use super::other_nat::{self, ChainListing, NatTable};
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
        let document = json::document(&creation, Form::Portable, TableFlags::OwnerPersist)?;
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

    /// The chains of all tables.
    ///
    /// # Errors
    /// Where the worker or the kernel refuses. `None`: the listing cannot be read.
    pub async fn all_chains(&mut self) -> Result<Option<ChainListing>, KernelError> {
        let request = r#"{"nftables":[{"list":{"chains":null}}]}"#;
        self.listed(request, "listing all chains", other_nat::read_chains)
            .await
    }

    /// A table of any family.
    ///
    /// # Errors
    /// As [`Self::all_chains`].
    pub async fn nat_table(
        &mut self,
        family: &str,
        table: &str,
    ) -> Result<Option<NatTable>, KernelError> {
        let request = json::list_table_of(family, table);
        let doing = format!("listing table {family} {table}");
        self.listed(&request, &doing, other_nat::read_table).await
    }

    /// Whether the base chains of a table are not hooked. Of tables of family `inet` it is not known, and not said.
    ///
    /// # Errors
    /// Where the kernel does not answer.
    pub fn is_dormant(&mut self, family: &str, table: &str) -> Result<bool, KernelError> {
        let mut families = [Family::Ip, Family::Ip6].into_iter();
        let Some(family) = families.find(|known| known.name() == family) else {
            return Ok(false);
        };
        let header = self.access.header(family, table)?;
        Ok(header.is_some_and(TableHeader::is_dormant))
    }

    /// Asks again where the answer is no JSON: a writer may have come in between.
    async fn listed<T>(
        &mut self,
        request: &str,
        doing: &str,
        read: impl Fn(&str) -> serde_json::Result<T>,
    ) -> Result<Option<T>, KernelError> {
        for _ in 0..LISTING_TRIES {
            let said = self.access.worker.run(request).await?;
            if !said.succeeded {
                return Err(KernelError::refused(doing.to_owned(), &said.error));
            }
            match read(&said.output) {
                Ok(listing) => return Ok(Some(listing)),
                Err(error) => debug!("{doing}: what cannot be read: {error}"),
            }
        }
        Ok(None)
    }
}
