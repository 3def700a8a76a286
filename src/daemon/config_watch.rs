//! Says when the configuration may have changed: inotify(7) on directories, never on a file.
//!
//! A watch on the file itself ends when an editor renames another one over it, and a ConfigMap volume never
//! touches the file: it swaps the symbolic link `..data` beside it. So what is watched is the directory that the
//! path names the file in, and the one that the file is in once all links are followed; where a directory is not
//! there, the nearest one above it that is. Where the path names a directory, it is watched itself, and for each file
//! in it what would be watched for that file.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use tokio::io::unix::AsyncFd;
use tracing::warn;

use crate::config_source::{MAX_FILES, candidates};

/// Symbolic links that are followed before a path counts as a loop; `MAXSYMLINKS` of the kernel, path_resolution(7).
const MOST_LINKS: usize = 40;

/// Watches over the configuration files.
pub(super) struct ConfigWatch {
    files: Vec<PathBuf>,
    inotify: AsyncFd<Descriptor>,
    watches: HashSet<WatchDescriptor>,
}

/// What `AsyncFd` wants of an inotify instance.
struct Descriptor(Inotify);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl ConfigWatch {
    /// Watches the configuration `files`, which need not be there, and may be directories.
    ///
    /// # Errors
    /// Where there is no inotify instance to be had (fs.inotify.max_user_instances).
    pub(super) fn new(files: &[PathBuf]) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        // SAFETY: `Inotify` owns the one descriptor that it gives, which stays open until it is dropped.
        let inotify = unsafe { AsyncFd::register(Descriptor(inotify)) }?;
        let mut watch = Self {
            files: files.to_vec(),
            inotify,
            watches: HashSet::new(),
        };
        watch.renew();
        Ok(watch)
    }

    /// Waits until something has happened that may have changed the configuration. All that has happened by then is
    /// one change.
    pub(super) async fn changed(&mut self) {
        loop {
            match self.inotify.readable().await {
                Ok(mut ready) => ready.clear_ready(),
                // The runtime is ending.
                Err(_) => return std::future::pending().await,
            }
            let mut has_changed = false;
            while let Some(events) = read(&self.inotify.get_ref().0) {
                has_changed |= events.iter().any(may_concern_a_file);
            }
            if has_changed {
                self.renew();
                return;
            }
        }
    }

    /// Watches what is to be watched now, and nothing else.
    fn renew(&mut self) {
        let mut wanted = HashSet::new();
        let inotify = &self.inotify.get_ref().0;
        let directories: BTreeSet<PathBuf> = self
            .files
            .iter()
            .flat_map(|path| directories(path))
            .collect();
        for directory in directories {
            if let Err(error) = watch_nearest(inotify, &directory, &mut wanted) {
                warn!(
                    "{} cannot be watched, so a change is seen at the next resync: {error}",
                    directory.display()
                );
            }
        }
        for gone in self.watches.difference(&wanted) {
            // The kernel has taken it away itself where the directory is gone.
            let _ = inotify.rm_watch(*gone);
        }
        self.watches = wanted;
    }
}

/// What has arrived; `None`: nothing more.
fn read(inotify: &Inotify) -> Option<Vec<InotifyEvent>> {
    match inotify.read_events() {
        Ok(events) => Some(events),
        Err(Errno::EAGAIN) => None,
        Err(Errno::EINTR) => Some(Vec::new()),
        Err(error) => {
            warn!("inotify cannot be read, so changes are seen at the next resync: {error}");
            None
        }
    }
}

/// Not so: the end of a watch that was taken away on purpose. Lost events (`IN_Q_OVERFLOW`) may concern any file.
fn may_concern_a_file(event: &InotifyEvent) -> bool {
    !event.mask.contains(AddWatchFlags::IN_IGNORED)
}

/// The directories in which a change may give another configuration at `path`: those of [`on_the_way`], and where it
/// names a directory, that itself and those on the way to each file in it.
fn directories(path: &Path) -> Vec<PathBuf> {
    // A slash at the end would hide that the name before it is a link.
    let path: PathBuf = path.components().collect();
    let mut directories = on_the_way(&path);
    if path.is_dir() {
        // One that cannot be read is named when its files are.
        let files = candidates(&path).unwrap_or_default();
        let to_files = files
            .iter()
            .take(MAX_FILES)
            .flat_map(|file| on_the_way(file));
        directories.extend(to_files);
        directories.push(path);
    }
    directories
}

/// The directories in which a change may give `file` another content: that of each link on the way, and that of the
/// file itself.
fn on_the_way(file: &Path) -> Vec<PathBuf> {
    let mut directories = Vec::new();
    let mut file = file.to_owned();
    for _ in 0..MOST_LINKS {
        let directory = match file.parent() {
            Some(parent) if parent != OsStr::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        // Relative to the directory that the link is in.
        let target = std::fs::read_link(&file).map(|target| directory.join(target));
        directories.push(directory);
        match target {
            Ok(target) => file = target,
            Err(_) => break,
        }
    }
    directories
}

/// Watches `directory`, or the nearest one above it that is there.
fn watch_nearest(
    inotify: &Inotify,
    directory: &Path,
    watches: &mut HashSet<WatchDescriptor>,
) -> nix::Result<()> {
    // Not IN_MODIFY: what a writer has not closed is not to be read.
    let changes = AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_ATTRIB
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF
        | AddWatchFlags::IN_ONLYDIR;
    let mut nearest = directory;
    loop {
        match inotify.add_watch(nearest, changes) {
            Ok(watch) => {
                watches.insert(watch);
                if nearest == directory || !is_made_by_now(nearest, directory) {
                    return Ok(());
                }
                nearest = directory;
            }
            Err(error @ (Errno::ENOENT | Errno::ENOTDIR)) => match nearest.parent() {
                Some(parent) if parent == OsStr::new("") => nearest = Path::new("."),
                Some(parent) => nearest = parent,
                None => return Err(error),
            },
            Err(error) => return Err(error),
        }
    }
}

/// Whether the directory next to `above` on the way to `directory` is there. The watch on `above` tells only of what
/// is made after it.
fn is_made_by_now(above: &Path, directory: &Path) -> bool {
    let next = directory
        .ancestors()
        .take_while(|ancestor| *ancestor != above)
        .last();
    next.is_some_and(Path::is_dir)
}
