//! Rules of iptables-legacy, which only its own program lists.

use super::enforcement::Enforcement;
use super::finding::Finding;
use crate::commands::legacy_nat::{LegacyNat, PRIORITY};
use crate::commands::other_nat::KNOWN_AGENT_CHAINS;
use crate::in_words;
use crate::policy::NOT_ENFORCED;

const CHECK: &str = "iptables-legacy";

/// What to do where nothing here may look.
pub(super) const ON_THE_NODE: &str = "on the node, as root: iptables-legacy -t nat -S POSTROUTING";

/// What has to be said where nothing was found in nftables; `None`: there is no rule but those.
pub(super) fn caveat(legacy: &LegacyNat) -> Option<&'static str> {
    let said = "rules of iptables-legacy cannot be listed here, see the check iptables-legacy";
    (*legacy != LegacyNat::NotLoaded).then_some(said)
}

pub(super) fn finding(legacy: &LegacyNat, enforcement: Enforcement) -> Finding {
    match legacy {
        LegacyNat::NotLoaded => Finding::ok(CHECK, "its table nat is not loaded"),
        LegacyNat::Loaded(programs) => loaded(programs, enforcement),
        // No setting of the default pod changes that, so it is no warning.
        LegacyNat::Hidden(reason) => Finding::ok(
            CHECK,
            format!("not visible from here: {reason}; {ON_THE_NODE}"),
        ),
        LegacyNat::Unknown(reason) => {
            Finding::unchecked(CHECK, reason, "run as root, with /proc mounted")
        }
    }
}

fn loaded(programs: &[&str], enforcement: Enforcement) -> Finding {
    let said = format!(
        "the table nat of {} is loaded; its rules stand at priority {PRIORITY} and cannot be listed here",
        programs.join(" and ")
    );
    if enforcement == Enforcement::On {
        return Finding::ok(
            CHECK,
            format!("{said}; our chain enforce comes first, but for {NOT_ENFORCED}"),
        );
    }
    let listings = programs
        .iter()
        .map(|program| format!("{program} -t nat -S"));
    let removals = programs.iter().map(|program| agent_removal(program));
    let mut remedy = format!(
        "look for MASQUERADE and SNAT in `{}` and remove them (the table itself stays loaded); the chain of a masquerade agent \
         ({}) and what leads to it: `{}`",
        in_words::all(listings, "`, `"),
        in_words::all(KNOWN_AGENT_CHAINS, ", "),
        in_words::all(removals, "`, `"),
    );
    if enforcement == Enforcement::Off {
        remedy.push_str(
            "; or set enforce: true, unless someone needs one of them (Istio, a VPN, Docker)",
        );
    }
    Finding::warning(CHECK, said, remedy)
}

/// Its jumps go by the words in which they are listed, whatever their comment is, and all in one commit. They are listed
/// first: the program that commits holds the lock of both from its first line on.
fn agent_removal(program: &str) -> String {
    format!(
        "CHAIN={}; JUMPS=$({program} -t nat -S POSTROUTING | sed -n \"s/^-A \\(.* -j $CHAIN\\)$/-D \\1/p\"); \
         printf '*nat\\n%s\\n-F %s\\n-X %s\\nCOMMIT\\n' \"$JUMPS\" $CHAIN $CHAIN | {program}-restore --noflush",
        KNOWN_AGENT_CHAINS[0]
    )
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::super::finding::Outcome;
    use super::*;

    fn legacy(ipv4: io::Result<&str>, ipv6: io::Result<&str>) -> LegacyNat {
        let named =
            |path, program, names: io::Result<&str>| (path, program, names.map(str::to_owned));
        LegacyNat::new([
            named("/v4", "iptables-legacy", ipv4),
            named("/v6", "ip6tables-legacy", ipv6),
        ])
    }

    #[test]
    fn a_loaded_legacy_table_is_a_warning_unless_enforce_comes_first() {
        use Enforcement::{Harmful, Off, On};
        for (ipv4, ipv6, enforcement, result) in [
            ("filter\nnat\n", "", Off, Outcome::Warning),
            ("filter\n", "nat\n", Harmful, Outcome::Warning),
            ("nat\n", "nat\n", On, Outcome::Ok),
            ("natural\nfilter\n", "", Off, Outcome::Ok),
        ] {
            let found = finding(&legacy(Ok(ipv4), Ok(ipv6)), enforcement);
            assert_eq!(found.result, result, "{}", found.finding);
            let remedy = found.remedy.unwrap_or_default();
            let is_to_be_advised = result == Outcome::Warning && enforcement == Off;
            assert_eq!(remedy.contains("enforce"), is_to_be_advised, "{remedy}");
        }
    }

    #[test]
    fn where_only_root_may_look_that_is_said_and_is_no_warning() {
        const WITHOUT_PROC: &str = "run as root, with /proc mounted";
        for (kind, result, words, remedy) in [
            (
                io::ErrorKind::PermissionDenied,
                Outcome::Ok,
                ON_THE_NODE,
                None,
            ),
            (
                io::ErrorKind::NotFound,
                Outcome::Warning,
                "not checked",
                Some(WITHOUT_PROC),
            ),
        ] {
            for legacy in [
                legacy(Err(kind.into()), Ok("")),
                legacy(Ok("nat\n"), Err(kind.into())),
            ] {
                let found = finding(&legacy, Enforcement::Off);
                assert_eq!(found.result, result);
                assert!(found.finding.contains(words), "{}", found.finding);
                assert_eq!(found.remedy.as_deref(), remedy);
                assert!(caveat(&legacy).is_some());
            }
        }
    }
}
