//! CAP_NET_ADMIN, and where it comes from.

use super::finding::Finding;
use crate::kernel::capability::{self, NetAdmin};

const CHECK: &str = "capability";

/// The remedy for whatever takes the capability.
pub(super) const REMEDY: &str = "run as root, or grant CAP_NET_ADMIN (Kubernetes: securityContext.capabilities.add: \
    [NET_ADMIN], as root or with a file capability; systemd: AmbientCapabilities=CAP_NET_ADMIN; \
    or setcap cap_net_admin+p on the program)";

/// Raises the capability where it can be, and says whether it is there.
pub(super) fn check() -> (Finding, bool) {
    let holding = match capability::raise_net_admin() {
        Ok(holding) => holding,
        Err(error) => return (unreadable(&error), false),
    };
    let is_root = nix::unistd::geteuid().is_root();
    match capability::remedy() {
        Ok(remedy) => {
            let is_there = holding != NetAdmin::Missing;
            (finding(holding, is_root, remedy), is_there)
        }
        Err(error) => (unreadable(&error), false),
    }
}

fn unreadable(error: &caps::errors::CapsError) -> Finding {
    let said = format!("the capabilities of this process cannot be read: {error}");
    Finding::failure(CHECK, said, REMEDY)
}

fn finding(holding: NetAdmin, is_root: bool, remedy: &str) -> Finding {
    let who = if is_root { "root" } else { "not root" };
    match holding {
        NetAdmin::Effective => Finding::ok(CHECK, format!("CAP_NET_ADMIN is effective ({who})")),
        NetAdmin::Raised => Finding::ok(
            CHECK,
            format!(
                "CAP_NET_ADMIN is permitted, as by a file capability, and made effective by the program itself ({who})"
            ),
        ),
        NetAdmin::Missing => Finding::failure(
            CHECK,
            format!(
                "CAP_NET_ADMIN is missing ({who}): the daemon cannot run so, and most checks cannot"
            ),
            remedy,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Outcome;
    use super::*;

    #[test]
    fn only_a_capability_that_is_not_even_permitted_is_a_failure() {
        for (holding, is_root, result, words) in [
            (NetAdmin::Effective, true, Outcome::Ok, "effective (root)"),
            (NetAdmin::Raised, false, Outcome::Ok, "file capability"),
            (
                NetAdmin::Missing,
                false,
                Outcome::Failure,
                "missing (not root)",
            ),
        ] {
            let found = finding(holding, is_root, "grant it");
            assert_eq!(found.result, result);
            assert!(found.finding.contains(words), "{}", found.finding);
        }
    }
}
