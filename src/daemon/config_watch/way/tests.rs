//! Ways through a directory tree.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A directory of its own for each test, named through no link, removed when dropped.
struct Tree(PathBuf);

impl Tree {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("config-watch-{}-{number}", std::process::id());
        let temporary = fs::canonicalize(std::env::temp_dir()).unwrap();
        let path = temporary.join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, path: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }

    fn link(&self, path: &str, target: &str) {
        symlink(target, self.0.join(path)).unwrap();
    }

    /// Each directory of the tree on the way, with the names that matter in it.
    fn way(&self, path: &str) -> Vec<String> {
        let below = |(directory, matters): (PathBuf, Matters)| {
            let directory = directory.strip_prefix(&self.0).ok()?.to_str()?.to_owned();
            let mut names: Vec<&str> = matters
                .names
                .iter()
                .flat_map(|name| name.to_str())
                .collect();
            names.sort_unstable();
            if matters.all_names {
                names.push("*");
            }
            Some(format!("{directory}: {}", names.join(" ")))
        };
        let mut ways = Vec::from_iter(Ways::to(&[self.0.join(path)]));
        ways.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        ways.into_iter().filter_map(below).collect()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn in_plain_directories_only_the_name_of_the_file_matters() {
    let tree = Tree::new();
    tree.file("etc/app/config");
    assert_eq!(
        tree.way("etc/app/config"),
        [": ", "etc: ", "etc/app: config"]
    );
    // Those above it are passed, too; the root is always there.
    let ways = Ways::to(&[tree.0.join("etc/app/config")]);
    let above = tree
        .0
        .ancestors()
        .skip(1)
        .filter(|above| above.parent().is_some());
    for directory in above {
        assert_eq!(
            ways.get(directory),
            Some(&Matters::default()),
            "{directory:?}"
        );
    }
    assert!(!ways.contains_key(Path::new("/")));
}

#[test]
fn each_link_matters_where_it_stands() {
    let tree = Tree::new();
    tree.file("v/..1/config");
    tree.link("v/..data", "..1");
    tree.link("v/config", "..data/config");
    assert_eq!(
        tree.way("v/config"),
        [": ", "v: ..data config", "v/..1: config"]
    );
    tree.file("real/config");
    fs::create_dir_all(tree.0.join("a/b")).unwrap();
    tree.link("a/b/up", "../../hop");
    tree.link("hop", &tree.0.join("real").to_string_lossy());
    let way = [": hop", "a: ", "a/b: up", "real: config"];
    assert_eq!(tree.way("a/b/up/config"), way);
    assert_eq!(tree.way("a/./b//up/../real/config"), way);
}

#[test]
fn what_is_missing_matters_and_where_it_would_be() {
    let tree = Tree::new();
    tree.file("etc/file");
    assert_eq!(tree.way("etc/config"), [": etc", "etc: config"]);
    assert_eq!(tree.way("etc/app/config"), [": etc", "etc: app"]);
    tree.link("etc/dangling", "../none/config");
    assert_eq!(tree.way("etc/dangling").last().unwrap(), "etc: dangling");
    assert_eq!(tree.way("etc/dangling").first().unwrap(), ": none");
    // A file where a directory is to be.
    assert_eq!(tree.way("etc/file/config"), [": ", "etc: file"]);
}

#[test]
fn a_loop_of_links_ends() {
    let tree = Tree::new();
    tree.link("a", "b");
    tree.link("b", "a");
    assert_eq!(tree.way("a/config"), [": a b"]);
}

#[test]
fn in_a_directory_that_is_named_all_matters_and_the_way_to_each_file() {
    let tree = Tree::new();
    tree.file("etc/conf.d/a");
    tree.file("there/file");
    tree.link("etc/conf.d/b", "../../there/file");
    let way = [": ", "etc: ", "etc/conf.d: a b *", "there: file"];
    assert_eq!(tree.way("etc/conf.d"), way);
    assert_eq!(tree.way("etc/conf.d/"), way);
    assert_eq!(tree.way("etc/conf.d/."), way);
}

#[test]
fn a_relative_path_starts_in_the_working_directory() {
    let ways = Ways::to(&[
        PathBuf::from("src/no-such-file"),
        PathBuf::from("../no-such-file"),
    ]);
    let matters = |directory: &str, name: &str| {
        let matters = ways.get(Path::new(directory));
        matters.is_some_and(|matters| matters.contains(OsStr::new(name)))
    };
    assert!(
        matters("./src", "no-such-file") && matters("./..", "no-such-file"),
        "{ways:?}"
    );
}
