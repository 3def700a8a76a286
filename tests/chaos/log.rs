//! The log of the daemon, in a small file system of its own that can be filled.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::fcntl::{FallocateFlags, fallocate};

use crate::support::daemon::TemporaryDirectory;
use crate::support::netns::succeed;

/// Room for what is said between two readings.
const SIZE: &str = "size=4m";
/// How much of the log around a moment is shown.
const AROUND: Duration = Duration::from_secs(1);
/// How much of a line is shown, in characters.
const LONGEST_LINE: usize = 300;

pub(crate) struct Log {
    directory: TemporaryDirectory,
    file: File,
    read: u64,
    started: Instant,
    /// What was said, and when that was read.
    said: Vec<(Duration, String)>,
}

impl Log {
    pub(crate) fn new(started: Instant) -> io::Result<Self> {
        let directory = TemporaryDirectory::new()?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", SIZE, "tmpfs"]);
        succeed(mount.arg(directory.path()))?;
        let mut options = OpenOptions::new();
        options.create(true).append(true).read(true);
        let file = options.open(directory.path().join("log"))?;
        Ok(Self {
            directory,
            file,
            read: 0,
            started,
            said: Vec::new(),
        })
    }

    /// Where the daemon writes.
    pub(crate) fn writer(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Reads what was said since the last time, and takes the room back that it had.
    pub(crate) fn read(&mut self) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        let mut bytes = vec![0; usize::try_from(length - self.read).unwrap_or_default()];
        if bytes.is_empty() {
            return Ok(());
        }
        self.file.read_exact_at(&mut bytes, self.read)?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        self.said.push((self.started.elapsed(), text));
        self.read = length;
        let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let end = length.try_into().map_err(io::Error::other)?;
        Ok(fallocate(self.file.as_fd(), hole, 0, end)?)
    }

    /// How often these words were said.
    pub(crate) fn count(&self, words: &str) -> usize {
        let texts = self.said.iter();
        texts.map(|(_, text)| text.matches(words).count()).sum()
    }

    /// What was said around a moment.
    pub(crate) fn around(&self, moment: Duration) -> String {
        let is_near = |when: &Duration| when.abs_diff(moment) < AROUND;
        let near = self.said.iter().filter(|(when, _)| is_near(when));
        let lines = near.flat_map(|(_, text)| text.lines()).map(shortened);
        lines.collect::<Vec<_>>().join("\n")
    }

    /// The end of it.
    pub(crate) fn last_lines(&self, number: usize) -> String {
        let mut lines: Vec<&str> = self
            .said
            .iter()
            .rev()
            .take(number)
            .flat_map(|(_, text)| text.lines().rev())
            .take(number)
            .map(shortened)
            .collect();
        lines.reverse();
        lines.join("\n")
    }

    /// The last lines with these words, each with when it was read.
    pub(crate) fn lines_with(&self, words: &str, number: usize) -> String {
        let said = self.said.iter().flat_map(|(when, text)| {
            let lines = text.lines().filter(|line| line.contains(words));
            lines.map(move |line| format!("{:9.3} s  {}", when.as_secs_f64(), shortened(line)))
        });
        let lines: Vec<String> = said.collect();
        let last = lines.len().saturating_sub(number);
        lines.get(last..).unwrap_or_default().join("\n")
    }

    /// Where a file may be that takes all the room that is left.
    pub(crate) fn ballast(&self) -> PathBuf {
        self.directory.path().join("ballast")
    }
}

/// A policy may have many CIDRs, and a foreign hand a long rule.
pub(crate) fn shortened(line: &str) -> &str {
    line.char_indices()
        .nth(LONGEST_LINE)
        .map_or(line, |(end, _)| &line[..end])
}

impl Drop for Log {
    fn drop(&mut self) {
        // Lazily: the daemon may still have it open. Without success it goes with the mount namespace.
        let mut umount = Command::new("umount");
        let _ = umount.arg("--lazy").arg(self.directory.path()).status();
    }
}

/// Fills the file system that the file is on. That it is full is no error.
pub(crate) fn fill(path: &Path) -> io::Result<()> {
    let mut file = File::create(path)?;
    loop {
        match file.write_all(&[0; 4096]) {
            Ok(()) => {}
            Err(full) if full.kind() == io::ErrorKind::StorageFull => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
