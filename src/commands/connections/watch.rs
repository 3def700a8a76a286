//! `connections --watch`: each connection as it begins.

use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use nix::sys::socket::SockFlag;
use serde::Serialize;

use super::line::Line;
use super::summary::Summary;
use super::{ExitStatus, InForce, failed, filter, print};
use crate::cli::{Connections, OutputFormat};
use crate::commands::terminal::Terminal;
use crate::kernel::conntrack::{Entry, Events, Filter};
use crate::policy::Policy;
use crate::tracked::{self, ThisNode};

/// For how long the node's addresses are taken to be what they were.
const NODE_AGE: Duration = Duration::from_secs(1);
/// How many connections are taken before the signals are looked at.
const MOST_AT_ONCE: usize = 1_024;
/// 0: the kernel tells of no new connections.
const EVENTS_SWITCH: &str = "/proc/sys/net/netfilter/nf_conntrack_events";

/// The last line of `--format json`. Names of fields are a contract.
#[derive(Serialize)]
struct End<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    /// Connections that were not heard of, for more began than could be written in time.
    lost: u32,
}

/// Lists connections until it is told to end.
pub(super) fn watch(in_force: &InForce, asked: &Connections) -> ExitStatus {
    if std::fs::read_to_string(EVENTS_SWITCH).is_ok_and(|text| text.trim() == "0") {
        return failed(
            "the kernel does not tell of new connections: sysctl -w net.netfilter.nf_conntrack_events=1",
        );
    }
    let mut watch = match Watch::new(in_force, asked) {
        Ok(watch) => watch,
        Err(error) => return failed(&format!("new connections cannot be heard of: {error}")),
    };
    let watched = watch.until_the_end().and_then(|()| watch.lost());
    let lost = match watched {
        Ok(lost) => lost,
        Err(error) => return failed(&format!("new connections cannot be told: {error}")),
    };
    let printed = print(&watch.summed_up(lost));
    match (printed, watch.summary.contradicting()) {
        (ExitStatus::Done, 1..) => ExitStatus::Failed,
        (printed, _) => printed,
    }
}

struct Watch<'a> {
    policy: &'a Policy,
    asked: &'a Connections,
    filter: Filter,
    events: Events,
    signals: SignalFd,
    node: ThisNode,
    node_read: Instant,
    summary: Summary,
    /// How many lines may still be written.
    left: u64,
}

impl<'a> Watch<'a> {
    fn new(in_force: &'a InForce, asked: &'a Connections) -> io::Result<Self> {
        let ends = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
        ends.thread_block()?;
        Ok(Self {
            policy: &in_force.policy,
            asked,
            filter: filter(asked),
            events: Events::subscribe(SockFlag::SOCK_NONBLOCK)?,
            signals: SignalFd::new(&ends)?,
            node: ThisNode::read()?,
            node_read: Instant::now(),
            summary: Summary::new(in_force.judged_by),
            left: asked.limit.unwrap_or(u64::MAX),
        })
    }

    fn until_the_end(&mut self) -> io::Result<()> {
        let mut output = BufWriter::new(io::stdout().lock());
        let mut lost = 0;
        while self.left > 0 {
            let is_drained = self.take_some(&mut output)?;
            if self.lost()? != lost {
                lost = self.lost()?;
                // Where standard error is closed, the end says it.
                let _ = writeln!(io::stderr(), "{lost} connections were not heard of so far");
            }
            if is_drained {
                output.flush()?;
            }
            if self.is_to_end(is_drained)? {
                break;
            }
        }
        output.flush()
    }

    /// Tells whether no more have arrived.
    fn take_some(&mut self, output: &mut impl Write) -> io::Result<bool> {
        for _ in 0..MOST_AT_ONCE {
            match self.events.next() {
                Ok(Some(entry)) => self.note(&entry, output)?,
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
            if self.left == 0 {
                break;
            }
        }
        Ok(false)
    }

    fn note(&mut self, entry: &Entry, output: &mut impl Write) -> io::Result<()> {
        if !self.filter.admits(entry) {
            return Ok(());
        }
        if self.node_read.elapsed() > NODE_AGE {
            (self.node, self.node_read) = (ThisNode::read()?, Instant::now());
        }
        let judgement = tracked::judged(self.policy, entry, &self.node);
        self.summary.count(&judgement);
        if self.asked.contradicting && judgement.contradiction.is_none() {
            return Ok(());
        }
        self.left -= 1;
        let line = Line::new(entry, judgement);
        match self.asked.format {
            OutputFormat::Text => writeln!(output, "{line}"),
            OutputFormat::Json => {
                serde_json::to_writer(&mut *output, &line)?;
                output.write_all(b"\n")
            }
        }
    }

    /// Waits for more where there is none.
    fn is_to_end(&self, is_drained: bool) -> io::Result<bool> {
        let mut waited_for = [
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.events.as_fd(), PollFlags::POLLIN),
        ];
        let timeout = if is_drained {
            PollTimeout::NONE
        } else {
            PollTimeout::ZERO
        };
        poll(&mut waited_for, timeout)?;
        let [signal, _] = &waited_for;
        Ok(signal.any().unwrap_or_default())
    }

    fn lost(&self) -> io::Result<u32> {
        self.events.lost()
    }

    fn summed_up(&self, lost: u32) -> String {
        let summary = &self.summary;
        match self.asked.format {
            OutputFormat::Text => {
                let lost = match lost {
                    0 => String::new(),
                    some => format!("\n{some} more began that were not heard of.\n"),
                };
                format!("\n{}{lost}", summary.told(Terminal::of_standard_output()))
            }
            OutputFormat::Json => {
                let end = serde_json::to_string(&End { summary, lost });
                end.map_or_else(|error| error.to_string(), |text| format!("{text}\n"))
            }
        }
    }
}
