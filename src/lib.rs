//! Keeps the pod's source address towards the configured CIDRs and masquerades all other traffic
//! that leaves the node, with one nftables table of its own.
//!
//! Data flows one way; the core (everything above the worker) is pure: no files, sockets, clock,
//! environment or FFI.
//!
//! ```text
//! ConfigFile ──validate──▶ Config ──▶ Policy ──▶ Ruleset ──▶ Transaction ──worker──▶ kernel
//!                                                   │                                  │
//!                                                 drift ◀──── ObservedTable ◀──────────┘
//! ```

pub mod cli;
pub mod commands;
pub mod config;
pub mod config_source;
pub mod daemon;
pub mod kernel;
pub mod logging;
pub mod policy;
pub mod ruleset;
pub mod startup_signals;
