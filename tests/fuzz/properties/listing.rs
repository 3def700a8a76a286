//! The readers of libnftables' listings of foreign tables.

use non_masquerade_daemon::commands::other_nat::{ChainListing, NatTable};

/// A foreign table can be searched for translations of source addresses, however its chains lead to each other.
pub(super) fn hold(bytes: &[u8]) {
    let listing = String::from_utf8_lossy(bytes);
    let chains: ChainListing = serde_json::from_str(&listing).unwrap_or_default();
    assert!(chains.nat_chains.is_sorted_by_key(|chain| chain.priority));
    let table: NatTable = serde_json::from_str(&listing).unwrap_or_default();
    for chain in &chains.nat_chains {
        let jumps = table.jumps_to(&chain.name);
        assert!(jumps.iter().all(|(from, _)| !from.contains('\0')));
        for rule in table.source_nat_rules(&chain.name) {
            assert!(rule.number > 0);
        }
    }
}
