//! The way to each configuration file as the kernel walks it, path_resolution(7), watched while it is walked: a directory
//! is watched before it is asked what stands in it, so that no change in between is missed.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf, absolute};

use nix::errno::Errno;
use nix::fcntl::{OFlag, readlink};
use nix::libc;
use nix::sys::inotify::{AddWatchFlags, Inotify, InotifyEvent, WatchDescriptor};

use crate::config_source::{MAX_FILES, candidates};

/// Symbolic links that are followed before a path counts as a loop; `MAXSYMLINKS` of the kernel, path_resolution(7).
const MOST_LINKS: usize = 40;

/// Of a directory that is only passed, and no link to one: that it goes. What happens in it wakes nobody.
const PASSED: AddWatchFlags = AddWatchFlags::IN_DELETE_SELF
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR)
    .union(AddWatchFlags::IN_DONT_FOLLOW);
/// Of a file that no directory tells of. Not IN_MODIFY: what a writer does is told once it is done.
const CONTENTS: AddWatchFlags = AddWatchFlags::IN_CLOSE_WRITE.union(AddWatchFlags::IN_ATTRIB);
/// Of a directory in which something is that counts.
const NAMES: AddWatchFlags = CONTENTS
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_CREATE)
    .union(AddWatchFlags::IN_DELETE);
/// `IN_MASK_ADD` of inotify(7): a directory may be on several ways, and be known by several names. What was watched of it
/// for ways of before wakes at worst.
const AND_AS_BEFORE: AddWatchFlags = AddWatchFlags::from_bits_retain(libc::IN_MASK_ADD);

/// What is watched, and why something is not.
#[derive(Default)]
pub(super) struct Watches {
    /// All of them.
    pub(super) all: HashSet<WatchDescriptor>,
    /// Of the directories in which each name counts.
    whole: HashSet<WatchDescriptor>,
    /// Those of links, of files, and of what is missing. In other directories only these count.
    names: HashSet<OsString>,
    /// The first that could not be made, and for which no other stands in.
    pub(super) failure: Option<(PathBuf, Errno)>,
    /// The files that are mounted by themselves, so that no directory tells of them.
    pub(super) mounted_files: BTreeSet<PathBuf>,
}

impl Watches {
    /// Makes those on the ways to `paths`, which need not be there. Where one leads to a directory, all in that counts,
    /// and so do the ways to the files in it.
    pub(super) fn on_the_ways_to(paths: &[PathBuf], inotify: &Inotify) -> Self {
        let mut watches = Self::default();
        for path in paths {
            let path = absolute(path).unwrap_or_else(|_| path.clone());
            if let Some(directory) = watches.walk(&path, inotify) {
                let watch = watches.add(&directory, NAMES, inotify);
                watches.whole.extend(watch);
                // One that cannot be read is named when its files are.
                let files = candidates(&directory).unwrap_or_default();
                for file in files.iter().take(MAX_FILES) {
                    watches.walk(file, inotify);
                }
            }
        }
        watches
    }

    /// Whether `event` may have changed the configuration.
    pub(super) fn tell_of_a_change(&self, event: &InotifyEvent) -> bool {
        match &event.name {
            // The end of a watch: where it was not taken away on purpose, another event tells why.
            None if event.mask.contains(AddWatchFlags::IN_IGNORED) => false,
            // What is watched has gone itself, or more has happened than the kernel has kept.
            None => true,
            Some(name) => self.whole.contains(&event.wd) || self.names.contains(name),
        }
    }

    /// Walks to `path`; the directory, where it leads to one.
    fn walk(&mut self, path: &Path, inotify: &Inotify) -> Option<PathBuf> {
        let mut links = 0;
        let mut at = PathBuf::new();
        let mut ahead = backwards(path);
        while let Some(part) = ahead.pop() {
            if part == ".." {
                at.pop();
                continue;
            }
            let next = at.join(part);
            if self.add(&next, PASSED, inotify).is_some() {
                at = next;
                continue;
            }
            self.add_name(&next, inotify);
            match readlink(&next) {
                Ok(target) if links < MOST_LINKS => {
                    links += 1;
                    ahead.extend(backwards(Path::new(&target)));
                }
                // One that cannot be watched, or has come just now; its name is watched.
                Err(Errno::EINVAL) if next.is_dir() => at = next,
                Err(Errno::EINVAL) if ahead.is_empty() => {
                    if let (Some(its), Some(other)) = (mount_of(&next), mount_of(&at))
                        && its != other
                    {
                        self.add(&next, CONTENTS, inotify);
                        self.mounted_files.insert(next);
                    }
                    return None;
                }
                _ => {
                    // The end of an empty directory is not told while a process stands in it.
                    self.add_name(&at, inotify);
                    return None;
                }
            }
        }
        Some(at)
    }

    /// What becomes of `path` counts, as far as the directory tells it in which it stands.
    fn add_name(&mut self, path: &Path, inotify: &Inotify) {
        if let (Some(directory), Some(name)) = (path.parent(), path.file_name()) {
            self.add(directory, NAMES, inotify);
            self.names.insert(name.to_owned());
        }
    }

    fn add(&mut self, path: &Path, of: AddWatchFlags, to: &Inotify) -> Option<WatchDescriptor> {
        match to.add_watch(path, of | AND_AS_BEFORE) {
            Ok(watch) => {
                self.all.insert(watch);
                return Some(watch);
            }
            // It is no directory. Or it cannot be watched, and then what becomes of its name is.
            Err(_) if of == PASSED => {}
            // It has gone just now, which the watch on the way to it tells.
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(error) => drop(self.failure.get_or_insert((path.to_owned(), error))),
        }
        None
    }
}

/// The mount that a file lies in, as proc_pid_fdinfo(5) tells it.
fn mount_of(path: &Path) -> Option<String> {
    let as_a_place = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(as_a_place.bits())
        .open(path)
        .ok()?;
    let told = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).ok()?;
    let mount = told.lines().find_map(|line| line.strip_prefix("mnt_id:"));
    mount.map(str::to_owned)
}

/// The components of a path, the first one last.
fn backwards(path: &Path) -> Vec<OsString> {
    let parts = path.components().rev();
    parts.map(|part| part.as_os_str().to_owned()).collect()
}

#[cfg(test)]
mod tests;
