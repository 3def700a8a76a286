//! One CIDR as written in a list, judged as Go's `net.ParseCIDR` does, and then by what we can program.

use std::net::IpAddr;

use ipnet::IpNet;
use thiserror::Error;

/// Why a text is not a CIDR that can be programmed. Each text is the reason; [`CidrError::remedy`] says
/// what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CidrError {
    /// `""`
    #[error("an empty item")]
    Empty,
    /// `10.0.0.1`, held to be a whole address.
    #[error("an address, not a CIDR")]
    BareAddress(IpAddr),
    /// White space around a CIDR that is right without it.
    #[error("white space around a CIDR")]
    Spaced(String),
    /// `10.0.0.0/8,`
    #[error("{} beside a CIDR", name(*beside))]
    Beside {
        /// The first mark that does not belong there.
        beside: char,
        /// What is right without such marks.
        cidr: String,
    },
    /// Several CIDRs in one item.
    #[error("several CIDRs in one item")]
    Several,
    /// `10.0.0.0/33`
    #[error("not a CIDR: the prefix length is not a number from 0 to {largest}")]
    PrefixLength {
        /// 32 for IPv4, 128 for IPv6.
        largest: u8,
    },
    /// Anything else.
    #[error("not a CIDR")]
    NotACidr,
    /// `10.0.0.1/8`, with the CIDR that holds it.
    #[error("not aligned to its prefix length")]
    HostBits(IpNet),
    /// `::ffff:10.0.0.0/104`: no packet carries such an address (RFC 4291, section 2.5.5.2).
    #[error("an IPv4-mapped IPv6 CIDR")]
    Ipv4Mapped,
}

impl CidrError {
    /// What to write instead.
    pub fn remedy(&self) -> String {
        match self {
            Self::Empty => "write a CIDR such as 10.0.0.0/8, or remove the item".into(),
            Self::BareAddress(address) => format!("write {}", IpNet::from(*address)),
            Self::Spaced(cidr) | Self::Beside { cidr, .. } => format!("write {cidr}"),
            Self::Several => "write each CIDR as an item of its own".into(),
            Self::PrefixLength { .. } | Self::NotACidr => "write a CIDR such as 10.0.0.0/8".into(),
            Self::HostBits(aligned) => format!("use {aligned}"),
            Self::Ipv4Mapped => "write it as an IPv4 CIDR".into(),
        }
    }
}

/// The CIDR that `text` means, its host bits zero.
///
/// # Errors
/// [`CidrError`]: not a CIDR by Go's `net.ParseCIDR` (no leading zeros in an IPv4 address, no zone, no white
/// space; `/08` is 8), host bits set, or IPv4-mapped.
pub fn parse_cidr(text: &str) -> Result<IpNet, CidrError> {
    let written = parse_as_go(text)?;
    if let IpNet::V6(range) = written
        && range.addr().to_ipv4_mapped().is_some()
    {
        return Err(CidrError::Ipv4Mapped);
    }
    let aligned = written.trunc();
    if aligned == written {
        Ok(aligned)
    } else {
        Err(CidrError::HostBits(aligned))
    }
}

fn parse_as_go(text: &str) -> Result<IpNet, CidrError> {
    if text.is_empty() {
        return Err(CidrError::Empty);
    }
    let Some((address, prefix_length)) = text.split_once('/') else {
        return Err(match text.parse() {
            Ok(address) => CidrError::BareAddress(address),
            Err(_) => not_a_cidr(text),
        });
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return Err(not_a_cidr(text));
    };
    let largest = if address.is_ipv4() { 32 } else { 128 };
    // Decimal digits only: `parse` takes a sign as well.
    let digits = prefix_length.bytes().all(|digit| digit.is_ascii_digit());
    let length = prefix_length.parse().ok().filter(|_| digits);
    length
        .and_then(|length| IpNet::new(address, length).ok())
        .ok_or_else(|| match not_a_cidr(text) {
            CidrError::NotACidr => CidrError::PrefixLength { largest },
            slip => slip,
        })
}

/// The likely slip in a text that is not a CIDR.
fn not_a_cidr(text: &str) -> CidrError {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return CidrError::Empty;
    }
    let is_beside = |c: char| c.is_whitespace() || ",;'\"[](){}".contains(c);
    let bare = trimmed.trim_matches(is_beside);
    if bare.len() < text.len() && parse_as_go(bare).is_ok() {
        let cidr = bare.to_owned();
        let mut marks = text.chars().filter(|c| is_beside(*c) && !c.is_whitespace());
        return match marks.next() {
            Some(beside) => CidrError::Beside { beside, cidr },
            None => CidrError::Spaced(cidr),
        };
    }
    let mut parts = trimmed
        .split(is_beside)
        .filter(|part| !part.is_empty())
        .peekable();
    let first = parts.next();
    if parts.peek().is_some() && first.is_some_and(|part| part.parse::<IpNet>().is_ok()) {
        return CidrError::Several;
    }
    CidrError::NotACidr
}

fn name(mark: char) -> String {
    match mark {
        ',' => "a comma".into(),
        ';' => "a semicolon".into(),
        other => format!("a {other}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(text: &str) -> String {
        let error = parse_cidr(text).expect_err(text);
        format!("{error}; {}", error.remedy())
    }

    #[test]
    fn takes_aligned_cidrs() {
        for (text, meant) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("255.255.255.255/32", "255.255.255.255/32"),
            ("10.0.0.0/08", "10.0.0.0/8"),
            ("0.0.0.0/000", "0.0.0.0/0"),
            ("fd00::/8", "fd00::/8"),
            ("FE80::/10", "fe80::/10"),
            ("::/0", "::/0"),
            ("64:ff9b::192.0.2.0/120", "64:ff9b::c000:200/120"),
            ("2001:db8:0:0:0:0:0:1/128", "2001:db8::1/128"),
        ] {
            assert_eq!(parse_cidr(text).unwrap().to_string(), meant, "{text}");
        }
    }

    #[test]
    fn refuses_what_go_refuses() {
        for text in [
            "x",
            "/",
            "/8",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "10.0.0.0/8/8",
            "10.0.0.0/8x",
            "010.0.0.0/8",
            "10.00.0.0/8",
            "10.0.0/8",
            "10/8",
            "0x0a.0.0.0/8",
            "10.0.0.0/99999999999999999999",
            "fe80::1%eth0/64",
            "10.0.0.0 /8",
            "256.0.0.0/8",
            "10.0.0.0/255.0.0.0",
            "example.org/8",
        ] {
            assert!(
                error(text).starts_with("not a CIDR"),
                "{text:?}: {}",
                error(text)
            );
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in ".{0,30}|[0-9a-f.:/% ,]{0,40}") {
            let _ = parse_cidr(&text);
        }

        #[test]
        fn every_ipv6_address_is_taken_or_aligned(address: u128, length in 0_u8..=128) {
            let address = std::net::Ipv6Addr::from(address);
            prop_assume!(address.to_ipv4_mapped().is_none());
            match parse_cidr(&format!("{address}/{length}")) {
                Ok(cidr) => prop_assert_eq!(cidr.to_string(), format!("{address}/{length}")),
                Err(CidrError::HostBits(aligned)) => prop_assert!(aligned.contains(&std::net::IpAddr::V6(address))),
                Err(other) => prop_assert!(false, "{}", other),
            }
        }

        #[test]
        fn every_address_is_taken_or_aligned(address: u32, length in 0_u8..=32) {
            let written = format!("{}/{length}", std::net::Ipv4Addr::from(address));
            match parse_cidr(&written) {
                Ok(cidr) => prop_assert_eq!(cidr.to_string(), written),
                Err(CidrError::HostBits(aligned)) => {
                    prop_assert_eq!(parse_cidr(&aligned.to_string()), Ok(aligned));
                }
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
    }
}
