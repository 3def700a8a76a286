//! The way to each configuration file as the kernel walks it, path_resolution(7): which directories it passes, and
//! which names in them decide where it leads.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::readlink;

use crate::config_source::{MAX_FILES, candidates};

/// Symbolic links that are followed before a path counts as a loop; `MAXSYMLINKS` of the kernel, path_resolution(7).
const MOST_LINKS: usize = 40;

/// What matters in a directory, besides that it is the one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Matters {
    /// Each once.
    names: Vec<OsString>,
    all_names: bool,
}

impl Matters {
    /// Whether it is no more than passed through.
    pub(super) fn is_nothing(&self) -> bool {
        self.names.is_empty() && !self.all_names
    }

    /// Whether what has this name in the directory is of interest.
    pub(super) fn contains(&self, name: &OsStr) -> bool {
        self.all_names || self.names.iter().any(|of_interest| of_interest == name)
    }

    fn add_name(&mut self, name: OsString) {
        if !self.names.contains(&name) {
            self.names.push(name);
        }
    }

    /// Adds what matters to others in the same directory.
    pub(super) fn add(&mut self, others: Self) {
        others
            .names
            .into_iter()
            .for_each(|name| self.add_name(name));
        self.all_names |= others.all_names;
    }
}

/// The directories on the ways to the configuration, none of which is named through a link.
#[derive(Debug, Default)]
pub(super) struct Ways {
    directories: HashMap<PathBuf, Matters>,
    /// What [`readlink`] has said: the ways have most of their parts in common.
    links: HashMap<PathBuf, Result<OsString, Errno>>,
}

impl Ways {
    /// Walks to each of `paths`, which need not be there. Where one leads to a directory, all in that matters, and the
    /// ways to the files in it do.
    pub(super) fn to(paths: &[PathBuf]) -> HashMap<PathBuf, Matters> {
        let mut ways = Self::default();
        for path in paths {
            match ways.walk(path) {
                Some(directory) if directory.is_dir() => ways.enter(&directory),
                Some(file) => ways.depend_on(&file),
                None => {}
            }
        }
        ways.directories
    }

    fn enter(&mut self, directory: &Path) {
        self.matters_in(directory).all_names = true;
        // One that cannot be read is named when its files are.
        let files = candidates(directory).unwrap_or_default();
        for file in files.iter().take(MAX_FILES) {
            if let Some(file) = self.walk(file) {
                self.depend_on(&file);
            }
        }
    }

    /// Where `path` leads once all links are followed; `None` where it ends before.
    fn walk(&mut self, path: &Path) -> Option<PathBuf> {
        let mut links = 0;
        let mut at = PathBuf::from(".");
        let mut ahead = backwards(path);
        while let Some(part) = ahead.pop() {
            match Path::new(&part).components().next()? {
                Component::RootDir => at = PathBuf::from("/"),
                Component::ParentDir => go_up(&mut at),
                Component::CurDir | Component::Prefix(_) => {}
                Component::Normal(name) => {
                    let next = at.join(name);
                    match self.link(&next) {
                        Ok(target) => {
                            self.depend_on(&next);
                            links += 1;
                            if links > MOST_LINKS {
                                return None;
                            }
                            ahead.extend(backwards(Path::new(&target)));
                        }
                        // It is there, and no link.
                        Err(Errno::EINVAL) => {
                            if !ahead.is_empty() {
                                self.matters_in(&next);
                            }
                            at = next;
                        }
                        Err(error) => {
                            self.end(&at, &next, error);
                            return None;
                        }
                    }
                }
            }
        }
        Some(at)
    }

    fn link(&mut self, path: &Path) -> Result<OsString, Errno> {
        if let Some(known) = self.links.get(path) {
            return known.clone();
        }
        let link = readlink(path);
        self.links.insert(path.to_owned(), link.clone());
        link
    }

    /// The way ends in `directory`, because `next` in it cannot be reached.
    fn end(&mut self, directory: &Path, next: &Path, error: Errno) {
        if error == Errno::ENOTDIR {
            self.directories.remove(directory);
        } else {
            self.depend_on(next);
        }
        // Its own end is not told while a process stands in it.
        self.depend_on(directory);
    }

    fn depend_on(&mut self, path: &Path) {
        if let (Some(directory), Some(name)) = (path.parent(), path.file_name()) {
            self.matters_in(directory).add_name(name.to_owned());
        }
    }

    fn matters_in(&mut self, directory: &Path) -> &mut Matters {
        self.directories.entry(directory.to_owned()).or_default()
    }
}

/// The components of a path, the first one last.
fn backwards(path: &Path) -> Vec<OsString> {
    let parts = path.components().rev();
    parts.map(|part| part.as_os_str().to_owned()).collect()
}

/// As `..` does where `directory` is named through no link.
fn go_up(directory: &mut PathBuf) {
    match directory.components().next_back() {
        Some(Component::Normal(_)) => drop(directory.pop()),
        Some(Component::RootDir) => {}
        _ => directory.push(".."),
    }
}

#[cfg(test)]
mod tests;
