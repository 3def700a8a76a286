//! All programs of the tests as one, in which the compiler sees what of `support` nobody uses. It is checked
//! (`cargo clippy --test all`, in `.ci/run`), and never run.

#[path = "cli/mod.rs"]
mod cli;
#[path = "daemon/mod.rs"]
mod daemon;
#[path = "flows/mod.rs"]
mod flows;
#[path = "packaging/mod.rs"]
mod packaging;
#[path = "packets/mod.rs"]
mod packets;
mod support;

const DAEMON: &str = env!("CARGO_BIN_EXE_non-masquerade-daemon");
