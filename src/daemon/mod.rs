//! The daemon: keeps the kernel in step with the file.
//!
//! Two state machines say when what is done: [`config_reader`] of the file, [`keeper`] of the kernel's tables.

mod backoff;
mod budget;
mod config_reader;
mod config_watch;
mod configuration;
mod connections;
mod contradictions;
pub mod event_loop;
mod following;
mod http;
mod inherited;
mod keeper;
mod ledger;
mod metrics;
mod node_addresses;
pub mod once;
mod repair_lines;
mod repetitions;
mod table_state;
mod work;
pub mod worker;
