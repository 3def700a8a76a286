//! The daemon: keeps the kernel in step with the file.

mod backoff;
mod budget;
mod commits;
pub mod config_reader;
mod config_watch;
mod contest;
pub mod event_loop;
mod http;
mod keeper;
mod ledger;
mod log_lines;
mod metrics;
mod pace;
mod pass;
mod readiness;
pub mod reconciler;
mod repair_lines;
mod repetitions;
