//! What the pages have in YAML: configurations, and parts of manifests.

use std::fs;
use std::process::Command;

use serde_yaml::Value;

use crate::DAEMON;
use crate::packaging::pages::page::{Block, Page, repository};
use crate::support::daemon::TemporaryDirectory;
use crate::support::outcome::Outcome;

/// What a block is, by its keys.
#[derive(Debug, PartialEq)]
pub(crate) enum Kind {
    /// A kustomization.yaml.
    Kustomization,
    /// A part of a pod.
    Volumes,
    /// Values for the chart.
    Values,
    /// A file for the daemon.
    Configuration,
}

fn kind_of(block: &Block) -> Kind {
    let value: Value = serde_yaml::from_str(&block.text).unwrap();
    let kinds = [
        ("resources", Kind::Kustomization),
        ("volumes", Kind::Volumes),
        ("image", Kind::Values),
    ];
    let mut kinds = kinds.into_iter();
    let of_key = kinds.find(|(key, _)| value.get(key).is_some());
    of_key.map_or(Kind::Configuration, |(_, kind)| kind)
}

/// All blocks of this kind, each with the one that follows it on its page.
pub(crate) fn blocks(kind: &Kind) -> Vec<(Block, Option<String>)> {
    let mut found = Vec::new();
    for page in Page::all() {
        let mut blocks = page.blocks().into_iter().peekable();
        while let Some(block) = blocks.next() {
            if block.language == "yaml" && kind_of(&block) == *kind {
                let next = blocks.peek().map(|next| next.text.clone());
                found.push((block, next));
            }
        }
    }
    assert!(!found.is_empty(), "{kind:?}");
    found
}

#[test]
fn each_block_says_what_it_is() {
    for page in Page::all() {
        for block in page.blocks() {
            let known = ["sh", "yaml", "text"];
            assert!(
                known.contains(&block.language.as_str()),
                "{}: {}",
                page.path,
                block.text
            );
        }
    }
}

#[test]
fn each_configuration_is_good_or_followed_by_its_errors() {
    let directory = TemporaryDirectory::new().unwrap();
    for (block, next) in blocks(&Kind::Configuration) {
        fs::write(directory.path().join("sample.yaml"), &block.text).unwrap();
        let mut check = Command::new(DAEMON);
        check
            .args(["check", "sample.yaml"])
            .current_dir(directory.path());
        let checked = Outcome::of(&mut check);
        let shown = next.unwrap_or_default();
        let errors = shown.strip_prefix("$ non-masquerade-daemon check sample.yaml\n");
        checked.assert_code(if errors.is_some() { 3 } else { 0 });
        // Where the test runs, no address is one of the sample's.
        let of_here = "warning: snatAddressCIDRs: no usable address of this machine ";
        let said = checked.errors.lines();
        let said = said.filter(|line| !line.starts_with(of_here));
        let expected = errors.unwrap_or_default().lines();
        assert!(said.eq(expected), "{}: {}", block.page, checked.errors);
    }
}

#[test]
fn the_volumes_for_manifests_of_ones_own_are_those_of_the_base() {
    let base = repository().join("manifests/base/non-masquerade-daemon.yaml");
    let base: Value = serde_yaml::from_str(&fs::read_to_string(base).unwrap()).unwrap();
    for (block, _) in blocks(&Kind::Volumes) {
        let shown: Value = serde_yaml::from_str(&block.text).unwrap();
        assert_eq!(
            shown["volumes"],
            base["spec"]["template"]["spec"]["volumes"]
        );
    }
}
