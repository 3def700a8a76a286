//! What the table needs of the kernel, each with the option that brings it, and how to find out which is missing.
//!
//! A refused transaction says only "No such file or directory", whichever of its expressions has no module. So each is
//! tried alone, in a table that is never committed: a dry run ends before `NFNL_MSG_BATCH_END`, so that the kernel
//! judges all of it, loads its modules, and takes it back (nfnetlink_rcv_batch in net/netfilter/nfnetlink.c).

use std::fmt;

use crate::ruleset::{Chain, ChainType, Family, Hook, Rule, Ruleset, Statement, names};

const PROBE_CHAIN: &str = "probe";

/// Something that the kernel needs, as the nft language has it, and the option of its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Feature {
    /// `fib` and the like.
    pub name: &'static str,
    /// `CONFIG_…`
    pub option: &'static str,
    /// The first Linux in which it is a part of nf_tables itself; none: it has stayed a module of its own.
    pub built_in_since: Option<&'static str>,
}

impl Feature {
    pub(super) const fn new(name: &'static str, option: &'static str) -> Self {
        Self {
            name,
            option,
            built_in_since: None,
        }
    }

    /// Its probe holds what the other one is, so that it is refused for want of that, too.
    pub(super) fn stands_on(self, other: Self) -> bool {
        Family::ALL.map(table).contains(&other) || (self, other) == (OBJECT_REFERENCE, COUNTER)
    }

    const fn built_in_since(self, linux: &'static str) -> Self {
        Self {
            built_in_since: Some(linux),
            ..self
        }
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.option)
    }
}

/// The table of the dry runs, with nothing in it.
pub(super) fn empty_table(family: Family) -> Ruleset {
    Ruleset {
        family,
        table: names::PROBE_TABLE.to_owned(),
        sets: Vec::new(),
        counters: Vec::new(),
        chains: Vec::new(),
    }
}

/// What `ruleset` needs, each with a table that needs it and as little else as can be. What others stand on comes first.
pub(super) fn probes(ruleset: &Ruleset) -> Vec<(Feature, Ruleset)> {
    let family = ruleset.family;
    let with_chain = |hook, rules| Ruleset {
        chains: vec![Chain {
            name: PROBE_CHAIN.to_owned(),
            hook,
            rules,
        }],
        ..empty_table(family)
    };
    let hook = Hook {
        chain_type: ChainType::Nat,
        priority: names::POSTROUTING_PRIORITY,
    };
    let with_counter = |of: Ruleset| Ruleset {
        counters: vec![names::MASQUERADED_COUNTER.into()],
        ..of
    };
    let counting = Rule {
        statements: vec![Statement::Counter(names::MASQUERADED_COUNTER.into())],
        comment: "".into(),
    };
    let mut probes = vec![
        (table(family), empty_table(family)),
        (NAT_CHAIN, with_chain(Some(hook), Vec::new())),
        (COUNTER, with_counter(empty_table(family))),
        (
            OBJECT_REFERENCE,
            with_counter(with_chain(None, vec![counting])),
        ),
    ];
    let rules = ruleset.chains.iter().flat_map(|chain| &chain.rules);
    for statement in rules.flat_map(|rule| &rule.statements) {
        let Some(feature) = feature_of(statement, family) else {
            continue;
        };
        if probes.iter().all(|(known, _)| *known != feature) {
            let rule = Rule {
                statements: vec![alone(statement)],
                comment: "".into(),
            };
            probes.push((feature, with_chain(None, vec![rule])));
        }
    }
    probes
}

/// The statement as it can stand without others: ports to choose from need a protocol before them.
fn alone(statement: &Statement) -> Statement {
    match statement {
        Statement::Masquerade { .. } => Statement::Masquerade {
            to_ports: None,
            fully_random: false,
        },
        Statement::Snat { address, .. } => Statement::Snat {
            address: *address,
            to_ports: None,
            fully_random: false,
        },
        other => other.clone(),
    }
}

/// Options of net/netfilter/Kconfig, net/ipv4/netfilter/Kconfig and net/ipv6/netfilter/Kconfig.
fn table(family: Family) -> Feature {
    match family {
        Family::Ip => Feature::new("tables of family ip", "CONFIG_NF_TABLES_IPV4"),
        Family::Ip6 => Feature::new("tables of family ip6", "CONFIG_NF_TABLES_IPV6"),
    }
}

/// Without it there is nobody to ask for the others.
pub(super) const NF_TABLES: Feature = Feature::new("nf_tables", "CONFIG_NF_TABLES");
const NAT_CHAIN: Feature = Feature::new("chains of type nat", "CONFIG_NFT_NAT");
const COUNTER: Feature = Feature::new("counter", "CONFIG_NFT_COUNTER").built_in_since("5.18");
const OBJECT_REFERENCE: Feature =
    Feature::new("counter name", "CONFIG_NFT_OBJREF").built_in_since("6.2");

fn feature_of(statement: &Statement, family: Family) -> Option<Feature> {
    let (name, option) = match (statement, family) {
        (
            Statement::SourceLocal
            | Statement::DestinationNotLocal
            | Statement::DestinationMulticast
            | Statement::DestinationBroadcast,
            family,
        ) => match family {
            Family::Ip => ("fib", "CONFIG_NFT_FIB_IPV4"),
            Family::Ip6 => ("fib", "CONFIG_NFT_FIB_IPV6"),
        },
        (Statement::Masquerade { .. }, _) => ("masquerade", "CONFIG_NFT_MASQ"),
        (Statement::Snat { .. } | Statement::SnatToOwnSource, _) => ("snat", "CONFIG_NFT_NAT"),
        (Statement::DestinationTranslated, _) => ("ct status", "CONFIG_NFT_CT"),
        (Statement::ValidForConntrack, _) => ("ct state", "CONFIG_NFT_CT"),
        (Statement::Chance { .. }, _) => ("numgen", "CONFIG_NFT_NUMGEN"),
        // Part of nf_tables itself, or tried above.
        (
            Statement::AddressIn(..)
            | Statement::AddressNotIn(..)
            | Statement::OutputInterface(_)
            | Statement::Protocol(_)
            | Statement::Counter(_)
            | Statement::Jump(_)
            | Statement::Return
            | Statement::Accept
            | Statement::Drop,
            _,
        ) => return None,
    };
    Some(Feature::new(name, option))
}
