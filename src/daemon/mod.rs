//! The daemon: keeps the kernel in step with the file.
//!
//! Two state machines say when what is done: [`config_reader`] of the file, [`keeper`] of the kernel's tables.

mod backoff;
mod budget;
mod config_reader;
mod config_watch;
mod connections;
pub mod event_loop;
mod http;
mod keeper;
mod ledger;
mod log_lines;
mod metrics;
pub mod once;
mod pass;
mod readiness;
mod repair_lines;
mod repetitions;
pub mod worker;
