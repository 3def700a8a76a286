//! The crates that the daemon is built from have licences that go with GPL-2.0, which libnftables brings, and come from one
//! registry. `make deny` looks at more, but takes minutes to install.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::netns::succeed;

/// A crate as `cargo tree` shows it.
struct Crate {
    /// Name and version, and where it is from if that is not the registry.
    package: String,
    /// An SPDX expression, or the older `MIT/Apache-2.0`.
    licence: String,
}

/// All that is linked into the daemon or runs when it is built; not what only tests use.
fn crates() -> Vec<Crate> {
    let mut tree = Command::new(env!("CARGO"));
    tree.current_dir(env!("CARGO_MANIFEST_DIR"));
    tree.args(["tree", "--locked", "--offline", "--prefix", "none"]);
    tree.args(["--edges", "normal,build", "--format", "{p}|{l}"]);
    let listed = succeed(&mut tree).unwrap();
    let lines: BTreeSet<String> = String::from_utf8(listed.stdout)
        .unwrap()
        .lines()
        .map(|line| line.trim_end_matches(" (*)").to_owned())
        .filter(|line| !line.starts_with("non-masquerade-daemon "))
        .collect();
    let crates = lines.iter().map(|line| {
        let (package, licence) = line.split_once('|').expect("a package and its licence");
        Crate {
            package: package.trim_end_matches(" (proc-macro)").to_owned(),
            licence: licence.to_owned(),
        }
    });
    crates.collect()
}

/// The list in `.deny.toml`.
fn allowed() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".deny.toml");
    let text = fs::read_to_string(path).unwrap();
    let list = text.lines().find_map(|line| line.strip_prefix("allow = "));
    serde_json::from_str(list.expect("a list of licences in one line")).unwrap()
}

/// Whether some choice that the expression leaves is allowed. Of SPDX's grammar, AND binds tighter than OR.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ");
    let spaced = spaced.replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let is_good = any_of(&mut words, allowed);
    is_good && words.next().is_none()
}

type Words<'a, 'b> = &'a mut std::iter::Peekable<std::str::SplitWhitespace<'b>>;

fn any_of(words: Words<'_, '_>, allowed: &[String]) -> bool {
    let mut is_good = all_of(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        is_good |= all_of(words, allowed);
    }
    is_good
}

fn all_of(words: Words<'_, '_>, allowed: &[String]) -> bool {
    let mut is_good = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        is_good &= one(words, allowed);
    }
    is_good
}

fn one(words: Words<'_, '_>, allowed: &[String]) -> bool {
    match words.next() {
        Some("(") => any_of(words, allowed) & words.next_if_eq(&")").is_some(),
        Some(name) => {
            // An exception is a licence of its own, which the list does not have.
            let excepted = words
                .next_if_eq(&"WITH")
                .map(|_with| words.next())
                .is_some();
            !excepted && allowed.iter().any(|licence| licence == name)
        }
        None => false,
    }
}

#[test]
fn each_crate_that_the_daemon_is_built_from_has_a_licence_that_goes_with_gpl_2() {
    let allowed = allowed();
    let crates = crates();
    assert!(crates.iter().any(|one| one.package.starts_with("serde ")));
    let refused: Vec<String> = crates
        .iter()
        .filter(|one| !is_allowed(&one.licence, &allowed))
        .map(|one| format!("{}: {}", one.package, one.licence))
        .collect();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

#[test]
fn each_crate_comes_from_the_registry() {
    let strangers: Vec<String> = crates()
        .into_iter()
        .map(|one| one.package)
        .filter(|package| package.contains('('))
        .collect();
    assert!(strangers.is_empty(), "{}", strangers.join("\n"));
}

#[test]
fn of_licences_to_choose_from_one_that_is_allowed_is_enough() {
    let allowed = allowed();
    for good in [
        "MIT",
        "MIT/Apache-2.0",
        "Apache-2.0 OR MIT",
        "(MIT OR Apache-2.0) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT",
    ] {
        assert!(is_allowed(good, &allowed), "{good}");
    }
    for bad in [
        "",
        "Apache-2.0",
        "MIT AND Apache-2.0",
        "Apache-2.0 AND MIT OR GPL-3.0-only",
        "(MIT OR Apache-2.0) AND OpenSSL",
        "MIT WITH some-exception",
        "(MIT",
        "MIT)",
    ] {
        assert!(!is_allowed(bad, &allowed), "{bad}");
    }
}
