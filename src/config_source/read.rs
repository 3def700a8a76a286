//! One file from disk.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::SystemTime;

use nix::fcntl::OFlag;

use super::ReadError;

/// Which file it is, and which of its contents, as far as that is to be told without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    pub(super) size: u64,
    pub(super) modified: Option<SystemTime>,
    /// Seconds and nanoseconds.
    changed: (i64, i64),
}

impl Identity {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: metadata.modified().ok(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// The bytes of the file, at most `limit` of them; none where there is no file.
pub(super) fn read(path: &Path, limit: usize) -> Result<Option<(Identity, Vec<u8>)>, ReadError> {
    let cannot_read = |source| ReadError::Read {
        path: path.into(),
        source,
    };
    let file = match open_regular(path) {
        Ok(Some(file)) => file,
        Ok(None) => return Err(ReadError::NotAFile { path: path.into() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot_read(error)),
    };
    let metadata = file.metadata().map_err(cannot_read)?;
    let bytes = read_to_limit(file, limit).map_err(cannot_read)?;
    Ok(Some((Identity::of(&metadata), bytes)))
}

/// None where `path` is there and is no regular file. Opening alone can act on a device (watchdog(4) starts),
/// so that it is looked at before; and after, since another may have taken its place.
pub(super) fn open_regular(path: &Path) -> io::Result<Option<File>> {
    if !std::fs::metadata(path)?.is_file() {
        return Ok(None);
    }
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY).bits())
        .open(path)?;
    Ok(file.metadata()?.is_file().then_some(file))
}

pub(super) fn read_to_limit(file: File, limit: usize) -> io::Result<Vec<u8>> {
    // `Take` hides the size that reading to the end would make room for.
    let size = usize::try_from(file.metadata()?.len()).unwrap_or(limit);
    let mut bytes = Vec::with_capacity(size.saturating_add(1).min(limit));
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}
