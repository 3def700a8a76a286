//! What is wrong with lists of CIDRs once all files are read.

use std::collections::HashMap;

use ipnet::IpNet;

use super::Config;
use super::keys::{ENABLE_IPV6, MASQUERADE_CIDRS, NON_MASQUERADE_CIDRS, SOURCE_CIDRS};
use super::merge::{AllSaid, ListField};
use super::remarks::{Remark, Remarks, ShownValue, Spot};

const NON_MASQUERADE: (&str, ListField) = (NON_MASQUERADE_CIDRS, |said| {
    said.non_masquerade_cidrs.as_ref()
});
const MASQUERADE: (&str, ListField) = (MASQUERADE_CIDRS, |said| said.masquerade_cidrs.as_ref());
const SOURCE: (&str, ListField) = (SOURCE_CIDRS, |said| said.source_cidrs.as_ref());

/// Holds the lists of all files against `limit`, against each other, and against what `config` says besides: its
/// lists are still the default ones.
pub(super) fn check(
    files: AllSaid<'_>,
    limit: Option<(Spot, u64)>,
    config: &Config,
    remarks: &mut Remarks,
) {
    for list in [NON_MASQUERADE, MASQUERADE, SOURCE] {
        if let Some((spot, limit)) = limit {
            refuse_too_long(files, list, spot, limit, remarks);
        }
        if is_ipv6_off(files, config) {
            refuse_ipv6(files, list, remarks);
        }
    }
    refuse_in_both_lists(files, &config.non_masquerade_cidrs, remarks);
}

/// The limit holds for each list as all files give it together. The error stands where it is passed.
fn refuse_too_long(
    files: AllSaid<'_>,
    (key, field): (&str, ListField),
    limit_stands: Spot,
    limit: u64,
    remarks: &mut Remarks,
) {
    let length: usize = files.lists(field).map(|(_, list)| list.items.len()).sum();
    let is_too_long = |items: usize| u64::try_from(items).is_ok_and(|items| items > limit);
    let mut so_far = 0;
    let passed = files.lists(field).find(|(_, list)| {
        so_far += list.items.len();
        is_too_long(so_far)
    });
    let Some((list, _)) = passed else {
        return;
    };
    let count = files.lists(field).count();
    remarks.error(list, || Remark {
        key: key.into(),
        value: ShownValue::Text(match count {
            1 => format!("{length} items"),
            files => format!("{length} items in {files} files"),
        }),
        reason: format!("longer than cidrLimit, which is {limit}"),
        other: Some(limit_stands).filter(|limit| limit.file != list.file),
        remedy: "shorten the list or raise cidrLimit".into(),
    });
}

/// It is off, and nothing that could not be read may have turned it on.
fn is_ipv6_off(files: AllSaid<'_>, config: &Config) -> bool {
    let is_known = files.are_complete() && files.iter().all(|(_, said)| !said.enable_ipv6_is_bad);
    !config.enable_ipv6 && is_known
}

fn refuse_ipv6(files: AllSaid<'_>, (key, field): (&str, ListField), remarks: &mut Remarks) {
    let is_ipv6 = |cidr: &IpNet| matches!(cidr, IpNet::V6(_));
    for (spot, _) in files.cidrs(field).filter(|(_, cidr)| is_ipv6(cidr)) {
        remarks.error(spot, || Remark {
            key: key.into(),
            value: ShownValue::AsWritten,
            reason: "an IPv6 CIDR, and IPv6 is off".into(),
            other: None,
            remedy: format!("write {ENABLE_IPV6}: true, give --enable-ipv6, or remove the item"),
        });
    }
}

/// No longest prefix decides where both lists hold the same one. The error stands at the item of `masqueradeCIDRs`.
fn refuse_in_both_lists(files: AllSaid<'_>, default_list: &[IpNet], remarks: &mut Remarks) {
    let (_, exempt) = NON_MASQUERADE;
    let (key, masqueraded) = MASQUERADE;
    if files.cidrs(masqueraded).next().is_none() {
        return;
    }
    let is_default = files.lists(exempt).next().is_none();
    if is_default && !files.are_complete() {
        return;
    }
    let mut listed: HashMap<IpNet, Option<Spot>> = HashMap::new();
    if is_default {
        listed.extend(default_list.iter().map(|cidr| (*cidr, None)));
    }
    for (spot, cidr) in files.cidrs(exempt) {
        listed.entry(cidr).or_insert(Some(spot));
    }
    for (spot, cidr) in files.cidrs(masqueraded) {
        let Some(other) = listed.get(&cidr) else {
            continue;
        };
        remarks.error(spot, || Remark {
            key: key.into(),
            value: ShownValue::AsWritten,
            reason: match other {
                Some(_) => format!("{NON_MASQUERADE_CIDRS} holds the same prefix"),
                None => format!("the default list of {NON_MASQUERADE_CIDRS} holds the same prefix"),
            },
            other: *other,
            remedy: match other {
                Some(_) => "leave it in one of the two lists".into(),
                None => format!("remove the item, or write {NON_MASQUERADE_CIDRS} without it"),
            },
        });
    }
}
