//! libnftables, what the kernel lacks, and the daemon's own tables.

use super::finding::Finding;
use crate::commands::features::Feature;
use crate::commands::holder::{Holder, HolderKind};
use crate::daemon::worker::{PROCESS_LIMIT, WorkerError};
use crate::kernel::difference::Difference;
use crate::kernel::error::{self, KernelError};
use crate::kernel::libnftables::{is_too_old, numbers, writes_counters};

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
pub(super) fn owner_support(version: &str, kernel_takes_it: bool) -> OwnerSupport {
    if numbers(version).is_some_and(|version| version < WITH_FLAGS) {
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
    if is_too_old(version) {
        return Finding::failure(
            LIBRARY,
            format!("version {version} is too old: the daemon takes none before 0.9.4"),
            "update libnftables to 1.1.4 or later",
        );
    }
    if numbers < WITH_FLAGS {
        let counts = match !writes_counters(version) {
            true => "before 1.0.6 connections to exempt destinations are not counted, and ",
            false => "",
        };
        return Finding::warning(
            LIBRARY,
            format!(
                "version {version}: {counts}before 1.1.0 a table can have no owner, and some sets of a newer nft (1.1.2 or \
                 later) make it crash"
            ),
            "update libnftables to 1.1.4 or later",
        );
    }
    Finding::ok(LIBRARY, format!("version {version}"))
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
        let mut remedy = format!(
            "load its module, or run a kernel built with {}",
            feature.option
        );
        if let Some(linux) = feature.built_in_since {
            remedy += &format!(" (from Linux {linux} on nf_tables always has it)");
        }
        Finding::failure(FEATURES, format!("the kernel lacks {feature}"), remedy)
    };
    missing.iter().map(lacks).collect()
}

/// `table` is its family and name; `differences` is none where the configuration is bad.
pub(super) fn in_step(table: &str, is_there: bool, differences: Option<&[Difference]>) -> Finding {
    let Some(differences) = differences else {
        return match is_there {
            true => uncompared(TABLE),
            false => missing(table, "mend the configuration: the daemon then makes it"),
        };
    };
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

fn missing(table: &str, remedy: &str) -> Finding {
    let said = format!("there is no table {table}: nothing is masqueraded");
    Finding::warning(TABLE, said, remedy)
}

/// What cannot be said while it is not known what should be there.
pub(super) fn uncompared(check: &'static str) -> Finding {
    Finding::unchecked(check, "the configuration is bad", "mend the configuration")
}

/// Who may change the table. `holder`: none where there is no table.
pub(super) fn owner(
    table: &str,
    holder: Option<&Holder>,
    is_switched_off: bool,
    support: OwnerSupport,
) -> Finding {
    let said = match holder {
        Some(holder) => format!("table {table} is owned by {holder}"),
        None => format!("table {table} will have no owner; what others change in it is undone"),
    };
    match (holder.map(|holder| holder.kind), support) {
        (Some(HolderKind::Daemon), _) => Finding::ok(OWNER, said),
        (Some(HolderKind::Other), _) => Finding::failure(
            OWNER,
            said,
            "end that process: the daemon then takes the table over",
        ),
        (Some(HolderKind::Unseen), _) => Finding::warning(
            OWNER,
            said,
            "run doctor beside the daemon (kubectl exec), or as root in the host's pid namespace",
        ),
        (Some(HolderKind::Ended), _) => Finding::warning(
            OWNER,
            format!(
                "{said}; nft 1.0.6 prints an empty `flags` for it, so that its saved ruleset does not load again"
            ),
            "start the daemon",
        ),
        (Some(HolderKind::None) | None, _) if is_switched_off => {
            Finding::ok(OWNER, format!("{said} (--table-owner off)"))
        }
        (Some(HolderKind::None) | None, OwnerSupport::LibraryTooOld) => Finding::warning(
            OWNER,
            said,
            "update libnftables to 1.1.0 or later, or set --table-owner off where none is wanted",
        ),
        (Some(HolderKind::None) | None, OwnerSupport::KernelTooOld) => Finding::warning(
            OWNER,
            said,
            "run Linux 6.9 or later, or set --table-owner off where no owner is wanted",
        ),
        (Some(HolderKind::None), OwnerSupport::Possible) => Finding::warning(
            OWNER,
            format!("{said}: it was made without an owner, and none can be given to it"),
            "to have it made anew: stop the daemon, run non-masquerade-daemon cleanup, start it (meanwhile nothing is \
             masqueraded), or reboot",
        ),
        (None, OwnerSupport::Possible) => Finding::ok(
            OWNER,
            format!("table {table} will be owned by the daemon: others cannot change it"),
        ),
    }
}

/// What could not be looked at, and why.
pub(super) fn unanswered(check: &'static str, error: &WorkerError) -> Finding {
    let remedy = match error {
        WorkerError::Start { error, .. } if error.kind() == PROCESS_LIMIT => {
            "end processes, or raise the limit (Kubernetes: podPidsLimit of the kubelet; systemd: TasksMax)"
        }
        WorkerError::Start { .. } => "mount -t proc proc /proc",
        WorkerError::Kernel(KernelError::NobodyToAsk(_)) => "see kernel-features",
        WorkerError::Kernel(refusal) => error::remedy(&refusal.to_string())
            .unwrap_or("mend what the message says, and look again"),
        WorkerError::Hung { .. } | WorkerError::Stuck { .. } => {
            "look again when the host is less busy"
        }
        death if death.is_a_crash() => WORKER_REMEDY,
        _ => "free memory or files, and look again",
    };
    match error {
        // What the policy needs was tried, and what refused it refuses the daemon, too.
        WorkerError::Kernel(refusal) if check != FEATURES => {
            Finding::unchecked(check, refusal, remedy)
        }
        _ => Finding::failure(check, error.to_string(), remedy),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;
    use std::time::Duration;

    use nix::sys::signal::Signal;

    use super::super::finding::Outcome;
    use super::*;
    use crate::kernel::netlink::TableHeader;
    use crate::kernel::owner::Process;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        for (version, result) in [
            ("1.0.6", Outcome::Warning),
            ("1.0.6.1", Outcome::Warning),
            ("0.9.4", Outcome::Warning),
            ("0.9.3", Outcome::Failure),
            ("1.1.0", Outcome::Ok),
            ("1.1.3", Outcome::Ok),
            ("1.10.0", Outcome::Ok),
            ("2.0", Outcome::Ok),
            ("none", Outcome::Warning),
        ] {
            assert_eq!(library(Some(version)).result, result, "{version}");
        }
        assert_eq!(owner_support("1.0.9", true), OwnerSupport::LibraryTooOld);
        assert_eq!(owner_support("1.1.3", true), OwnerSupport::Possible);
        assert_eq!(owner_support("1.1.3", false), OwnerSupport::KernelTooOld);
    }

    #[test]
    fn each_standing_of_the_table_is_told_with_what_to_do() {
        use Outcome::{Failure, Warning};
        use OwnerSupport::{KernelTooOld, LibraryTooOld, Possible};
        let holder = |flags, owner, process: Option<&str>| {
            let header = TableHeader {
                flags,
                owner,
                uses: 0,
            };
            let named = |name: &str| Process {
                name: name.to_owned(),
                id: 7,
            };
            Some(Holder::new(header, process.map(named)))
        };
        let owned = |process| holder(6, Some(9), process);
        let (plain, orphan) = (holder(0, None, None), holder(4, None, None));
        let (can, library, kernel) = (Possible, LibraryTooOld, KernelTooOld);
        for (holder, is_off, support, result, remedy) in [
            (&owned(Some("nmd-nft-worker")), false, can, Outcome::Ok, ""),
            (&owned(Some("nft")), false, can, Failure, "end that process"),
            (&owned(None), false, can, Warning, "run doctor beside"),
            (&orphan, false, can, Warning, "start the daemon"),
            (&plain, true, can, Outcome::Ok, ""),
            (&plain, false, can, Warning, "cleanup"),
            (&plain, false, library, Warning, "libnftables to 1.1.0"),
            (&plain, false, kernel, Warning, "Linux 6.9"),
            (&None, false, can, Outcome::Ok, ""),
            (&None, true, kernel, Outcome::Ok, ""),
            (&None, false, kernel, Warning, "Linux 6.9"),
        ] {
            let found = owner("ip t", holder.as_ref(), is_off, support);
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
        let fib = Feature::new("fib", "CONFIG_NFT_FIB_IPV4");
        let [found] = features("ip", &[fib]).try_into().unwrap();
        assert_eq!(found.result, Outcome::Failure);
        assert!(found.remedy.unwrap().contains("CONFIG_NFT_FIB_IPV4"));
    }

    #[test]
    fn a_table_that_is_not_there_is_a_warning_and_one_that_differs_a_failure() {
        assert_eq!(
            in_step("ip t", false, Some(&[Difference::TableMissing])).result,
            Outcome::Warning
        );
        assert_eq!(in_step("ip t", true, Some(&[])).result, Outcome::Ok);
        let dormant = in_step("ip t", true, Some(&[Difference::TableDormant]));
        assert_eq!(dormant.result, Outcome::Failure);
        assert!(dormant.finding.contains("dormant"));
    }
}
