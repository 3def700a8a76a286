//! What a key is that is none here: a slip, a flag, or a key of another agent. A known key is named only where the names are alike and
//! mean the same: a hint that is followed must not turn a policy into its opposite.

use serde_yaml::Value as Scalar;

use super::finding::Advice;
use super::keys::{Field, KEYS, Key};
use super::lookalike::Lookalike;
use super::node::Node;

/// Names of other agents' keys, without hyphens and case, each with what it is there and what is to be written here.
const ELSEWHERE: &[(&[&str], &str, &str)] = &[
    (
        &["linklocal"],
        "the predecessor's key: true exempts what is link-local",
        "write masqLinkLocal with the opposite value",
    ),
    (
        &["linklocalipv6"],
        "like the predecessor's linkLocal: true exempts what is link-local",
        "write masqLinkLocalIPv6 with the opposite value",
    ),
    (
        &["nonmasqueradesrccidrs", "nonmasqueradesourcecidrs"],
        "TKE's key: sources that are not masqueraded",
        "list all other sources in sourceCIDRs, which are the only ones that are masqueraded",
    ),
    (
        &["masqueradesrccidrs", "masqueradesourcecidrs", "srccidrs"],
        "sources that are masqueraded",
        "write sourceCIDRs",
    ),
    (
        &["ipmasqagent", "data", "config"],
        "a level above the configuration, of a ConfigMap or of Cilium's Helm values",
        "write only what stands below it",
    ),
    (
        &[
            "ipv4nativeroutingcidr",
            "ipv6nativeroutingcidr",
            "nativeroutingcidr",
        ],
        "Cilium's key: a range that is not masqueraded",
        "list it in nonMasqueradeCIDRs",
    ),
    (
        &[
            "clustercidr",
            "clustercidrs",
            "podcidr",
            "podcidrs",
            "network",
            "ipv6network",
            "servicecidr",
            "servicecidrs",
        ],
        "the range of a cluster, as flannel and kube-proxy have it",
        "list it in nonMasqueradeCIDRs",
    ),
    (
        &["excludesnatcidrs", "awsvpck8scniexcludesnatcidrs"],
        "the key of AWS's VPC CNI: ranges that are not masqueraded",
        "list them in nonMasqueradeCIDRs",
    ),
    (
        &[
            "enableipmasqagent",
            "enableipv4masquerade",
            "enablebpfmasquerade",
            "enableipv4",
            "ipmasq",
            "masqueradeall",
        ],
        "another agent's key: here IPv4 is always masqueraded, but for nonMasqueradeCIDRs",
        "remove it",
    ),
    (
        &["enableipv6masquerade"],
        "Cilium's key",
        "write enableIPv6",
    ),
    (
        &["egressmasqueradeinterfaces"],
        "Cilium's key: the interfaces by which traffic leaves that is masqueraded",
        "list them in outputInterfaces",
    ),
    (
        &["natoutgoingaddress"],
        "Calico's key: the address that masqueraded connections get",
        "write snatAddressCIDRs, a list of CIDRs of which each node takes its own address",
    ),
    (
        &["disabledefaultsnat"],
        "GKE's key: true exempts every destination",
        "write nonMasqueradeCIDRs: [\"0.0.0.0/0\"] for that",
    ),
];

/// Options of the command line that are no keys.
const FLAGS: [&str; 8] = [
    "http-address",
    "log-format",
    "log-level",
    "masq-chain",
    "metrics-per-cidr",
    "nomasq-all-reserved-ranges",
    "table",
    "table-owner",
];

/// Longer texts are no names.
const MAX_NAME_BYTES: usize = 64;

/// What is wrong with a key that is not known.
pub(super) fn unknown(key: &Node<'_>) -> Advice {
    if !matches!(key.scalar(), Some(Scalar::String(_))) {
        let reason = format!("{} where a key must stand", key.kind());
        return Advice::new(reason, "remove it");
    }
    let Some(name) = key.text().filter(|name| name.len() <= MAX_NAME_BYTES) else {
        return Advice::new("unknown key", "remove it");
    };
    if name == "<<" {
        return Advice::new(
            "a merge key of YAML, which is not read",
            "write its keys out",
        );
    }
    let advice = hint(&plain(&Lookalike::mended(name)));
    match Lookalike::all_in(name).next() {
        Some(found) => Advice::new(
            format!("{}: it holds {found}", advice.reason),
            advice.remedy,
        ),
        None => advice,
    }
}

fn hint(plain: &str) -> Advice {
    if let Some(flag) = FLAGS.iter().find(|flag| self::plain(flag) == plain) {
        return Advice::new("a flag here, and no key", format!("give --{flag}"));
    }
    let elsewhere = ELSEWHERE.iter().find(|(names, ..)| names.contains(&plain));
    if let Some((_, reason, remedy)) = elsewhere {
        return Advice::new(*reason, *remedy);
    }
    let remedy = nearest(plain).unwrap_or_else(|| "remove it".into());
    Advice::new("unknown key", remedy)
}

/// What to write in place of a name that is like a known one.
fn nearest(plain: &str) -> Option<String> {
    let alike = KEYS
        .iter()
        .filter_map(|key| Some((distance(plain, key)?, key)));
    let (_, key) = alike.min_by_key(|(distance, _)| *distance)?;
    let name = key.name;
    let known = self::plain(name);
    if is_negated(plain) == is_negated(&known) {
        // `exMasqueradeCIDRs`: what stands before a name may say the opposite in more words than are known.
        let has_more_before = plain.len() > known.len() && plain.ends_with(&known);
        return (!has_more_before).then(|| format!("the nearest known key is {name}"));
    }
    matches!(key.field, Field::Boolean(_)).then(|| format!("write {name} with the opposite value"))
}

/// How many slips lie between a name and a known one; none where they are not alike, or are of different things.
fn distance(plain: &str, key: &Key) -> Option<usize> {
    let known = self::plain(key.name);
    let is_of_the_same = [
        "src",
        "source",
        "v4",
        "v6",
        "input",
        "dnat",
        "pod",
        "dropvalid",
        "off",
    ]
    .iter()
    .all(|word| plain.contains(word) == known.contains(word));
    // `masqNoLinkLocal`; a negation at the start is looked at by itself.
    let negations_within = |name: &str| name.get(1..).map(|name| name.matches("no").count());
    let is_of_the_same = is_of_the_same && negations_within(plain) == negations_within(&known);
    let short = |name: &str| name.replace("masquerade", "masq");
    if !is_of_the_same || plain.len().abs_diff(known.len()) > MAX_NAME_BYTES {
        return None;
    }
    if short(plain) == short(&known) {
        return Some(0);
    }
    let slips = strsim::damerau_levenshtein(plain, &known);
    (slips <= 3.min(known.len() / 4)).then_some(slips)
}

fn is_negated(plain: &str) -> bool {
    let negations = ["no", "un", "de", "dis", "skip"];
    negations.iter().any(|start| plain.starts_with(start))
}

/// `enable-ipv6`, `ENABLE_IPV6` → `enableipv6`
fn plain(name: &str) -> String {
    name.replace(|c: char| !c.is_alphanumeric(), "")
        .to_ascii_lowercase()
}
