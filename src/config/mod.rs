//! The configuration: as written ([`file`]), then as meant ([`validate`]).
