//! Each promise names what enforces it, and that is there.

use std::fs;
use std::path::{Path, PathBuf};

use crate::packaging::pages::page::{Page, TESTS, code_in, repository};

/// The source file of this name somewhere below `directory`.
pub(crate) fn source_of(directory: &Path, name: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    let mut paths = entries.map(|entry| entry.unwrap().path());
    paths.find_map(|path| {
        if path.is_dir() {
            source_of(&path, name)
        } else {
            path.ends_with(name).then_some(path)
        }
    })
}

#[test]
fn each_promise_names_tests_that_exist() {
    let rows = Page::of(TESTS).table("promise");
    assert!(rows.len() >= 20, "{}", rows.len());
    for row in rows {
        let mut source = None;
        for word in code_in(row.last().unwrap()) {
            if word.ends_with(".rs") {
                let path = source_of(&repository().join("tests"), word);
                source = Some(fs::read_to_string(path.expect(word)).unwrap());
            } else if word.starts_with("cargo ") || word.starts_with("make ") || word == ".ci/run" {
                source.get_or_insert_default();
            } else {
                let test = format!("fn {word}(");
                let is_there = source.as_ref().is_some_and(|text| text.contains(&test));
                assert!(is_there, "{row:?}");
            }
        }
        assert!(source.is_some(), "nothing enforces: {row:?}");
    }
}
