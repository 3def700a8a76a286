//! A page of the documentation, and its parts.

use std::fs;
use std::path::{Path, PathBuf};

pub(crate) const FRONT: &str = "README.md";
pub(crate) const CONFIGURATION: &str = "daemon-config/README.md";
pub(crate) const RUNNING: &str = "manifests/README.md";
pub(crate) const TABLE: &str = "src/README.md";
pub(crate) const TESTS: &str = "tests/README.md";
pub(crate) const ALL: [&str; 5] = [FRONT, CONFIGURATION, RUNNING, TABLE, TESTS];

/// The directory of this repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// One of [`ALL`].
pub(crate) struct Page {
    /// Below the root of the pages.
    pub(crate) path: &'static str,
    root: PathBuf,
    text: String,
}

/// What stands between two fences.
pub(crate) struct Block {
    pub(crate) page: &'static str,
    /// `sh`, `yaml` or `text`.
    pub(crate) language: String,
    /// Without the indentation that a list gives it.
    pub(crate) text: String,
}

impl Page {
    pub(crate) fn of(path: &'static str) -> Self {
        Self::below(repository(), path)
    }

    /// The page where `root` stands for the repository.
    pub(crate) fn below(root: &Path, path: &'static str) -> Self {
        let text = fs::read_to_string(root.join(path)).unwrap();
        let root = root.to_owned();
        Self { path, root, text }
    }

    pub(crate) fn all() -> [Self; ALL.len()] {
        ALL.map(Self::of)
    }

    /// What stands under this heading, up to the next one of its rank.
    #[track_caller]
    pub(crate) fn section(&self, heading: &str) -> &str {
        let rank = heading.split_once(' ').unwrap().0;
        let (_, after) = self.text.split_once(&format!("\n{heading}\n")).unwrap();
        let end = after.find(&format!("\n{rank} "));
        end.map_or(after, |end| &after[..end])
    }

    /// The rows of the table whose head begins with this cell, each as its cells.
    #[track_caller]
    pub(crate) fn table(&self, first_cell: &str) -> Vec<Vec<String>> {
        let head = format!("| {first_cell} |");
        let lines = self.text.lines();
        let from_head = lines.skip_while(|line| !line.starts_with(&head));
        let rows = from_head.skip(2).take_while(|line| line.starts_with('|'));
        let rows: Vec<Vec<String>> = rows.map(cells).collect();
        assert!(!rows.is_empty(), "no table {first_cell} in {}", self.path);
        rows
    }

    pub(crate) fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut lines = self.text.lines();
        while let Some(line) = lines.next() {
            let Some(language) = line.trim_start().strip_prefix("```") else {
                continue;
            };
            let indentation = line.len() - line.trim_start().len();
            let inside = lines.by_ref().take_while(|line| line.trim() != "```");
            let dedented =
                inside.map(|line| format!("{}\n", line.get(indentation..).unwrap_or("")));
            blocks.push(Block {
                page: self.path,
                language: language.to_owned(),
                text: dedented.collect(),
            });
        }
        blocks
    }

    /// The text without code, where brackets are links.
    fn prose(&self) -> String {
        let mut is_code = false;
        let lines = self.text.lines().filter(|line| {
            let is_fence = line.trim_start().starts_with("```");
            is_code ^= is_fence;
            !is_code && !is_fence
        });
        // A link may go over two lines, and its text may hold code.
        lines.collect::<Vec<_>>().join(" ")
    }

    /// Where its links go.
    pub(crate) fn links(&self) -> Vec<String> {
        let prose = self.prose();
        let behind = prose.split("](").skip(1);
        let targets = behind.filter_map(|behind| behind.split_once(')'));
        targets.map(|(target, _)| target.to_owned()).collect()
    }

    /// The names of its headings in links, as GitHub makes them.
    fn anchors(&self) -> Vec<String> {
        let mut is_code = false;
        let headings = self.text.lines().filter_map(|line| {
            is_code ^= line.trim_start().starts_with("```");
            let heading = line.trim_start_matches('#');
            (!is_code && heading.len() < line.len()).then_some(heading.trim())
        });
        headings.map(anchor).collect()
    }

    /// Why a link leads nowhere, if so.
    pub(crate) fn fault_of(&self, link: &str) -> Option<String> {
        if link.starts_with("https://") {
            return None;
        }
        let (file, fragment) = match link.split_once('#') {
            Some((file, fragment)) => (file, Some(fragment)),
            None => (link, None),
        };
        let own = self.root.join(self.path);
        let target = match file {
            "" => own,
            file => own.parent().unwrap().join(file),
        };
        let Ok(text) = fs::read_to_string(&target) else {
            return Some(format!("{}: no file for {link}", self.path));
        };
        let target = Self {
            text,
            root: self.root.clone(),
            path: self.path,
        };
        let fragment = fragment?;
        let is_there = target.anchors().iter().any(|anchor| anchor == fragment);
        (!is_there).then(|| format!("{}: no heading for {link}", self.path))
    }
}

/// Lower case, without punctuation, and a hyphen for each space.
fn anchor(heading: &str) -> String {
    let lower = heading.to_lowercase();
    let kept = lower.chars().filter_map(|character| match character {
        ' ' => Some('-'),
        '-' | '_' => Some(character),
        other => other.is_alphanumeric().then_some(other),
    });
    kept.collect()
}

/// A bar within a cell is written `\|`.
fn cells(row: &str) -> Vec<String> {
    let inside = row.trim_start_matches('|').trim_end_matches('|');
    let cells = inside.replace("\\|", "\0");
    let cells = cells.split('|');
    cells.map(|cell| cell.trim().replace('\0', "|")).collect()
}

/// What stands between backquotes, each.
pub(crate) fn code_in(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}
