//! The targets of the Makefile that push images, in any order, by a tool that keeps names as buildah does.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::daemon::TemporaryDirectory;
use crate::support::outcome::Outcome;

/// A file for each name, in the directory of the script, which says whether an image or a list has it. As buildah 1.28: a
/// list takes no name that is in use, `manifest rm` takes lists only, and a build takes the name from whatever has it.
const BUILDAH: &str = r#"#!/bin/sh -eu
names="$(dirname "$0")/names"
file() { echo "$names/$(echo "$1" | tr / +)"; }
case "$1 ${2-}" in
"build "*)
    while [ "$1" != --tag ]; do shift; done
    echo image > "$(file "$2")" ;;
"push --digestfile") grep -qx image "$(file "$4")" && echo "$4" >> "$names.pushed" && echo sha256:1 > "$3" ;;
"manifest rm") grep -qx list "$(file "$3")" && rm "$(file "$3")" ;;
"manifest create")
    [ ! -e "$(file "$3")" ]
    echo list > "$(file "$3")"
    shift 3
    for image in "$@"; do grep -qx image "$(file "$image")"; done ;;
"manifest push") grep -qx list "$(file "$6")" && echo "list $7" >> "$names.pushed" && echo sha256:2 > "$5" ;;
*) exit 2 ;;
esac
"#;

const NAME: &str = "registry.example.org/team/non-masquerade-daemon";

const OF_THE_HOST: [&str; 9] = [
    "cat", "date", "dirname", "grep", "mkdir", "rm", "sed", "tr", "uname",
];

/// A directory with programs that stand in for others, and for what `make` builds.
struct Tools {
    directory: TemporaryDirectory,
    /// The first.
    container_tool: PathBuf,
}

impl Tools {
    fn new(programs: &[(&str, &str)]) -> Self {
        let directory = TemporaryDirectory::new().unwrap();
        for (name, text) in programs {
            let path = directory.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        // What Makefile and stand-ins run, and nothing else that this host may have.
        for name in OF_THE_HOST {
            symlink(
                Path::new("/usr/bin").join(name),
                directory.path().join(name),
            )
            .unwrap();
        }
        fs::create_dir(directory.path().join("names")).unwrap();
        let container_tool = directory.path().join(programs[0].0);
        Self {
            directory,
            container_tool,
        }
    }

    fn make(&self, target: &str) -> Outcome {
        let at = self.directory.path().display();
        let mut make = Command::new("/usr/bin/make");
        make.current_dir(env!("CARGO_MANIFEST_DIR"));
        make.args([target, "REGISTRY=registry.example.org/team", "VERSION=v1"]);
        make.args(["ALL_PLATFORMS=linux/amd64 linux/arm64", "ARCH=amd64"]);
        make.args(["COSIGN_FLAGS=--key=cosign.key"]);
        make.arg(format!("CONTAINER_TOOL={}", self.container_tool.display()));
        make.arg(format!("CARGO_TARGET_DIR={at}/target"));
        make.env("PATH", self.directory.path());
        Outcome::of(&mut make)
    }

    fn written(&self, name: &str) -> String {
        fs::read_to_string(self.directory.path().join(name)).unwrap()
    }
}

#[test]
fn one_architecture_and_all_are_pushed_one_after_the_other_as_often_as_one_likes() {
    let tools = Tools::new(&[("buildah", BUILDAH)]);
    for target in ["container", "push", "all-push", "all-push", "push"] {
        tools.make(target).assert_code(0);
    }
    let tag = format!("{NAME}:v1");
    let all = format!("{tag}__linux_amd64\n{tag}__linux_arm64\nlist docker://{tag}\n");
    assert_eq!(
        tools.written("names.pushed"),
        format!("{tag}\n{all}{all}{tag}\n")
    );
}

#[test]
fn what_was_pushed_last_is_signed_by_its_digest() {
    const COSIGN: &str = "#!/bin/sh\necho \"$@\" >>\"$0.ran\"\n";
    let tools = Tools::new(&[("buildah", BUILDAH), ("cosign", COSIGN)]);
    let too_early = tools.make("sign");
    too_early.assert_code(2);
    assert!(too_early.errors.contains("run make push first"));
    for target in ["push", "sign", "all-push", "sign"] {
        tools.make(target).assert_code(0);
    }
    let signed = [1, 2].map(|digest| format!("sign --key=cosign.key {NAME}@sha256:{digest}\n"));
    assert_eq!(tools.written("cosign.ran"), signed.concat());
}

#[test]
fn where_cosign_is_missing_that_is_said() {
    let tools = Tools::new(&[("buildah", BUILDAH)]);
    tools.make("push").assert_code(0);
    let signed = tools.make("sign");
    signed.assert_code(2);
    assert!(
        signed.errors.contains("cosign is missing: install it"),
        "{}",
        signed.errors
    );
}

/// docker tells the digest of what it has pushed, beside those of other repositories.
#[test]
fn docker_is_asked_for_the_digest() {
    const DOCKER: &str = "#!/bin/sh
case $* in
'image inspect '*) echo registry.example.org/another@sha256:8; echo registry.example.org/team/non-masquerade-daemon@sha256:9 ;;
*--timestamp* | *--digestfile*) exit 1 ;;
esac
";
    let tools = Tools::new(&[("docker", DOCKER)]);
    tools.make("push").assert_code(0);
    assert_eq!(tools.written("target/pushed-digest"), "sha256:9\n");
}
