//! The daemon: keeps the kernel in step with the file.

mod config_watch;
pub mod event_loop;
mod ledger;
mod log_lines;
mod pace;
pub mod reconciler;
mod repetitions;
