//! The name of an interface as nft matches it (`oifname`), with a `*` at its end for any that begins so.

use thiserror::Error;

/// The most that a name holds: the kernel's `IFNAMSIZ` without the NUL at the end.
const MAX_BYTES: usize = 15;

/// Why a text is no name of an interface. Each text is the reason; [`InterfaceNameError::remedy`] says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InterfaceNameError {
    /// `""`
    #[error("an empty item")]
    Empty,
    /// White space around a name that is right without it.
    #[error("white space around a name")]
    Spaced(String),
    /// `eth0 eth1`, `eth0,eth1`
    #[error("several names in one item")]
    Several,
    /// `eth*0`: an interface of that very name may be meant, and any that begins with `eth`.
    #[error("a * that is not at the end")]
    Wildcard,
    /// A character that the kernel lets no name hold, or that has a meaning to nft.
    #[error("not the name of an interface: it holds {0}")]
    Holds(char),
    /// `.` and `..`, which the kernel refuses; `@eth0`, which nft takes for a set.
    #[error("not the name of an interface")]
    NotAName,
    /// `tcp`: no quotes keep libnftables from taking it for the protocol.
    #[error("a name that libnftables takes for a protocol")]
    Protocol,
    /// More than 15 bytes.
    #[error("longer than {MAX_BYTES} characters, which no name of an interface is")]
    TooLong,
}

impl InterfaceNameError {
    /// What to write instead.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Empty => format!("{EXAMPLE}, or remove the item"),
            Self::Spaced(name) => format!("write {name}"),
            Self::Several => "write each name as an item of its own".into(),
            Self::Wildcard => "write it at the end, as in eth*".into(),
            Self::Holds(_) | Self::NotAName => EXAMPLE.into(),
            Self::Protocol => "give the interface another name".into(),
            Self::TooLong => "write the name that `ip link` shows, or its beginning and *".into(),
        }
    }
}

/// What libnftables reads in JSON as protocols, wherever it stands alone (`json_parse_immediate`, src/parser_json.c).
const PROTOCOLS: [&str; 10] = [
    "ah", "comp", "dccp", "esp", "icmp", "icmpv6", "sctp", "tcp", "udp", "udplite",
];

/// What to write where nothing says which name is meant.
pub(super) const EXAMPLE: &str = "write a name such as eth0";

/// The name that `text` is.
///
/// # Errors
/// [`InterfaceNameError`]: no interface has it, or nft cannot match it.
pub fn parse_interface_name(text: &str) -> Result<String, InterfaceNameError> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err(InterfaceNameError::Empty);
    }
    if trimmed.len() < text.len() {
        let name = parse_interface_name(trimmed)?;
        return Err(InterfaceNameError::Spaced(name));
    }
    // The kernel allows a comma, and nobody writes one in a name: without a word, such an item would match no interface.
    if text.contains(|c: char| c.is_whitespace() || c == ',') {
        return Err(InterfaceNameError::Several);
    }
    let is_refused = |c: &char| r#"/:"\"#.contains(*c) || !c.is_ascii_graphic();
    if let Some(refused) = text.chars().find(is_refused) {
        return Err(InterfaceNameError::Holds(refused));
    }
    if text == "." || text == ".." || text.starts_with('@') {
        return Err(InterfaceNameError::NotAName);
    }
    if text.strip_suffix('*').unwrap_or(text).contains('*') {
        return Err(InterfaceNameError::Wildcard);
    }
    if PROTOCOLS.contains(&text) {
        return Err(InterfaceNameError::Protocol);
    }
    if text.len() > MAX_BYTES {
        return Err(InterfaceNameError::TooLong);
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn takes_what_the_kernel_lets_interfaces_be_called() {
        for name in [
            "eth0",
            "*",
            "eth*",
            "e",
            "br-lan.100",
            "wg0",
            "...",
            "a@b",
            "-",
            "#1",
            "~",
            "123456789012345",
            "12345678901234*",
        ] {
            assert_eq!(parse_interface_name(name), Ok(name.to_owned()));
        }
    }

    proptest! {
        #[test]
        fn never_panics_and_what_it_takes_is_short_and_visible(text in ".{0,20}|[a-z*@./: ]{0,20}") {
            if let Ok(name) = parse_interface_name(&text) {
                prop_assert!(name == text && (1..=15).contains(&name.len()));
                prop_assert!(name.bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }
    }
}
