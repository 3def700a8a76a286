//! Files of ip-masq-agent.

use super::*;

const UNKNOWN_KEY: &str = "unknown key";
const KEY_TWICE: &str = "a key given twice, also in another case";
const DOCUMENTS: &str = "more than one YAML document in a file";
const ALIAS: &str = "an alias of YAML (`*name`)";
const MORE_THAN_64: &str = "more than 64 CIDRs";
const LIMIT_AND_DEFAULT: &str = "a `cidrLimit` that the default list exceeds";
const SHORT_INTERVAL: &str = "a `resyncInterval` below 100 ms, also 0 or negative";

/// A file of ip-masq-agent.
macro_rules! agent {
    ($name:literal, $text:expr, $there:expr, $here:expr) => {
        agent!($name, "", $text, $there, $here)
    };
    ($name:literal, $flags:literal, $text:expr, $there:expr, $here:expr) => {
        Case {
            peer: Peer::Agent,
            name: $name,
            flags: $flags,
            files: &[("ip-masq-agent", Some($text))],
            there: $there,
            here: $here,
        }
    };
}

pub(super) const CASES: &[Case] = &[
    Case {
        peer: Peer::Agent,
        name: "no file",
        flags: "",
        files: &[],
        there: There::Exempt(DEFAULT),
        here: SAME,
    },
    Case {
        peer: Peer::Agent,
        name: "no file, all reserved ranges",
        flags: "--nomasq-all-reserved-ranges",
        files: &[],
        there: There::Exempt(ALL_RESERVED),
        here: SAME,
    },
    agent!("an empty file", "", There::Exempt(DEFAULT), SAME),
    agent!(
        "only comments",
        "# nothing\n---\n",
        There::Exempt(DEFAULT),
        SAME
    ),
    agent!(
        "the sample configuration",
        "nonMasqueradeCIDRs:\n  - 10.0.0.0/8\n  - 172.16.0.0/12\n  - 192.168.0.0/16\ncidrLimit: 64\n\
         masqLinkLocal: false\nmasqLinkLocalIPv6: false\nresyncInterval: 60s\n",
        There::Exempt(DEFAULT),
        SAME
    ),
    agent!(
        "all keys of its test",
        "\nnonMasqueradeCIDRs:\n  - 172.16.0.0/12\n  - 10.0.0.0/8\ncidrLimit: 64\nmasqLinkLocal: true\nresyncInterval: 5s\n",
        There::Exempt(&["172.16.0.0/12", "10.0.0.0/8"]),
        SAME
    ),
    agent!(
        "only nonMasqueradeCIDRs",
        "\nnonMasqueradeCIDRs:\n  - 192.168.0.0/16\n",
        There::Exempt(&["192.168.0.0/16", LINK_LOCAL]),
        SAME
    ),
    agent!(
        "only masqLinkLocal",
        "\nmasqLinkLocal: true\n",
        There::Exempt(&["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]),
        SAME
    ),
    agent!(
        "only resyncInterval",
        "\nresyncInterval: 5m\n",
        There::Exempt(DEFAULT),
        SAME
    ),
    agent!("not YAML", "*", There::Refused, refused("not valid YAML")),
    agent!(
        "JSON with all keys",
        "\n{\n  \"nonMasqueradeCIDRs\": [\"172.16.0.0/12\", \"10.0.0.0/8\"],\n  \"masqLinkLocal\": true,\n  \"resyncInterval\": \"5s\"\n}\n",
        There::Exempt(&["172.16.0.0/12", "10.0.0.0/8"]),
        SAME
    ),
    agent!(
        "JSON with tabs",
        "\n{\n\t\"nonMasqueradeCIDRs\": [\"192.168.0.0/16\"]\n}\n",
        There::Exempt(&["192.168.0.0/16", LINK_LOCAL]),
        SAME
    ),
    agent!(
        "JSON with only masqLinkLocal",
        "\n{\n\t\"masqLinkLocal\": true\n}\n",
        There::Exempt(&["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]),
        SAME
    ),
    agent!(
        "JSON with escapes",
        "\n{\n\t\"resyncInterval\": \"\\u0035\\u006d\"\n}\n",
        There::Exempt(DEFAULT),
        SAME
    ),
    agent!("not JSON", "{*", There::Refused, refused("not valid")),
    agent!(
        "JSON with IPv6",
        "--enable-ipv6",
        "{\n  \"nonMasqueradeCIDRs\": [\"172.16.0.0/12\", \"10.0.0.0/8\", \"fc00::/7\"],\n  \"masqLinkLocal\": true,\n  \"resyncInterval\": \"5s\"\n}\n",
        There::Exempt(&["172.16.0.0/12", "10.0.0.0/8", "fc00::/7", LINK_LOCAL_IPV6]),
        SAME
    ),
    agent!(
        "IPv6 that is off",
        "nonMasqueradeCIDRs: [10.0.0.0/8, 'fc00::/7']",
        There::Refused,
        refused("give --enable-ipv6")
    ),
    agent!(
        "IPv6 with the defaults",
        "--enable-ipv6=true",
        "resyncInterval: 60s\n",
        There::Exempt(&[
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            LINK_LOCAL,
            LINK_LOCAL_IPV6
        ]),
        SAME_WITH_A_WARNING
    ),
    agent!(
        "IPv6 without link-local",
        "--enable-ipv6",
        "masqLinkLocalIPv6: true\nnonMasqueradeCIDRs: [fd00::/8]",
        There::Exempt(&["fd00::/8", LINK_LOCAL]),
        SAME
    ),
    agent!(
        "all reserved ranges without a list",
        "-nomasq-all-reserved-ranges=true",
        "masqLinkLocal: false",
        There::Exempt(ALL_RESERVED),
        SAME
    ),
    agent!(
        "all reserved ranges with a list",
        "--nomasq-all-reserved-ranges",
        "nonMasqueradeCIDRs: [10.0.0.0/8]",
        There::Exempt(&["10.0.0.0/8", LINK_LOCAL]),
        SAME
    ),
    agent!(
        "host bits",
        "nonMasqueradeCIDRs: [10.0.0.1/8]",
        There::Refused,
        refused("use 10.0.0.0/8")
    ),
    agent!(
        "no CIDR",
        "nonMasqueradeCIDRs: [10.0.0.0/8, abcdefg]",
        There::Refused,
        refused("not a CIDR")
    ),
    agent!(
        "an address",
        "nonMasqueradeCIDRs: [10.256.0.0/16, 10.0.0.1]",
        There::Refused,
        refused("write 10.0.0.1/32")
    ),
    agent!(
        "an empty item",
        "nonMasqueradeCIDRs:\n  - 10.0.0.0/8\n  - \n",
        There::Exempt(&["10.0.0.0/8", "172.16.0.0/12", LINK_LOCAL]),
        Here::RefusedOnPurpose {
            row: "an empty item in a list",
            said: "an empty item"
        }
    ),
    agent!(
        "a list without a value",
        "nonMasqueradeCIDRs:\nmasqLinkLocal: false\n",
        There::Exempt(&[LINK_LOCAL]),
        Here::RefusedOnPurpose {
            row: NULL_LIST,
            said: "write [] to masquerade every destination"
        }
    ),
    agent!(
        "an empty list",
        "nonMasqueradeCIDRs: []\n",
        There::Exempt(&[LINK_LOCAL]),
        SAME
    ),
    agent!(
        "nothing exempt",
        "{\"nonMasqueradeCIDRs\": [], \"masqLinkLocal\": true}",
        There::Exempt(&[]),
        SAME
    ),
    agent!(
        "everything exempt",
        "nonMasqueradeCIDRs: [0.0.0.0/0, 10.0.0.0/8, 10.0.0.0/8]\nmasqLinkLocal: true",
        There::Exempt(&["0.0.0.0/0"]),
        SAME
    ),
    agent!(
        "CIDRs that repeat and overlap",
        "nonMasqueradeCIDRs: [10.1.0.0/16, 10.0.0.0/8, 10.1.0.0/16, 169.254.169.254/32]",
        There::Exempt(&["10.0.0.0/8", LINK_LOCAL]),
        SAME
    ),
    agent!(
        "an alias",
        "nonMasqueradeCIDRs: [&pods 10.244.0.0/16, *pods]",
        There::Exempt(&["10.244.0.0/16", LINK_LOCAL]),
        Here::RefusedOnPurpose {
            row: ALIAS,
            said: "an alias where a CIDR must stand"
        }
    ),
    agent!(
        "65 CIDRs",
        sixty_five!(),
        There::Refused,
        Here::ExemptOnPurpose {
            row: MORE_THAN_64,
            cidrs: &["10.0.0.0/8", LINK_LOCAL]
        }
    ),
    agent!(
        "65 CIDRs and their limit",
        concat!(sixty_five!(), "cidrLimit: 65"),
        There::Exempt(&["10.0.0.0/8", LINK_LOCAL]),
        SAME
    ),
    agent!(
        "65 CIDRs and a limit of 64",
        concat!("cidrLimit: 64\n", sixty_five!()),
        There::Refused,
        refused("65 items: longer than cidrLimit, which is 64")
    ),
    agent!(
        "a limit that the default list exceeds",
        "cidrLimit: 2",
        There::Refused,
        Here::ExemptOnPurpose {
            row: LIMIT_AND_DEFAULT,
            cidrs: DEFAULT
        }
    ),
    agent!(
        "limits as YAML takes them",
        "cidrLimit: 64.0\nnonMasqueradeCIDRs: [10.0.0.0/8]",
        There::Exempt(&["10.0.0.0/8", LINK_LOCAL]),
        SAME_WITH_A_WARNING
    ),
    agent!(
        "a limit with an underscore",
        concat!("cidrLimit: 1_000\n", sixty_five!()),
        There::Exempt(&["10.0.0.0/8", LINK_LOCAL]),
        SAME_WITH_A_WARNING
    ),
    agent!(
        "an octal limit",
        concat!("cidrLimit: 0101\n", sixty_five!()),
        There::Exempt(&["10.0.0.0/8", LINK_LOCAL]),
        SAME_WITH_A_WARNING
    ),
    agent!(
        "keys in other cases",
        "NONMASQUERADECIDRS: [10.0.0.0/8]\nMasqLinkLocal: true\nresyncinterval: 30s\n",
        There::Exempt(&["10.0.0.0/8"]),
        Here::Same { warnings: 3 }
    ),
    agent!(
        "booleans of YAML 1.1",
        "--enable-ipv6",
        "masqLinkLocal: yes\nmasqLinkLocalIPv6: On\nnonMasqueradeCIDRs: [fd00::/8]\n",
        There::Exempt(&["fd00::/8"]),
        Here::Same { warnings: 2 }
    ),
    agent!(
        "values left out",
        "masqLinkLocal:\ncidrLimit: null\n",
        There::Exempt(DEFAULT),
        Here::Same { warnings: 2 }
    ),
    agent!(
        "an interval left out",
        "resyncInterval: ~\n",
        There::Refused,
        Here::ExemptOnPurpose {
            row: "a `resyncInterval` without a value",
            cidrs: DEFAULT
        }
    ),
    agent!(
        "a quoted boolean",
        "masqLinkLocal: \"true\"",
        There::Refused,
        refused("write true without quotes")
    ),
    agent!(
        "an interval that is a number",
        "resyncInterval: 60",
        There::Refused,
        refused("write 60s")
    ),
    agent!(
        "a string for a list",
        "nonMasqueradeCIDRs: 10.0.0.0/8",
        There::Refused,
        refused("write it as a list item")
    ),
    agent!(
        "a number in the list",
        "nonMasqueradeCIDRs: [10]",
        There::Refused,
        refused("a number where a CIDR must stand")
    ),
    agent!(
        "a list in brackets over several lines, the last one with the end alone",
        "nonMasqueradeCIDRs: [\n  \"192.0.2.0/24\",\n# the office [1]\n  \"198.51.100.0/24\",\n]\nmasqLinkLocal: true\n",
        There::Exempt(&["192.0.2.0/24", "198.51.100.0/24"]),
        SAME
    ),
    agent!(
        "an empty list in brackets over two lines",
        "nonMasqueradeCIDRs: [\n]\nmasqLinkLocal: true\n",
        There::Exempt(&[]),
        SAME
    ),
    agent!(
        "an unknown key",
        "nonMasqueradeCIDR: [192.0.2.0/24]\n",
        There::Exempt(DEFAULT),
        Here::RefusedOnPurpose {
            row: UNKNOWN_KEY,
            said: "the nearest known key is nonMasqueradeCIDRs"
        }
    ),
    agent!(
        "a merge key",
        "base: &base {masqLinkLocal: true}\n<<: *base\n",
        There::Exempt(&["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]),
        Here::RefusedOnPurpose {
            row: UNKNOWN_KEY,
            said: "<<: a merge key of YAML, which is not read; write its keys out"
        }
    ),
    agent!(
        "a key twice",
        "masqLinkLocal: false\nmasqLinkLocal: true\n",
        There::Exempt(&["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]),
        Here::RefusedOnPurpose {
            row: KEY_TWICE,
            said: "duplicate key, already given on line 1"
        }
    ),
    agent!(
        // JSON with sorted keys comes between, so that the one in lower case is the last.
        "a key twice in another case",
        "masqLinkLocal: true\nMasqLinkLocal: false\n",
        There::Exempt(&["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]),
        Here::RefusedOnPurpose {
            row: KEY_TWICE,
            said: "duplicate key"
        }
    ),
    agent!(
        "two documents",
        "nonMasqueradeCIDRs: [10.0.0.0/8]\n---\nmasqLinkLocal: true\n",
        There::Exempt(&["10.0.0.0/8", LINK_LOCAL]),
        Here::RefusedOnPurpose {
            row: DOCUMENTS,
            said: "more than one YAML document"
        }
    ),
    agent!(
        "a short interval",
        "resyncInterval: 10ms",
        There::Exempt(DEFAULT),
        Here::RefusedOnPurpose {
            row: SHORT_INTERVAL,
            said: "shorter than 100 ms"
        }
    ),
    agent!(
        // Taken for IPv4 (`To4`), which iptables-restore refuses.
        "an IPv4-mapped CIDR",
        "--enable-ipv6",
        "nonMasqueradeCIDRs: ['::ffff:10.0.0.0/104']",
        There::Refused,
        refused("write it as an IPv4 CIDR")
    ),
];
