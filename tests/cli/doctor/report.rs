//! What `doctor` says.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::DAEMON;
use crate::support::daemon::TemporaryDirectory;
use crate::support::json_schema;
use crate::support::netns::{Namespace, succeed};

/// What the doctor said.
pub(crate) struct Report {
    pub(crate) code: i32,
    pub(crate) findings: Vec<Value>,
}

impl Report {
    /// Of a command that ends with `doctor --format json`.
    #[track_caller]
    pub(crate) fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        let findings: Vec<Value> = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {output:?}"));
        json_schema::assert_fits("doctor.schema.json", &json!(findings));
        Self {
            code: output.status.code().unwrap(),
            findings,
        }
    }

    /// In a namespace, with this text as the file.
    #[track_caller]
    pub(crate) fn on(namespace: &Namespace, configuration: &str) -> Self {
        Self::with(namespace.command(DAEMON), configuration)
    }

    /// By a command that starts the daemon's program.
    #[track_caller]
    pub(crate) fn with(mut program: Command, configuration: &str) -> Self {
        let directory = TemporaryDirectory::new().unwrap();
        let file = directory.path().join("config");
        fs::write(&file, configuration).unwrap();
        program.args(["doctor", "--format", "json", "--config"]);
        Self::of(program.arg(file))
    }

    /// After `planting`, shell commands in a mount namespace that the doctor shares, and as the process that it becomes.
    #[track_caller]
    pub(crate) fn after(namespace: &Namespace, planting: &str, configuration: &str) -> Self {
        let mut command = namespace.command("unshare");
        let script = format!("{planting}\nexec \"$@\"");
        command.args(["--mount", "sh", "-ceu", &script, "sh", DAEMON]);
        Self::with(command, configuration)
    }

    /// The results of a check, each with what was found and the remedy.
    pub(crate) fn of_check(&self, check: &str) -> Vec<(&str, String)> {
        let findings = self.findings.iter();
        let told = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        findings
            .filter(|finding| finding["check"] == check)
            .map(|finding| {
                let (said, remedy) = (told(&finding["finding"]), told(&finding["remedy"]));
                (
                    finding["result"].as_str().unwrap(),
                    format!("{said} -> {remedy}"),
                )
            })
            .collect()
    }

    /// Fails unless the check has this result, or any where `result` is empty, with these words.
    #[track_caller]
    pub(crate) fn must_have(&self, check: &str, result: &str, words: &[&str]) {
        let found = self.of_check(check);
        let has = |(of, said): &(&str, String)| {
            [*of, ""].contains(&result) && words.iter().all(|words| said.contains(words))
        };
        assert!(
            found.iter().any(has),
            "{result} {words:?} not in {found:#?}"
        );
    }

    /// What it called a failure.
    pub(crate) fn failures(&self) -> Vec<&Value> {
        let findings = self.findings.iter();
        findings
            .filter(|finding| finding["result"] == "failure")
            .collect()
    }

    /// The remedy of the one finding of this check and result whose words are among what was found.
    #[track_caller]
    pub(crate) fn remedy(&self, check: &str, words: &str) -> String {
        self.must_have(check, "", &[words]);
        let found = self.of_check(check).into_iter();
        let mut found = found.filter(|(_, said)| said.contains(words));
        let (_, said) = found.next().unwrap();
        assert!(
            found.next().is_none(),
            "{words:?} in more than one of {check}"
        );
        said.rsplit_once(" -> ").unwrap().1.to_owned()
    }
}

/// Runs the commands of a remedy in the namespace; `iptables` is iptables-nft, whatever the host has by that name.
#[track_caller]
pub(crate) fn run(namespace: &Namespace, commands: &str) {
    let commands = commands.replace("tables -t", "tables-nft -t");
    let commands = commands.replace("non-masquerade-daemon ", &format!("{DAEMON} "));
    succeed(namespace.command("sh").args(["-ec", &commands])).unwrap();
}
