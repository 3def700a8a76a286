//! What masquerade agents have left in the table `nat` of iptables-nft: their chain outlives them, and comes before the
//! daemon's rules.
//!
//! An agent is known by its shape, whatever its chain is called: `-A POSTROUTING -m addrtype ! --dst-type LOCAL -j CHAIN`, in the
//! chain `-d CIDR -j RETURN` for each CIDR, and `-j MASQUERADE` last.

use super::limit::{Limit, Sense, Subject};
use super::table::Rule;
use super::{Chain, NatTable, SourceNatRule};

/// The base chain of iptables-nft.
const BASE_CHAIN: &str = "POSTROUTING";
/// The chains of ip-masq-agent and ip-masq-agent-v2 (as they come, and on GKE), and of the predecessor of this daemon.
pub(in crate::commands) const KNOWN_CHAINS: [&str; 3] =
    ["IP-MASQ-AGENT", "IP-MASQ", "NON-MASQUERADE-DAEMON"];

/// Who has left something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::commands) enum Agent {
    /// An agent with this chain.
    Chain(String),
    /// The kubelet with kubenet: a rule of the base chain itself, `! -d CIDR -m addrtype ! --dst-type LOCAL -j MASQUERADE`.
    Kubenet,
}

/// What an agent has left in one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::commands) struct Remains {
    /// `ip` or `ip6`.
    pub(in crate::commands) family: String,
    pub(in crate::commands) agent: Agent,
    /// The rules that lead to its chain, or its own: each with the chain that it stands in, and its handle.
    pub(in crate::commands) rules: Vec<(String, u64)>,
}

impl Remains {
    /// Whether the rule is one of those that are to go.
    pub(super) fn hold(&self, rule: &SourceNatRule) -> bool {
        match &self.agent {
            Agent::Chain(name) => rule.chain == *name,
            Agent::Kubenet => self.rules.iter().any(|(_, handle)| *handle == rule.handle),
        }
    }
}

/// What agents have left in the table `nat` of a family. `chains`: those of all tables; `table`: none where it cannot be read.
pub(in crate::commands) fn agents(
    chains: &[Chain],
    family: &str,
    table: Option<&NatTable>,
) -> Vec<Remains> {
    let of_nat = chains
        .iter()
        .filter(|chain| chain.family == family && chain.table == "nat");
    let is_an_agent_s = |chain: &&Chain| {
        let is_known = KNOWN_CHAINS.contains(&&*chain.name);
        is_known || table.is_some_and(|table| has_the_shape(table, &chain.name))
    };
    let jumps_to = |chain: &str| {
        let jumps = table.map(|table| table.jumps_to(chain)).unwrap_or_default();
        jumps
            .into_iter()
            .map(|(from, handle)| (from.to_owned(), handle))
            .collect()
    };
    let of_chains = of_nat.filter(is_an_agent_s).map(|chain| Remains {
        family: family.to_owned(),
        rules: jumps_to(&chain.name),
        agent: Agent::Chain(chain.name.clone()),
    });
    let rules: Vec<(String, u64)> = table.map(rules_of_kubenet).unwrap_or_default();
    let of_kubenet = (!rules.is_empty()).then(|| Remains {
        family: family.to_owned(),
        agent: Agent::Kubenet,
        rules,
    });
    of_chains.chain(of_kubenet).collect()
}

/// What the rule is limited to.
fn subjects(table: &NatTable, rule: &Rule) -> Vec<(Subject, Sense)> {
    let limits = table.limits_of(rule).into_iter();
    limits
        .map(|Limit { subject, sense, .. }| (subject, sense))
        .collect()
}

const NOT_LOCAL: (Subject, Sense) = (Subject::AddressType, Sense::Hidden);

fn has_the_shape(table: &NatTable, chain: &str) -> bool {
    let leads_there =
        |rule: &Rule| table.targets_of(rule) == [chain] && subjects(table, rule) == [NOT_LOCAL];
    let spares = |rule: &&Rule| {
        rule.ends_the_chain() && subjects(table, rule) == [(Subject::Destination, Sense::Only)]
    };
    let rules: Vec<&Rule> = table.rules_of(chain).collect();
    let Some((last, spared)) = rules.split_last() else {
        return false;
    };
    last.source_nat() == Some(true)
        && subjects(table, last).is_empty()
        && !spared.is_empty()
        && spared.iter().all(spares)
        && table.rules_of(BASE_CHAIN).any(leads_there)
}

fn rules_of_kubenet(table: &NatTable) -> Vec<(String, u64)> {
    let is_its = |rule: &&Rule| {
        let exempt = (Subject::Destination, Sense::AllBut);
        rule.source_nat() == Some(true) && subjects(table, rule) == [exempt, NOT_LOCAL]
    };
    let rules = table.rules_of(BASE_CHAIN).filter(is_its);
    rules
        .map(|rule| (rule.chain.clone(), rule.handle))
        .collect()
}
