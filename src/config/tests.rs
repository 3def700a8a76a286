//! What `judge` says of whole files. What each part says of its input is tested beside it.

use proptest::prelude::*;

use super::*;

pub(super) fn good(text: &str) -> Judged {
    judge("f", text.as_bytes(), &Flags::default())
        .unwrap_or_else(|errors| panic!("{text:?}: {errors}"))
}

/// What is said of a bad file.
pub(super) fn bad(text: impl AsRef<[u8]>) -> String {
    let text = text.as_ref();
    match judge("f", text, &Flags::default()) {
        Ok(judged) => panic!("{:?}: {judged:?}", String::from_utf8_lossy(text)),
        Err(errors) => errors.to_string(),
    }
}

pub(super) fn warnings(text: &str) -> Vec<String> {
    let judged = good(text);
    judged.warnings.iter().map(ToString::to_string).collect()
}

fn cidrs(text: &str) -> Vec<String> {
    let config = good(text).config;
    config
        .non_masquerade_cidrs
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn a_file_that_says_nothing_means_the_defaults() {
    for text in [
        "",
        "\n",
        "# all defaults\n",
        "---\n",
        "--- \n...\n",
        "null",
        "~",
        "{}",
        "\u{feff}",
        " ",
        "\u{feff}{}",
    ] {
        assert_eq!(
            good(text),
            Judged {
                config: defaults(&Flags::default()),
                warnings: vec![],
                silent_files: vec![0],
            },
            "{text:?}"
        );
    }
}

#[test]
fn the_defaults_are_those_of_the_flags() {
    let config = defaults(&Flags::default());
    assert!(config.masquerade_cidrs.is_empty() && config.source_cidrs.is_empty());
    assert!(config.masq_node_traffic && !config.enable_ipv6 && !config.enforce);
    assert!(config.to_ports.is_empty());
    assert_eq!(config.non_masquerade_cidrs.len(), 3);
    assert!(config.non_masquerade_cidrs_are_default && config.random_fully);
    assert!(!config.masq_link_local && !config.masq_link_local_ipv6);
    assert_eq!(config.resync_interval, Duration::from_secs(60));
    let flags = Flags {
        nomasq_all_reserved_ranges: true,
        enable_ipv6: true,
        random_fully: false,
        to_ports: vec![PortRange {
            first: 1024,
            last: 2048,
        }],
        ..Flags::default()
    };
    let config = judge("f", b"masqLinkLocal: true", &flags).unwrap().config;
    assert_eq!(config.non_masquerade_cidrs.len(), 11);
    assert!(config.enable_ipv6 && !config.random_fully);
    assert_eq!(config.to_ports, flags.to_ports);
}

#[test]
fn every_key_is_taken_from_yaml_and_json() {
    let yaml = "nonMasqueradeCIDRs:\n  - 10.0.0.0/8\n  - '10.0.0.0/8'\n  - 0.0.0.0/0\nmasqLinkLocal: true\n\
                masqLinkLocalIPv6: True\ncidrLimit: 3\nresyncInterval: 1m0.5s\n";
    let json = "{\n\t\"nonMasqueradeCIDRs\": [\"10.0.0.0\\/8\", \"10.0.0.0/8\", \"\\u0030.0.0.0/0\"],\n\t\"masqLinkLocal\":\ttrue,\n\
                \t\"masqLinkLocalIPv6\": true, \"cidrLimit\": 3, \"resyncInterval\": \"1m0.5s\"}";
    assert_eq!(good(yaml), good(json));
    let judged = good(yaml);
    assert_eq!(cidrs(yaml), ["10.0.0.0/8", "10.0.0.0/8", "0.0.0.0/0"]);
    assert!(!judged.config.non_masquerade_cidrs_are_default);
    assert!(judged.config.masq_link_local && judged.config.masq_link_local_ipv6);
    assert_eq!(judged.config.resync_interval, Duration::from_millis(60_500));
    assert_eq!(judged.warnings, []);
}

#[test]
fn an_empty_list_masquerades_every_destination() {
    let config = good("nonMasqueradeCIDRs: []").config;
    assert!(config.non_masquerade_cidrs.is_empty() && !config.non_masquerade_cidrs_are_default);
}

#[test]
fn keys_match_ignoring_case_with_a_warning() {
    for key in ["masqlinklocal", "MASQLINKLOCAL"] {
        let text = format!("# c\n{key}: true");
        assert!(good(&text).config.masq_link_local, "{key}");
        assert_eq!(
            warnings(&text),
            [format!(
                "f:2: {key}: not the documented form of this key; write masqLinkLocal"
            )]
        );
    }
}

#[test]
fn yaml_1_1_booleans_are_taken_with_a_warning() {
    for (meant, words) in [
        (true, ["y", "Y", "yes", "Yes", "YES", "on", "On", "ON"]),
        (false, ["n", "N", "no", "No", "NO", "off", "Off", "OFF"]),
    ] {
        for word in words {
            for text in [
                format!("masqLinkLocal: {word}"),
                format!("{{masqLinkLocal: {word}}}"),
            ] {
                assert_eq!(good(&text).config.masq_link_local, meant, "{text}");
                assert!(
                    warnings(&text)[0].ends_with(&format!(
                        "{word:?}: not the documented form of a boolean; write {meant}"
                    )),
                    "{text}"
                );
            }
        }
    }
}

#[test]
fn a_quoted_boolean_is_a_string() {
    for text in [
        "masqLinkLocal: \"yes\"",
        "masqLinkLocal: 'yes'",
        "masqLinkLocal: \"\\x79es\"",
        "masqLinkLocal: |-\n  yes",
        "{\"masqLinkLocal\": \"yes\"}",
        "masqLinkLocal: \"true\"",
        "{\"masqLinkLocal\": \"true\"}",
        "masqLinkLocal: 'True'",
    ] {
        let said = bad(text);
        assert!(
            said.contains("a string where true or false must stand; write true without quotes"),
            "{said}"
        );
    }
    assert!(
        bad("masqLinkLocal: yEs")
            .contains("a string where true or false must stand; write true or false")
    );
}

#[test]
fn a_scalar_without_a_value_keeps_its_default_with_a_warning() {
    for key in [
        "masqNodeTraffic",
        "masqLinkLocal",
        "masqLinkLocalIPv6",
        "enableIPv6",
        "randomFully",
        "toPorts",
        "enforce",
        "dropInvalid",
        "cidrLimit",
        "resyncInterval",
        "existingConnections",
    ] {
        for value in ["", "null", "~"] {
            let text = format!("\n{key}: {value}\n");
            assert_eq!(good(&text).config, defaults(&Flags::default()));
            assert_eq!(
                warnings(&text),
                [format!(
                    "f:2: {key}: null: without a value, so that its default holds; write a value or remove the key"
                )]
            );
        }
    }
}

#[test]
fn all_errors_come_in_the_order_of_lines() {
    let said = bad("x: 1\nnonMasqueradeCIDRs: [a,\n b]\ncidrLimit: 1\nresyncInterval: 1\n");
    let lines: Vec<&str> = said.lines().map(|line| &line[..4]).collect();
    assert_eq!(lines, ["f:1:", "f:2:", "f:2:", "f:3:", "f:5:"], "{said}");
}

#[test]
fn a_thousand_errors_are_shown_and_the_rest_counted() {
    let said = bad(format!(
        "cidrLimit: 1\nnonMasqueradeCIDRs:\n{}",
        "- x\n".repeat(1_234)
    ));
    assert_eq!(said.lines().count(), 1_001);
    assert!(said.ends_with("\n… and 235 more errors"), "{said}");
    assert!(
        said.contains("\nf:3: nonMasqueradeCIDRs: 1234 items: longer than cidrLimit"),
        "{said}"
    );
}

#[test]
fn no_control_character_reaches_the_log() {
    let said = bad("\"a\\e[31m\\n\": 1\nnonMasqueradeCIDRs: [\"\\e\\r\\n\"]");
    assert_eq!(said.lines().count(), 2);
    assert!(
        said.lines().all(|line| !line.chars().any(char::is_control)),
        "{said:?}"
    );
}

#[test]
fn what_is_too_much_is_refused() {
    for (text, said) in [
        (
            format!("#{}", "x".repeat(MAX_FILE_BYTES)),
            "f: larger than 1 MiB, which no ConfigMap holds; write a shorter file",
        ),
        (
            format!("a: {}", "[".repeat(300)),
            "f:1: not valid YAML: recursion limit exceeded; write keys with values, as YAML or JSON",
        ),
        (
            "a:\n".repeat(MAX_FILE_BYTES / 7),
            "f: more than 262144 keys and items, with those of the files before; write keys with values, and lists of CIDRs",
        ),
    ] {
        assert_eq!(bad(text), said);
    }
    // One behind the other, lists may be as many as one likes, and all the more in comments.
    good(&format!(
        "nonMasqueradeCIDRs:\n{}",
        "- 10.0.0.0/8 # [a] {b}\n".repeat(1_000)
    ));
    good(&format!(
        "{{\"nonMasqueradeCIDRs\": [{}\"::/0\"], \"enableIPv6\": true}}",
        "\"10.0.0.0/8\",".repeat(1_000)
    ));
    assert!(bad(format!("[{}[]]", "[],".repeat(1_000))).contains("a list where keys with values"));
}

#[test]
fn a_long_good_list_is_within_all_limits() {
    let shortest = "1.0.0.0/8,".repeat(90_000);
    assert_eq!(
        cidrs(&format!("nonMasqueradeCIDRs: [{shortest}]")).len(),
        90_000
    );
}

proptest! {
    #[test]
    fn nothing_in_a_file_can_crash(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = judge("f", &bytes, &Flags::default());
    }

    #[test]
    fn no_indicators_of_yaml_can_crash(
        parts in proptest::collection::vec(
            prop::sample::select(vec![
                "[", "]", "{", "}", ",", ":", "?", "-", "- ", ": ", "? ", "\n", "\n  ", "\r\n", "\t", " ", "#", " #", "&a ", "*a",
                "!", "!x ", "!!str ", "|", "|-\n", ">", "'", "\"", "\\", "%", "%TAG ! b\n", "---", "---\n", "...", "...\n", "<<: ", "~", "null",
                "yes", "1", "a", "nonMasqueradeCIDRs", "masqLinkLocal: ", "resyncInterval: ", "cidrLimit: ", "masqueradeCIDRs: ", "sourceCIDRs: [", "enableIPv6: ", "toPorts: ", "1024-2048,", "fd00::/8", "\u{feff}", "\u{85}", "\u{2028}",
                "\0", "é", "10.0.0.0/8",
            ]),
            0..40,
        )
    ) {
        let text = parts.concat();
        let judged = judge("f", text.as_bytes(), &Flags::default());
        if let Err(errors) = judged {
            prop_assert!(!errors.errors.is_empty());
            let shown = errors.errors.len() + usize::from(errors.more > 0);
            prop_assert_eq!(errors.to_string().lines().count(), shown);
        }
    }
}

#[test]
fn a_document_that_is_empty_behind_the_first_is_no_second_one() {
    for end in ["---\n", "---\n# end\n", "...\n", "---\n...\n"] {
        let text = format!("masqLinkLocal: true\n{end}");
        let judged = judge("f", text.as_bytes(), &Flags::default());
        assert!(
            judged.is_ok_and(|judged| judged.config.masq_link_local),
            "{end}"
        );
    }
}

proptest! {
    #[test]
    fn written_as_one_file_a_configuration_means_the_same(
        cidrs in proptest::collection::vec((any::<u32>(), 0_u8..=32), 0..9),
        booleans in any::<[bool; 7]>(),
        interfaces in proptest::collection::vec("[a-z0-9.~#-]{0,12}[a-z0-9~][*]?", 0..4),
        seconds in 1_u64..100_000,
        flags in any::<[bool; 3]>(),
    ) {
        let list = |of: &[(u32, u8)]| {
            let cidrs = of.iter().map(|(address, length)| {
                let cidr = ipnet::Ipv4Net::new((*address).into(), *length).unwrap();
                format!("{:?}", cidr.trunc().to_string())
            });
            cidrs.collect::<Vec<_>>().join(", ")
        };
        let (exempt, sources) = cidrs.split_at(cidrs.len() / 2);
        let [node, ipv6, random, enforce, drop_invalid, link_local, has_list] = booleans;
        let mut text = format!(
            "masqNodeTraffic: {node}\nenableIPv6: {ipv6}\nrandomFully: {random}\nenforce: {enforce}\ndropInvalid: {drop_invalid}\n\
             outputInterfaces: [{}]\nmasqLinkLocal: {link_local}\nresyncInterval: {seconds}s\nsourceCIDRs: [{}]\nsnatAddressCIDRs: [{}]\ntoPorts: 1024-2000,{}\n",
            interfaces.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", "),
            list(sources),
            list(exempt),
            30_000 + seconds % 1_000,
        );
        if has_list {
            text += &format!("nonMasqueradeCIDRs: [{}]\n", list(exempt));
        }
        let [nomasq_all_reserved_ranges, enable_ipv6, random_fully] = flags;
        let flags = Flags { nomasq_all_reserved_ranges, enable_ipv6, random_fully, ..Flags::default() };
        let judged = |text: &str, flags: &Flags| judge("f", text.as_bytes(), flags).unwrap().config;
        let config = judged(&text, &flags);
        for written in [serde_yaml::to_string(&config).unwrap(), serde_json::to_string(&config).unwrap()] {
            let again = judged(&written, &Flags::default());
            let expected = Config {
                non_masquerade_cidrs_are_default: false,
                ..config.clone()
            };
            prop_assert_eq!(again, expected);
        }
    }
}
