//! Which configuration files, read how. temporary
use crate::config::{Config, Flags};
use std::path::PathBuf;
#[allow(missing_docs)]
pub enum Writers {
    Await,
    Ignore,
}
#[allow(missing_docs)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Vec<String>,
    pub found: bool,
}
#[allow(missing_docs)]
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("being written")]
    BeingWritten { path: PathBuf },
    #[error("x")]
    Other,
}
#[allow(missing_docs)]
pub fn load(_paths: &[PathBuf], flags: &Flags, _w: Writers) -> Result<Loaded, LoadError> {
    Ok(Loaded {
        config: crate::config::defaults(flags),
        warnings: vec![],
        found: false,
    })
}
#[allow(missing_docs)]
pub fn load_patiently(p: &[PathBuf], flags: &Flags) -> Result<Loaded, LoadError> {
    load(p, flags, Writers::Ignore)
}
#[allow(missing_docs)]
pub fn load_existing(p: &[PathBuf], flags: &Flags) -> Result<Loaded, LoadError> {
    load(p, flags, Writers::Ignore)
}
