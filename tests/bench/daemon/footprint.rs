//! How large the program is, and of how many crates it is made.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::process::Command;

use crate::DAEMON;
use crate::support::netns::succeed;

/// Prints the line.
pub(crate) fn print() -> io::Result<()> {
    let kibibytes = fs::metadata(DAEMON)?.len() / 1024;
    let linked = crates("normal,no-proc-macro")?;
    let all = crates("normal,build")?;
    println!(
        "\nBinary: {kibibytes} KiB. Dependencies: {linked} crates linked into it, {all} with those that build it."
    );
    Ok(())
}

/// The crates that the daemon depends on by such edges, without itself.
fn crates(edges: &str) -> io::Result<usize> {
    let mut tree = Command::new(env!("CARGO"));
    tree.args([
        "tree",
        "--locked",
        "--offline",
        "--prefix",
        "none",
        "--edges",
        edges,
    ]);
    tree.arg("--manifest-path");
    tree.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
    let listed = succeed(&mut tree)?;
    let names: BTreeSet<String> = String::from_utf8_lossy(&listed.stdout)
        .lines()
        .map(|line| {
            line.trim_end_matches(" (*)")
                .trim_end_matches(" (proc-macro)")
                .to_owned()
        })
        .collect();
    Ok(names.len() - 1)
}
