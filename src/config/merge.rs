//! What all files say together, on top of flags and defaults.
//!
//! Lists are united, and one that no file gives takes its default. A boolean is true where any file says so, as in
//! ip-masq-agent-v2; where none says anything, the flag or the default holds. Any other value is that of the one
//! file that gives it; another file may repeat it, and a different one is an error.

use ipnet::IpNet;

use super::keys;
use super::list_checks;
use super::positions::At;
use super::remarks::{Remark, Remarks, ShownValue, Spot};
use super::said::{CidrList, Said, Stated};
use super::{Config, Flags, defaults};

/// Merges what the files say, in the order in which they are read; none: the file cannot be read, so that what
/// depends on it is not judged.
pub(super) fn merge(said: &[Option<Said>], flags: &Flags, remarks: &mut Remarks) -> Config {
    let files = AllSaid(said);
    let mut merging = Merging { files, remarks };
    let default = defaults(flags);
    let mut boolean = |key, field: BooleanField, default| merging.boolean(key, field, default);
    let mut config = Config {
        masq_node_traffic: boolean(
            keys::MASQ_NODE_TRAFFIC,
            |said| said.masq_node_traffic,
            default.masq_node_traffic,
        ),
        masq_link_local: boolean(
            keys::MASQ_LINK_LOCAL,
            |said| said.masq_link_local,
            default.masq_link_local,
        ),
        masq_link_local_ipv6: boolean(
            keys::MASQ_LINK_LOCAL_IPV6,
            |said| said.masq_link_local_ipv6,
            default.masq_link_local_ipv6,
        ),
        enable_ipv6: boolean(
            keys::ENABLE_IPV6,
            |said| said.enable_ipv6,
            default.enable_ipv6,
        ),
        random_fully: boolean(
            keys::RANDOM_FULLY,
            |said| said.random_fully,
            default.random_fully,
        ),
        enforce: boolean(keys::ENFORCE, |said| said.enforce, default.enforce),
        to_ports: merging
            .scalar(keys::TO_PORTS, |said| said.to_ports.as_ref())
            .map_or(default.to_ports, |(_, ranges)| ranges.clone()),
        resync_interval: merging
            .scalar(keys::RESYNC_INTERVAL, |said| said.resync_interval.as_ref())
            .map_or(default.resync_interval, |(_, interval)| *interval),
        ..default
    };
    let limit = merging.scalar(keys::CIDR_LIMIT, |said| said.cidr_limit.as_ref());
    let limit = limit.map(|(spot, limit)| (spot, *limit));
    list_checks::check(files, limit, &config, merging.remarks);
    if let Some(listed) = files.united(|said| said.non_masquerade_cidrs.as_ref()) {
        config.non_masquerade_cidrs = listed;
        config.non_masquerade_cidrs_are_default = false;
    }
    if let Some(listed) = files.united(|said| said.masquerade_cidrs.as_ref()) {
        config.masquerade_cidrs = listed;
    }
    if let Some(listed) = files.united(|said| said.source_cidrs.as_ref()) {
        config.source_cidrs = listed;
    }
    config
}

/// What all files say; those that cannot be read say nothing.
#[derive(Clone, Copy)]
pub(super) struct AllSaid<'a>(pub(super) &'a [Option<Said>]);

/// Which list of a file is meant.
pub(super) type ListField = fn(&Said) -> Option<&CidrList>;

type BooleanField = fn(&Said) -> Option<Stated<bool>>;

impl<'a> AllSaid<'a> {
    pub(super) fn iter(self) -> impl Iterator<Item = (usize, &'a Said)> {
        let files = self.0.iter().enumerate();
        files.filter_map(|(file, said)| said.as_ref().map(|said| (file, said)))
    }

    /// Every file could be read.
    pub(super) fn are_complete(self) -> bool {
        self.0.iter().all(Option::is_some)
    }

    /// The lists of all files that give one, with the places where they stand.
    pub(super) fn lists(self, field: ListField) -> impl Iterator<Item = (Spot, &'a CidrList)> {
        self.iter().filter_map(move |(file, said)| {
            let list = field(said)?;
            let at = list.at();
            Some((Spot { file, at }, list))
        })
    }

    /// The CIDRs of all of these lists, with their places.
    pub(super) fn cidrs(self, field: ListField) -> impl Iterator<Item = (Spot, IpNet)> {
        self.lists(field).flat_map(|(list, cidrs)| {
            let spot = move |at: At| Spot { at, ..list };
            cidrs.cidrs().map(move |(at, cidr)| (spot(at), cidr))
        })
    }

    fn united(self, field: ListField) -> Option<Vec<IpNet>> {
        let mut lists = self.lists(field).peekable();
        lists.peek()?;
        let items = lists.flat_map(|(_, list)| list.items.iter().copied());
        Some(items.flatten().collect())
    }
}

struct Merging<'a, 'r> {
    files: AllSaid<'a>,
    remarks: &'r mut Remarks,
}

impl<'a> Merging<'a, '_> {
    fn boolean(&mut self, key: &'static str, field: BooleanField, default: bool) -> bool {
        let (mut first_false, mut first_true) = (None, None);
        for (file, said) in self.files.iter() {
            if let Some(stated) = field(said) {
                let at = stated.at();
                let first = if stated.value {
                    &mut first_true
                } else {
                    &mut first_false
                };
                first.get_or_insert(Spot { file, at });
            }
        }
        let (Some(without_effect), Some(_)) = (first_false, first_true) else {
            return first_true.is_some() || (first_false.is_none() && default);
        };
        let remark = Remark {
            key: key.into(),
            value: ShownValue::AsWritten,
            reason: "without effect, because this key is true".into(),
            other: first_true,
            remedy: "write the same in both files, or leave the key out of one".into(),
        };
        self.remarks.warning(without_effect, remark);
        true
    }

    /// The value that a file gives, with its place; an error for each other file that gives another one.
    fn scalar<T: PartialEq>(
        &mut self,
        key: &'static str,
        field: fn(&Said) -> Option<&Stated<T>>,
    ) -> Option<(Spot, &'a T)> {
        let mut all = self.files.iter().filter_map(|(file, said)| {
            let stated = field(said)?;
            let at = stated.at();
            Some((Spot { file, at }, &stated.value))
        });
        let (first, value) = all.next()?;
        for (other, _) in all.filter(|(_, other)| *other != value) {
            self.remarks.error(other, || Remark {
                key: key.into(),
                value: ShownValue::AsWritten,
                reason: "not the value that this key has".into(),
                other: Some(first),
                remedy: "write the same in both files, or leave the key out of one".into(),
            });
        }
        Some((first, value))
    }
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
