//! Which configuration files, read how.
