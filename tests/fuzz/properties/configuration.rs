//! The configuration reader.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use non_masquerade_daemon::config::{
    Config, Flags, Judged, MAX_FILE_BYTES, PortRange, Source, judge, judge_together,
};
use non_masquerade_daemon::policy::Policy;
use non_masquerade_daemon::ruleset::json::{self, Form};
use non_masquerade_daemon::ruleset::{ChosenNames, SetNames, Tables};
use serde_json::{Map, Value};

/// Between two files of one configuration: a byte that is in no UTF-8.
const END_OF_FILE: u8 = 0xff;
/// A promise for files of up to [`MAX_FILE_BYTES`]; of CPU time here, because others use the machine too.
const TIME_LIMIT: Duration = Duration::from_secs(1);

/// The files between [`END_OF_FILE`]s are judged within a second. What is taken means the same when it is written out
/// and read again, and can be programmed; what is said of them is lines without control characters.
pub(super) fn hold(bytes: &[u8]) {
    let all_on = Flags {
        nomasq_all_reserved_ranges: true,
        enable_ipv6: true,
        random_fully: false,
        to_ports: vec![PortRange { first: 1, last: 9 }],
        ..Flags::default()
    };
    for flags in [Flags::default(), all_on] {
        let files: Vec<Source<'_>> = bytes
            .split(|byte| *byte == END_OF_FILE)
            .map(|file| Source {
                name: "f",
                bytes: Some(file),
            })
            .collect();
        let before = cpu_time();
        let judged = judge_together(&files, &flags);
        let taken = cpu_time() - before;
        assert!(
            bytes.len() > MAX_FILE_BYTES || taken < TIME_LIMIT,
            "{taken:?}"
        );
        match judged {
            Ok(judged) => holds(&judged, &flags),
            Err(errors) => {
                assert!(!errors.errors.is_empty());
                let shown = errors.errors.len() + usize::from(errors.more > 0);
                assert_lines(&errors.to_string(), shown);
            }
        }
    }
}

fn holds(judged: &Judged, flags: &Flags) {
    for warning in &judged.warnings {
        assert_lines(&warning.to_string(), 1);
    }
    let again = judge("f", written(&judged.config).as_bytes(), flags);
    let again = again.unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(again.config, judged.config);
    let chosen = ChosenNames {
        table: "t".to_owned(),
        masq_chain: "m".to_owned(),
    };
    for ruleset in Tables::new(&Policy::new(&judged.config), &chosen).wanted() {
        let set_names = SetNames::first();
        let creation = ruleset.creation(&set_names);
        let document = json::document(&creation, Form::Portable).unwrap();
        assert!(serde_json::from_str::<Value>(&document).is_ok());
    }
}

/// A file that means the same, whatever the flags.
fn written(config: &Config) -> String {
    let mut file = Map::new();
    let mut key = |name: &str, value: Value| file.insert(name.to_owned(), value);
    if !config.non_masquerade_cidrs_are_default {
        key(
            "nonMasqueradeCIDRs",
            shown(&config.non_masquerade_cidrs).into(),
        );
    }
    key("masqueradeCIDRs", shown(&config.masquerade_cidrs).into());
    if !config.source_cidrs.is_empty() {
        key("sourceCIDRs", shown(&config.source_cidrs).into());
    }
    key("outputInterfaces", shown(&config.output_interfaces).into());
    key("masqNodeTraffic", config.masq_node_traffic.into());
    key("masqLinkLocal", config.masq_link_local.into());
    key("masqLinkLocalIPv6", config.masq_link_local_ipv6.into());
    key("enableIPv6", config.enable_ipv6.into());
    key("randomFully", config.random_fully.into());
    key("toPorts", shown(&config.to_ports).join(",").into());
    key("enforce", config.enforce.into());
    key("dropInvalid", config.drop_invalid.into());
    key(
        "existingConnections",
        config.existing_connections.name().into(),
    );
    if let Some(limit) = config.cidr_limit {
        key("cidrLimit", limit.into());
    }
    let nanoseconds = config.resync_interval.as_nanos();
    key("resyncInterval", format!("{nanoseconds}ns").into());
    Value::from(file).to_string()
}

fn shown<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

fn assert_lines(said: &str, lines: usize) {
    assert_eq!(said.split('\n').count(), lines, "{said}");
    let controls = said.chars().filter(|c| c.is_control()).count();
    assert_eq!(controls, lines - 1, "{said:?}");
}

fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .unwrap()
        .into()
}
