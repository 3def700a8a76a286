//! What all files say together, on top of flags and defaults, and what is wrong with it that no file shows alone.
//!
//! Lists are united, and one that no file gives takes its default. A boolean is true where any file says so, as in ip-masq-agent-v2;
//! where none says anything, the flag or the default holds. Any other value is that of the one file that gives it; another file may
//! repeat it, and a different one is an error.

use std::collections::HashMap;

use ipnet::IpNet;

use super::finding::{Advice, Findings};
use super::keys::{
    CIDR_LIMIT, ENABLE_IPV6, Field, KEYS, Key, MASQUERADE_CIDRS, NON_MASQUERADE_CIDRS, position,
};
use super::said::{Said, Stated};
use super::value::{Item, Value};
use super::{Config, Flags, defaults};

/// Merges what the files say, in the order in which they are read; none: the file cannot be read, so that what depends on it is not
/// judged.
pub(super) fn merge(files: &[Option<Said<'_>>], flags: &Flags, findings: &mut Findings) -> Config {
    let files = Files(files);
    let mut config = defaults(flags);
    for key in &KEYS {
        let value = match key.field {
            Field::Cidrs(..) | Field::Names(..) => files.united(key.name),
            Field::Boolean(_) => files.any_true(key, findings),
            Field::Ports(_) | Field::Integer(_) | Field::Interval(_) | Field::Existing(_) => {
                files.same(key, findings)
            }
        };
        if let Some(value) = value {
            key.field.set(&mut config, value);
        }
    }
    let gives_exempt = files.stated(NON_MASQUERADE_CIDRS).next().is_some();
    config.non_masquerade_cidrs_are_default = !gives_exempt;
    files.check_lists(&config, findings);
    config
}

/// What all files say; those that cannot be read say nothing.
#[derive(Clone, Copy)]
pub(super) struct Files<'a>(pub(super) &'a [Option<Said<'a>>]);

impl<'a> Files<'a> {
    /// Every file could be read.
    fn are_complete(self) -> bool {
        self.0.iter().all(Option::is_some)
    }

    /// The values of a key, each with its file.
    fn stated(self, key: &str) -> impl Iterator<Item = (&'a Said<'a>, &'a Stated)> + use<'a> {
        let position = position(key);
        self.0.iter().flatten().filter_map(move |said| {
            let stated = said.stated.get(position?)?.as_ref()?;
            Some((said, stated))
        })
    }

    /// The CIDRs of all lists of a key, each with its file and its place in its list.
    pub(super) fn cidrs(
        self,
        key: &str,
    ) -> impl Iterator<Item = (&'a Said<'a>, usize, &'a Item<IpNet>)> + use<'a> {
        self.stated(key).flat_map(|(said, stated)| {
            let items = stated.value.as_ref().map_or(&[][..], Value::cidrs);
            let items = items.iter().enumerate();
            items.map(move |(index, item)| (said, index, item))
        })
    }

    fn united(self, key: &str) -> Option<Value> {
        let lists = self.stated(key);
        let lists = lists.filter_map(|(_, stated)| stated.value.clone());
        lists.reduce(Value::united)
    }

    fn any_true(self, key: &Key, findings: &mut Findings) -> Option<Value> {
        let first = |wanted| {
            let mut all = self.stated(key.name);
            all.find(|(_, stated)| stated.value == Some(Value::Boolean(wanted)))
        };
        let (first_true, first_false) = (first(true), first(false));
        if let (Some((by, stated)), Some((said, without_effect))) = (first_true, first_false) {
            let at = by.at(stated.line, said);
            let reason = format!("without effect, because this key is true{at}");
            let advice = Advice::new(reason, SAY_THE_SAME);
            let finding = advice.about(key.name.to_owned(), Some(without_effect.shown.clone()));
            findings.warning(said.file.on(without_effect.line), finding);
        }
        first_true
            .or(first_false)
            .and_then(|(_, stated)| stated.value.clone())
    }

    /// The value that a file gives; an error for each other file that gives another one.
    fn same(self, key: &Key, findings: &mut Findings) -> Option<Value> {
        let mut all = self
            .stated(key.name)
            .filter(|(_, stated)| stated.value.is_some());
        let (first, value) = all.next()?;
        for (said, other) in all.filter(|(_, other)| other.value != value.value) {
            findings.error(said.file.on(other.line), || {
                let at = first.at(value.line, said);
                let reason = format!("not the value that this key has{at}");
                let advice = Advice::new(reason, SAY_THE_SAME);
                advice.about(key.name.to_owned(), Some(other.shown.clone()))
            });
        }
        value.value.clone()
    }

    fn check_lists(self, config: &Config, findings: &mut Findings) {
        // Nothing that could not be read may have turned it on.
        let is_known = self
            .stated(ENABLE_IPV6)
            .all(|(_, stated)| stated.value.is_some());
        let is_ipv6_off = !config.enable_ipv6 && is_known && self.are_complete();
        for key in KEYS
            .iter()
            .filter(|key| matches!(key.field, Field::Cidrs(..)))
        {
            if let Some(limit) = config.cidr_limit {
                self.refuse_too_long(key.name, limit, findings);
            }
            if is_ipv6_off {
                self.refuse_ipv6(key.name, findings);
            }
        }
        self.refuse_in_both_lists(config, findings);
    }

    /// The limit holds for each list as all files give it together. The error stands where it is passed.
    fn refuse_too_long(self, key: &str, limit: u64, findings: &mut Findings) {
        let is_beyond = |items: usize| u64::try_from(items).is_ok_and(|items| items > limit);
        let mut length = 0;
        let mut passed = None;
        for (said, stated) in self.stated(key) {
            length += stated.value.as_ref().map_or(0, |list| list.cidrs().len());
            if passed.is_none() && is_beyond(length) {
                passed = Some((said, stated));
            }
        }
        let Some((said, stated)) = passed else {
            return;
        };
        findings.error(said.file.on(stated.line), || {
            let shown = match self.stated(key).count() {
                1 => format!("{length} items"),
                files => format!("{length} items in {files} files"),
            };
            let elsewhere = self
                .stated(CIDR_LIMIT)
                .next()
                .filter(|(limit, _)| limit.file.index != said.file.index);
            let at = elsewhere.map(|(limit, stated)| limit.at(stated.line, said));
            let at = at.unwrap_or_default();
            let reason = format!("longer than {CIDR_LIMIT}, which is {limit}{at}");
            let advice = Advice::new(reason, "shorten the list or raise cidrLimit");
            advice.about(key.to_owned(), Some(shown))
        });
    }

    fn refuse_ipv6(self, key: &str, findings: &mut Findings) {
        for (said, _, item) in self.cidrs(key) {
            if let Some(cidr @ IpNet::V6(_)) = item.value {
                findings.error(said.file.on(item.line), || {
                    let remedy = format!(
                        "write {ENABLE_IPV6}: true, give --enable-ipv6, or remove the item"
                    );
                    let advice = Advice::new("an IPv6 CIDR, and IPv6 is off", remedy);
                    advice.about(key.to_owned(), Some(format!("\"{cidr}\"")))
                });
            }
        }
    }

    /// No longest prefix decides where both lists hold the same one. The error stands at the item of `masqueradeCIDRs`.
    fn refuse_in_both_lists(self, config: &Config, findings: &mut Findings) {
        if self.cidrs(MASQUERADE_CIDRS).next().is_none() {
            return;
        }
        let mut exempt: HashMap<IpNet, Option<(&Said<'_>, usize)>> = HashMap::new();
        // What cannot be read may give the list.
        if config.non_masquerade_cidrs_are_default && self.are_complete() {
            exempt.extend(config.non_masquerade_cidrs.iter().map(|cidr| (*cidr, None)));
        }
        for (said, _, item) in self.cidrs(NON_MASQUERADE_CIDRS) {
            if let Some(cidr) = item.value {
                exempt.entry(cidr).or_insert(Some((said, item.line)));
            }
        }
        for (said, _, item) in self.cidrs(MASQUERADE_CIDRS) {
            let Some((cidr, other)) = item.value.and_then(|cidr| Some((cidr, exempt.get(&cidr)?)))
            else {
                continue;
            };
            findings.error(said.file.on(item.line), || {
                let advice = match other {
                    Some((exempt, line)) => Advice::new(
                        format!(
                            "{NON_MASQUERADE_CIDRS} holds the same prefix{}",
                            exempt.at(*line, said)
                        ),
                        "leave it in one of the two lists",
                    ),
                    None => Advice::new(
                        format!("the default list of {NON_MASQUERADE_CIDRS} holds the same prefix"),
                        format!("remove the item, or write {NON_MASQUERADE_CIDRS} without it"),
                    ),
                };
                advice.about(MASQUERADE_CIDRS.to_owned(), Some(format!("\"{cidr}\"")))
            });
        }
    }
}

const SAY_THE_SAME: &str = "write the same in both files, or leave the key out of one";

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
