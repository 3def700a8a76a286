//! Whether connections were treated as the configuration asks for.

use std::io;

use super::finding::Finding;
use crate::commands::connections::Line;
use crate::in_words;
use crate::kernel::conntrack::{Entry, Filter};
use crate::policy::Policy;
use crate::policy::judgement::{Contradiction, Judgement};
use crate::tracked;

const CHECK: &str = "connections";
/// How many of a kind are shown.
const MOST_EXAMPLES: usize = 3;

/// Those that contradict the policy in one way.
struct OfKind {
    kind: Contradiction,
    count: u64,
    /// The first ones.
    examples: Vec<(Entry, Judgement)>,
}

/// `policy`: none where the configuration is bad. Needs CAP_NET_ADMIN.
pub(super) fn check(policy: Option<&Policy>) -> Vec<Finding> {
    let Some(policy) = policy else {
        let reason = "the configuration is bad";
        return vec![Finding::unchecked(CHECK, reason, "mend the configuration")];
    };
    let found = match contradicting(policy) {
        Ok(found) => found,
        Err(error) => {
            let reason = format!("conntrack cannot be read: {error}");
            return vec![Finding::unchecked(
                CHECK,
                reason,
                "modprobe nf_conntrack_netlink",
            )];
        }
    };
    let found: Vec<Finding> = found.iter().filter_map(finding).collect();
    match found.is_empty() {
        true => vec![Finding::ok(CHECK, "none contradicts the configuration")],
        false => found,
    }
}

fn contradicting(policy: &Policy) -> io::Result<[OfKind; 3]> {
    let mut found = Contradiction::ALL.map(|kind| OfKind {
        kind,
        count: 0,
        examples: Vec::new(),
    });
    tracked::judge_all(policy, &Filter::default(), |entry, judgement| {
        let mut kinds = found.iter_mut();
        if let Some(of) = kinds.find(|of| judgement.contradiction == Some(of.kind)) {
            of.count += 1;
            if of.examples.len() < MOST_EXAMPLES {
                of.examples.push((entry, judgement));
            }
        }
    })?;
    Ok(found)
}

/// `None`: there is none of this kind.
fn finding(of: &OfKind) -> Option<Finding> {
    let OfKind {
        kind,
        count,
        examples,
    } = of;
    let (first, _) = examples.first()?;
    let (source, destination) = (first.original.source, first.reply.source);
    let examples = examples.iter();
    let examples = examples.map(|(entry, judgement)| Line::new(entry, *judgement).ends());
    Some(Finding::warning(
        CHECK,
        format!("{count} {kind}, such as {}", in_words::all(examples, ", ")),
        format!(
            "non-masquerade-daemon explain --from {source} {destination} names another NAT chain that decides; without one, they are \
             older than the rules: non-masquerade-daemon connections --end"
        ),
    ))
}
