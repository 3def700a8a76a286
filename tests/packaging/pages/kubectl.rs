//! What the pages and the alerts have kubectl do. It is Debian 13's, in the root that `make test` installs if it is run by
//! root; no cluster is asked.

mod needs_root {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;
    use std::process::Command;

    use serde_json::Value;

    use crate::packaging::manifests::read::documents;
    use crate::packaging::pages::page::repository;
    use crate::packaging::pages::shell;
    use crate::packaging::pages::yaml::{self, Kind};
    use crate::support::daemon::TemporaryDirectory;
    use crate::support::netns::succeed;
    use crate::support::nft::debian_13_root;

    const IN_ROOT: &str = r#"mount --bind "$1" "$0/mnt"; shift; exec chroot "$0" sh -euc 'cd /mnt; exec "$@"' sh "$@""#;

    /// What kubectl prints in this directory.
    fn kubectl(directory: &Path, words: &[&str]) -> String {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-ceu", IN_ROOT]);
        command.arg(debian_13_root()).arg(directory).arg("kubectl");
        let output = succeed(command.args(words)).unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// The words of each kubectl in a text, without what is to run in a pod.
    fn commands(text: &str) -> Vec<Vec<String>> {
        let lines = text.lines().flat_map(|line| line.split(" | "));
        let commands = lines.filter_map(|line| line.trim().strip_prefix("kubectl "));
        let words = |command: &str| {
            let (own, _) = command.split_once(" -- ").unwrap_or((command, ""));
            let (own, _) = own.split_once(" >").unwrap_or((own, ""));
            own.split(' ').map(|word| word.replace('\'', "")).collect()
        };
        commands.map(words).collect()
    }

    /// The first words that are no flags: `rollout status`, or `apply` alone.
    fn verb(words: &[String]) -> Vec<&str> {
        let mut plain = words
            .iter()
            .map(String::as_str)
            .filter(|word| !word.starts_with('-'));
        let first = plain.next().unwrap();
        match first {
            "create" | "rollout" => vec![first, plain.next().unwrap()],
            _ => vec![first],
        }
    }

    /// That kubectl knows the verb and each flag.
    fn assert_known(words: &[String], global: &str) {
        let mut question = verb(words);
        question.push("--help");
        let help = kubectl(repository(), &question);
        for word in words
            .iter()
            .filter(|word| word.starts_with('-') && *word != "-")
        {
            let (flag, _) = word.split_once('=').unwrap_or((word, ""));
            let short = format!("{flag}, ");
            let long = format!("{flag}=");
            let is_known = [&help, &global.to_owned()]
                .iter()
                .any(|text| text.contains(&short) || text.contains(&long));
            assert!(is_known, "{flag} of {words:?}");
        }
    }

    #[test]
    fn it_knows_each_verb_and_flag() {
        let global = kubectl(repository(), &["options"]);
        let alerts = repository().join("manifests/overlays/monitoring/prometheus-rule.yaml");
        let alerts = fs::read_to_string(alerts).unwrap();
        let of_alerts = commands(&alerts);
        assert!(of_alerts.len() >= 4, "{of_alerts:?}");
        let blocks = shell::blocks();
        let of_pages = blocks.iter().flat_map(|block| commands(&block.text));
        let all: BTreeSet<Vec<String>> = of_pages.chain(of_alerts).collect();
        assert!(all.len() >= 10, "{all:?}");
        for words in all {
            assert_known(&words, &global);
        }
    }

    /// A page in that directory is no key of it.
    #[test]
    fn the_config_map_of_the_pages_has_the_one_key_that_the_manifests_mount() {
        let blocks = shell::blocks();
        let all = blocks.iter().flat_map(|block| commands(&block.text));
        let made = all.filter(|words| words.iter().any(|word| word == "create"));
        let made: Vec<Vec<String>> = made.collect();
        assert_eq!(made.len(), 3);
        let agents = TemporaryDirectory::new().unwrap();
        fs::write(agents.path().join("config"), "masqLinkLocal: true\n").unwrap();
        for words in made {
            let is_of_agent = words.iter().any(|word| word == "--from-file=config");
            let directory = if is_of_agent {
                agents.path()
            } else {
                repository()
            };
            let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
            words.extend(["--dry-run=client", "--output=json"]);
            let map: Value = serde_json::from_str(&kubectl(directory, &words)).unwrap();
            let keys: Vec<&String> = map["data"].as_object().unwrap().keys().collect();
            assert_eq!(keys, ["config"]);
            assert_eq!(map["metadata"]["name"], "non-masquerade-daemon");
            assert_eq!(map["metadata"]["namespace"], "kube-system");
        }
    }

    /// The port that a path of the container's has.
    fn port(container: &Value, path: &str) -> String {
        container.pointer(path).unwrap().to_string()
    }

    #[test]
    fn each_kustomization_can_be_built_and_probes_ask_where_the_daemon_serves() {
        let blocks = yaml::blocks(&Kind::Kustomization);
        assert_eq!(blocks.len(), 4);
        for (block, _) in blocks {
            let directory = TemporaryDirectory::new().unwrap();
            fs::write(directory.path().join("kustomization.yaml"), &block.text).unwrap();
            let mut copy = Command::new("cp");
            copy.arg("-a").arg(repository().join("manifests"));
            succeed(copy.arg(directory.path())).unwrap();
            let built = kubectl(directory.path(), &["kustomize", "."]);
            let objects = documents(&built);
            let mut sets = objects.iter().filter(|of| of["kind"] == "DaemonSet");
            let set = sets.next().unwrap();
            let container = &set["spec"]["template"]["spec"]["containers"][0];
            if container["name"] != "non-masquerade-daemon" {
                continue;
            }
            let variables = container["env"].as_array().unwrap().iter();
            let mut addresses =
                variables.filter(|of| of["name"] == "NON_MASQUERADE_DAEMON_HTTP_ADDRESS");
            let address = addresses.next().unwrap()["value"].as_str().unwrap();
            let (_, served) = address.rsplit_once(':').unwrap();
            for probe in ["livenessProbe", "readinessProbe"] {
                let asked = port(container, &format!("/{probe}/httpGet/port"));
                assert_eq!(asked, served, "{}", block.text);
            }
        }
    }
}
