//! What `helm install` refuses. Debian's python3-jsonschema judges by the chart's schema, as Helm does.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use clap::CommandFactory;
use non_masquerade_daemon::cli::Cli;
use serde_json::{Value, json};

use super::NAMESPACE;
use super::helm::{chart, file, rendered};
use crate::DAEMON;
use crate::packaging::manifests::read::repository;
use crate::packaging::pages::yaml::{Kind, blocks};
use crate::support::daemon::TemporaryDirectory;
use crate::support::outcome::Outcome;

const SCHEMA: &str = "values.schema.json";

fn schema() -> Value {
    serde_json::from_str(&fs::read_to_string(chart().join(SCHEMA)).unwrap()).unwrap()
}

/// Why each of these is refused; nothing where it is taken.
fn judged(values: &[Value]) -> Vec<String> {
    let directory = TemporaryDirectory::new().unwrap();
    let mut judge = Command::new("/usr/bin/python3");
    judge.args(["-W", "ignore", "-c", JUDGE]);
    judge.arg(chart().join(SCHEMA));
    let asked = directory.path().join("values");
    fs::write(&asked, json!(values).to_string()).unwrap();
    let judged = Outcome::of(judge.arg(&asked));
    judged.assert_code(0);
    serde_json::from_str(&judged.output).unwrap()
}

const JUDGE: &str = "
import json, jsonschema, sys
schema, values = (json.load(open(path)) for path in sys.argv[1:])
validator = jsonschema.Draft7Validator(schema)
validator.check_schema(schema)
errors = lambda value: '; '.join(f'{error.json_path}: {error.message}' for error in validator.iter_errors(value))
print(json.dumps([errors(value) for value in values]))
";

/// Whether the daemon takes this file, as JSON.
fn is_good(config: &Value) -> bool {
    let directory = TemporaryDirectory::new().unwrap();
    let path = directory.path().join("config");
    fs::write(&path, config.to_string()).unwrap();
    let path = path.to_str().unwrap();
    checked(&["--enable-ipv6", path]).code == 0
}

fn checked(words: &[&str]) -> Outcome {
    let mut check = Command::new(DAEMON);
    Outcome::of(check.env_clear().arg("check").args(words))
}

#[test]
fn the_values_of_the_chart_and_the_files_of_the_repository_are_taken() {
    let samples = ["daemon-config/config", "tests/golden/everything.yaml"];
    let files = samples.map(|path| {
        let path = repository().join(path);
        let config: Value = serde_yaml::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        json!({ "config": config })
    });
    let [first, second] = files;
    assert_eq!(judged(&[file("values.yaml"), first, second]), ["", "", ""]);
}

/// And give a release.
#[test]
fn the_values_of_the_page_are_taken() {
    for (block, _) in blocks(&Kind::Values) {
        let values: Value = serde_yaml::from_str(&block.text).unwrap();
        assert!(is_good(&values["config"]));
        let objects = rendered(&values, NAMESPACE);
        assert_eq!(objects.len(), 3, "{objects:?}");
        assert_eq!(judged(&[values]), [""]);
    }
}

#[test]
fn each_value_of_the_chart_is_known_and_no_other() {
    fn keys(value: &Value) -> BTreeSet<String> {
        value.as_object().unwrap().keys().cloned().collect()
    }
    let known = schema()["properties"].clone();
    let values = file("values.yaml");
    // Helm gives each chart these.
    let own = keys(&known).into_iter().filter(|key| key != "global");
    assert_eq!(own.collect::<BTreeSet<_>>(), keys(&values));
    for group in ["image", "monitoring", "cleanup"] {
        assert_eq!(keys(&known[group]["properties"]), keys(&values[group]));
    }
    let unknown = [
        json!({ "confg": {} }),
        json!({ "config": { "nonMasqueradeCIDR": [] } }),
        json!({ "config": { "nonmasqueradecidrs": [] } }),
        json!({ "options": { "enable-ipv7": true } }),
        json!({ "image": { "name": "x" } }),
        json!({ "monitoring": true }),
    ];
    for (values, refused) in unknown.iter().zip(judged(&unknown)) {
        assert!(!refused.is_empty(), "{values}");
    }
}

/// But for the two that other values give.
#[test]
fn the_options_are_the_flags_of_the_binary_with_the_values_that_these_take() {
    let command = Cli::command();
    let known = &schema()["properties"]["options"]["properties"];
    let flags = command
        .get_arguments()
        .filter(|flag| flag.get_env().is_some());
    let flags = flags.filter(|flag| !["config", "http_address"].contains(&flag.get_id().as_str()));
    let mut names = BTreeSet::new();
    for flag in flags {
        let name = flag.get_long().unwrap();
        let is_boolean = flag.get_value_names().unwrap()[0] == "BOOL";
        let known = &known[name];
        assert_eq!(known["type"] == "boolean", is_boolean, "{name}: {known}");
        if let Some(values) = known["enum"].as_array() {
            for value in values {
                let flag = format!("--{name}={}", value.as_str().unwrap());
                checked(&[&flag]).assert_code(0);
            }
        }
        names.insert(name.to_owned());
    }
    let known: BTreeSet<String> = known.as_object().unwrap().keys().cloned().collect();
    assert_eq!(known, names);
}

/// What a string may be, good and bad, by the key that takes it.
const STRINGS: [(&str, &str); 4] = [
    (
        "nonMasqueradeCIDRs",
        "10.0.0.0/8 0.0.0.0/0 192.0.2.255/32 fd00::/8 ::/0 2001:db8:0:1:2:3:4:5/128 2001:DB8::/32 ::1/128 \
         10.0.0.0 10.0.0.0/33 256.0.0.0/8 010.0.0.0/8 10.0.0/8 10.0.0.0-10.0.0.9 10.0.0.0/ /8 example.org \
         fd00::/129 fd00:::/8 fd00::1::/64 fd00:/8 g::/16 1:2:3:4:5:6:7/112",
    ),
    (
        "outputInterfaces",
        "eth0 * eth* br-lan.100 123456789012345 12345678901234* 1234567890123456 e*h eth0,eth1 a/b a:b **",
    ),
    (
        "toPorts",
        "5000 1024-29999,32768-65535 a 1024- -1 1024,,2048 1-2-3 100000",
    ),
    ("resyncInterval", "60s 1h30m 1.5s 100ms 60 1d s 1h30"),
];

/// Files with one key each, good and bad.
fn files_of_one_key() -> Vec<Value> {
    let of_strings = STRINGS.iter().flat_map(|(key, strings)| {
        let strings = strings.split_whitespace().chain(["", "fd00::/8 "]);
        let is_list = !["toPorts", "resyncInterval"].contains(key);
        strings.map(move |string| match is_list {
            true => json!({ *key: [string] }),
            false => json!({ *key: string }),
        })
    });
    let others = [
        json!({ "nonMasqueradeCIDRs": null }),
        json!({ "masqueradeCIDRs": ["fd00::/8", null] }),
        json!({ "masqueradeCIDRs": "fd00::/8" }),
        json!({ "sourceCIDRs": ["fd00::/8", 10] }),
        json!({ "enforce": "yes" }),
        json!({ "enforce": 1 }),
        json!({ "enforce": true }),
        json!({ "cidrLimit": 64 }),
        json!({ "cidrLimit": -1 }),
        json!({ "cidrLimit": 1.5 }),
        json!({ "cidrLimit": "64" }),
        json!({ "resyncInterval": 60 }),
        json!({ "toPorts": 5000 }),
    ];
    of_strings.chain(others).collect()
}

#[test]
fn a_configuration_is_taken_where_the_daemon_takes_it() {
    let files = files_of_one_key();
    let values: Vec<Value> = files.iter().map(|file| json!({ "config": file })).collect();
    for (file, refused) in files.iter().zip(judged(&values)) {
        assert_eq!(refused.is_empty(), is_good(file), "{file}: {refused}");
    }
}
