//! Keeps the pod's source address towards the configured CIDRs and masquerades all other traffic
//! that leaves the node, with one nftables table of its own for each family.
//!
//! Two processes of one binary. The daemon decides when; the worker alone talks to nf_tables, for libnftables may end or
//! crash its caller. Data flows one way, and what stands before the worker is pure: no files, sockets, clock, environment
//! or FFI.
//!
//! ```text
//! config text ─▶ Config ─▶ Policy ─▶ Ruleset ═ worker ═▶ Comparison ─▶ transactions ─▶ libnftables ─▶ kernel
//!                             │         │                    ▲                                          │
//!                          explain    render                 └── Observed (nfnetlink) ◀─────────────────┘
//! ```
//!
//! | module | duty |
//! |---|---|
//! | [`cli`], [`commands`] | the command line, and one file per command |
//! | [`config`] | a file as written, then as meant; pure |
//! | [`config_source`] | which files, read how: the one edge of the configuration |
//! | [`policy`] | what happens to a destination, and whether a connection got that; pure |
//! | [`ruleset`] | the whole table as one value, and the transactions that make it; pure |
//! | [`kernel`] | the worker's side: what the kernel has, in what it differs, how it is made right ([`kernel::pass`]) |
//! | [`daemon`] | when to read the file, when to look at the kernel (both pure), and the loop that does it |
//! | [`tracked`] | what became of the node's connections: conntrack's entries, judged by the policy |
//! | [`logging`], [`startup_signals`] | the process |

pub mod cli;
pub mod commands;
pub mod config;
pub mod config_source;
pub mod daemon;
mod in_words;
pub mod kernel;
pub mod logging;
pub mod policy;
pub mod ruleset;
pub mod startup_signals;
pub mod tracked;
