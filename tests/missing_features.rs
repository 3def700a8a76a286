//! What the kernel lacks is named with the option that brings it. No kernel can be had here that lacks it, so a
//! worker that refuses what needs it stands in its place.

#![allow(clippy::unwrap_used)] // in a test, what cannot be unwrapped is a failure

mod support;

use non_masquerade_daemon::config::{Flags, defaults};
use non_masquerade_daemon::kernel::error::KernelError;
use non_masquerade_daemon::kernel::ownership::{Protection, TableOwner};
use non_masquerade_daemon::kernel::{Kernel, SyncReport};
use non_masquerade_daemon::policy::Policy;
use non_masquerade_daemon::ruleset::{ChosenNames, Ruleset, names};
use support::daemon::TemporaryDirectory;
use support::netns::{Namespace, succeed};
use support::nft::Nft;
use support::picky::Picky;

const DAEMON: &str = env!("CARGO_BIN_EXE_non-masquerade-daemon");

fn ruleset() -> Ruleset {
    let flags = Flags::default();
    let names = ChosenNames {
        table: names::DEFAULT_TABLE.to_owned(),
        masq_chain: names::DEFAULT_MASQ_CHAIN.to_owned(),
    };
    Ruleset::ipv4(&Policy::new(&defaults(&flags)), &names)
}

fn sync_where_is_refused(
    namespace: &Namespace,
    words: &str,
    said: &str,
) -> Result<SyncReport, KernelError> {
    let directory = TemporaryDirectory::new().unwrap();
    let picky = Picky {
        daemon: DAEMON,
        refused: words,
        said,
        version: None,
    };
    let worker = picky.install(directory.path()).unwrap();
    namespace.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(Kernel::new(worker, TableOwner::Auto).sync(&ruleset()))
    })
}

fn failure_where_is_refused(words: &str, said: &str) -> KernelError {
    let namespace = Namespace::new().unwrap();
    let failure = sync_where_is_refused(&namespace, words, said).unwrap_err();
    let tables = succeed(namespace.command("nft").args(["list", "tables"])).unwrap();
    let tables = String::from_utf8(tables.stdout).unwrap();
    assert!(!tables.contains("probe"), "a dry run left {tables}");
    failure
}

/// The kernel before Linux 6.9 refuses the flags, and with them whatever stands in the same transaction. Where that is
/// thousands of elements, libnftables 1.1.3 tells only that it could not read the refusals.
#[test]
fn a_kernel_that_refuses_the_flags_of_a_table_is_asked_for_them_before_there_are_elements() {
    let said = r#"'"$(case $request in *elem*) echo No buffer space available ;; *) echo Operation not supported ;; esac)"'"#;
    let namespace = Namespace::new().unwrap();
    let report = sync_where_is_refused(&namespace, r#"'"owner"'"#, said).unwrap();
    assert_eq!(report.protection, Some(Protection::Unsupported));
    let table = Nft::host().list_table_text(&namespace, names::DEFAULT_TABLE);
    assert!(table.unwrap().contains("192.168.0.0/16"));
}

#[test]
fn each_missing_feature_is_named_with_its_option() {
    const MISSING: &str = "No such file or directory";
    for (words, said, option) in [
        (r#"'"fib"'"#, MISSING, "fib (CONFIG_NFT_FIB_IPV4)"),
        (r#"'"masquerade"'"#, MISSING, "masquerade (CONFIG_NFT_MASQ)"),
        (
            r#"'"prio"'"#,
            MISSING,
            "chains of type nat (CONFIG_NFT_NAT)",
        ),
        (
            r#"'"table":{"'"#,
            "Address family not supported by protocol",
            "tables of family ip (CONFIG_NF_TABLES_IPV4)",
        ),
    ] {
        let failure = failure_where_is_refused(words, said).to_string();
        assert!(failure.contains(said), "{failure}");
        assert!(failure.contains(&format!("lacks {option}")), "{failure}");
    }
}

/// Nothing is guessed at where each feature by itself is there.
#[test]
fn a_refusal_for_another_reason_names_no_feature() {
    for (words, said) in [
        (r#"'"comment":"keep'"#, "Invalid argument"),
        (r#"'"add"'"#, "Operation not permitted"),
    ] {
        let failure = failure_where_is_refused(words, said);
        assert!(matches!(failure, KernelError::Refused { .. }), "{failure}");
    }
}
