//! libnftables, what the kernel lacks, and the daemon's own tables.

use super::finding::Finding;
use crate::commands::features::Feature;
use crate::daemon::worker::{PROCESS_LIMIT, WorkerError};
use crate::kernel::difference::Difference;
use crate::kernel::error;
use crate::kernel::netlink::TableHeader;
use crate::kernel::serve::WORKER_NAME;

pub(super) const LIBRARY: &str = "libnftables";
pub(super) const FEATURES: &str = "kernel-features";
pub(super) const TABLE: &str = "table";
pub(super) const OWNER: &str = "owner";

/// The first libnftables that writes table flags by JSON.
const WITH_FLAGS: [u32; 3] = [1, 1, 0];

const WORKER_REMEDY: &str = "update libnftables to 1.1.4 or later, or remove the set that it dies of (a newer nft lists it: nft list sets)";

/// Whether tables can be owned here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OwnerSupport {
    Possible,
    LibraryTooOld,
    KernelTooOld,
}

/// What the versions of libnftables and the kernel's answer to a dry run say together.
pub(super) fn owner_support(version: Option<&str>, kernel_takes_it: bool) -> OwnerSupport {
    if version.and_then(numbers).is_some_and(|v| v < WITH_FLAGS) {
        OwnerSupport::LibraryTooOld
    } else if kernel_takes_it {
        OwnerSupport::Possible
    } else {
        OwnerSupport::KernelTooOld
    }
}

pub(super) fn library(version: Option<&str>) -> Finding {
    let Some((version, numbers)) = version.and_then(|v| Some((v, numbers(v)?))) else {
        return Finding::unchecked(
            LIBRARY,
            "it tells no version",
            "install libnftables 1.1.4 or later",
        );
    };
    if numbers < WITH_FLAGS {
        return Finding::warning(
            LIBRARY,
            format!(
                "version {version}: before 1.1.0 a table can have no owner, sets are declared by type, and some sets of a \
                 newer nft (1.1.2 or later) make it crash"
            ),
            "update libnftables to 1.1.4 or later",
        );
    }
    Finding::ok(LIBRARY, format!("version {version}"))
}

/// `1.0.6` and the like; what follows the third number does not count.
fn numbers(version: &str) -> Option<[u32; 3]> {
    let mut parts = version
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().ok());
    let mut next = || parts.next().flatten();
    Some([next()?, next()?, next().unwrap_or(0)])
}

/// What the kernel lacks for the configured policy.
pub(super) fn features(family: &str, missing: &[Feature]) -> Vec<Finding> {
    if missing.is_empty() {
        return vec![Finding::ok(
            FEATURES,
            format!("the kernel has all that the configured policy needs (family {family})"),
        )];
    }
    let lacks = |feature: &Feature| {
        Finding::failure(
            FEATURES,
            format!("the kernel lacks {feature}"),
            format!(
                "load its module, or run a kernel built with {}",
                feature.option
            ),
        )
    };
    missing.iter().map(lacks).collect()
}

/// `table` is its family and name.
pub(super) fn in_step(table: &str, is_there: bool, differences: &[Difference]) -> Finding {
    if !is_there {
        return missing(table, "start the daemon: non-masquerade-daemon run");
    }
    if differences.is_empty() {
        let said = format!("table {table} is in step with the configuration");
        return Finding::ok(TABLE, said);
    }
    let differences = error::listed(differences);
    Finding::failure(
        TABLE,
        format!("table {table} is not what the configuration says: {differences}"),
        "start the daemon with the same options; where it runs, its log says why (SIGHUP makes it compare at once)",
    )
}

/// `table` is its family and name.
pub(super) fn missing(table: &str, remedy: &str) -> Finding {
    let said = format!("there is no table {table}: nothing is masqueraded");
    Finding::warning(TABLE, said, remedy)
}

/// What cannot be said while it is not known what should be there.
pub(super) fn uncompared(check: &'static str) -> Finding {
    Finding::unchecked(check, "the configuration is bad", "mend the configuration")
}

/// Who may change the table. `process` is who has the owner's socket, where it can be seen.
pub(super) fn owner(
    table: &str,
    header: Option<TableHeader>,
    process: Option<&str>,
    is_switched_off: bool,
    support: OwnerSupport,
) -> Finding {
    let Some(header) = header else {
        return owner_to_be(table, is_switched_off, support);
    };
    match (header.owner, process) {
        (Some(_), Some(process)) if process.starts_with(&*WORKER_NAME.to_string_lossy()) => {
            Finding::ok(OWNER, format!("table {table} is owned by {process}"))
        }
        (Some(port), Some(process)) => Finding::failure(
            OWNER,
            format!(
                "table {table} is owned by {process}, netlink port {port}, which is no daemon of this kind"
            ),
            "end that process: the daemon then takes the table over",
        ),
        (Some(port), None) => Finding::warning(
            OWNER,
            format!(
                "table {table} is owned by a process that is not to be seen from here, netlink port {port}"
            ),
            "run doctor beside the daemon (kubectl exec), or as root in the host's pid namespace",
        ),
        (None, _) if header.is_persistent() => Finding::warning(
            OWNER,
            format!(
                "table {table} had an owner that has ended: anyone may change it, and nft 1.0.6 prints an empty `flags` for \
                 it, so that its saved ruleset does not load again"
            ),
            "start the daemon, which adopts it",
        ),
        (None, _) => plain(table, is_switched_off, support),
    }
}

fn plain(table: &str, is_switched_off: bool, support: OwnerSupport) -> Finding {
    let said = format!("table {table} has no owner; what others change in it is undone");
    if is_switched_off {
        return Finding::ok(OWNER, format!("{said} (--table-owner off)"));
    }
    match support {
        OwnerSupport::Possible => Finding::warning(
            OWNER,
            format!("{said}: it was made without one, and none can be given to it"),
            "to have it made anew: stop the daemon, run non-masquerade-daemon cleanup, start it (meanwhile nothing is \
             masqueraded), or reboot",
        ),
        other => lacking(said, other),
    }
}

fn owner_to_be(table: &str, is_switched_off: bool, support: OwnerSupport) -> Finding {
    match (is_switched_off, support) {
        (true, _) => Finding::ok(
            OWNER,
            format!("table {table} will have no owner (--table-owner off)"),
        ),
        (false, OwnerSupport::Possible) => Finding::ok(
            OWNER,
            format!("table {table} will be owned by the daemon: others cannot change it"),
        ),
        (false, other) => lacking(
            format!("table {table} will have no owner; what others change in it is undone"),
            other,
        ),
    }
}

fn lacking(said: String, support: OwnerSupport) -> Finding {
    let remedy = match support {
        OwnerSupport::LibraryTooOld => {
            "update libnftables to 1.1.0 or later, or set --table-owner off where none is wanted"
        }
        _ => "run Linux 6.9 or later, or set --table-owner off where no owner is wanted",
    };
    Finding::warning(OWNER, said, remedy)
}

/// What could not be looked at, and why.
pub(super) fn unanswered(check: &'static str, error: &WorkerError) -> Finding {
    let remedy = match error {
        WorkerError::Start { error, .. } if error.kind() == PROCESS_LIMIT => {
            "end processes, or raise the limit (Kubernetes: podPidsLimit of the kubelet; systemd: TasksMax)"
        }
        WorkerError::Start { .. } => "mount -t proc proc /proc",
        WorkerError::Kernel(refusal) => {
            return Finding::unchecked(
                check,
                refusal,
                "grant CAP_NET_ADMIN in the user namespace that owns this network namespace; else look at the message",
            );
        }
        WorkerError::Hung { .. } | WorkerError::Stuck { .. } => {
            "look again when the host is less busy"
        }
        death if death.is_a_crash() => WORKER_REMEDY,
        _ => "free memory or files, and look again",
    };
    Finding::failure(check, error.to_string(), remedy)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;
    use std::time::Duration;

    use nix::sys::signal::Signal;

    use super::super::finding::Outcome;
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        for (version, result) in [
            ("1.0.6", Outcome::Warning),
            ("1.0.6.1", Outcome::Warning),
            ("0.9.8", Outcome::Warning),
            ("1.1.0", Outcome::Ok),
            ("1.1.3", Outcome::Ok),
            ("1.10.0", Outcome::Ok),
            ("2.0", Outcome::Ok),
            ("none", Outcome::Warning),
        ] {
            assert_eq!(library(Some(version)).result, result, "{version}");
        }
        assert_eq!(
            owner_support(Some("1.0.9"), true),
            OwnerSupport::LibraryTooOld
        );
        assert_eq!(owner_support(Some("1.1.3"), true), OwnerSupport::Possible);
        assert_eq!(
            owner_support(Some("1.1.3"), false),
            OwnerSupport::KernelTooOld
        );
    }

    #[test]
    fn each_standing_of_the_table_is_told_with_what_to_do() {
        use Outcome::{Failure, Warning};
        use OwnerSupport::{KernelTooOld, LibraryTooOld, Possible};
        let header = |flags, owner| {
            Some(TableHeader {
                flags,
                owner,
                uses: 0,
            })
        };
        let (ours, foreign) = (Some("nmd-nft-worker (pid 7)"), Some("nft (pid 8)"));
        let (plain, orphan, owned) = (header(0, None), header(4, None), header(6, Some(9)));
        let (can, library, kernel) = (Possible, LibraryTooOld, KernelTooOld);
        for (header, process, is_off, support, result, remedy) in [
            (owned, ours, false, can, Outcome::Ok, ""),
            (owned, foreign, false, can, Failure, "end that process"),
            (owned, None, false, can, Warning, "run doctor beside"),
            (orphan, None, false, can, Warning, "start the daemon"),
            (plain, None, true, can, Outcome::Ok, ""),
            (plain, None, false, can, Warning, "cleanup"),
            (plain, None, false, library, Warning, "libnftables to 1.1.0"),
            (plain, None, false, kernel, Warning, "Linux 6.9"),
            (None, None, false, can, Outcome::Ok, ""),
            (None, None, true, kernel, Outcome::Ok, ""),
            (None, None, false, kernel, Warning, "Linux 6.9"),
        ] {
            let found = owner("ip t", header, process, is_off, support);
            assert_eq!(found.result, result, "{}", found.finding);
            let told = found.remedy.unwrap_or_default();
            assert!(told.contains(remedy), "{told}");
        }
    }

    #[test]
    fn what_mends_a_worker_s_silence_is_told_by_its_reason() {
        let ended = |signal: i32| WorkerError::Ended {
            status: ExitStatus::from_raw(signal),
            said: String::new(),
        };
        let hung = WorkerError::Hung {
            deadline: Duration::from_secs(5),
            said: String::new(),
        };
        for (death, remedy) in [
            (hung, "less busy"),
            (ended(Signal::SIGSEGV as i32), "update libnftables"),
            (ended(Signal::SIGKILL as i32), "free memory"),
        ] {
            let told = unanswered(TABLE, &death).remedy;
            assert!(told.unwrap().contains(remedy), "{remedy}");
        }
    }

    #[test]
    fn a_missing_feature_is_a_failure_that_names_its_option() {
        let fib = Feature {
            name: "fib",
            option: "CONFIG_NFT_FIB_IPV4",
        };
        let [found] = features("ip", &[fib]).try_into().unwrap();
        assert_eq!(found.result, Outcome::Failure);
        assert!(found.remedy.unwrap().contains("CONFIG_NFT_FIB_IPV4"));
    }

    #[test]
    fn a_table_that_is_not_there_is_a_warning_and_one_that_differs_a_failure() {
        assert_eq!(
            in_step("ip t", false, &[Difference::TableMissing]).result,
            Outcome::Warning
        );
        assert_eq!(in_step("ip t", true, &[]).result, Outcome::Ok);
        let dormant = in_step("ip t", true, &[Difference::TableDormant]);
        assert_eq!(dormant.result, Outcome::Failure);
        assert!(dormant.finding.contains("dormant"));
    }
}
