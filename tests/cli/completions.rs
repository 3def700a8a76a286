//! Completions: each script held to a golden, and asked what it completes as its shell would ask it.

use std::process::Command;

use crate::DAEMON;
use crate::cli::golden;
use crate::support::netns::succeed;

/// What bash does where TAB is pressed behind the words: the name of the function is `complete`'s to tell.
const ASK_BASH: &str = r#"
source <("$0" completions bash)
function=$(complete -p non-masquerade-daemon | sed 's/.* -F \([^ ]*\) .*/\1/')
COMP_WORDS=(non-masquerade-daemon "$@")
COMP_CWORD=$#
COMPREPLY=()
# Outside of a completion, compopt complains.
"$function" non-masquerade-daemon "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}" 2>/dev/null
printf '%s\n' "${COMPREPLY[@]}"
"#;

fn script(shell: &str) -> String {
    let mut completions = Command::new(DAEMON);
    let output = succeed(completions.args(["completions", shell])).unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// What is offered for the last of these words.
fn offered(words: &[&str]) -> Vec<String> {
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", ASK_BASH, DAEMON]).args(words);
    // Files that are not to be offered.
    bash.current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = succeed(&mut bash).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn each_script_is_the_golden() {
    for (shell, name) in [
        ("bash", "non-masquerade-daemon"),
        ("zsh", "_non-masquerade-daemon"),
        ("fish", "non-masquerade-daemon.fish"),
    ] {
        golden::compare(&format!("completions/{name}"), &script(shell));
    }
}

#[test]
fn bash_completes_commands_options_and_values() {
    for (words, expected) in [
        (&["st"][..], &["status"][..]),
        (&["comp"], &["completions"]),
        (&["--table", "x", "che"], &["check"]),
        (&["--enable-ipv6", "ren"], &["render"]),
        (&["check", "--tab"], &["--table", "--table-owner"]),
        (&["check", "--form"], &["--format"]),
        (&["check", "--format", ""], &["text", "yaml", "json"]),
        (&["status", "--format", "j"], &["json"]),
        (&["--table-owner", ""], &["auto", "off"]),
        (&["run", "--log-level", "w"], &["warn"]),
        (&["completions", "z"], &["zsh"]),
        (&["--config", "Cargo.t"], &["Cargo.toml"]),
        (&["run", "--on"], &["--once"]),
        (&["render", "--on"], &[]),
    ] {
        let offered = offered(words);
        let offered: Vec<&str> = offered.iter().map(String::as_str).collect();
        let offered = match offered[..] {
            [""] => vec![],
            _ => offered,
        };
        assert_eq!(offered, expected, "{words:?}");
    }
}

/// Behind `--enable-ipv6` comes the command: its value would stand in the same word.
#[test]
fn bash_offers_no_files_where_none_is_meant() {
    for words in [
        &["--enable-ipv6", ""][..],
        &["--table", ""],
        &["--http-address", ""],
        &["explain", "--from", ""],
    ] {
        let offered = offered(words);
        let is_file = |word: &String| word == "Cargo.toml" || word == "src";
        assert!(!offered.iter().any(is_file), "{words:?}: {offered:?}");
    }
    assert!(offered(&["--enable-ipv6", ""]).contains(&"status".to_owned()));
}

/// zsh is in the root of Debian 13, which only root can make. fish is nowhere: it would bring Python along.
mod needs_root {
    use super::*;
    use crate::support::daemon::TemporaryDirectory;
    use crate::support::nft::debian_13_root;

    /// Runs zsh in Debian 13, where /mnt/script is its script.
    fn zsh(words: &[&str]) -> String {
        let directory = TemporaryDirectory::new().unwrap();
        std::fs::write(directory.path().join("script"), script("zsh")).unwrap();
        let mut command = Command::new("unshare");
        let mount = r#"mount --bind "$1" "$0/mnt"; mount --rbind /dev "$0/dev"; shift; exec chroot "$0" zsh "$@""#;
        command.args(["--mount", "sh", "-ceu", mount]);
        command.arg(debian_13_root()).arg(directory.path());
        String::from_utf8(succeed(command.args(words)).unwrap().stdout).unwrap()
    }

    #[test]
    fn zsh_takes_its_script() {
        zsh(&["-n", "/mnt/script"]);
        let load = "fpath=(/mnt $fpath); autoload -U compinit; compinit -u -D; source /mnt/script; whence -w _non-masquerade-daemon";
        let loaded = zsh(&["-fc", load]);
        assert_eq!(loaded, "_non-masquerade-daemon: function\n");
    }
}
