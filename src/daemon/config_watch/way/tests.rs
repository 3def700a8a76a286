//! Ways through a directory tree, and what happens on them.

use std::io::Write;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::inotify::InitFlags;

use super::*;

/// A directory of its own for each test, named through no link, removed when dropped; and watches on the way to a path
/// below it.
struct Tree {
    root: PathBuf,
    inotify: Inotify,
}

/// What came of something that happened.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    /// A reading.
    Change,
    /// A wake-up, and no more.
    Noise,
    Nothing,
}

impl Tree {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("config-watch-{}-{number}", std::process::id());
        let temporary = fs::canonicalize(std::env::temp_dir()).unwrap();
        let root = temporary.join(name);
        fs::create_dir(&root).unwrap();
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).unwrap();
        Self { root, inotify }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// A file with this text, in directories that are made if need be.
    fn file(&self, path: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "text").unwrap();
    }

    fn link(&self, path: &str, target: &str) {
        symlink(target, self.at(path)).unwrap();
    }

    fn swap(&self, link: &str, target: &str) {
        let new = format!("{link}.new");
        self.link(&new, target);
        self.rename(&new, link);
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.at(from), self.at(to)).unwrap();
    }

    /// What is heard on the way to `path` of what `happens`, from watches that have just been made.
    fn heard(&self, path: &str, happens: impl FnOnce(&Self)) -> Heard {
        let watches = Watches::on_the_ways_to(&[self.at(path)], &self.inotify);
        assert_eq!(watches.failure, None);
        happens(self);
        let events = self.inotify.read_events().unwrap_or_default();
        for watch in &watches.all {
            let _ = self.inotify.rm_watch(*watch);
        }
        let _ = self.inotify.read_events();
        match events.iter().any(|event| watches.tell_of_a_change(event)) {
            true => Heard::Change,
            false if events.is_empty() => Heard::Nothing,
            false => Heard::Noise,
        }
    }

    #[track_caller]
    fn assert_change(&self, path: &str, happens: impl FnOnce(&Self)) {
        assert_eq!(self.heard(path, happens), Heard::Change);
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

#[test]
fn in_plain_directories_only_the_name_of_the_file_counts_and_that_they_go() {
    let tree = Tree::new();
    let path = "etc/app/config";
    tree.file(path);
    tree.assert_change(path, |tree| tree.file(path));
    tree.assert_change(path, |tree| tree.rename(path, "etc/app/config.old"));
    tree.assert_change(path, |tree| tree.rename("etc/app/config.old", path));
    tree.assert_change(path, |tree| fs::remove_file(tree.at(path)).unwrap());
    tree.assert_change(path, |tree| tree.file(path));
    assert_eq!(
        tree.heard(path, |tree| tree.file("etc/app/other")),
        Heard::Noise
    );
    let above = |tree: &Tree| {
        tree.file("etc/other");
        tree.file("other");
    };
    assert_eq!(tree.heard(path, above), Heard::Nothing);
    for directory in ["etc/app", "etc"] {
        tree.assert_change(path, |tree| tree.rename(directory, "elsewhere"));
        tree.rename("elsewhere", directory);
    }
    assert_eq!(
        tree.heard(path, |tree| drop(fs::read(tree.at(path)))),
        Heard::Nothing
    );
}

#[test]
fn each_link_counts_where_it_stands() {
    let tree = Tree::new();
    for path in ["v/..1/config", "v/..2/config", "real/config"] {
        tree.file(path);
    }
    tree.link("v/..data", "..1");
    tree.link("v/config", "..data/config");
    tree.assert_change("v/config", |tree| tree.swap("v/..data", "..2"));
    tree.assert_change("v/config", |tree| tree.file("v/..2/config"));
    tree.assert_change("v/config", |tree| tree.swap("v/config", "..1/config"));
    // Relative and absolute, through each other, and up from where a link has led.
    fs::create_dir_all(tree.at("a/b")).unwrap();
    tree.link("a/b/up", "../../hop");
    tree.link("hop", tree.at("real").to_str().unwrap());
    for path in ["a/b/up/config", "a/./b//up/../real/config"] {
        tree.assert_change(path, |tree| tree.swap("a/b/up", "../../hop"));
        tree.assert_change(path, |tree| tree.swap("hop", "real"));
        tree.assert_change(path, |tree| tree.file("real/config"));
        tree.assert_change(path, |tree| tree.rename("real", "moved"));
        tree.rename("moved", "real");
    }
}

#[test]
fn what_is_missing_counts_and_where_it_would_be() {
    let tree = Tree::new();
    let path = "etc/app/config";
    tree.assert_change(path, |tree| fs::create_dir(tree.at("etc")).unwrap());
    tree.assert_change(path, |tree| fs::create_dir(tree.at("etc/app")).unwrap());
    // Its end is not told while a process stands in it, but by the directory above.
    let standing_in = fs::File::open(tree.at("etc/app")).unwrap();
    tree.assert_change(path, |tree| fs::remove_dir(tree.at("etc/app")).unwrap());
    drop(standing_in);
    tree.assert_change(path, |tree| tree.file("etc/app"));
    // A file where a directory is to be.
    tree.assert_change(path, |tree| fs::remove_file(tree.at("etc/app")).unwrap());
    tree.link("etc/app", "../none");
    tree.assert_change(path, |tree| fs::create_dir(tree.at("none")).unwrap());
    tree.assert_change(path, |tree| tree.file("none/config"));
}

#[test]
fn a_loop_of_links_ends() {
    let tree = Tree::new();
    tree.link("a", "b");
    tree.link("b", "a");
    tree.file("real/config");
    tree.assert_change("a/config", |tree| tree.swap("b", "real"));
    tree.link("long", &"b/../".repeat(MOST_LINKS * 2));
    assert_eq!(tree.heard("long/b/config", |_| ()), Heard::Nothing);
}

#[test]
fn in_a_directory_that_is_named_all_counts_and_the_way_to_each_file() {
    let tree = Tree::new();
    tree.file("etc/conf.d/a");
    tree.file("there/file");
    tree.link("etc/conf.d/b", "../../there/file");
    for path in ["etc/conf.d", "etc/conf.d/", "etc/conf.d/."] {
        tree.assert_change(path, |tree| tree.file("etc/conf.d/new"));
        tree.assert_change(path, |tree| tree.file("etc/conf.d/a"));
        tree.assert_change(path, |tree| tree.file("there/file"));
        assert_eq!(
            tree.heard(path, |tree| tree.file("there/other")),
            Heard::Noise
        );
        tree.assert_change(path, |tree| tree.rename("etc/conf.d", "etc/d"));
        tree.rename("etc/d", "etc/conf.d");
    }
}

#[test]
fn a_relative_path_starts_in_the_working_directory() {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK).unwrap();
    let paths = ["src/no-such-file", "../no-such-file"].map(PathBuf::from);
    let watches = Watches::on_the_ways_to(&paths, &inotify);
    assert_eq!(watches.failure, None);
    let directory = std::env::current_dir().unwrap();
    for directory in [&*directory.join("src"), directory.parent().unwrap()] {
        let again = inotify.add_watch(directory, AND_AS_BEFORE | NAMES);
        assert!(watches.all.contains(&again.unwrap()), "{directory:?}");
    }
}

/// That a writer is at work is told when it is done.
#[test]
fn a_writer_is_told_once_it_is_done() {
    let tree = Tree::new();
    tree.file("config");
    let mut writer = OpenOptions::new()
        .append(true)
        .open(tree.at("config"))
        .unwrap();
    let heard = tree.heard("config", |_| writer.write_all(b"more").unwrap());
    assert_eq!(heard, Heard::Nothing);
    tree.assert_change("config", |_| drop(writer));
}
