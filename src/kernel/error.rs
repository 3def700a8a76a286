//! Why a table could not be made right. It crosses from the worker to the daemon, so that causes are words.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use super::difference::Difference;
use super::libnftables::ContextError;
use super::owner::UNSEEN;
use crate::in_words;

/// Why the kernel's table could not be looked at or made right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum KernelError {
    /// A document could not be written.
    #[error("the transaction cannot be written as JSON: {0}")]
    Encode(String),
    /// libnftables or the kernel refused.
    #[error("{doing}: {said}{}", hint(.said))]
    Refused {
        /// What was tried.
        doing: String,
        /// libnftables' words.
        said: String,
    },
    /// There is nobody to ask.
    #[error("{0}")]
    NobodyToAsk(String),
    /// Nothing is written by a libnftables that writes something else.
    #[error(
        "libnftables {0} is too old and writes some sets and ports otherwise than asked: update it to 0.9.4 or later"
    )]
    TooOld(String),
    /// nfnetlink gave no answer.
    #[error("nfnetlink does not tell of the ruleset what is asked: {}{}", .0, hint(.0))]
    Netlink(String),
    /// The table has an owner, so that nobody else may change it.
    #[error(
        "the table is owned by {}, netlink port {port}: it is taken over when that ends",
        .process.as_deref().unwrap_or(UNSEEN)
    )]
    OwnedByAnother {
        /// The netlink port id of its socket, `NFTA_TABLE_OWNER`.
        port: u32,
        /// Its name and id, where this pid namespace has it.
        process: Option<String>,
        /// The process was to be seen before, and is not any more: the kernel lets go of the table when it has closed the
        /// socket, which waits for commits that are under way (`nft_rcv_nl_event`, net/netfilter/nf_tables_api.c).
        is_ending: bool,
    },
    /// Objects of others that cannot be deleted. All else is right.
    #[error("what others have made in the table cannot be deleted: {}", listed(.0))]
    Undeletable(Vec<String>),
    /// What was applied is not what is there.
    #[error("after {rounds} rounds the kernel's table still differs: {}", listed(.differences))]
    StillDiffers {
        /// How often the table was read and written.
        rounds: usize,
        /// In what.
        differences: Vec<Difference>,
    },
}

impl From<io::Error> for KernelError {
    fn from(error: io::Error) -> Self {
        // The kernel itself says that it does not support one thing or another, by a number.
        match (error.kind(), error.raw_os_error()) {
            (io::ErrorKind::Unsupported, None) => Self::NobodyToAsk(error.to_string()),
            _ => Self::Netlink(error.to_string()),
        }
    }
}

impl From<ContextError> for KernelError {
    fn from(error: ContextError) -> Self {
        Self::NobodyToAsk(error.to_string())
    }
}

impl From<serde_json::Error> for KernelError {
    fn from(error: serde_json::Error) -> Self {
        Self::Encode(error.to_string())
    }
}

impl KernelError {
    /// libnftables or the kernel refused; `said` in their words.
    pub(crate) fn refused(doing: String, said: &str) -> Self {
        Self::Refused {
            doing,
            said: one_line(said),
        }
    }
}

/// How long one of libnftables' messages may be, in characters.
const MESSAGE_CHARACTERS: usize = 256;
/// How many of them, and of differences, are named.
const MOST_NAMED: usize = 8;

/// libnftables' messages, one behind the other, without the place in the input (`internal:0:0-0`
/// wherever the input is JSON).
fn one_line(said: &str) -> String {
    // Where JSON cannot be read, libnftables takes it for its own language and quotes all of it.
    if said.contains("unexpected '{'") {
        return NO_JSON.to_owned();
    }
    let mut messages: Vec<String> = said
        .lines()
        .map(|line| {
            line.trim()
                .trim_start_matches("internal:0:0-0: ")
                .trim_start_matches("Error: ")
        })
        // libnftables guesses at other names where the kernel lacks a module.
        .filter_map(|line| line.split("; did you mean").next())
        .filter(|line| !line.is_empty())
        .map(|line| line.chars().take(MESSAGE_CHARACTERS).collect())
        .collect();
    messages.dedup();
    match messages.is_empty() {
        true => "refused without a reason".to_owned(),
        false => listed(&messages),
    }
}

/// What to do about it. libnftables tells its reasons in English only (it never calls setlocale),
/// and as text only: strerror(3) of the kernel's answer.
const REMEDIES: [(&str, &str); 6] = [
    (
        "No such file or directory",
        "the kernel may lack a module: `non-masquerade-daemon doctor` names it",
    ),
    (
        "Operation not permitted",
        "grant CAP_NET_ADMIN in the user namespace that owns this network namespace",
    ),
    (
        "Permission denied",
        "SELinux, AppArmor or seccomp denies netlink sockets of netfilter: on SELinux, run with the type spc_t \
         (Kubernetes: securityContext.seLinuxOptions)",
    ),
    (
        "Address family not supported by protocol",
        "let this process have netlink sockets (systemd: RestrictAddressFamilies)",
    ),
    (
        "Message too long",
        "the transaction outgrows the netlink send buffer, which only CAP_NET_ADMIN in the initial user namespace \
         can raise without bound: run there, raise net.core.wmem_max and net.core.wmem_default, or list fewer CIDRs",
    ),
    (
        NO_JSON,
        "install a libnftables that is built with JSON, or free memory",
    ),
];

/// What is said where libnftables reads no JSON.
const NO_JSON: &str = "libnftables could not read JSON";

/// What mends what is said; `None`: the words do not tell.
#[must_use]
pub fn remedy(said: &str) -> Option<&'static str> {
    let mut remedies = REMEDIES.iter();
    let (_, remedy) = remedies.find(|(reason, _)| said.contains(reason))?;
    Some(remedy)
}

fn hint(said: &str) -> String {
    remedy(said).map_or_else(String::new, |remedy| format!(" ({remedy})"))
}

/// The first ones, one behind the other.
pub(crate) fn listed<T: fmt::Display>(messages: &[T]) -> String {
    in_words::first(messages, MOST_NAMED, "; ")
}

#[cfg(test)]
mod tests {
    use nix::libc;

    use super::*;

    #[test]
    fn a_refusal_names_what_was_tried_the_reason_and_the_remedy() {
        let error = KernelError::refused(
            "adding the set".to_owned(),
            "internal:0:0-0: Error: Could not process rule: Operation not permitted\n\n\n",
        );
        assert_eq!(
            error.to_string(),
            "adding the set: Could not process rule: Operation not permitted (grant CAP_NET_ADMIN in the \
             user namespace that owns this network namespace)"
        );
        assert_eq!(
            KernelError::refused("x".to_owned(), "\n").to_string(),
            "x: refused without a reason"
        );
    }

    #[test]
    fn a_libnftables_without_json_is_named_and_nothing_is_quoted() {
        let said = "internal:0:0-0: Error: syntax error, unexpected '{'\n{\"nftables\":[]}\n^\n";
        assert_eq!(
            KernelError::refused("x".to_owned(), said).to_string(),
            "x: libnftables could not read JSON (install a libnftables that is built with JSON, or free memory)"
        );
    }

    #[test]
    fn what_is_missing_does_not_stand_behind_guesses() {
        let said = "internal:0:0-0: Error: Could not process rule: No such file or directory\n\n\n\
                    internal:0:0-0: Error: No such file or directory; did you mean table ‘t’ in family ip?\n\n\n\
                    internal:0:0-0: Error: No such file or directory; did you mean chain ‘c’ in table ip ‘t’?\n";
        assert_eq!(
            KernelError::refused("x".to_owned(), said).to_string(),
            "x: Could not process rule: No such file or directory; No such file or directory (the kernel may lack a module: \
             `non-masquerade-daemon doctor` names it)"
        );
    }

    #[test]
    fn what_the_kernel_itself_does_not_permit_has_the_same_remedy() {
        let refused = KernelError::from(io::Error::from_raw_os_error(libc::EPERM)).to_string();
        let remedy =
            " (grant CAP_NET_ADMIN in the user namespace that owns this network namespace)";
        assert!(refused.ends_with(remedy), "{refused}");
        let absent = KernelError::from(io::Error::from_raw_os_error(libc::ENOENT)).to_string();
        assert!(!absent.contains("CAP_NET_ADMIN"), "{absent}");
    }
}
