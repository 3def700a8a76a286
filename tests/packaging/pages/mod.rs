//! The pages for people who use or change the daemon: what they say is what the program does, what a reader would paste
//! works as it stands, and links lead somewhere.

mod kubectl;
mod links;
mod output;
mod page;
mod promises;
mod shell;
mod tables;
pub(crate) mod yaml;

/// The sample configuration, with which the pages show what they show.
const SAMPLE: &str = include_str!("../../../daemon-config/config");
