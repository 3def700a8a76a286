//! Ranges of source ports.

/// Ports from `first` to `last`, both included; `first` ≤ `last`, neither 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PortRange {
    /// The lowest port.
    pub first: u16,
    /// The highest port.
    pub last: u16,
}
