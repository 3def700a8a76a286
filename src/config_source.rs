//! Which configuration files, read how: the one edge of the configuration. All else of it is pure.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use thiserror::Error;

use crate::config::{self, Config, ConfigErrors, Finding, Flags, MAX_FILE_BYTES};

/// A configuration, and what its files were like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is odd about the files.
    pub warnings: Vec<Finding>,
    /// A file was there; otherwise `config` is the defaults.
    pub found: bool,
}

/// What to do with a file that someone has open for writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writers {
    /// Say so: what it holds may be half of what it will hold.
    Await,
    /// Take it for what it holds.
    Ignore,
}

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum LoadError {
    /// Someone has the file open for writing.
    #[error("the configuration file {} is being written; wait until its writer has closed it", path.display())]
    BeingWritten {
        /// The file.
        path: PathBuf,
    },
    /// A file that was named for its own sake is not there.
    #[error("there is no file {}; name one that is there", path.display())]
    Absent {
        /// The path.
        path: PathBuf,
    },
    /// The file is there and cannot be read.
    #[error("cannot read the configuration file {}: {source}; make it readable, or remove it for the defaults", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A device, FIFO or socket, of which reading may never end.
    #[error("the configuration file {} is not a regular file; name a YAML or JSON file", path.display())]
    NotAFile {
        /// What is not a regular file.
        path: PathBuf,
    },
    /// A directory.
    #[error("the configuration file {} is a directory, which is not supported yet; name one file", path.display())]
    DirectoryUnsupported {
        /// The directory.
        path: PathBuf,
    },
    /// More than one path.
    #[error(
        "{count} configuration files are given, and more than one is not supported yet; name one file"
    )]
    SeveralUnsupported {
        /// How many.
        count: usize,
    },
    /// The file was read and does not hold.
    #[error(transparent)]
    Bad(#[from] ConfigErrors),
}

/// How long [`load_patiently`] waits for the end of a writer, and how often it looks.
const PATIENCE: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Reads and judges the files at `paths`, at present at most one. Where no file is, or not even its directory,
/// the defaults hold.
///
/// # Errors
/// [`LoadError`]. Never blocks on a FIFO, opens no device, reads at most [`MAX_FILE_BYTES`] and a byte.
pub fn load(paths: &[PathBuf], flags: &Flags, writers: Writers) -> Result<Loaded, LoadError> {
    let path = match paths {
        [] => return Ok(without_file(flags)),
        [path] => path,
        _ => {
            return Err(LoadError::SeveralUnsupported { count: paths.len() });
        }
    };
    let Some(bytes) = read(path, writers)? else {
        return Ok(without_file(flags));
    };
    let judged = config::judge(&path.to_string_lossy(), &bytes, flags)?;
    Ok(Loaded {
        config: judged.config,
        warnings: judged.warnings,
        found: true,
    })
}

/// As [`load`], for a command that runs once: waits at most a second for a writer to close the file, then
/// takes it for what it holds.
///
/// # Errors
/// As [`load`], less [`LoadError::BeingWritten`].
pub fn load_patiently(paths: &[PathBuf], flags: &Flags) -> Result<Loaded, LoadError> {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        match load(paths, flags, Writers::Await) {
            Err(LoadError::BeingWritten { .. }) => thread::sleep(LOOK_AGAIN),
            settled => return settled,
        }
    }
    load(paths, flags, Writers::Ignore)
}

/// As [`load_patiently`], for files that must be there.
///
/// # Errors
/// As [`load_patiently`], and [`LoadError::Absent`].
pub fn load_existing(paths: &[PathBuf], flags: &Flags) -> Result<Loaded, LoadError> {
    if let Some(path) = paths
        .iter()
        .find(|path| matches!(path.try_exists(), Ok(false)))
    {
        return Err(LoadError::Absent { path: path.clone() });
    }
    load_patiently(paths, flags)
}

fn without_file(flags: &Flags) -> Loaded {
    Loaded {
        config: config::defaults(flags),
        warnings: Vec::new(),
        found: false,
    }
}

/// The bytes of the file, one more than allowed at most; none where there is no file.
fn read(path: &Path, writers: Writers) -> Result<Option<Vec<u8>>, LoadError> {
    let cannot_read = |source| LoadError::Read {
        path: path.into(),
        source,
    };
    let file = match open_regular(path) {
        Ok(Some(file)) => file,
        Ok(None) if path.is_dir() => {
            return Err(LoadError::DirectoryUnsupported { path: path.into() });
        }
        Ok(None) => return Err(LoadError::NotAFile { path: path.into() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot_read(error)),
    };
    if writers == Writers::Await && !lease(&file) {
        return Err(LoadError::BeingWritten { path: path.into() });
    }
    read_to_limit(file).map(Some).map_err(cannot_read)
}

/// linux/asm-generic/fcntl.h; missing in the crate libc.
const F_SETSIG: libc::c_int = 10;

/// Takes a read lease on the file, fcntl(2) `F_SETLEASE`, until it is closed; false: someone has it open for
/// writing. Who opens it for writing meanwhile waits until it has been read. Where no lease is to be had (the
/// file is another user's, the file system knows none), a half-written file cannot be told from a whole one.
fn lease(file: &File) -> bool {
    // A writer that waits is told to us by a signal; SIGIO would end the process, SIGURG is ignored, signal(7).
    // SAFETY: a descriptor that is open, and commands with an integer argument.
    let taken = unsafe {
        let file = file.as_raw_fd();
        libc::fcntl(file, F_SETSIG, libc::SIGURG) == 0
            && libc::fcntl(file, libc::F_SETLEASE, libc::F_RDLCK) == 0
    };
    taken || Errno::last() != Errno::EAGAIN
}

/// None where `path` is there and is no regular file. Opening alone can act on a device (watchdog(4) starts),
/// so that it is looked at before; and after, since another may have taken its place.
fn open_regular(path: &Path) -> io::Result<Option<File>> {
    if !std::fs::metadata(path)?.is_file() {
        return Ok(None);
    }
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY).bits())
        .open(path)?;
    Ok(file.metadata()?.is_file().then_some(file))
}

fn read_to_limit(file: File) -> io::Result<Vec<u8>> {
    let limit = u64::try_from(MAX_FILE_BYTES).unwrap_or(u64::MAX);
    // `Take` hides the size that reading to the end would make room for.
    let size = usize::try_from(file.metadata()?.len()).unwrap_or(MAX_FILE_BYTES);
    let mut bytes = Vec::with_capacity(size.min(MAX_FILE_BYTES) + 1);
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicU32, Ordering};

    use nix::sys::stat::Mode;

    use super::*;

    const FLAGS: Flags = Flags {
        nomasq_all_reserved_ranges: false,
        enable_ipv6: false,
        random_fully: true,
        to_ports: Vec::new(),
    };

    /// A directory of its own for each test, removed when dropped.
    struct Directory(PathBuf);

    impl Directory {
        fn new() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let name = format!(
                "config-source-{}-{}",
                std::process::id(),
                COUNT.fetch_add(1, Ordering::Relaxed)
            );
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn file(&self, bytes: &[u8]) -> PathBuf {
            let path = self.0.join("config");
            fs::write(&path, bytes).unwrap();
            path
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn error(path: &Path) -> String {
        load(&[path.into()], &FLAGS, Writers::Await)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn an_absent_file_or_directory_means_the_defaults() {
        let directory = Directory::new();
        for path in ["config", "no/such/config"] {
            let loaded = load(&[directory.0.join(path)], &FLAGS, Writers::Await).unwrap();
            assert_eq!(loaded, without_file(&FLAGS));
            assert!(!loaded.found);
        }
        assert_eq!(
            load(&[], &FLAGS, Writers::Await).unwrap(),
            without_file(&FLAGS)
        );
    }

    #[test]
    fn a_file_is_read_and_judged() {
        let directory = Directory::new();
        let path = directory.file(b"masqlinklocal: true");
        let loaded = load(std::slice::from_ref(&path), &FLAGS, Writers::Await).unwrap();
        assert!(loaded.found && loaded.config.masq_link_local);
        assert_eq!(loaded.warnings.len(), 1);
        fs::write(&path, "a: 1\nb: 2\n").unwrap();
        let said = error(&path);
        assert_eq!(said.lines().count(), 2);
        assert!(
            said.starts_with(&format!("{}:1: a: unknown key", path.display())),
            "{said}"
        );
    }

    #[test]
    fn a_file_that_someone_has_open_for_writing_is_not_read_until_it_is_closed() {
        let directory = Directory::new();
        let paths = [directory.file(b"masqLinkLocal: true")];
        let writer = OpenOptions::new().append(true).open(&paths[0]).unwrap();
        let awaited = load(&paths, &FLAGS, Writers::Await);
        assert!(
            matches!(awaited, Err(LoadError::BeingWritten { .. })),
            "{awaited:?}"
        );
        assert!(load(&paths, &FLAGS, Writers::Ignore).is_ok());
        drop(writer);
        assert!(load(&paths, &FLAGS, Writers::Await).is_ok());
    }

    #[test]
    fn a_writer_that_comes_while_the_file_is_read_waits_and_ends_nobody() {
        let directory = Directory::new();
        let path = directory.file(b"masqLinkLocal: true");
        let reading = open_regular(&path).unwrap().unwrap();
        assert!(lease(&reading));
        let writer = thread::spawn(move || fs::write(path, "masqLinkLocal: false"));
        thread::sleep(Duration::from_millis(50));
        assert!(!writer.is_finished());
        assert_eq!(read_to_limit(reading).unwrap(), b"masqLinkLocal: true");
        writer.join().unwrap().unwrap();
    }

    #[test]
    fn a_file_named_for_its_own_sake_must_be_there() {
        let directory = Directory::new();
        let absent = load_existing(&[directory.0.join("config")], &FLAGS);
        assert!(
            matches!(absent, Err(LoadError::Absent { .. })),
            "{absent:?}"
        );
    }

    #[test]
    fn a_symbolic_link_is_followed() {
        let directory = Directory::new();
        let link = directory.0.join("link");
        std::os::unix::fs::symlink(directory.file(b"masqLinkLocal: true"), &link).unwrap();
        assert!(
            load(&[link], &FLAGS, Writers::Await)
                .unwrap()
                .config
                .masq_link_local
        );
    }

    #[test]
    fn only_a_regular_file_is_opened() {
        let directory = Directory::new();
        let fifo = directory.0.join("fifo");
        nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        assert!(error(&fifo).contains("not a regular file"));
        assert!(error(Path::new("/dev/zero")).contains("not a regular file"));
        assert!(error(&directory.0).contains("is a directory, which is not supported yet"));
    }

    #[test]
    fn more_than_one_path_is_not_supported_yet() {
        let paths = ["a".into(), "b".into()];
        let said = load(&paths, &FLAGS, Writers::Await)
            .unwrap_err()
            .to_string();
        assert!(said.contains("2 configuration files are given"), "{said}");
    }

    #[test]
    fn a_file_below_a_file_cannot_be_read() {
        let directory = Directory::new();
        let below = directory.file(b"").join("config");
        assert!(error(&below).starts_with("cannot read the configuration file"));
    }

    #[test]
    fn a_file_over_the_limit_is_not_read_on() {
        let directory = Directory::new();
        let path = directory.file(b"");
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(1 << 40).unwrap();
        drop(file);
        assert!(error(&path).ends_with("larger than 8 MiB; write a shorter file"));
    }
}
