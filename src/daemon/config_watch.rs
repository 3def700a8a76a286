//! Says when the configuration may have changed: inotify(7) on directories, never on a file.
//!
//! A watch on the file itself ends when an editor renames another one over it, and a ConfigMap volume never
//! touches the file: it swaps the symbolic link `..data` beside it. So what is watched is the way to the file, as the
//! kernel walks it: each directory in which one of its links stands, or the file, or what is missing, for what happens
//! to that name; and each other directory for its own end or its move only, so that what else happens in `/tmp` wakes
//! nobody. Where the path names a directory, all that happens in it counts, and the way to each file in it.
//!
//! A mount tells nobody, and a watch that failed may succeed later: the watches are renewed before each reading.

mod way;

use std::collections::HashMap;
use std::future::pending;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::PathBuf;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use tokio::io::unix::AsyncFd;
use tracing::{info, warn};

use super::repetitions::Repetitions;
use way::{Matters, Ways};

/// How often the watches are made anew while the way changes under them. What changes after that is seen like any other
/// change, unless it changes the way back and forth all the time.
const MOST_ROUNDS: usize = 40;

/// Watches over the configuration files.
pub(super) struct ConfigWatch {
    files: Vec<PathBuf>,
    /// Without one, nothing is watched.
    inotify: Option<AsyncFd<Descriptor>>,
    watches: Watches,
    lines: Lines,
}

/// What each watch is for.
type Watches = HashMap<WatchDescriptor, Matters>;

/// What `AsyncFd` wants of an inotify instance.
struct Descriptor(Inotify);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl ConfigWatch {
    /// For the configuration `files`, which need not be there, and may be directories. Nothing is watched before
    /// [`Self::renew`].
    pub(super) fn new(files: &[PathBuf]) -> Self {
        Self {
            files: files.to_vec(),
            inotify: None,
            watches: Watches::new(),
            lines: Lines::default(),
        }
    }

    /// Waits until something has happened that may have changed the configuration. All that has happened by then is
    /// one change.
    pub(super) async fn changed(&mut self) {
        let Some(inotify) = &self.inotify else {
            return pending().await;
        };
        loop {
            match inotify.readable().await {
                Ok(mut ready) => ready.clear_ready(),
                // The runtime is ending.
                Err(_) => return pending().await,
            }
            let mut has_changed = false;
            loop {
                match inotify.get_ref().0.read_events() {
                    Ok(events) => {
                        has_changed |= events.iter().any(|event| self.may_concern_a_file(event));
                    }
                    Err(Errno::EINTR) => {}
                    Err(Errno::EAGAIN) => break,
                    Err(error) => {
                        self.lines
                            .blind(&format!("inotify cannot be read ({error})"), "");
                        break;
                    }
                }
            }
            if has_changed {
                return;
            }
        }
    }

    /// What happened where nothing is watched any more was before the watches were renewed, and so before the reading.
    fn may_concern_a_file(&self, event: &InotifyEvent) -> bool {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            return true;
        }
        // The end of a watch: where it was not taken away on purpose, another event tells why.
        if event.mask.contains(AddWatchFlags::IN_IGNORED) {
            return false;
        }
        let matters = self.watches.get(&event.wd);
        matters.is_some_and(|matters| match &event.name {
            Some(name) => matters.contains(name),
            None => true,
        })
    }

    /// Watches what is to be watched now, and nothing else. To be done before each reading: what changes after it is
    /// told, also where the way has become another one since the last time.
    pub(super) fn renew(&mut self) {
        let inotify = match self.inotify.take().map_or_else(instance, Ok) {
            Ok(inotify) => self.inotify.insert(inotify),
            Err(error) => {
                let what = format!("there is no inotify instance to be had ({error})");
                return self.lines.blind(&what, remedy_without_instance(&error));
            }
        };
        let inotify = &inotify.get_ref().0;
        let mut failures = Vec::new();
        for _ in 0..MOST_ROUNDS {
            failures.clear();
            // If all this was watched before the way was walked, what has changed meanwhile is told.
            if watch_the_ways(&self.files, inotify, &mut self.watches, &mut failures) {
                break;
            }
        }
        // The same one each time, in whatever order.
        match failures.iter().min_by_key(|(directory, _)| directory) {
            Some((directory, error)) => {
                let directory = directory.display();
                let what = match failures.len() {
                    1 => format!("{directory} cannot be watched ({error})"),
                    all => format!(
                        "{directory} and {} more directories cannot be watched ({error})",
                        all - 1
                    ),
                };
                self.lines.blind(&what, remedy(*error));
            }
            None => self.lines.sees(),
        }
    }
}

fn instance() -> io::Result<AsyncFd<Descriptor>> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    // SAFETY: `Inotify` owns the one descriptor that it gives, which stays open until it is dropped.
    let inotify = unsafe { AsyncFd::register(Descriptor(inotify)) }?;
    Ok(inotify)
}

/// Whether all is as it was before.
fn watch_the_ways(
    files: &[PathBuf],
    inotify: &Inotify,
    watches: &mut Watches,
    failures: &mut Vec<(PathBuf, Errno)>,
) -> bool {
    let (passed, of_interest): (Vec<_>, Vec<_>) = Ways::to(files)
        .into_iter()
        .partition(|(_, matters)| matters.is_nothing());
    let mut wanted = Watches::new();
    let mut has_moved = false;
    // Those of interest last: where a mount shows a directory at two places, the later flags stay.
    for (directory, matters) in passed.into_iter().chain(of_interest) {
        match inotify.add_watch(&directory, flags(&matters)) {
            Ok(watch) => wanted.entry(watch).or_default().add(matters),
            Err(Errno::ENOENT | Errno::ENOTDIR) => has_moved = true,
            Err(error) => failures.push((directory, error)),
        }
    }
    let is_as_before = !has_moved && *watches == wanted;
    for watch in watches.keys().filter(|watch| !wanted.contains_key(watch)) {
        // The kernel has taken it away itself where the directory is gone.
        let _ = inotify.rm_watch(*watch);
    }
    *watches = wanted;
    is_as_before
}

/// What is said of what cannot be watched.
#[derive(Default)]
struct Lines {
    failures: Repetitions,
    is_said_to_be_blind: bool,
}

impl Lines {
    fn blind(&mut self, what: &str, remedy: &str) {
        let text = format!(
            "{what}, so that changes of the configuration are seen at the next resync only{remedy}"
        );
        if let Some(repeated) = self.failures.say(&text, Instant::now()) {
            warn!(repeated, "{text}");
            self.is_said_to_be_blind = true;
        }
    }

    fn sees(&mut self) {
        if std::mem::take(&mut self.is_said_to_be_blind) {
            info!("changes of the configuration are seen at once again");
        }
    }
}

/// Not of a system that has no inotify.
fn remedy_without_instance(error: &io::Error) -> &'static str {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EMFILE) => {
            "; raise fs.inotify.max_user_instances, or the daemon's limit of open files"
        }
        _ => "",
    }
}

fn remedy(error: Errno) -> &'static str {
    match error {
        Errno::ENOSPC => "; raise fs.inotify.max_user_watches",
        Errno::EACCES => "; let the daemon's user read the directory",
        _ => "",
    }
}

/// What the kernel is to tell of a directory.
fn flags(matters: &Matters) -> AddWatchFlags {
    let of_itself =
        AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_ONLYDIR;
    if matters.is_nothing() {
        return of_itself;
    }
    // Not IN_MODIFY: what a writer has not closed is not to be read.
    of_itself
        | AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_ATTRIB
}
