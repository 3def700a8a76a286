//! What the daemon says of itself. A command compares rules as libnftables lists them, which shows some alike that match
//! differently; the daemon compares their bytes.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde::Serialize;

use crate::cli::Options;

/// How long the daemon may take for each step of an answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// More than any of its answers has.
const MOST_BYTES: u64 = 64 * 1024;

/// What it says of rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum DaemonSays {
    /// All tables are what the configuration asks for.
    Ready,
    /// They are not, for these reasons.
    NotReady(Vec<String>),
    /// No daemon answers.
    Nothing,
}

impl DaemonSays {
    /// Asks the daemon that runs with these options.
    pub(super) fn asked(options: &Options) -> Self {
        let address = options.http_address.socket_address();
        let answer = address.and_then(|address| readiness(address).ok());
        let Some((head, body)) = answer
            .as_deref()
            .and_then(|text| text.split_once("\r\n\r\n"))
        else {
            return Self::Nothing;
        };
        match head.split_ascii_whitespace().nth(1) {
            Some("200") => Self::Ready,
            Some("503") => Self::NotReady(body.lines().map(str::to_owned).collect()),
            _ => Self::Nothing,
        }
    }
}

impl fmt::Display for DaemonSays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("The daemon is ready: it has compared all rules byte by byte."),
            Self::NotReady(reasons) => {
                write!(f, "The daemon is not ready: {}.", reasons.join("; "))
            }
            Self::Nothing => f.write_str(
                "No daemon answers, so rules were compared only as libnftables lists them, which hides some differences.",
            ),
        }
    }
}

/// The whole answer, head and body.
fn readiness(address: SocketAddr) -> io::Result<String> {
    let mut daemon = TcpStream::connect_timeout(&address, PATIENCE)?;
    daemon.set_read_timeout(Some(PATIENCE))?;
    daemon.set_write_timeout(Some(PATIENCE))?;
    write!(
        daemon,
        "GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    daemon.take(MOST_BYTES).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
