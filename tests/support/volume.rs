//! A ConfigMap volume as kubelet writes it.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

/// As in atomic_writer.go: a directory of its own for each version, `..data` a link to it that is swapped by rename, each
/// key a link through `..data`.
#[derive(Debug)]
pub struct Volume(pub PathBuf);

impl Volume {
    /// Swaps to a version with one key, `config`.
    pub fn publish(&self, version: &str, text: &str) -> io::Result<()> {
        self.publish_all(version, &[("config", text.to_owned())])
    }

    /// The same with these keys.
    pub fn publish_all(&self, version: &str, texts: &[(&str, String)]) -> io::Result<()> {
        let directory = self.0.join(format!("..{version}"));
        fs::create_dir(&directory)?;
        for (key, text) in texts {
            fs::write(directory.join(key), text)?;
        }
        let old = fs::read_link(self.0.join("..data")).ok();
        symlink(format!("..{version}"), self.0.join("..data_tmp"))?;
        fs::rename(self.0.join("..data_tmp"), self.0.join("..data"))?;
        match old {
            Some(old) => fs::remove_dir_all(self.0.join(old)),
            None => texts
                .iter()
                .try_for_each(|(key, _)| symlink(format!("..data/{key}"), self.0.join(key))),
        }
    }
}
