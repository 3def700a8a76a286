//! Where a configuration comes from, in words.

use std::fmt;
use std::path::{Path, PathBuf};

use super::Loaded;
use crate::in_words;

/// How many paths are named.
const MOST_NAMED: usize = 8;

/// What a good configuration was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The files that say something.
    Files(Vec<PathBuf>),
    /// None does, for this reason: the defaults apply.
    Defaults(String),
}

impl Origin {
    /// Of what `paths` led to. Whether one that says nothing is beside others makes no difference.
    #[must_use]
    pub fn of(loaded: &Loaded, paths: &[PathBuf]) -> Self {
        let files = loaded.files_with_contents();
        if !files.is_empty() {
            return Self::Files(files);
        }
        Self::Defaults(match loaded.silent_files.as_slice() {
            [] => absence(paths),
            [silent] => format!("{} says nothing", silent.display()),
            silent => format!("{} say nothing", named(silent, " and ")),
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(files) => {
                write!(f, "the configuration is that of {}", named(files, ", "))
            }
            Self::Defaults(why) => write!(f, "{why}, so the defaults apply"),
        }
    }
}

/// That `paths` led to no file.
fn absence(paths: &[PathBuf]) -> String {
    let (directories, files): (Vec<&Path>, Vec<&Path>) = paths
        .iter()
        .map(PathBuf::as_path)
        .partition(|path| path.is_dir());
    let mut absent = Vec::new();
    if !files.is_empty() || directories.is_empty() {
        absent.push(format!("no file {}", named(&files, " or ")));
    }
    if !directories.is_empty() {
        let directories = named(&directories, " or ");
        absent.push(format!("no configuration file in directory {directories}"));
    }
    let absent = absent.join(" and ");
    format!("there is {}", absent.trim_end())
}

fn named(paths: &[impl AsRef<Path>], separator: &str) -> String {
    let shown: Vec<_> = paths.iter().map(|path| path.as_ref().display()).collect();
    in_words::first(&shown, MOST_NAMED, separator)
}
