//! What the daemon says of itself. A command compares rules as libnftables lists them, which shows some alike that match
//! differently; the daemon compares their bytes. And while the file is bad, only the daemon knows the last good one.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde::Serialize;

use crate::cli::Options;
use crate::config::{self, Config};

/// How long the daemon may take for each step of an answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// More than a file may have, as which it tells its configuration. Its other answers are short.
const MOST_BYTES: u64 = 2 << 20;

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
        match answer(options, "/readyz") {
            Some((200, _)) => Self::Ready,
            Some((503, body)) => Self::NotReady(body.lines().map(str::to_owned).collect()),
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

/// The last good configuration of the daemon that runs with these options; `None`: no daemon answers, or it has none.
pub(super) fn last_good_configuration(options: &Options) -> Option<Config> {
    let (200, body) = answer(options, "/configuration")? else {
        return None;
    };
    let judged = config::judge("/configuration", body.as_bytes(), &options.flags());
    Some(judged.ok()?.config)
}

/// Status and body; `None`: no daemon answers.
fn answer(options: &Options, page: &str) -> Option<(u16, String)> {
    let address = options.http_address.socket_address()?;
    let answer = get(address, page).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

/// The whole answer, head and body.
fn get(address: SocketAddr, page: &str) -> io::Result<String> {
    let mut daemon = TcpStream::connect_timeout(&address, PATIENCE)?;
    daemon.set_read_timeout(Some(PATIENCE))?;
    daemon.set_write_timeout(Some(PATIENCE))?;
    write!(
        daemon,
        "GET {page} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    daemon.take(MOST_BYTES).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
