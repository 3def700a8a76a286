//! What packets show: how the pod's connections are treated under each key, judged by their receivers.

#[path = "packets/mod.rs"]
mod packets;
#[allow(dead_code)] // tests/all.rs tells what no program uses.
mod support;

const DAEMON: &str = env!("CARGO_BIN_EXE_non-masquerade-daemon");
