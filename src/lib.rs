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

pub mod config;
pub mod config_source;
pub mod policy;
pub mod ruleset;
