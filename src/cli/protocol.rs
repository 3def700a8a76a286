//! Protocols by their names, as IANA numbers them, of those that conntrack knows more of than the number.

const NAMES: [(&str, u8); 8] = [
    ("icmp", 1),
    ("tcp", 6),
    ("udp", 17),
    ("dccp", 33),
    ("gre", 47),
    ("icmpv6", 58),
    ("sctp", 132),
    ("udplite", 136),
];

/// The number of a protocol by its name, or as it is written.
pub(super) fn number(written: &str) -> Result<u8, String> {
    let is_it = |(name, _): &&(&str, u8)| name.eq_ignore_ascii_case(written);
    match NAMES.iter().find(is_it) {
        Some((_, number)) => Ok(*number),
        None => written.parse().map_err(|_| {
            let names = NAMES.map(|(name, _)| name).join(", ");
            format!("not a protocol; write one of {names}, or a number up to 255")
        }),
    }
}

/// Its name, or else its number.
#[must_use]
pub fn name(number: u8) -> String {
    let found = NAMES.iter().find(|(_, its)| *its == number);
    found.map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_lead_to_one_another() {
        for (written, expected) in [
            ("tcp", 6),
            ("TCP", 6),
            ("132", 132),
            ("icmpv6", 58),
            ("50", 50),
        ] {
            assert_eq!(number(written), Ok(expected));
        }
        assert_eq!((name(6), name(50)), ("tcp".to_owned(), "50".to_owned()));
        for written in ["", "256", "-1", "tpc"] {
            assert!(
                number(written)
                    .unwrap_err()
                    .contains("write one of icmp, tcp")
            );
        }
    }
}
