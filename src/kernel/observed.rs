//! What the kernel has: one table, as nf_tables tells it.
//!
//! Not by libnftables' listing: it lists some rules alike that match differently, dies of some sets of others, and takes a
//! tenth of a second for 10,000 elements. Rules are bytes here, to be compared and never understood.

use std::fmt;
use std::io;
use std::net::IpAddr;

use serde::Serialize;

use super::netlink::{
    NFT_MSG_DELCHAIN, NFT_MSG_DELFLOWTABLE, NFT_MSG_DELOBJ, NFT_MSG_DELSET, NFT_MSG_GETCHAIN,
    NFT_MSG_GETFLOWTABLE, NFT_MSG_GETOBJ, NFT_MSG_GETRULE, NFT_MSG_GETSET, NFTA_TABLE, Netlink,
    TableHeader, attribute, attributes_in, attributes_of, big_endian, number_of, packets_of,
    protocol, text, text_attribute, value_of,
};
use crate::ruleset::{AddressField, Addresses, Family, Set, names};

/// Attributes and flags of linux/netfilter/nf_tables.h.
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_CHAIN_USERDATA: u16 = 12;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NFTA_SET_NAME: u16 = 2;
const NFTA_SET_FLAGS: u16 = 3;
const NFTA_SET_KEY_TYPE: u16 = 4;
const NFTA_SET_KEY_LEN: u16 = 5;
const NFTA_SET_POLICY: u16 = 8;
const NFTA_SET_DESC: u16 = 9;
const NFTA_SET_TIMEOUT: u16 = 11;
const NFTA_SET_GC_INTERVAL: u16 = 12;
const NFTA_SET_USERDATA: u16 = 13;
const NFTA_SET_EXPR: u16 = 17;
const NFTA_SET_EXPRESSIONS: u16 = 18;
const NFTA_SET_DESC_SIZE: u16 = 1;
const NFTA_EXPR_NAME: u16 = 1;
const NFT_SET_ANONYMOUS: u32 = 1;
const NFT_SET_INTERVAL: u32 = 4;
const NFT_SET_MAP: u32 = 8;
/// A map to objects, which is not flagged as a map besides.
const NFT_SET_OBJECT: u32 = 0x40;
const NFT_SET_EXPR: u32 = 0x100;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_RULE_COMPAT: u16 = 5;
const NFTA_RULE_USERDATA: u16 = 7;
const NFTA_OBJ_NAME: u16 = 2;
const NFTA_OBJ_TYPE: u16 = 3;
const NFTA_OBJ_DATA: u16 = 4;
const NFTA_OBJ_USERDATA: u16 = 8;
const NFT_OBJECT_COUNTER: u32 = 1;
const NFTA_FLOWTABLE_NAME: u16 = 2;
/// `NFTNL_UDATA_SET_MERGE_ELEMENTS` and `NFTNL_UDATA_SET_COMMENT`, libnftnl/udata.h.
const UDATA_SET_MERGE_ELEMENTS: u8 = 2;
const UDATA_SET_COMMENT: u8 = 7;
/// libnftables' numbers of `ipv4_addr` and `ipv6_addr` (`enum datatypes`, include/datatype.h of nftables).
const TYPE_IPADDR: u32 = 7;
const TYPE_IP6ADDR: u32 = 8;
/// How often the table is read again before it is taken as it is, while others commit. Their commit leads to another look.
const MOST_READINGS: usize = 3;

/// One table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Its flags and owner.
    pub header: TableHeader,
    /// Its chains.
    pub chains: Vec<ObservedChain>,
    /// Its named sets and maps.
    pub sets: Vec<ObservedSet>,
    /// Its named counters.
    pub counters: Vec<ObservedCounter>,
    /// Whatever else has a name in it: other objects, flowtables.
    pub others: Vec<Object>,
    /// Its rules, in the order in which they stand in each chain.
    pub rules: Vec<ObservedRule>,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedChain {
    /// Its name.
    pub name: String,
    /// Present in a base chain.
    pub hook: Option<ObservedHook>,
    /// It has a comment, which the daemon never gives.
    pub is_commented: bool,
}

/// Where a base chain is hooked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedHook {
    /// `nat`, `filter` or `route`.
    pub chain_type: String,
    /// `NF_INET_POST_ROUTING` and so on, linux/netfilter.h.
    pub number: u32,
    /// Base chains of one hook run in ascending order of it.
    pub priority: i32,
    /// Its policy is `accept`.
    pub accepts: bool,
}

/// A named set, or a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedSet {
    /// Its name.
    pub name: String,
    /// It is a map.
    pub is_map: bool,
    kind: SetKind,
    /// Its elements, in order and disjoint; read only of those that are called as the daemon's.
    pub elements: Vec<ObservedElement>,
    /// Elements that are no interval of addresses, that expire, or that do more than to count.
    pub strange_elements: usize,
}

/// What elements a set takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct SetKind {
    flags: u32,
    key_type: u32,
    key_bytes: u32,
    statements: Vec<String>,
    /// It has a timeout, a size, a policy, `auto-merge`, a comment, or something else that the daemon never gives.
    is_limited: bool,
}

/// An element of an interval set. As JSON, where the names of its fields are a contract, and by its `Display` it is what
/// commands print.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct ObservedElement {
    /// The first address in it.
    pub first: IpAddr,
    /// The last address in it.
    pub last: IpAddr,
    /// Its comment.
    pub comment: Option<String>,
    /// The connections that met it; `None`: it has no counter.
    pub connections: Option<u64>,
}

/// A named counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedCounter {
    /// Its name.
    pub name: String,
    /// The packets that it counted. In a NAT chain these are connections: only the first packet of one passes it.
    pub packets: u64,
    /// It has a comment, which the daemon never gives.
    pub is_commented: bool,
}

/// A rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObservedRule {
    /// The chain in which it stands.
    pub chain: String,
    /// Its expressions and its comment.
    bytes: Vec<u8>,
}

/// What has a name in a table and can be deleted by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// As nft(8) calls it: `chain`, `set`, `map`, `counter`, `flowtable` and so on.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// `NFT_OBJECT_*` of what is neither chain, set, map nor flowtable.
    object_type: Option<u32>,
}

impl Object {
    /// A chain of this name.
    #[must_use]
    pub fn chain(name: &str) -> Self {
        Self::of_kind("chain", name)
    }

    /// A named counter of this name.
    #[must_use]
    pub fn counter(name: &str) -> Self {
        Self {
            object_type: Some(NFT_OBJECT_COUNTER),
            ..Self::of_kind("counter", name)
        }
    }

    fn of_kind(kind: &'static str, name: &str) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            object_type: None,
        }
    }

    /// Deletes it, in a transaction of its own, on a socket that may change the table. Not by libnftables, whose JSON
    /// deletes no `ct timeout`, and takes `ct expectation` for the whole table (1.1.3).
    ///
    /// # Errors
    /// Where the kernel refuses: something refers to it (EBUSY), it is gone (ENOENT), another owns the table (EPERM).
    pub fn delete(&self, netlink: &Netlink, family: Family, table: &str) -> io::Result<()> {
        let (message, name) = match self.kind {
            "chain" => (NFT_MSG_DELCHAIN, NFTA_CHAIN_NAME),
            "set" | "map" => (NFT_MSG_DELSET, NFTA_SET_NAME),
            "flowtable" => (NFT_MSG_DELFLOWTABLE, NFTA_FLOWTABLE_NAME),
            _ => (NFT_MSG_DELOBJ, NFTA_OBJ_NAME),
        };
        let mut attributes = text_attribute(NFTA_TABLE, table);
        attributes.extend(text_attribute(name, &self.name));
        if let Some(object_type) = self.object_type {
            attributes.extend(attribute(NFTA_OBJ_TYPE, &object_type.to_be_bytes()));
        }
        netlink.delete(message, protocol(family.name())?, &attributes)
    }
}

/// What nft(8) calls an object of this type (`NFT_OBJECT_*`).
fn kind_of_object(object_type: u32) -> &'static str {
    match object_type {
        1 => "counter",
        2 => "quota",
        3 => "ct helper",
        4 => "limit",
        5 => "connlimit",
        6 => "tunnel",
        7 => "ct timeout",
        8 => "secmark",
        9 => "ct expectation",
        10 => "synproxy",
        _ => "object",
    }
}

impl ObservedSet {
    /// It can hold what `set` is to hold, and nothing else.
    #[must_use]
    pub fn is_of_the_kind(&self, family: Family, set: &Set) -> bool {
        let (key_type, key_bytes) = match family {
            Family::Ip => (TYPE_IPADDR, 4),
            Family::Ip6 => (TYPE_IP6ADDR, 16),
        };
        let statements: &[&str] = if set.counts { &["counter"] } else { &[] };
        self.kind.flags & !NFT_SET_EXPR == NFT_SET_INTERVAL
            && (self.kind.key_type, self.kind.key_bytes) == (key_type, key_bytes)
            && self.kind.statements == statements
            && !self.kind.is_limited
    }

    /// As what it is deleted.
    #[must_use]
    pub fn object(&self) -> Object {
        Object::of_kind(if self.is_map { "map" } else { "set" }, &self.name)
    }

    fn is_called_as_the_daemon_s(&self) -> bool {
        let fields = [AddressField::Source, AddressField::Destination];
        let is_called = |field: &AddressField| names::is_one_of(field.set(), &self.name);
        !self.is_map && fields.iter().any(is_called)
    }
}

impl ObservedElement {
    /// The configured CIDR that it came from, or `link-local`.
    #[must_use]
    pub fn origin(&self) -> String {
        let addresses = || Addresses(self.first, self.last).to_string();
        self.comment.clone().unwrap_or_else(addresses)
    }
}

/// `10.0.0.0/8`, `10.2.0.0-10.255.255.255 of 10.0.0.0/8`, `169.254.0.0/16 (link-local)`
impl fmt::Display for ObservedElement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses = Addresses(self.first, self.last).to_string();
        f.write_str(&match self.comment.as_deref() {
            None => addresses,
            Some(comment) if comment == addresses => addresses,
            Some("link-local") => format!("{addresses} (link-local)"),
            // Anyone's to choose.
            Some(comment) => format!("{addresses} of {}", comment.escape_debug()),
        })
    }
}

impl Observed {
    /// Reads the table, which the daemon makes with `chains`; `None`: there is none.
    ///
    /// # Errors
    /// Where the kernel does not answer.
    pub fn read<'a>(
        netlink: &Netlink,
        family: Family,
        table: &str,
        chains: impl Iterator<Item = &'a str> + Clone,
    ) -> io::Result<Option<Self>> {
        let mut observed = None;
        for _ in 0..MOST_READINGS {
            let generation = netlink.generation()?;
            observed = Self::read_once(netlink, family, table, chains.clone())?;
            if netlink.generation()? == generation {
                break;
            }
        }
        Ok(observed)
    }

    fn read_once<'a>(
        netlink: &Netlink,
        family: Family,
        table: &str,
        chains: impl Iterator<Item = &'a str>,
    ) -> io::Result<Option<Self>> {
        let Some(header) = netlink.table(family.name(), table)? else {
            return Ok(None);
        };
        let mut observed = Self {
            header,
            ..Self::default()
        };
        let protocol = protocol(family.name())?;
        let of_table = text_attribute(NFTA_TABLE, table);
        for chain in chains {
            let named = [of_table.clone(), text_attribute(NFTA_CHAIN_NAME, chain)].concat();
            netlink.read_one(NFT_MSG_GETCHAIN, protocol, &named, |m| {
                observed.read_chain(m)
            })?;
        }
        netlink.dump(NFT_MSG_GETSET, protocol, &of_table, |m| {
            observed.read_set(m)
        })?;
        netlink.dump(NFT_MSG_GETOBJ, protocol, &of_table, |m| {
            observed.read_object(m)
        })?;
        if observed.uses() != header.uses {
            observed.read_what_is_left(netlink, protocol, table)?;
        }
        observed.rules = rules(netlink, family, table)?;
        for set in &mut observed.sets {
            if set.is_called_as_the_daemon_s() {
                let has_intervals = set.kind.flags & NFT_SET_INTERVAL != 0;
                let read = netlink.elements(family, table, &set.name, has_intervals)?;
                (set.elements, set.strange_elements) = (read.readable, read.strange);
            }
        }
        Ok(Some(observed))
    }

    fn uses(&self) -> u32 {
        let [chains, sets, counters, others] = [
            self.chains.len(),
            self.sets.len(),
            self.counters.len(),
            self.others.len(),
        ];
        u32::try_from(chains + sets + counters + others).unwrap_or(u32::MAX)
    }

    /// The kernel dumps the chains of all tables only, of which kube-proxy makes thousands: they are read where the table
    /// has more in it than was found by name.
    fn read_what_is_left(
        &mut self,
        netlink: &Netlink,
        protocol: u8,
        table: &str,
    ) -> io::Result<()> {
        self.chains.clear();
        let is_of_table =
            |m: &[u8]| value_of(m, NFTA_TABLE).is_some_and(|name| text(name) == table);
        let mut flowtables = Vec::new();
        netlink.dump(NFT_MSG_GETCHAIN, protocol, &[], |m| {
            if is_of_table(m) {
                self.read_chain(m);
            }
        })?;
        netlink.dump(NFT_MSG_GETFLOWTABLE, protocol, &[], |m| {
            if is_of_table(m) {
                flowtables.extend(value_of(m, NFTA_FLOWTABLE_NAME).map(text));
            }
        })?;
        let objects = flowtables
            .iter()
            .map(|name| Object::of_kind("flowtable", name));
        self.others.extend(objects);
        Ok(())
    }

    fn read_chain(&mut self, message: &[u8]) {
        let name = text(value_of(message, NFTA_CHAIN_NAME).unwrap_or_default());
        let hook = value_of(message, NFTA_CHAIN_HOOK).map(|hook| {
            let number = |kind| {
                let (_, value) = attributes_in(hook).find(|(found, _)| *found == kind)?;
                big_endian(value)
            };
            ObservedHook {
                chain_type: text(value_of(message, NFTA_CHAIN_TYPE).unwrap_or_default()),
                number: number(NFTA_HOOK_HOOKNUM).unwrap_or(u32::MAX),
                priority: number(NFTA_HOOK_PRIORITY).map_or(i32::MAX, u32::cast_signed),
                // NF_ACCEPT, linux/netfilter.h.
                accepts: number_of(message, NFTA_CHAIN_POLICY) == 1,
            }
        });
        self.chains.push(ObservedChain {
            name,
            hook,
            is_commented: value_of(message, NFTA_CHAIN_USERDATA).is_some(),
        });
    }

    fn read_set(&mut self, message: &[u8]) {
        let flags = number_of(message, NFTA_SET_FLAGS);
        if flags & NFT_SET_ANONYMOUS != 0 {
            return; // A part of a rule, whose bytes tell it.
        }
        let is_limited = attributes_of(message).any(|(kind, value)| match kind {
            NFTA_SET_TIMEOUT | NFTA_SET_GC_INTERVAL | NFTA_SET_POLICY => true,
            NFTA_SET_DESC => attributes_in(value).any(|(kind, _)| kind == NFTA_SET_DESC_SIZE),
            NFTA_SET_USERDATA => limits(value),
            _ => false,
        });
        self.sets.push(ObservedSet {
            name: text(value_of(message, NFTA_SET_NAME).unwrap_or_default()),
            is_map: flags & (NFT_SET_MAP | NFT_SET_OBJECT) != 0,
            kind: SetKind {
                flags,
                key_type: number_of(message, NFTA_SET_KEY_TYPE),
                key_bytes: number_of(message, NFTA_SET_KEY_LEN),
                statements: statements(message),
                is_limited,
            },
            elements: Vec::new(),
            strange_elements: 0,
        });
    }

    fn read_object(&mut self, message: &[u8]) {
        let name = text(value_of(message, NFTA_OBJ_NAME).unwrap_or_default());
        let object_type = number_of(message, NFTA_OBJ_TYPE);
        if object_type == NFT_OBJECT_COUNTER {
            let data = value_of(message, NFTA_OBJ_DATA).unwrap_or_default();
            self.counters.push(ObservedCounter {
                name,
                packets: packets_of(data).unwrap_or_default(),
                is_commented: value_of(message, NFTA_OBJ_USERDATA).is_some(),
            });
        } else {
            self.others.push(Object {
                kind: kind_of_object(object_type),
                name,
                object_type: Some(object_type),
            });
        }
    }

    /// Whether a rule names the set. Its name is looked for in the rules' bytes, whatever they do with it.
    #[must_use]
    pub fn has_a_rule_that_names(&self, set: &str) -> bool {
        let wanted = [set.as_bytes(), &[0]].concat();
        let names_it = |rule: &ObservedRule| {
            let mut places = rule.bytes.windows(wanted.len());
            places.any(|bytes| bytes == wanted)
        };
        self.rules.iter().any(names_it)
    }

    /// The set of exempt destinations that rules look up, or the only one.
    #[must_use]
    pub fn set_in_use(&self, field: AddressField) -> Option<&ObservedSet> {
        let is_one = |set: &&ObservedSet| !set.is_map && names::is_one_of(field.set(), &set.name);
        let mut sets = self.sets.iter().filter(is_one);
        let first = sets.clone().next();
        sets.find(|set| self.has_a_rule_that_names(&set.name))
            .or(first)
    }

    /// What the counter has counted that the daemon makes.
    #[must_use]
    pub fn masqueraded(&self) -> Option<u64> {
        let mut counters = self.counters.iter();
        let masqueraded = counters.find(|counter| counter.name == names::MASQUERADED_COUNTER);
        masqueraded.map(|counter| counter.packets)
    }

    /// Each version of the daemon makes the set and the counter, under whatever name of the table.
    #[must_use]
    pub fn is_a_daemon_s(&self) -> bool {
        self.set_in_use(AddressField::Destination).is_some() && self.masqueraded().is_some()
    }

    /// Whether it is as a daemon leaves it that was killed before it had made more than the table, or than the sets.
    #[must_use]
    pub fn has_sets_of_a_daemon_only(&self) -> bool {
        let fields = [AddressField::Source, AddressField::Destination];
        let is_one = |name: &str| fields.iter().any(|of| names::is_one_of(of.set(), name));
        let are_a_daemon_s = |set: &ObservedSet| !set.is_map && is_one(&set.name);
        self.sets.iter().all(are_a_daemon_s)
            && self.chains.is_empty()
            && self.counters.is_empty()
            && self.others.is_empty()
    }
}

/// The rules of a table.
pub(super) fn rules(
    netlink: &Netlink,
    family: Family,
    table: &str,
) -> io::Result<Vec<ObservedRule>> {
    let mut rules = Vec::new();
    let of_table = text_attribute(NFTA_TABLE, table);
    netlink.dump(NFT_MSG_GETRULE, protocol(family.name())?, &of_table, |m| {
        rules.push(ObservedRule {
            chain: text(value_of(m, NFTA_RULE_CHAIN).unwrap_or_default()),
            bytes: rule_bytes(m),
        });
    })?;
    Ok(rules)
}

/// What a rule does and is called, without its handle and place: each attribute with its type and length.
fn rule_bytes(message: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, value) in attributes_of(message) {
        if matches!(
            kind,
            NFTA_RULE_EXPRESSIONS | NFTA_RULE_COMPAT | NFTA_RULE_USERDATA
        ) {
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(value.len().to_ne_bytes());
            bytes.extend_from_slice(value);
        }
    }
    bytes
}

/// The names of the statements that each element of a set carries.
fn statements(set: &[u8]) -> Vec<String> {
    let name_of = |statement: &[u8]| {
        let name = attributes_in(statement).find(|(kind, _)| *kind == NFTA_EXPR_NAME);
        name.map(|(_, name)| text(name)).unwrap_or_default()
    };
    let mut names = Vec::new();
    for (kind, value) in attributes_of(set) {
        match kind {
            NFTA_SET_EXPR => names.push(name_of(value)),
            NFTA_SET_EXPRESSIONS => names.extend(attributes_in(value).map(|(_, s)| name_of(s))),
            _ => {}
        }
    }
    names
}

/// Whether user data say a comment or `auto-merge`: type, length and value of each datum (libnftnl's udata.c).
fn limits(userdata: &[u8]) -> bool {
    let mut rest = userdata;
    while let &[kind, length, ref after @ ..] = rest {
        let Some((value, after)) = after.split_at_checked(usize::from(length)) else {
            return true;
        };
        let merges = kind == UDATA_SET_MERGE_ELEMENTS && value.iter().any(|byte| *byte != 0);
        if kind == UDATA_SET_COMMENT || merges {
            return true;
        }
        rest = after;
    }
    false
}

impl std::fmt::Display for Object {
    /// Its name is anyone's to choose, and not to forge a line of the log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind, self.name.escape_debug())
    }
}

/// Tables as tests make them.
#[cfg(test)]
impl Observed {
    pub(super) fn add_set(&mut self, family: Family, name: &str, set: &Set) {
        let (key_type, key_bytes) = match family {
            Family::Ip => (TYPE_IPADDR, 4),
            Family::Ip6 => (TYPE_IP6ADDR, 16),
        };
        let elements = set.elements.iter().map(|element| ObservedElement {
            first: element.first,
            last: element.last,
            comment: element.comment.clone(),
            connections: set.counts.then_some(0),
        });
        self.sets.push(ObservedSet {
            name: name.to_owned(),
            is_map: false,
            kind: SetKind {
                flags: NFT_SET_INTERVAL,
                key_type,
                key_bytes,
                statements: set
                    .counts
                    .then(|| "counter".to_owned())
                    .into_iter()
                    .collect(),
                is_limited: false,
            },
            elements: elements.collect(),
            strange_elements: 0,
        });
    }

    pub(super) fn add_map(&mut self, name: &str) {
        self.sets.push(ObservedSet {
            name: name.to_owned(),
            is_map: true,
            kind: SetKind::default(),
            elements: Vec::new(),
            strange_elements: 0,
        });
    }

    pub(super) fn add_counter(&mut self, name: &str) {
        self.counters.push(ObservedCounter {
            name: name.to_owned(),
            packets: 0,
            is_commented: false,
        });
    }

    pub(super) fn add_chain(&mut self, chain: &crate::ruleset::Chain) {
        self.chains.push(ObservedChain {
            name: chain.name.clone(),
            hook: chain.hook.map(|hook| ObservedHook {
                chain_type: "nat".to_owned(),
                // NF_INET_POST_ROUTING, linux/netfilter.h.
                number: 4,
                priority: hook.priority,
                accepts: true,
            }),
            is_commented: false,
        });
    }

    pub(super) fn add_rule<'a>(&mut self, chain: &str, sets: impl IntoIterator<Item = &'a str>) {
        let named = sets.into_iter().map(|set| format!("{set}\0"));
        self.rules.push(ObservedRule {
            chain: chain.to_owned(),
            bytes: named.collect::<String>().into_bytes(),
        });
    }
}
