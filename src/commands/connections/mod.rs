//! `connections`: what became of the node's connections, and which contradict the configuration.

mod kernel_tables;
mod line;
mod summary;
mod watch;

use std::collections::HashSet;
use std::io::{self, BufRead, IsTerminal, Write};
use std::net::IpAddr;

use serde::Serialize;

use super::daemon_says::last_good_configuration;
use super::look::Look;
use super::terminal::Terminal;
use super::{
    ExitStatus, failed, load_here, policy_here, print, print_json, print_notes, require_net_admin,
};
use crate::cli::{Connections, Options, OutputFormat};
use crate::config_source::Origin;
use crate::in_words;
use crate::kernel::conntrack::{self, Entry, Filter};
use crate::policy::Policy;
use crate::policy::judgement::Judgement;
use crate::tracked::{self, ThisNode};
pub(super) use line::Line;
use summary::{JudgedBy, Summary};

/// What `--format json` prints. Names of fields are a contract.
#[derive(Serialize)]
struct Answer {
    #[serde(flatten)]
    summary: Summary,
    /// With `--contradicting` and `--end`: those, up to the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    contradicting: Option<Vec<Line>>,
    /// With `--end`: how many of them were ended. The others had ended by themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<u64>,
}

/// Says what became of the connections that are asked for; with `--end`, ends those that contradict the policy.
pub(super) fn connections(options: &Options, asked: &Connections) -> ExitStatus {
    if let Err(status) = require_net_admin() {
        return status;
    }
    if asked.end && !asked.yes && !io::stdin().is_terminal() {
        let _ = writeln!(
            io::stderr(),
            "standard input is no terminal to ask on: give --yes to end them without a question"
        );
        return ExitStatus::WrongArguments;
    }
    let in_force = match in_force(options) {
        Ok(in_force) => in_force,
        Err(status) => return status,
    };
    if asked.watch {
        return watch::watch(&in_force, asked);
    }
    let (summary, contradicting) = match judged(&in_force, asked) {
        Ok(judged) => judged,
        Err(error) => return failed(&format!("conntrack cannot be read: {error}")),
    };
    if asked.end {
        return end(&in_force.policy, asked, summary, &contradicting);
    }
    let is_any = asked.contradicting && !contradicting.is_empty();
    let printed = match asked.format {
        OutputFormat::Json => print_json(&Answer {
            summary,
            contradicting: asked.contradicting.then(|| lines(&contradicting)),
            ended: None,
        }),
        OutputFormat::Text if asked.contradicting => {
            print(&listed(&contradicting, summary.contradicting()))
        }
        OutputFormat::Text => {
            let told = summary.told(Terminal::of_standard_output());
            print(&format!("{told}\n{}\n", in_force.origin))
        }
    };
    match printed {
        ExitStatus::Done if is_any => ExitStatus::Failed,
        printed => printed,
    }
}

/// The policy that connections are judged by.
struct InForce {
    policy: Policy,
    judged_by: JudgedBy,
    /// The same in a sentence.
    origin: String,
}

/// That of the files. While these are bad, that of the last good ones, which the daemon has in force; where none tells that,
/// what the kernel's tables say.
fn in_force(options: &Options) -> Result<InForce, ExitStatus> {
    let bad = match load_here(options) {
        Ok((loaded, policy)) => {
            return Ok(InForce {
                policy,
                judged_by: JudgedBy::Configuration,
                origin: in_words::sentence(Origin::of(&loaded, &options.config)),
            });
        }
        Err(bad) => bad,
    };
    let in_force = match last_good_configuration(options) {
        Some(config) => InForce {
            policy: policy_here(&config),
            judged_by: JudgedBy::LastGoodConfiguration,
            origin: "The configuration is bad: connections are judged by the last good one, which the daemon has in force."
                .to_owned(),
        },
        None => in_kernel(options).map_err(|why| {
            print_notes(&[format!("No daemon answers that has a good one in force (--http-address), and {why}.")]);
            bad
        })?,
    };
    print_notes(std::slice::from_ref(&in_force.origin));
    Ok(in_force)
}

/// An error is a clause that says why nothing can be read off the tables.
fn in_kernel(options: &Options) -> Result<InForce, String> {
    let table = &options.table;
    let cannot =
        |error: &dyn std::fmt::Display| format!("the kernel's tables cannot be read: {error}");
    let mut look = Look::new().map_err(|error| cannot(&error))?;
    let policy = kernel_tables::policy(&mut look, options).map_err(|error| cannot(&error))?;
    Ok(InForce {
        policy: policy.ok_or_else(|| format!("the kernel has no table ip {table}"))?,
        judged_by: JudgedBy::KernelTables,
        origin: format!(
            "The configuration is bad, and no daemon answers that has a good one in force (--http-address): connections are judged by the kernel's table {table}."
        ),
    })
}

fn filter(asked: &Connections) -> Filter {
    Filter {
        protocol: asked.protocol,
        from: asked.from,
        to: asked.to,
    }
}

/// What became of all that are asked for, and those that contradict the policy, up to the limit.
fn judged(
    in_force: &InForce,
    asked: &Connections,
) -> io::Result<(Summary, Vec<(Entry, Judgement)>)> {
    let (mut summary, mut contradicting) = (Summary::new(in_force.judged_by), Vec::new());
    let is_listed = asked.contradicting || asked.end;
    let limit = asked.limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    });
    tracked::judge_all(&in_force.policy, &filter(asked), |entry, judgement| {
        summary.count(&judgement);
        if is_listed && judgement.contradiction.is_some() && contradicting.len() < limit {
            contradicting.push((entry, judgement));
        }
    })?;
    Ok((summary, contradicting))
}

fn lines(contradicting: &[(Entry, Judgement)]) -> Vec<Line> {
    let line = |(entry, judgement): &(Entry, Judgement)| Line::new(entry, *judgement);
    contradicting.iter().map(line).collect()
}

/// A line for each of those that are listed out of so many, and where to look for the cause.
fn listed(contradicting: &[(Entry, Judgement)], out_of: u64) -> String {
    let mut text = String::new();
    for line in lines(contradicting) {
        text += &format!("{line}\n");
    }
    let listed = contradicting.len() as u64;
    if listed < out_of {
        text += &format!("These are {listed} of {out_of} (--limit).\n");
    }
    match contradicting {
        [] => "No connection contradicts the configuration.\n".to_owned(),
        [(entry, _), ..] => text + &causes(entry.original.source, entry.reply.source),
    }
}

/// What may have led to it; an entry does not tell.
fn causes(source: IpAddr, destination: IpAddr) -> String {
    format!(
        "\nEither they are older than the rules, and `connections --end` ends them, or another NAT chain decides, which\n\
         `explain --from {source} {destination}` names.\n"
    )
}

fn end(
    policy: &Policy,
    asked: &Connections,
    summary: Summary,
    contradicting: &[(Entry, Judgement)],
) -> ExitStatus {
    let is_text = asked.format == OutputFormat::Text;
    let listed = listed(contradicting, summary.contradicting());
    if is_text && print(&listed) != ExitStatus::Done {
        return ExitStatus::Failed;
    }
    if !contradicting.is_empty() && !asked.yes && !agrees(contradicting.len()) {
        return failed("None was ended.");
    }
    let ended = match ended(policy, asked, contradicting) {
        Ok(ended) => ended,
        Err(error) => return failed(&format!("not all could be ended: {error}")),
    };
    match asked.format {
        OutputFormat::Text => print(&format!("{ended} ended.\n")),
        OutputFormat::Json => print_json(&Answer {
            summary,
            contradicting: Some(lines(contradicting)),
            ended: Some(ended),
        }),
    }
}

/// Asks. No answer is no.
fn agrees(connections: usize) -> bool {
    let _ = write!(io::stderr(), "End {connections} of them? [y/N] ");
    let mut answer = String::new();
    let _ = io::stdin().lock().read_line(&mut answer);
    ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str())
}

/// Those that still contradict the policy: while it was asked, one may have ended, and another one, of the same addresses and
/// ports, may have taken its place. The id does not tell them apart, for the kernel makes it of where the entry lies in memory.
fn ended(
    policy: &Policy,
    asked: &Connections,
    contradicting: &[(Entry, Judgement)],
) -> io::Result<u64> {
    let node = ThisNode::read()?;
    let place = |entry: &Entry| (entry.protocol, entry.original, entry.zone);
    let were_listed: HashSet<_> = contradicting
        .iter()
        .map(|(entry, _)| place(entry))
        .collect();
    conntrack::end(&filter(asked), |entry| {
        were_listed.contains(&place(entry))
            && tracked::judged(policy, entry, &node)
                .contradiction
                .is_some()
    })
}
