//! The readers of libnftables' listings: of the daemon's table, and of foreign ones.

use std::sync::LazyLock;

use non_masquerade_daemon::config::{Flags, judge};
use non_masquerade_daemon::kernel::drift::Drift;
use non_masquerade_daemon::kernel::netlink::TableHeader;
use non_masquerade_daemon::kernel::observed::{ObservedTable, canonical, read};
use non_masquerade_daemon::kernel::other_nat::{ChainListing, NatTable};
use non_masquerade_daemon::policy::Policy;
use non_masquerade_daemon::ruleset::json::{self, Form, TableFlags};
use non_masquerade_daemon::ruleset::{ChosenNames, Ruleset, Tables, names};
use serde_json::Value;

/// Those that a table is compared with: of two configurations, IPv4 and IPv6.
static WANTED: LazyLock<Vec<Ruleset>> = LazyLock::new(|| {
    let files = [
        include_str!("../../golden/nested.yaml"),
        include_str!("../../golden/everything.yaml"),
    ];
    let chosen = ChosenNames {
        table: names::DEFAULT_TABLE.to_owned(),
        masq_chain: names::DEFAULT_MASQ_CHAIN.to_owned(),
    };
    let rulesets = files.iter().flat_map(|file| {
        let judged = judge("f", file.as_bytes(), &Flags::default()).unwrap();
        let tables = Tables::new(&Policy::new(&judged.config), &chosen);
        [tables.ip].into_iter().chain(tables.ip6)
    });
    rulesets.collect()
});

/// A table that can be read can be compared, and where it differs there is something to write. A foreign one can be
/// searched for translations of source addresses, however its chains lead to each other.
pub(super) fn hold(bytes: &[u8]) {
    let listing = String::from_utf8_lossy(bytes);
    if let Ok(table) = read(&listing) {
        for chain in &table.chains {
            for rule in &chain.rules {
                assert_eq!(canonical((*rule.statements).clone()), *rule.statements);
            }
        }
        for ruleset in WANTED.iter() {
            for flags in [0, 1] {
                compare(ruleset, TableHeader { flags, owner: None }, &table);
            }
        }
    }
    let chains: ChainListing = serde_json::from_str(&listing).unwrap_or_default();
    assert!(chains.nat_chains.is_sorted_by_key(|chain| chain.priority));
    let table: NatTable = serde_json::from_str(&listing).unwrap_or_default();
    for chain in &chains.nat_chains {
        let jumps = table.jumps_to(&chain.name);
        assert!(jumps.iter().all(|(_, number)| *number > 0));
        for rule in table.source_nat_rules(&chain.name) {
            assert!(rule.number > 0);
        }
    }
}

fn compare(ruleset: &Ruleset, header: TableHeader, table: &ObservedTable) {
    let drift = Drift::of_table(ruleset, header, table).unwrap();
    assert_eq!(
        drift.differences.is_empty(),
        drift.repair.is_empty(),
        "{:?}",
        drift.differences
    );
    if header.is_dormant() {
        assert!(!drift.differences.is_empty());
    }
    let document = json::document(&drift.repair, Form::Portable, TableFlags::Plain).unwrap();
    assert!(serde_json::from_str::<Value>(&document).is_ok());
}
