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

use std::future::pending;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::inotify::{InitFlags, Inotify};
use tokio::io::unix::AsyncFd;
use tracing::info;

use super::repetitions::Repetitions;
use way::Watches;

/// Watches over the configuration files.
pub(super) struct ConfigWatch {
    files: Vec<PathBuf>,
    /// Without one, nothing is watched.
    inotify: Option<AsyncFd<Descriptor>>,
    watches: Watches,
    errors: Repetitions,
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
            errors: Repetitions::default(),
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
        match self.watch_again() {
            Err((what, error)) => {
                let text = format!(
                    "{what}, so that changes of the configuration are seen at the next resync only{}",
                    remedy(error)
                );
                self.errors.warn(&text);
            }
            Ok(()) if self.errors.succeeded() => {
                info!("changes of the configuration are seen at once again");
            }
            Ok(()) => {}
        }
    }

    /// The error says what cannot be done, and why.
    fn watch_again(&mut self) -> Result<(), (String, Errno)> {
        let inotify = self.inotify.take().map_or_else(instance, Ok);
        let inotify = inotify.map_err(|error| {
            let what = format!("there is no inotify instance to be had ({error})");
            let number = error.raw_os_error();
            (what, number.map_or(Errno::UnknownErrno, Errno::from_raw))
        })?;
        let inotify = &self.inotify.insert(inotify).get_ref().0;
        let watches = Watches::on_the_ways_to(&self.files, inotify);
        let before = std::mem::replace(&mut self.watches, watches);
        for watch in before.all.difference(&self.watches.all) {
            // The kernel has taken it away itself where the directory is gone.
            let _ = inotify.rm_watch(*watch);
        }
        for file in self.watches.mounted_files.difference(&before.mounted_files) {
            let file = file.display();
            info!(
                "{file} is mounted by itself: what is written into it is followed, a file that is renamed over what it \
                 was mounted from is not; mount the directory to follow that too"
            );
        }
        match &self.watches.failure {
            Some((path, error)) => {
                let what = format!("{} cannot be watched ({error})", path.display());
                Err((what, *error))
            }
            None => Ok(()),
        }
    }
}

fn instance() -> io::Result<AsyncFd<Descriptor>> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    // SAFETY: `Inotify` owns the one descriptor that it gives, which stays open until it is dropped.
    let inotify = unsafe { AsyncFd::register(Descriptor(inotify)) }?;
    Ok(inotify)
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
