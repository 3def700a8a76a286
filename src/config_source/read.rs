//! One file from disk.

use std::fs::{Metadata, OpenOptions};
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
    match regular_file(path, limit) {
        Ok(Some(read)) => Ok(Some(read)),
        Ok(None) => Err(ReadError::NotAFile { path: path.into() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ReadError::Read {
            path: path.into(),
            source,
        }),
    }
}

/// None where `path` is there and is no regular file. Opening alone can act on a device (watchdog(4) starts),
/// so that it is looked at before; and after, since another may have taken its place.
fn regular_file(path: &Path, limit: usize) -> io::Result<Option<(Identity, Vec<u8>)>> {
    if !std::fs::metadata(path)?.is_file() {
        return Ok(None);
    }
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY).bits())
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(Some((Identity::of(&metadata), bytes)))
}
