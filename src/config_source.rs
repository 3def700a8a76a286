//! Which configuration files, read how: the one edge of the configuration. All else of it is pure.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
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

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum LoadError {
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

/// Reads and judges the files at `paths`, at present at most one. Where no file is, or not even its directory,
/// the defaults hold.
///
/// # Errors
/// [`LoadError`]. Never blocks on a FIFO, opens no device, reads at most [`MAX_FILE_BYTES`] and a byte.
pub fn load(paths: &[PathBuf], flags: &Flags) -> Result<Loaded, LoadError> {
    let path = match paths {
        [] => return Ok(without_file(flags)),
        [path] => path,
        _ => {
            return Err(LoadError::SeveralUnsupported { count: paths.len() });
        }
    };
    let Some(bytes) = read(path)? else {
        return Ok(without_file(flags));
    };
    let judged = config::judge(&path.to_string_lossy(), &bytes, flags)?;
    Ok(Loaded {
        config: judged.config,
        warnings: judged.warnings,
        found: true,
    })
}

fn without_file(flags: &Flags) -> Loaded {
    Loaded {
        config: config::defaults(flags),
        warnings: Vec::new(),
        found: false,
    }
}

/// The bytes of the file, one more than allowed at most; none where there is no file.
fn read(path: &Path) -> Result<Option<Vec<u8>>, LoadError> {
    match open_regular(path).and_then(|file| file.map(read_to_limit).transpose()) {
        Ok(Some(bytes)) => Ok(Some(bytes)),
        Ok(None) if path.is_dir() => Err(LoadError::DirectoryUnsupported { path: path.into() }),
        Ok(None) => Err(LoadError::NotAFile { path: path.into() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(LoadError::Read {
            path: path.into(),
            source,
        }),
    }
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
    let mut bytes = Vec::new();
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
        random_fully: true,
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
        load(&[path.into()], &FLAGS).unwrap_err().to_string()
    }

    #[test]
    fn an_absent_file_or_directory_means_the_defaults() {
        let directory = Directory::new();
        for path in ["config", "no/such/config"] {
            let loaded = load(&[directory.0.join(path)], &FLAGS).unwrap();
            assert_eq!(loaded, without_file(&FLAGS));
            assert!(!loaded.found);
        }
        assert_eq!(load(&[], &FLAGS).unwrap(), without_file(&FLAGS));
    }

    #[test]
    fn a_file_is_read_and_judged() {
        let directory = Directory::new();
        let path = directory.file(b"masqlinklocal: true");
        let loaded = load(std::slice::from_ref(&path), &FLAGS).unwrap();
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
    fn a_symbolic_link_is_followed() {
        let directory = Directory::new();
        let link = directory.0.join("link");
        std::os::unix::fs::symlink(directory.file(b"masqLinkLocal: true"), &link).unwrap();
        assert!(load(&[link], &FLAGS).unwrap().config.masq_link_local);
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
        let said = load(&paths, &FLAGS).unwrap_err().to_string();
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
        assert!(error(&path).ends_with("larger than 8 MiB; write a shorter file"));
    }
}
