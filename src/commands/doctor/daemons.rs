//! Which daemons run in this network namespace.

use super::finding::Finding;
use crate::commands::daemons::Daemon;
use crate::in_words;

const CHECK: &str = "daemons";

/// More than one is one too many.
pub(super) fn finding(daemons: &[Daemon]) -> Finding {
    let here: Vec<String> = daemons
        .iter()
        .filter(|daemon| daemon.is_here == Some(true))
        .map(|daemon| format!("pid {}", daemon.process_id))
        .collect();
    let unclear = daemons.iter().filter(|daemon| daemon.is_here.is_none());
    match (here.as_slice(), unclear.count()) {
        ([], 0) => Finding::ok(CHECK, "no daemon is to be seen from here"),
        ([one], 0) => Finding::ok(CHECK, format!("one runs here, {one}")),
        ([] | [_], unclear) => Finding::unchecked(
            CHECK,
            format!(
                "{unclear} daemons of other users run, and whether in this network namespace cannot be seen"
            ),
            "run as root",
        ),
        (several, _) => Finding::failure(
            CHECK,
            format!(
                "{} run in this network namespace: {}",
                several.len(),
                in_words::all(several, ", ")
            ),
            "stop all but one (Kubernetes: one DaemonSet; systemd: systemctl disable --now non-masquerade-daemon)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Outcome;
    use super::*;

    #[test]
    fn a_second_daemon_in_this_namespace_is_a_failure() {
        let daemon = |process_id, is_here| Daemon {
            process_id,
            is_here,
        };
        let here = Some(true);
        for (daemons, result) in [
            (vec![], Outcome::Ok),
            (vec![daemon(1, here), daemon(2, Some(false))], Outcome::Ok),
            (vec![daemon(1, here), daemon(2, None)], Outcome::Warning),
            (vec![daemon(1, here), daemon(2, here)], Outcome::Failure),
        ] {
            assert_eq!(finding(&daemons).result, result, "{daemons:?}");
        }
    }
}
