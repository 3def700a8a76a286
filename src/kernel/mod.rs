//! The kernel: what it has, in what that differs from the ruleset, and how it is made the ruleset's.
//!
//! All of it but [`notifications`] and [`conntrack`] runs in the worker, or in a command that looks.

pub mod capability;
pub mod conntrack;
pub mod difference;
pub mod error;
mod ffi;
pub mod libnftables;
mod memory;
pub mod netlink;
pub mod notifications;
pub mod observed;
pub mod owner;
pub mod ownership;
pub mod pass;
mod report;
pub mod routing;
pub mod serve;
mod write;
