//! The image's root file system, as the Dockerfile makes it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::daemon::TemporaryDirectory;
use super::netns::succeed;
use super::nft::debian_13_root;

const SOURCE: &str = env!("CARGO_MANIFEST_DIR");

/// Where the image has the program.
pub const PROGRAM: &str = "usr/bin/non-masquerade-daemon";

/// And where it says what it is.
pub const DOCUMENTS: &str = "usr/share/doc/non-masquerade-daemon";

/// Runs the script of the Dockerfile's last build stage below Debian 13's root: shell words `root directory`.
const LAY_OUT: &str = r#"
mount --rbind /dev "$0/dev"
mount --bind "$1" "$0/mnt"
exec chroot "$0" /mnt/.image/root-file-system /mnt/program /mnt/root
"#;

/// A root file system of its own for one test, extended attributes included.
#[derive(Debug)]
pub struct RootFileSystem {
    directory: TemporaryDirectory,
}

impl RootFileSystem {
    /// The one of the image that `make test-image` has built; otherwise laid out by the same scripts for `program`.
    pub fn new(program: &str) -> io::Result<Self> {
        let directory = TemporaryDirectory::new()?;
        let root = directory.path().join("root");
        match built_image() {
            Some(image) => copy(&image, &root)?,
            None => lay_out(program, directory.path())?,
        }
        Ok(Self { directory })
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// Its program.
    pub fn program(&self) -> PathBuf {
        self.path().join(PROGRAM)
    }

    /// Takes the file capability away, as registries and copies do that lose extended attributes.
    pub fn lose_file_capability(&self) -> io::Result<()> {
        succeed(Command::new("setcap").arg("-r").arg(self.program())).map(drop)
    }
}

/// The root file system of an image that has been built.
pub fn built_image() -> Option<PathBuf> {
    std::env::var_os("IMAGE_ROOT").map(PathBuf::from)
}

/// The rest of the last line of the Dockerfile that begins with this word.
pub fn dockerfile(instruction: &str) -> String {
    let text = fs::read_to_string(Path::new(SOURCE).join("Dockerfile")).expect("the Dockerfile");
    let rest = text
        .lines()
        .rev()
        .find_map(|line| line.trim().strip_prefix(instruction));
    let rest = rest.unwrap_or_else(|| panic!("no {instruction} in the Dockerfile"));
    rest.trim().to_owned()
}

fn lay_out(program: &str, directory: &Path) -> io::Result<()> {
    let of_source = |name: &str| Path::new(SOURCE).join(name);
    copy(&of_source(".image"), &directory.join(".image"))?;
    copy(&of_source("LICENSE"), &directory.join(".image/LICENSE"))?;
    // The image has the optimised program, without what debuggers read. Of a quick build the names of functions alone are
    // larger than that.
    let mut strip = Command::new("strip");
    strip.arg("--strip-all").arg("-o");
    succeed(strip.arg(directory.join("program")).arg(program))?;
    let mut licences = Command::new(of_source(".image/licences-of-crates"));
    licences.arg(directory.join("root").join(DOCUMENTS).join("crates"));
    succeed(licences.current_dir(SOURCE))?;
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "sh", "-ceu", LAY_OUT]);
    succeed(unshare.arg(debian_13_root()).arg(directory))?;
    let setcap = dockerfile("&& setcap");
    let capability = setcap.split_whitespace().next().unwrap_or_default();
    let program = directory.join("root").join(PROGRAM);
    succeed(Command::new("setcap").arg(capability).arg(program)).map(drop)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    succeed(Command::new("cp").arg("--archive").arg(from).arg(to)).map(drop)
}
