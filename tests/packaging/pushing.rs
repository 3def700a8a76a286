//! The targets of the Makefile that push images, in any order, by a tool that keeps names as buildah does.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::daemon::TemporaryDirectory;
use crate::support::netns::succeed;

/// A file for each name, in the directory of the script, which says whether an image or a list has it. As buildah 1.28: a
/// list takes no name that is in use, `manifest rm` takes lists only, and a build takes the name from whatever has it.
const BUILDAH: &str = r#"#!/bin/sh -eu
names="$(dirname "$0")/names"
file() { echo "$names/$(echo "$1" | tr / +)"; }
case "$1 ${2-}" in
"build "*)
    while [ "$1" != --tag ]; do shift; done
    echo image > "$(file "$2")" ;;
"push "*) grep -qx image "$(file "$2")" && echo "$2" >> "$names.pushed" ;;
"manifest rm") grep -qx list "$(file "$3")" && rm "$(file "$3")" ;;
"manifest create")
    [ ! -e "$(file "$3")" ]
    echo list > "$(file "$3")"
    shift 3
    for image in "$@"; do grep -qx image "$(file "$image")"; done ;;
"manifest push") grep -qx list "$(file "$4")" && echo "list $5" >> "$names.pushed" ;;
*) exit 2 ;;
esac
"#;

fn make(tool: &Path, target: &str) {
    let mut make = Command::new("make");
    make.current_dir(env!("CARGO_MANIFEST_DIR"));
    make.args([target, "REGISTRY=registry.example.org/team", "VERSION=v1"]);
    make.args(["ALL_PLATFORMS=linux/amd64 linux/arm64", "ARCH=amd64"]);
    make.arg(format!("CONTAINER_TOOL={}", tool.display()));
    succeed(&mut make).unwrap();
}

#[test]
fn one_architecture_and_all_are_pushed_one_after_the_other_as_often_as_one_likes() {
    const NAME: &str = "registry.example.org/team/non-masquerade-daemon:v1";
    let directory = TemporaryDirectory::new().unwrap();
    let tool = directory.path().join("buildah");
    fs::write(&tool, BUILDAH).unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(directory.path().join("names")).unwrap();
    for target in ["container", "push", "all-push", "all-push", "push"] {
        make(&tool, target);
    }
    let pushed = fs::read_to_string(directory.path().join("names.pushed")).unwrap();
    let all = format!("{NAME}__linux_amd64\n{NAME}__linux_arm64\nlist docker://{NAME}\n");
    assert_eq!(pushed, format!("{NAME}\n{all}{all}{NAME}\n"));
}
