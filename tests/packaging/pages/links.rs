//! Links lead to a file and a heading, in the repository and where the pages are installed.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::DAEMON;
use crate::packaging::pages::page::{ALL, FRONT, Page, repository};
use crate::support::daemon::TemporaryDirectory;
use crate::support::netns::succeed;

fn faults(root: &Path) -> Vec<String> {
    let pages = ALL.map(|path| Page::below(root, path));
    let faults = pages.iter().flat_map(|page| {
        let links = page.links();
        assert!(!links.is_empty(), "{}", page.path);
        links.into_iter().filter_map(|link| page.fault_of(&link))
    });
    faults.collect()
}

#[test]
fn each_link_leads_to_a_file_and_a_heading() {
    assert_eq!(faults(repository()), [""; 0]);
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    let front = Page::of(FRONT);
    for link in ["nowhere.md", "LICENSE#limits", "#no-such-heading"] {
        assert!(front.fault_of(link).is_some(), "{link}");
    }
    for link in ["#limits", "LICENSE", "daemon-config/README.md#keys"] {
        assert_eq!(front.fault_of(link), None);
    }
}

#[test]
fn each_link_leads_somewhere_where_the_pages_are_installed() {
    let destination = TemporaryDirectory::new().unwrap();
    let mut make = Command::new("make");
    make.current_dir(repository());
    make.args(["--silent", "install", "PREFIX=/usr"]);
    make.arg(format!("PROGRAM={DAEMON}"));
    make.arg(format!("DESTDIR={}", destination.path().display()));
    succeed(&mut make).unwrap();
    let installed = destination
        .path()
        .join("usr/share/doc/non-masquerade-daemon");
    assert_eq!(faults(&installed), [""; 0]);
}

#[test]
fn each_page_is_known_to_these_tests() {
    let entries = fs::read_dir(repository()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let directories = names.filter(|name| name != "target" && !name.starts_with('.'));
    let candidates = directories.map(|name| format!("{name}/README.md"));
    let mut pages: Vec<String> = candidates
        .filter(|path| repository().join(path).is_file())
        .chain([FRONT.to_owned()])
        .collect();
    pages.sort();
    let mut known = ALL;
    known.sort_unstable();
    assert_eq!(pages, known);
}
