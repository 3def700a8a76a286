//! How many connections became what, and by which CIDR.

use std::collections::{BTreeMap, HashMap};

use serde::{Serialize, Serializer};

use crate::commands::bars::{self, Row};
use crate::commands::terminal::{Colour, Terminal};
use crate::policy::judgement::{Became, Contradiction, Judgement};
use crate::policy::prefix_table::Entry;

/// Whose policy connections are judged by. Its names are a contract.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum JudgedBy {
    /// The files', or the defaults.
    Configuration,
    /// That of files that were good before: the daemon has it in force.
    LastGoodConfiguration,
    /// What the kernel's tables say.
    KernelTables,
}

/// Counts of connections. Names of fields are a contract.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    judged_by: JudgedBy,
    connections: u64,
    #[serde(rename = "verdicts", serialize_with = "verdicts")]
    by_verdict: BTreeMap<Became, u64>,
    #[serde(rename = "cidrs", serialize_with = "cidrs")]
    by_cidr: HashMap<Option<Entry>, OfCidr>,
    /// Each kind, those of which there is none too.
    contradictions: BTreeMap<Contradiction, u64>,
}

/// Connections to the destinations for which one configured CIDR decides, of those that are judged.
#[derive(Debug, Default, Clone, Copy, Serialize)]
struct OfCidr {
    kept: u64,
    masqueraded: u64,
    contradicting: u64,
}

impl Summary {
    pub(super) fn new(judged_by: JudgedBy) -> Self {
        Self {
            judged_by,
            connections: 0,
            by_verdict: BTreeMap::new(),
            by_cidr: HashMap::new(),
            contradictions: Contradiction::ALL.map(|kind| (kind, 0)).into(),
        }
    }

    pub(super) fn count(&mut self, judgement: &Judgement) {
        self.connections += 1;
        *self.by_verdict.entry(judgement.became).or_default() += 1;
        let (is_kept, is_masqueraded) = match judgement.became {
            Became::Kept => (1, 0),
            Became::Masqueraded => (0, 1),
            Became::Service | Became::NotLookedAt(_) | Became::NotJudged(_) => return,
        };
        let of_cidr = self.by_cidr.entry(judgement.decided_by).or_default();
        of_cidr.kept += is_kept;
        of_cidr.masqueraded += is_masqueraded;
        if let Some(contradiction) = judgement.contradiction {
            *self.contradictions.entry(contradiction).or_default() += 1;
            of_cidr.contradicting += 1;
        }
    }

    pub(super) fn contradicting(&self) -> u64 {
        self.contradictions.values().sum()
    }

    /// For people.
    pub(super) fn told(&self, terminal: Terminal) -> String {
        let verdicts = self.by_verdict.iter().map(|(became, connections)| Row {
            name: became.to_string(),
            numbers: [Some(*connections)],
            bar: *connections,
        });
        let verdicts: Vec<Row<_>> = verdicts.collect();
        let cidrs = sorted(&self.by_cidr)
            .into_iter()
            .map(|(entry, of_cidr)| Row {
                name: named(entry),
                numbers: [of_cidr.kept, of_cidr.masqueraded, of_cidr.contradicting].map(Some),
                bar: of_cidr.kept + of_cidr.masqueraded,
            });
        let cidrs: Vec<Row<_>> = cidrs.collect();
        let headings = ["kept", "masqueraded", "contradicting"];
        let paragraphs = [
            bars::table(
                "connections tracked",
                [&self.connections.to_string()],
                &verdicts,
                terminal,
            ),
            bars::table("of those judged, by CIDR", headings, &cidrs, terminal),
            self.contradictions_told(terminal),
        ];
        let is_any = |paragraph: &String| !paragraph.is_empty();
        let paragraphs: Vec<String> = paragraphs.into_iter().filter(is_any).collect();
        paragraphs.join("\n")
    }

    fn contradictions_told(&self, terminal: Terminal) -> String {
        if self.contradicting() == 0 {
            let none = terminal.coloured(
                "No connection contradicts the configuration.",
                Colour::Green,
            );
            return format!("{none}\n");
        }
        let kinds = self
            .contradictions
            .iter()
            .filter(|(_, connections)| **connections > 0);
        let kinds = kinds.map(|(kind, connections)| format!("  {connections} {kind}\n"));
        let some = format!("{} contradict the configuration", self.contradicting());
        let some = terminal.coloured(&some, Colour::Red);
        format!(
            "{some} (connections --contradicting lists them):\n{}",
            kinds.collect::<String>()
        )
    }
}

/// By CIDR; those for which none decides come last.
fn sorted(of: &HashMap<Option<Entry>, OfCidr>) -> Vec<(Option<Entry>, OfCidr)> {
    let mut sorted: Vec<_> = of
        .iter()
        .map(|(entry, of_cidr)| (*entry, *of_cidr))
        .collect();
    sorted.sort_by_key(|(entry, _)| (entry.is_none(), entry.map(|entry| entry.prefix)));
    sorted
}

fn named(entry: Option<Entry>) -> String {
    entry.map_or_else(
        || "no configured CIDR".to_owned(),
        |entry| entry.to_string(),
    )
}

fn verdicts<S: Serializer>(of: &BTreeMap<Became, u64>, to: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct OfVerdict {
        #[serde(flatten)]
        became: Became,
        connections: u64,
    }
    to.collect_seq(of.iter().map(|(became, connections)| OfVerdict {
        became: *became,
        connections: *connections,
    }))
}

/// None: no configured CIDR contains them.
fn cidrs<S: Serializer>(of: &HashMap<Option<Entry>, OfCidr>, to: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Named {
        cidr: Option<String>,
        #[serde(flatten)]
        of_cidr: OfCidr,
    }
    to.collect_seq(sorted(of).into_iter().map(|(entry, of_cidr)| Named {
        cidr: entry.map(|entry| entry.to_string()),
        of_cidr,
    }))
}
