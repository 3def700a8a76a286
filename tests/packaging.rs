//! What is delivered around the program: image, manifests, `make install`, licences.

#[path = "packaging/mod.rs"]
mod packaging;
#[allow(dead_code)] // tests/all.rs tells what no program uses.
mod support;

const DAEMON: &str = env!("CARGO_BIN_EXE_non-masquerade-daemon");
