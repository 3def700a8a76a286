//! A worker that refuses some requests, as a kernel does that lacks something: no such kernel can be had here.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::{fs, process};

use super::netns::succeed;

/// Hands all requests on to the real worker, but those that hold these words.
const SCRIPT: &str = r#"#!/bin/bash
shopt -s extglob
version=VERSION key='\"version\": \"'
coproc REAL { exec DAEMON nft-worker nmd-nft-command; }
while IFS= read -r request; do
	# A document stands in it as a string of JSON.
	case ${request//\\\"/\"} in
	*WORDS*)
		printf '%s\n' '{"Said":{"succeeded":false,"output":"","error":"internal:0:0-0: Error: Could not process rule: SAID"}}' ;;
	*)
		printf '%s\n' "$request" >&"${REAL[1]}"
		IFS= read -r answer <&"${REAL[0]}"
		[ -z "$version" ] || answer=${answer/"$key"*([0-9.])/"$key$version"}
		printf '%s\n' "$answer" ;;
	esac
done
"#;

/// What it does otherwise than a worker of `daemon`.
#[derive(Clone, Copy)]
pub struct Picky<'a> {
    /// The program.
    pub daemon: &'a str,
    /// Requests that hold this are refused: a quoted pattern of bash.
    pub refused: &'a str,
    /// What it says to them.
    pub said: &'a str,
    /// The version of libnftables that it shows in place of the real one.
    pub version: Option<&'a str>,
}

impl Picky<'_> {
    /// Makes the program in this directory.
    pub fn install(self, directory: &Path) -> io::Result<PathBuf> {
        let text = SCRIPT
            .replace("DAEMON", self.daemon)
            .replace("WORDS", self.refused)
            .replace("SAID", self.said)
            .replace("VERSION", self.version.unwrap_or_default());
        let worker = directory.join("worker");
        // By another process, and under another name first: see `script` of tests/daemon/worker.rs.
        let new = worker.with_extension("new");
        fs::write(&new, text)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
        succeed(process::Command::new("cp").arg(&new).arg(&worker))?;
        Ok(worker)
    }
}
