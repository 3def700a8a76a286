//! Files of ip-masq-agent-v2.

use super::*;

const V2_WITHOUT_LIST: &str = "files without `nonMasqueradeCIDRs`";
const V2_NAMES: &str = "files in a directory";
const V2_DIRECTORIES: &str = "a sub-directory with such a name; no directory";
const V2_KEYS: &str = "`cidrLimit`, `resyncInterval` in a file";
const V2_MORE_THAN_64: &str = "a file with more than 64 CIDRs";

/// Files of ip-masq-agent-v2.
macro_rules! v2 {
    ($name:literal, $flags:literal, $files:expr, $there:expr, $here:expr) => {
        Case {
            peer: Peer::AgentV2,
            name: $name,
            flags: $flags,
            files: $files,
            there: $there,
            here: $here,
        }
    };
}

pub(super) const CASES: &[Case] = &[
    v2!(
        "v2 without a directory",
        "",
        &[],
        There::Refused,
        Here::ExemptOnPurpose {
            row: V2_DIRECTORIES,
            cidrs: DEFAULT
        }
    ),
    v2!(
        "v2 with all keys",
        "--enable-ipv6",
        &[(
            "ip-masq-config-0",
            Some(
                "\nnonMasqueradeCIDRs:\n  - 172.16.0.0/12\n  - 10.0.0.0/8\nmasqLinkLocal: true\nmasqLinkLocalIPv6: true\n"
            )
        )],
        There::Exempt(&["172.16.0.0/12", "10.0.0.0/8"]),
        SAME_WITH_A_WARNING
    ),
    v2!(
        "v2 with only a list",
        "",
        &[(
            "ip-masq-config-0",
            Some("\nnonMasqueradeCIDRs:\n  - 192.168.0.0/16\n")
        )],
        There::Exempt(&["192.168.0.0/16", LINK_LOCAL]),
        SAME
    ),
    v2!(
        "v2 without a list",
        "",
        &[("ip-masq-config-0", Some("\nmasqLinkLocal: true\n"))],
        There::Exempt(&[]),
        Here::ExemptOnPurpose {
            row: V2_WITHOUT_LIST,
            cidrs: &["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]
        }
    ),
    v2!(
        "v2's two examples",
        "--enable-ipv6",
        &[
            (
                "ip-masq-agent",
                Some(
                    "nonMasqueradeCIDRs:\n  - 155.128.0.0/9\n  - 10.240.0.0/16\n  - 180.132.128.0/18\nmasqLinkLocal: false\nmasqLinkLocalIPv6: true"
                )
            ),
            (
                "ip-masq-agent-reconciled",
                Some(
                    "nonMasqueradeCIDRs:\n  - 1.0.0.0/8\n  - 2.2.0.0/16\n  - 3.3.3.0/24\nmasqLinkLocal: true"
                )
            ),
        ],
        There::Exempt(&[
            "155.128.0.0/9",
            "10.240.0.0/16",
            "180.132.128.0/18",
            "1.0.0.0/8",
            "2.2.0.0/16",
            "3.3.3.0/24"
        ]),
        Here::Same { warnings: 2 }
    ),
    v2!(
        "v2 with two JSON files and IPv6",
        "--enable-ipv6",
        &[
            (
                "ip-masq-config-0",
                Some(
                    "{\n  \"nonMasqueradeCIDRs\": [\"172.16.0.0/12\", \"10.0.0.0/8\", \"fc00::/7\"],\n  \"masqLinkLocal\": false,\n  \"masqLinkLocalIPv6\": false\n}\n"
                )
            ),
            (
                "ip-masqconfig-1",
                Some(
                    "{\n  \"nonMasqueradeCIDRs\": [\"1.0.0.0/8\", \"2.2.0.0/16\"],\n  \"masqLinkLocal\": true,\n  \"masqLinkLocalIPv6\": false\n}\n"
                )
            ),
        ],
        There::Exempt(&[
            "172.16.0.0/12",
            "10.0.0.0/8",
            "fc00::/7",
            "1.0.0.0/8",
            "2.2.0.0/16",
            LINK_LOCAL_IPV6
        ]),
        SAME_WITH_A_WARNING
    ),
    v2!(
        "v2 with a file of another name",
        "",
        &[
            (
                "ip-masq-config-0",
                Some("{\"nonMasqueradeCIDRs\": [\"111.254.0.0/15\", \"8.0.0.0/8\"]}")
            ),
            (
                "bad-prefix-config-1",
                Some("{\"nonMasqueradeCIDRs\": [\"4.0.0.0/8\"]}")
            ),
        ],
        There::Exempt(&["111.254.0.0/15", "8.0.0.0/8", LINK_LOCAL]),
        Here::ExemptOnPurpose {
            row: V2_NAMES,
            cidrs: &["111.254.0.0/15", "8.0.0.0/8", "4.0.0.0/8", LINK_LOCAL]
        }
    ),
    v2!(
        "v2 with only files of other names",
        "",
        &[(
            "bad-prefix-config-0",
            Some("{\"nonMasqueradeCIDRs\": [\"225.255.240.0/20\"]}")
        )],
        There::Exempt(DEFAULT),
        Here::ExemptOnPurpose {
            row: V2_NAMES,
            cidrs: &["225.255.240.0/20", LINK_LOCAL]
        }
    ),
    v2!(
        "v2 with three files that repeat a CIDR",
        "--enable-ipv6",
        &[
            (
                "ip-masq-config-0",
                Some(
                    "\nnonMasqueradeCIDRs:\n  - 155.128.0.0/9\n  - 10.0.0.0/8\nmasqLinkLocal: false\n"
                )
            ),
            ("ip-masqconfig-1", Some("\nmasqLinkLocalIPv6: true\n")),
            (
                "ip-masqconfig-2",
                Some(
                    "\nnonMasqueradeCIDRs:\n  - 10.240.0.0/16\n  - 10.0.0.0/8\n  - 180.132.128.0/18\n"
                )
            ),
        ],
        There::Exempt(&[
            "155.128.0.0/9",
            "10.0.0.0/8",
            "180.132.128.0/18",
            LINK_LOCAL
        ]),
        SAME_WITH_A_WARNING
    ),
    v2!(
        "v2 with an empty item in one file",
        "",
        &[
            ("ip-masq-config-0", Some("\nnonMasqueradeCIDRs:\n  -\n")),
            (
                "ip-masq-config-1",
                Some("\nnonMasqueradeCIDRs:\n  - 192.168.0.0/24\n")
            ),
        ],
        There::Refused,
        refused("ip-masq-config-0:3: nonMasqueradeCIDRs: null: an empty item")
    ),
    v2!(
        "v2 with null in a JSON list",
        "",
        &[
            (
                "ip-masq-config-0",
                Some("{\"nonMasqueradeCIDRs\": [\"111.254.0.0/15\", \"8.0.0.0/8\"]}")
            ),
            (
                "ip-masq-config-1",
                Some("{\"nonMasqueradeCIDRs\": [null, \"172.168.0.0/16\"]}")
            ),
        ],
        There::Refused,
        refused("an empty item")
    ),
    v2!(
        "v2 with an empty list beside another",
        "",
        &[
            ("ip-masq-a", Some("nonMasqueradeCIDRs: []")),
            ("ip-masq-b", Some("nonMasqueradeCIDRs: [10.0.0.0/8]")),
        ],
        There::Exempt(&["10.0.0.0/8", LINK_LOCAL]),
        SAME
    ),
    v2!(
        "v2 with empty lists",
        "",
        &[
            ("ip-masq-a", Some("nonMasqueradeCIDRs: []")),
            (
                "ip-masq-b",
                Some("nonMasqueradeCIDRs: []\nmasqLinkLocal: false")
            ),
        ],
        There::Exempt(&[LINK_LOCAL]),
        SAME
    ),
    v2!(
        "v2 with a list without a value",
        "",
        &[
            ("ip-masq-a", Some("nonMasqueradeCIDRs:")),
            ("ip-masq-b", Some("nonMasqueradeCIDRs: [10.0.0.0/8]")),
        ],
        There::Exempt(&["10.0.0.0/8", LINK_LOCAL]),
        Here::RefusedOnPurpose {
            row: NULL_LIST,
            said: "null where a list must stand"
        }
    ),
    v2!(
        "v2 with more than 64 CIDRs in two files",
        "",
        &[
            (
                "ip-masq-a",
                Some("nonMasqueradeCIDRs: [10.0.0.0/9, 10.128.0.0/9]")
            ),
            ("ip-masq-b", Some(sixty_five!())),
        ],
        There::Refused,
        Here::ExemptOnPurpose {
            row: V2_MORE_THAN_64,
            cidrs: &["10.0.0.0/8", LINK_LOCAL]
        }
    ),
    v2!(
        "v2 with a cidrLimit",
        "",
        &[(
            "ip-masq-a",
            Some("cidrLimit: 1\nnonMasqueradeCIDRs: [10.0.0.0/8, 192.0.2.0/24]")
        )],
        There::Exempt(&["10.0.0.0/8", "192.0.2.0/24", LINK_LOCAL]),
        Here::RefusedOnPurpose {
            row: V2_KEYS,
            said: "longer than cidrLimit, which is 1"
        }
    ),
    v2!(
        "a file with resyncInterval",
        "",
        &[
            (
                "ip-masq-a",
                Some("resyncInterval: 30s\nnonMasqueradeCIDRs: [10.0.0.0/8]")
            ),
            ("ip-masq-b", Some("resyncInterval: 0.5m")),
        ],
        There::Exempt(&["10.0.0.0/8", LINK_LOCAL]),
        SAME
    ),
    v2!(
        "files with two values of resyncInterval",
        "",
        &[
            (
                "ip-masq-a",
                Some("resyncInterval: 30s\nnonMasqueradeCIDRs: [10.0.0.0/8]")
            ),
            ("ip-masq-b", Some("resyncInterval: 60s")),
        ],
        There::Exempt(&["10.0.0.0/8", LINK_LOCAL]),
        Here::RefusedOnPurpose {
            row: V2_KEYS,
            said: "not the value that this key has in"
        }
    ),
    v2!(
        "v2 with a sub-directory",
        "",
        &[
            ("ip-masq-a", Some("nonMasqueradeCIDRs: [10.0.0.0/8]")),
            ("ip-masq-b", None)
        ],
        There::Refused,
        Here::ExemptOnPurpose {
            row: V2_DIRECTORIES,
            cidrs: &["10.0.0.0/8", LINK_LOCAL]
        }
    ),
    v2!(
        "v2 with IPv6 that is off in one file",
        "",
        &[
            ("ip-masq-a", Some("nonMasqueradeCIDRs: [10.0.0.0/8]")),
            (
                "ip-masq-b",
                Some("{\"nonMasqueradeCIDRs\": [\"fd00::/8\"]}")
            ),
        ],
        There::Refused,
        refused("ip-masq-b:1: nonMasqueradeCIDRs: \"fd00::/8\": an IPv6 CIDR, and IPv6 is off")
    ),
    v2!(
        "v2 with a hidden file",
        "",
        &[
            ("ip-masq-a", Some("nonMasqueradeCIDRs: [10.0.0.0/8]")),
            (".ip-masq-b", Some("nonMasqueradeCIDRs: [192.0.2.0/24]")),
        ],
        There::Exempt(&["10.0.0.0/8", LINK_LOCAL]),
        SAME
    ),
];
