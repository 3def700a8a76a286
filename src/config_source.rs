//! Which configuration files, read how: the one edge of the configuration. All else of it is pure.

mod origin;
mod paths;
mod read;
mod volume;

use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use thiserror::Error;

use crate::config::provenance::{self, CidrPlace, ListedCidr};
use crate::config::{
    self, Config, ConfigErrors, Finding, Flags, MAX_BYTES_TOGETHER, MAX_FILE_BYTES, Source,
};
use crate::in_words;

pub use origin::Origin;
pub use paths::{MAX_FILES, candidates};
use read::Identity;

/// A configuration, and what its files were like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is odd about the files, and about what they and the flags say together.
    pub warnings: Vec<Finding>,
    /// The files that were found, in the order read; without any, `config` is the defaults.
    pub files: Vec<PathBuf>,
    /// Those of them that hold no key: whether one of these is there makes no difference, and editors make empty ones for
    /// a moment.
    pub silent_files: Vec<PathBuf>,
    /// What the files held.
    found: Vec<Found>,
}

impl Loaded {
    /// The files that say something.
    #[must_use]
    pub fn files_with_contents(&self) -> Vec<PathBuf> {
        let mut files = self.files.clone();
        files.retain(|file| !self.silent_files.contains(file));
        files
    }

    /// Where each of these CIDRs stands first in the files.
    #[must_use]
    pub fn places(&self, listed: &[ListedCidr]) -> Vec<Option<CidrPlace>> {
        provenance::places(&sources(&self.found), listed)
    }
}

/// What was found in place of a configuration.
#[derive(Debug)]
pub struct Failure {
    /// What is wrong.
    pub error: LoadError,
    /// The files that hold something, whatever it is, as far as it is known which there are.
    pub files_with_contents: Vec<PathBuf>,
    /// One was written a moment ago: what it holds may be half of what it will hold.
    pub may_be_half_written: bool,
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        Self {
            error: error.into(),
            files_with_contents: Vec::new(),
            may_be_half_written: false,
        }
    }
}

/// Why there is no configuration: all of it, one a line.
#[derive(Debug)]
pub struct LoadError {
    /// What could not be read.
    pub unread: Vec<ReadError>,
    /// What was read and does not hold.
    pub bad: Option<ConfigErrors>,
}

/// Why files could not be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// A file changes while it is read, or one of several while the others are, each time.
    #[error("the configuration files change faster than they can be read")]
    Changing,
    /// A file that was named for its own sake is not there.
    #[error("there is no file {}", path.display())]
    Absent {
        /// The path.
        path: PathBuf,
    },
    /// The file or directory is there and cannot be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A device, FIFO or socket, of which reading may never end.
    #[error("the configuration file {} is not a regular file", path.display())]
    NotAFile {
        /// What is not a regular file.
        path: PathBuf,
    },
    /// More files than [`MAX_FILES`].
    #[error("more than {MAX_FILES} configuration files")]
    TooMany,
}

impl ReadError {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Changing => {
                "wait until they are left alone, and do not write to what lies beside them"
            }
            Self::Absent { .. } => "name one that is there",
            Self::Read { .. } => "make it readable, or remove it for the defaults",
            Self::NotAFile { .. } => "name a YAML or JSON file, or a directory of them",
            Self::TooMany => "name fewer, or another directory",
        }
    }
}

impl LoadError {
    /// Of a file that cannot be read: why may pass without any event near the file (no descriptor is free, a disk fails
    /// for a moment).
    #[must_use]
    pub fn may_pass(&self) -> bool {
        let may_pass =
            |error: &ReadError| matches!(error, ReadError::Read { .. } | ReadError::Changing);
        self.unread.iter().any(may_pass)
    }
}

impl From<ReadError> for LoadError {
    fn from(error: ReadError) -> Self {
        Self {
            unread: vec![error],
            bad: None,
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unread = self.unread.iter();
        let unread = unread.map(|error| format!("{error}; {}", error.remedy()));
        let bad = self.bad.iter().map(ToString::to_string);
        f.write_str(&in_words::all(unread.chain(bad), "\n"))
    }
}

impl std::error::Error for LoadError {}

/// A file that has not been written for so long is whole.
const SETTLED_AFTER: Duration = Duration::from_millis(100);
/// How long [`load_patiently`] waits for it.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often several files are read in a row before they count as being written.
const READINGS: usize = 3;

/// Reads and judges the files at `paths`, and in the directories among them. Where no file is, or not even its
/// directory, the defaults hold. Several files are read as they are at one moment: a ConfigMap volume that is swapped
/// meanwhile gives the old or the new files, never some of both.
///
/// # Errors
/// [`Failure`], with all that is wrong at once. Never blocks on a FIFO, opens no device, reads at most
/// [`MAX_FILE_BYTES`] of all files and a byte.
pub fn load(paths: &[PathBuf], flags: &Flags) -> Result<Loaded, Failure> {
    Reading::of_one_moment(paths)?.judged(paths, flags)
}

/// As [`load`], for a command that runs once: what may be half written is read again, for at most a second.
///
/// # Errors
/// [`LoadError`], all of them at once.
pub fn load_patiently(paths: &[PathBuf], flags: &Flags) -> Result<Loaded, LoadError> {
    let started = Instant::now();
    loop {
        match load(paths, flags) {
            Err(failure) if failure.may_be_half_written && started.elapsed() < PATIENCE => {
                thread::sleep(SETTLED_AFTER);
            }
            settled => return settled.map_err(|failure| failure.error),
        }
    }
}

/// As [`load_patiently`], for files and directories that must be there.
///
/// # Errors
/// As [`load_patiently`], and [`ReadError::Absent`].
pub fn load_existing(paths: &[PathBuf], flags: &Flags) -> Result<Loaded, LoadError> {
    if let Some(path) = paths
        .iter()
        .find(|path| matches!(path.try_exists(), Ok(false)))
    {
        return Err(ReadError::Absent { path: path.clone() }.into());
    }
    load_patiently(paths, flags)
}

/// The files that were found, one after the other.
struct Reading {
    files: Vec<Found>,
    unread: Vec<ReadError>,
}

/// A file that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    path: PathBuf,
    /// The path in words.
    name: String,
    /// None where it cannot be looked at.
    identity: Option<Identity>,
    /// None where it was not read.
    bytes: Option<Vec<u8>>,
}

impl Reading {
    /// What [`load`] judges.
    fn of_one_moment(paths: &[PathBuf]) -> Result<Self, Failure> {
        let mut readings = 0;
        loop {
            let reading = Self::of(paths)?;
            readings += 1;
            if reading.is_of_one_moment(paths)? {
                return Ok(reading);
            }
            if readings == READINGS {
                return Err(Failure {
                    may_be_half_written: true,
                    ..reading.failed(ReadError::Changing.into())
                });
            }
        }
    }

    fn failed(&self, error: LoadError) -> Failure {
        let holds_something = |file: &&Found| file.identity.is_some_and(|found| found.size > 0);
        let files = self.files.iter().filter(holds_something);
        Failure {
            error,
            files_with_contents: files.map(|file| file.path.clone()).collect(),
            may_be_half_written: !self.is_settled(),
        }
    }

    /// # Errors
    /// Where it is not known which files there are.
    fn of(paths: &[PathBuf]) -> Result<Self, ReadError> {
        let (mut files, mut unread) = (Vec::new(), Vec::new());
        let mut left = MAX_BYTES_TOGETHER + 1;
        for path in paths::files(paths)? {
            // The byte beyond a limit is read: that is told, and the rest is not looked at.
            let (identity, bytes) = match left.min(MAX_FILE_BYTES + 1) {
                0 => (identity(&path), None),
                limit => match read::read(&path, limit) {
                    Ok(None) => continue,
                    Ok(Some((identity, bytes))) => (Some(identity), Some(bytes)),
                    Err(error) => {
                        unread.push(error);
                        (identity(&path), None)
                    }
                },
            };
            left -= bytes.as_ref().map_or(0, Vec::len);
            files.push(Found {
                name: path.to_string_lossy().into_owned(),
                path,
                identity,
                bytes,
            });
        }
        Ok(Self { files, unread })
    }

    /// Since the first file was read, none has come, gone or changed. A single file counts too: of one that is written anew in
    /// place meanwhile, even a single read(2) may give the old contents cut where the new ones end (tmpfs, Linux 6.18).
    fn is_of_one_moment(&self, paths: &[PathBuf]) -> Result<bool, ReadError> {
        let mut now = paths::files(paths)?;
        now.retain(|path| !matches!(path.try_exists(), Ok(false)));
        let now = now.iter().map(|path| (path, identity(path)));
        let read = self.files.iter().map(|file| (&file.path, file.identity));
        Ok(read.eq(now))
    }

    fn judged(mut self, paths: &[PathBuf], flags: &Flags) -> Result<Loaded, Failure> {
        let unread = std::mem::take(&mut self.unread);
        let judged = match config::judge_together(&sources(&self.files), flags) {
            Ok(judged) if unread.is_empty() => judged,
            judged => {
                let bad = judged.err();
                return Err(self.failed(LoadError { unread, bad }));
            }
        };
        let files: Vec<PathBuf> = self.files.iter().map(|file| file.path.clone()).collect();
        let mut warnings = judged.warnings;
        warnings.extend(volume::without_files(paths, &files));
        let silent = judged.silent_files.iter();
        Ok(Loaded {
            config: judged.config,
            warnings,
            silent_files: silent
                .filter_map(|index| files.get(*index).cloned())
                .collect(),
            files,
            found: self.files,
        })
    }

    /// None of the files has changed for a moment, while it was judged neither. A time of modification in the future says
    /// that it was written, not when.
    fn is_settled(&self) -> bool {
        let now = SystemTime::now();
        let is_old = |then| {
            let age = now.duration_since(then);
            age.is_ok_and(|age| age >= SETTLED_AFTER)
        };
        self.files.iter().all(|file| {
            let modified = file.identity.and_then(|identity| identity.modified);
            file.identity == identity(&file.path) && modified.is_none_or(is_old)
        })
    }
}

fn sources(files: &[Found]) -> Vec<Source<'_>> {
    let sources = files.iter().map(|file| Source {
        name: &file.name,
        bytes: file.bytes.as_deref(),
    });
    sources.collect()
}

fn identity(path: &std::path::Path) -> Option<Identity> {
    fs::metadata(path).ok().as_ref().map(Identity::of)
}

#[cfg(test)]
mod tests;
