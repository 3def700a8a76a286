//! One connection in one line.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};

use crate::cli::protocol;
use crate::kernel::conntrack::Entry;
use crate::policy::judgement::{Became, Contradiction, Judgement};
use crate::policy::prefix_table;

/// A connection and what is found of it. Names of fields are a contract.
#[derive(Debug, Serialize)]
pub(in crate::commands) struct Line {
    protocol: String,
    source: IpAddr,
    /// Of ICMP, the identifier.
    source_port: Option<u16>,
    /// Where it goes, after any translation.
    destination: IpAddr,
    destination_port: Option<u16>,
    /// Where it was sent, before any translation.
    sent_to: IpAddr,
    seen_source: IpAddr,
    zone: u16,
    is_answered: bool,
    /// In seconds since 1970; none: `net.netfilter.nf_conntrack_timestamp` was off when it began.
    #[serde(serialize_with = "seconds")]
    started: Option<SystemTime>,
    #[serde(flatten)]
    became: Became,
    /// The longest configured prefix that contains the destination, and its list.
    #[serde(serialize_with = "in_words")]
    decided_by: Option<prefix_table::Entry>,
    contradiction: Option<Contradiction>,
}

impl Line {
    pub(in crate::commands) fn new(entry: &Entry, judgement: Judgement) -> Self {
        let Entry {
            original, reply, ..
        } = entry;
        Self {
            protocol: protocol::name(entry.protocol),
            source: original.source,
            source_port: original.source_port,
            destination: reply.source,
            // Where ICMP has no ports, the one of the answer is its identifier.
            destination_port: original.destination_port.and(reply.source_port),
            sent_to: original.destination,
            seen_source: reply.destination,
            zone: entry.zone,
            is_answered: entry.is_answered(),
            started: entry.started,
            became: judgement.became,
            decided_by: judgement.decided_by,
            contradiction: judgement.contradiction,
        }
    }

    /// `udp 10.244.1.2:40001 to 10.9.0.1:53`
    pub(in crate::commands) fn ends(&self) -> String {
        let end = |address: IpAddr, port: Option<u16>| match (address, port) {
            (address, None) => address.to_string(),
            (IpAddr::V4(address), Some(port)) => format!("{address}:{port}"),
            (IpAddr::V6(address), Some(port)) => format!("[{address}]:{port}"),
        };
        let from = end(self.source, self.source_port);
        let to = end(self.destination, self.destination_port);
        format!("{} {from} to {to}", self.protocol)
    }

    /// `kept its source address though to be masqueraded`
    fn found(&self) -> String {
        let seen = self.seen_source;
        let decided_by = match &self.decided_by {
            Some(entry) => entry.to_string(),
            None => "no configured CIDR has it".to_owned(),
        };
        match (self.became, self.contradiction) {
            (Became::Masqueraded, Some(Contradiction::MasqueradedThoughExempt)) => {
                format!("masqueraded as {seen} though exempt ({decided_by})")
            }
            (Became::Kept, Some(Contradiction::KeptThoughToBeMasqueraded)) => {
                format!("kept its source address though to be masqueraded ({decided_by})")
            }
            (_, Some(contradiction)) => format!("masqueraded as {seen}, {contradiction}"),
            (Became::Masqueraded, None) => format!("masqueraded as {seen} ({decided_by})"),
            (Became::Kept, None) => format!("kept its source address ({decided_by})"),
            (Became::Service, None) => format!(
                "translated by a Service from {}, seen from {seen}",
                self.sent_to
            ),
            (became, None) => became.to_string(),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.ends(), self.found())?;
        if self.zone != 0 {
            write!(f, ", zone {}", self.zone)?;
        }
        // A clock that was put back tells of no age.
        let age = self.started.and_then(|started| started.elapsed().ok());
        match age {
            Some(age) => write!(f, ", {:?} old", Duration::from_secs(age.as_secs())),
            None => Ok(()),
        }
    }
}

fn seconds<S: Serializer>(started: &Option<SystemTime>, to: S) -> Result<S::Ok, S::Error> {
    let since = started.and_then(|started| started.duration_since(SystemTime::UNIX_EPOCH).ok());
    since.map(|since| since.as_secs_f64()).serialize(to)
}

fn in_words<S: Serializer>(entry: &Option<prefix_table::Entry>, to: S) -> Result<S::Ok, S::Error> {
    entry.map(|entry| entry.to_string()).serialize(to)
}
