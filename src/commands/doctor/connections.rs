//! Whether connections were treated as the configuration asks for.

use std::io;

use super::finding::Finding;
use crate::commands::connections::Line;
use crate::kernel::conntrack::Filter;
use crate::policy::Policy;
use crate::policy::judgement::Contradiction;
use crate::tracked;

const CHECK: &str = "connections";
/// How many of a kind are shown.
const MOST_EXAMPLES: usize = 3;

/// Those that contradict the policy in one way.
struct OfKind {
    kind: Contradiction,
    count: u64,
    examples: Vec<String>,
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
    let found: Vec<Finding> = found
        .iter()
        .filter(|of| of.count > 0)
        .map(finding)
        .collect();
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
                of.examples.push(Line::new(&entry, judgement).to_string());
            }
        }
    })?;
    Ok(found)
}

fn finding(of: &OfKind) -> Finding {
    let (kind, count, examples) = (of.kind, of.count, of.examples.join("; "));
    Finding::warning(
        CHECK,
        format!("{count} {kind}, such as {examples}"),
        "non-masquerade-daemon connections --contradicting names them all, and what may have led to it; those that are older \
         than the rules end by: non-masquerade-daemon connections --end",
    )
}
