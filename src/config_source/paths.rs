//! Which files the given paths stand for.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::ReadError;

/// How many files are read. As many ConfigMaps are in nobody's volume.
pub const MAX_FILES: usize = 64;

/// The files that `paths` stand for, in the order in which they are read, each once: a path itself, or the regular files in
/// the directory that it names. Not all of them need be there.
///
/// # Errors
/// [`ReadError::TooMany`], and [`ReadError::Read`] of a directory.
pub(super) fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, ReadError> {
    let mut files: Vec<PathBuf> = Vec::new();
    for path in paths {
        let named = if path.is_dir() {
            let cannot_read = |source| ReadError::Read {
                path: path.clone(),
                source,
            };
            let entries = candidates(path).map_err(cannot_read)?;
            let entries = entries.into_iter().filter(|entry| may_be_a_file(entry));
            entries.take(MAX_FILES + 1).collect()
        } else {
            vec![path.clone()]
        };
        for file in named {
            if !files.contains(&file) {
                files.push(file);
            }
        }
        if files.len() > MAX_FILES {
            return Err(ReadError::TooMany);
        }
    }
    Ok(files)
}

/// What in `directory` may be a configuration file by its name, in the order of names. Not
/// so: hidden files (`..data` of a ConfigMap volume, an editor's `.config.swp`), and
/// copies that editors leave (`config~`), which would bring back what was edited away.
pub fn candidates(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let name_bytes = name.as_bytes();
        if !name_bytes.starts_with(b".") && !name_bytes.ends_with(b"~") {
            entries.push(directory.join(name));
        }
    }
    entries.sort_unstable();
    Ok(entries)
}

/// A regular file, or a link to one, as in a ConfigMap volume; and what cannot be looked at, so that reading says why.
/// A link to nothing is as good as not there.
fn may_be_a_file(entry: &Path) -> bool {
    match fs::metadata(entry) {
        Ok(metadata) => metadata.is_file(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}
