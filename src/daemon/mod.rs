//! The daemon: keeps the kernel in step with the file.

pub mod event_loop;
pub mod reconciler;
