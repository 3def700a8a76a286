//! The README's promises name what enforces them, and that is there.

use std::fs;
use std::path::Path;

#[test]
fn each_promise_of_the_readme_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let (_, section) = readme.split_once("\n## Promises\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let rows: Vec<_> = section
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(1)
        .collect();
    assert!(rows.len() >= 20, "{}", rows.len());
    for row in rows {
        let enforced_by = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let mut source = None;
        for word in enforced_by.split('`').skip(1).step_by(2) {
            if word.ends_with(".rs") {
                source = Some(fs::read_to_string(root.join("tests").join(word)).expect(word));
            } else if word.starts_with("cargo ") || word.starts_with("make ") || word == ".ci/run" {
                source.get_or_insert_default();
            } else {
                let test = format!("fn {word}(");
                assert!(
                    source.as_ref().is_some_and(|source| source.contains(&test)),
                    "{row}"
                );
            }
        }
        assert!(source.is_some(), "nothing enforces: {row}");
    }
}
