//! What `make install` installs, and that its systemd unit names what is there.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::DAEMON;
use crate::support::daemon::TemporaryDirectory;
use crate::support::netns::succeed;
use clap::CommandFactory;
use non_masquerade_daemon::cli::Cli;

const UNIT: &str = "lib/systemd/system/non-masquerade-daemon.service";

/// What was installed below a directory of its own.
struct Installed {
    destination: TemporaryDirectory,
    prefix: &'static str,
}

impl Installed {
    fn at(prefix: &'static str) -> Self {
        let destination = TemporaryDirectory::new().unwrap();
        let mut make = Command::new("make");
        make.current_dir(env!("CARGO_MANIFEST_DIR"));
        make.args(["--silent", "install"]);
        make.arg(format!("PROGRAM={DAEMON}"));
        make.arg(format!("PREFIX={prefix}"));
        make.arg(format!("DESTDIR={}", destination.path().display()));
        succeed(&mut make).unwrap();
        Self {
            destination,
            prefix,
        }
    }

    /// Where a path of the host is now.
    fn path(&self, path: &str) -> PathBuf {
        let relative = Path::new(path).strip_prefix("/").unwrap();
        self.destination.path().join(relative)
    }

    fn unit(&self) -> Unit {
        let path = self.path(self.prefix).join(UNIT);
        Unit(fs::read_to_string(path).unwrap())
    }

    /// All files, by their paths on the host, with their modes.
    fn files(&self) -> BTreeMap<String, u32> {
        let mut directories = vec![self.destination.path().to_owned()];
        let mut files = BTreeMap::new();
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path);
                    continue;
                }
                let mode = path.metadata().unwrap().permissions().mode() & 0o7777;
                let on_the_host = path.strip_prefix(self.destination.path()).unwrap();
                files.insert(format!("/{}", on_the_host.display()), mode);
            }
        }
        files
    }
}

/// The text of a unit.
struct Unit(String);

impl Unit {
    /// All values of a setting, in their order.
    fn all(&self, setting: &str) -> Vec<&str> {
        let lines = self.0.lines().filter(|line| !line.starts_with('#'));
        let assignments = lines.filter_map(|line| line.split_once('='));
        let of_it = assignments.filter(|(name, _)| *name == setting);
        of_it.map(|(_, value)| value).collect()
    }

    #[track_caller]
    fn one(&self, setting: &str) -> &str {
        let [value] = self.all(setting).try_into().unwrap();
        value
    }
}

#[test]
fn the_program_its_unit_and_its_papers_are_installed_and_nothing_else() {
    for prefix in ["/usr/local", "/opt/nmd"] {
        let expected = [
            ("bin/non-masquerade-daemon", 0o755),
            (UNIT, 0o644),
            ("share/doc/non-masquerade-daemon/LICENSE", 0o644),
            ("share/doc/non-masquerade-daemon/README.md", 0o644),
            (
                "share/doc/non-masquerade-daemon/daemon-config/README.md",
                0o644,
            ),
            (
                "share/doc/non-masquerade-daemon/daemon-config/config",
                0o644,
            ),
            ("share/doc/non-masquerade-daemon/manifests/README.md", 0o644),
            (
                "share/doc/non-masquerade-daemon/manifests/schemas/connections.schema.json",
                0o644,
            ),
            (
                "share/doc/non-masquerade-daemon/manifests/schemas/doctor.schema.json",
                0o644,
            ),
            (
                "share/doc/non-masquerade-daemon/manifests/schemas/status.schema.json",
                0o644,
            ),
            ("share/doc/non-masquerade-daemon/src/README.md", 0o644),
            ("share/doc/non-masquerade-daemon/tests/README.md", 0o644),
            ("share/man/man8/non-masquerade-daemon.8", 0o644),
            (
                "share/bash-completion/completions/non-masquerade-daemon",
                0o644,
            ),
            (
                "share/fish/vendor_completions.d/non-masquerade-daemon.fish",
                0o644,
            ),
            ("share/zsh/site-functions/_non-masquerade-daemon", 0o644),
        ];
        let expected = expected.map(|(path, mode)| (format!("{prefix}/{path}"), mode));
        assert_eq!(Installed::at(prefix).files(), BTreeMap::from(expected));
    }
}

#[test]
fn without_a_built_program_nothing_is_installed_and_what_to_do_is_said() {
    let destination = TemporaryDirectory::new().unwrap();
    let mut make = Command::new("make");
    make.current_dir(env!("CARGO_MANIFEST_DIR"));
    make.args(["--silent", "install", "PROGRAM=/nonexistent"]);
    make.arg(format!("DESTDIR={}", destination.path().display()));
    let output = make.output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("There is no /nonexistent: run make build first"),
        "{said}"
    );
    assert_eq!(fs::read_dir(destination.path()).unwrap().count(), 0);
}

#[test]
fn the_unit_starts_the_installed_program_with_a_command_that_it_has() {
    for prefix in ["/usr/local", "/opt/nmd"] {
        let installed = Installed::at(prefix);
        let unit = installed.unit();
        let (program, command) = unit.one("ExecStart").split_once(' ').unwrap();
        assert_eq!(program, format!("{prefix}/bin/non-masquerade-daemon"));
        assert!(installed.path(program).is_file());
        assert_eq!(command, "run");
        assert!(Cli::command().find_subcommand(command).is_some());
        let document = unit.one("Documentation").strip_prefix("file:").unwrap();
        assert!(installed.path(document).is_file(), "{document}");
    }
}

/// `Type=exec` alone lets the network come as soon as the daemon runs, some milliseconds before its rules are there.
#[test]
fn the_rules_come_before_the_network_and_a_failure_to_make_them_holds_up_nothing() {
    for prefix in ["/usr/local", "/opt/nmd"] {
        let unit = Installed::at(prefix).unit();
        assert_eq!(unit.one("Wants"), "network-pre.target");
        assert!(unit.all("Before").contains(&"network-pre.target"));
        let before = unit
            .one("ExecStartPre")
            .strip_prefix("-/usr/bin/timeout 10 ");
        let once = format!("{prefix}/bin/non-masquerade-daemon run --once");
        assert_eq!(before, Some(once.as_str()));
    }
}

#[test]
fn what_the_unit_says_of_options_and_files_is_so() {
    let text = Installed::at("/usr/local").unit().0;
    let command = Cli::command();
    let mut arguments = command.get_arguments();
    let named = text.split_once("Environment=").unwrap().1;
    let (variable, _) = named.split_once('=').unwrap();
    assert!(
        arguments.any(|argument| argument.get_env().is_some_and(|known| known == variable)),
        "{variable}"
    );
    let config = command.get_arguments().find(|a| a.get_id() == "config");
    let [file] = config.unwrap().get_default_values() else {
        panic!("not one default");
    };
    assert!(text.contains(&format!("The configuration is {};", file.display())));
}

#[test]
fn the_unit_gives_the_daemon_net_admin_and_has_it_run_for_ever() {
    let unit = Installed::at("/usr/local").unit();
    for (setting, value) in [
        ("AmbientCapabilities", "CAP_NET_ADMIN"),
        ("CapabilityBoundingSet", "CAP_NET_ADMIN"),
        ("DynamicUser", "yes"),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("MemoryDenyWriteExecute", "yes"),
        (
            "RestrictAddressFamilies",
            "AF_NETLINK AF_INET AF_INET6 AF_UNIX",
        ),
        ("Restart", "always"),
        ("StartLimitIntervalSec", "0"),
        // See exit codes in the help.
        ("RestartPreventExitStatus", "2 4"),
        ("ExecReload", "/bin/kill -HUP $MAINPID"),
        // Longer than the daemon takes to end, also while the kernel takes a long list.
        ("TimeoutStopSec", "10"),
        ("WantedBy", "multi-user.target"),
    ] {
        assert_eq!(unit.one(setting), value, "{setting}");
    }
    assert_eq!(unit.all("User"), [""; 0]);
}

mod needs_root {
    use super::*;
    use crate::support::nft::debian_13_root;

    const IN_ROOT: &str = r#"
mount --rbind /proc "$0/proc"
mount --bind "$1" "$0/usr/local"
shift
exec chroot "$0" systemd-analyze "$@"
"#;

    /// `systemd-analyze` of Debian 13 on the installed unit.
    fn analyze(arguments: &[&str]) -> String {
        let installed = Installed::at("/usr/local");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-ceu", IN_ROOT]);
        command.arg(debian_13_root());
        command.arg(installed.path("/usr/local")).args(arguments);
        let output = succeed(command.arg(format!("/usr/local/{UNIT}"))).unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr)
    }

    #[test]
    fn systemd_takes_the_unit_without_a_word() {
        assert_eq!(analyze(&["verify", "--man=no"]), "");
    }

    /// `systemd-analyze security` gives 0 to 10, less is better; of 2 on it fails here.
    #[test]
    fn systemd_finds_little_exposure() {
        let report = analyze(&["security", "--offline=true", "--no-pager", "--threshold=20"]);
        assert!(
            report.contains("Overall exposure level for non-masquerade-daemon.service: 1."),
            "{report}"
        );
    }
}
