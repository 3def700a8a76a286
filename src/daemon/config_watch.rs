//! Says when the configuration may have changed: inotify(7) on directories.
//!
//! A watch on the file itself ends when an editor renames another one over it, and a ConfigMap volume never
//! touches the file: it swaps the symbolic link `..data` beside it. So what is watched is each directory in which a link
//! on the way to a file stands, or the file, or what is missing, for what happens to these names; and each other directory
//! on the way for its own end or its move only, so that what else happens in `/tmp` wakes nobody. The file is watched
//! itself where it is mounted by itself, as `docker -v file:file` does it: no directory tells of such a one.
//!
//! A mount tells nobody, and a watch that failed may succeed later: the watches are renewed before each reading.

mod way;

use std::collections::BTreeSet;
use std::future::pending;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::PathBuf;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::inotify::{InitFlags, Inotify};
use tokio::io::unix::AsyncFd;
use tracing::{info, warn};

use super::repetitions::Repetitions;
use way::Watches;

/// Watches over the configuration files.
pub(super) struct ConfigWatch {
    files: Vec<PathBuf>,
    /// Without one, nothing is watched.
    inotify: Option<AsyncFd<Descriptor>>,
    watches: Watches,
    lines: Lines,
}

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
            watches: Watches::default(),
            lines: Lines::default(),
        }
    }

    /// Waits until something has happened that may have changed the configuration.
    pub(super) async fn changed(&self) {
        let Some(inotify) = &self.inotify else {
            return pending().await;
        };
        // Without an end: an error here means that the runtime is ending.
        while let Ok(mut ready) = inotify.readable().await {
            let events = ready.try_io(|inotify| {
                let events = inotify.get_ref().0.read_events();
                // Whatever the error is: there is nothing to be read for now.
                events.map_err(|_| io::ErrorKind::WouldBlock.into())
            });
            if let Ok(Ok(events)) = events
                && events
                    .iter()
                    .any(|event| self.watches.tell_of_a_change(event))
            {
                return;
            }
        }
        pending().await
    }

    /// Watches what is to be watched now, and nothing else. To be done before each reading: what changes after it is
    /// told, also where the way has become another one since the last time.
    pub(super) fn renew(&mut self) {
        let inotify = match self.inotify.take().map_or_else(instance, Ok) {
            Ok(inotify) => &self.inotify.insert(inotify).get_ref().0,
            Err(error) => {
                let what = format!("there is no inotify instance to be had ({error})");
                let error = error.raw_os_error().map(Errno::from_raw);
                return self.lines.blind(&what, error.map_or("", remedy));
            }
        };
        let watches = Watches::on_the_ways_to(&self.files, inotify);
        for watch in self.watches.all.difference(&watches.all) {
            // The kernel has taken it away itself where the directory is gone.
            let _ = inotify.rm_watch(*watch);
        }
        self.watches = watches;
        self.lines.renewed(&self.watches);
    }
}

fn instance() -> io::Result<AsyncFd<Descriptor>> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    // SAFETY: `Inotify` owns the one descriptor that it gives, which stays open until it is dropped.
    let inotify = unsafe { AsyncFd::register(Descriptor(inotify)) }?;
    Ok(inotify)
}

/// What is said of what cannot be watched.
#[derive(Default)]
struct Lines {
    failures: Repetitions,
    is_said_to_be_blind: bool,
    mounted_files: BTreeSet<PathBuf>,
}

impl Lines {
    fn renewed(&mut self, watches: &Watches) {
        for file in watches.mounted_files.difference(&self.mounted_files) {
            let file = file.display();
            info!(
                "{file} is mounted by itself: what is written into it is followed, a file that is renamed over what it \
                 was mounted from is not; mount the directory to follow that too"
            );
        }
        self.mounted_files.clone_from(&watches.mounted_files);
        match &watches.failure {
            Some((path, error)) => {
                let what = format!("{} cannot be watched ({error})", path.display());
                self.blind(&what, remedy(*error));
            }
            None => self.sees(),
        }
    }

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

fn remedy(error: Errno) -> &'static str {
    match error {
        Errno::EMFILE => {
            "; raise fs.inotify.max_user_instances, or the daemon's limit of open files"
        }
        Errno::ENOSPC => "; raise fs.inotify.max_user_watches",
        Errno::EACCES => "; let the daemon's user read the directory",
        _ => "",
    }
}
