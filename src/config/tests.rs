//! What `judge` says of whole files. What each part says of its input is tested beside it.

use proptest::prelude::*;

use super::*;

pub(super) const FLAGS: Flags = Flags {
    nomasq_all_reserved_ranges: false,
    enable_ipv6: false,
    random_fully: true,
    to_ports: Vec::new(),
    resync_interval: DEFAULT_RESYNC_INTERVAL,
};

pub(super) fn good(text: &str) -> Judged {
    judge("f", text.as_bytes(), &FLAGS).unwrap_or_else(|errors| panic!("{text:?}: {errors}"))
}

/// What is said of a bad file.
pub(super) fn bad(text: impl AsRef<[u8]>) -> String {
    let text = text.as_ref();
    match judge("f", text, &FLAGS) {
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
                config: defaults(&FLAGS),
                warnings: vec![]
            },
            "{text:?}"
        );
    }
}

#[test]
fn the_defaults_are_those_of_the_flags() {
    let config = defaults(&FLAGS);
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
        ..FLAGS
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
    for key in [
        "masqlinklocal",
        "MASQLINKLOCAL",
        "ma\u{17f}qLin\u{212a}Local",
    ] {
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
                format!("masqLinkLocalIPv6: &x {word}\nmasqLinkLocal: *x"),
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
        "masqLinkLocal: &x 'yes'\nmasqLinkLocalIPv6: *x",
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
        "cidrLimit",
        "resyncInterval",
    ] {
        for value in ["", "null", "~"] {
            let text = format!("\n{key}: {value}\n");
            assert_eq!(good(&text).config, defaults(&FLAGS));
            assert_eq!(
                warnings(&text),
                [format!(
                    "f:2: {key}: null: without a value, so that its default holds; write a value or remove the key"
                )]
            );
        }
    }
}

/// A text, and all that is said of it.
const BAD: &[(&str, &str)] = &[
    (
        "nonMasqueradeCIDRs:",
        "f:1: nonMasqueradeCIDRs: null: null where a list must stand; write [] to masquerade every destination, or remove the key for the default",
    ),
    (
        "nonMasqueradeCIDRs: 10.0.0.0/8",
        "f:1: nonMasqueradeCIDRs: \"10.0.0.0/8\": a string where a list must stand; write it as a list item: nonMasqueradeCIDRs: [\"10.0.0.0/8\"]",
    ),
    (
        "nonMasqueradeCIDRs:\n  a: b",
        "f:2: nonMasqueradeCIDRs: a mapping: a mapping where a list must stand; write a list such as nonMasqueradeCIDRs: [\"10.0.0.0/8\"]",
    ),
    (
        "nonMasqueradeCIDRs:\n- 10.0.0.0/8\n- 10.0.0.1/8\n",
        "f:3: nonMasqueradeCIDRs: \"10.0.0.1/8\": not aligned to its prefix length; use 10.0.0.0/8",
    ),
    (
        "nonMasqueradeCIDRs: [10.0.0.1,\n '']",
        "f:1: nonMasqueradeCIDRs: \"10.0.0.1\": an address, not a CIDR; write 10.0.0.1/32\nf:2: nonMasqueradeCIDRs: \"\": an empty item; write a CIDR such as 10.0.0.0/8, or remove the item",
    ),
    (
        "nonMasqueradeCIDRs:\n-\n- x",
        "f: nonMasqueradeCIDRs[0]: null: an empty item; write a CIDR such as 10.0.0.0/8, or remove the item\nf:3: nonMasqueradeCIDRs: \"x\": not a CIDR; write a CIDR such as 10.0.0.0/8",
    ),
    (
        "nonMasqueradeCIDRs: [10, [], {}, true]",
        "f:1: nonMasqueradeCIDRs: 10: a number where a CIDR must stand; write a CIDR such as 10.0.0.0/8\nf:1: nonMasqueradeCIDRs: a list: a list where a CIDR must stand; write a CIDR such as 10.0.0.0/8\nf:1: nonMasqueradeCIDRs: a mapping: a mapping where a CIDR must stand; write a CIDR such as 10.0.0.0/8\nf:1: nonMasqueradeCIDRs: true: a boolean where a CIDR must stand; write a CIDR such as 10.0.0.0/8",
    ),
    (
        "nonMasqueradeCIDRs: [!x 10.0.0.0/8]",
        "f:1: nonMasqueradeCIDRs: !x: a tagged value where a CIDR must stand; write a CIDR such as 10.0.0.0/8",
    ),
    (
        "masqLinkLocal: !x true",
        "f:1: masqLinkLocal: !x: a tagged value where true or false must stand; write true or false",
    ),
    (
        "masqLinkLocal: 1",
        "f:1: masqLinkLocal: 1: a number where true or false must stand; write true or false",
    ),
    (
        "masqLinkLocal:\n\n  maybe",
        "f:3: masqLinkLocal: \"maybe\": a string where true or false must stand; write true or false",
    ),
    (
        "cidrLimit: -1",
        "f:1: cidrLimit: -1: not an integer from 0 up; write an integer such as 64",
    ),
    (
        "cidrLimit: 1.5",
        "f:1: cidrLimit: 1.5: not an integer from 0 up; write an integer such as 64",
    ),
    (
        "cidrLimit: '64'",
        "f:1: cidrLimit: \"64\": a string where an integer must stand; write an integer such as 64, without quotes",
    ),
    (
        "cidrLimit: 1\nnonMasqueradeCIDRs: [10.0.0.0/8, 10.0.0.0/8]\ncidrLimits: 1",
        "f:2: nonMasqueradeCIDRs: 2 items: longer than cidrLimit, which is 1; shorten the list or raise cidrLimit\nf:3: cidrLimits: unknown key; the nearest known key is cidrLimit",
    ),
    (
        "resyncInterval: 60",
        "f:1: resyncInterval: 60: a duration without a unit; write 60s",
    ),
    (
        "resyncInterval: 0",
        "f:1: resyncInterval: 0: a duration without a unit; write a duration such as 60s",
    ),
    (
        "resyncInterval: '60'",
        "f:1: resyncInterval: \"60\": a duration without a unit; write a number with ms, s, m or h, such as 60s",
    ),
    (
        "resyncInterval: 1d",
        "f:1: resyncInterval: \"1d\": a duration with an unknown unit; write a number with ms, s, m or h, such as 60s",
    ),
    (
        "resyncInterval: 99.999ms",
        "f:1: resyncInterval: \"99.999ms\": shorter than 100 ms; write a longer duration such as 60s",
    ),
    (
        "resyncInterval: -5s",
        "f:1: resyncInterval: \"-5s\": shorter than 100 ms; write a longer duration such as 60s",
    ),
    (
        "resyncInterval: []",
        "f:1: resyncInterval: a list: a list where a duration must stand; write a duration such as 60s",
    ),
    (
        "masqLinkLocl: true",
        "f:1: masqLinkLocl: unknown key; the nearest known key is masqLinkLocal",
    ),
    (
        "nonMasqueradeCIDR: []",
        "f:1: nonMasqueradeCIDR: unknown key; the nearest known key is nonMasqueradeCIDRs",
    ),
    (
        "resyncinterval : 1s\nresync: 1s",
        "f:2: resync: unknown key; the nearest known key is resyncInterval",
    ),
    (
        "masqLinkLocal: true\n\nMasqLinkLocal: true",
        "f:3: MasqLinkLocal: duplicate key, already given on line 1; leave one of the two",
    ),
    (
        "1: a\n? [b]\n: c\n? {}\n: d\n? !x y\n: e",
        "f:1: 1: a number where a key must stand; remove it\nf:2: a list: a list where a key must stand; remove it\nf:4: a mapping: a mapping where a key must stand; remove it\nf:6: !x: a tagged value where a key must stand; remove it",
    ),
    (
        "a\nb",
        "f: a string where keys with values must stand; write keys with values, such as masqLinkLocal: false",
    ),
    (
        "- a",
        "f: a list where keys with values must stand; write keys with values, such as masqLinkLocal: false",
    ),
    (
        "!x {}",
        "f: a tagged value where keys with values must stand; write keys with values, such as masqLinkLocal: false",
    ),
    (
        "a: 1\n---\nb: 1",
        "f: more than one YAML document; leave one, with all keys in it",
    ),
    (
        "a: 1\n---\nb: ]",
        "f:3: not valid YAML: did not find expected node content at line 3 column 4, while parsing a block node; write keys with values, as YAML or JSON",
    ),
    (
        "{\n a: 1,\n b: ]}",
        "f:3: not valid YAML: did not find expected node content at line 3 column 5, while parsing a flow node; write keys with values, as YAML or JSON",
    ),
    (
        "{a: 1",
        "f:1: not valid YAML: did not find expected ',' or '}' at line 2 column 1, while parsing a flow mapping; write keys with values, as YAML or JSON",
    ),
    (
        "a: *x",
        "f:1: not valid YAML: unknown anchor at line 1 column 4; write keys with values, as YAML or JSON",
    ),
    (
        "{\n\t\"a\": 1,\n\t\"b\" 2}",
        "f:3: not valid JSON: expected `:` at line 3 column 6; write keys with values, as YAML or JSON",
    ),
];

#[test]
fn a_bad_file_is_said_to_be_what_it_is() {
    for (text, said) in BAD {
        assert_eq!(&bad(text), said, "{text:?}");
    }
}

#[test]
fn json_has_lines_too() {
    assert_eq!(
        bad("{\n  \"nonMasqueradeCIDRs\": [\n    \"10.0.0.0/8\",\n    \"10.0.0.1/8\"\n  ]\n}\n"),
        "f:4: nonMasqueradeCIDRs: \"10.0.0.1/8\": not aligned to its prefix length; use 10.0.0.0/8"
    );
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
        said.starts_with("f:3: nonMasqueradeCIDRs: 1234 items: longer than cidrLimit"),
        "{said}"
    );
}

#[test]
fn what_is_not_text_is_named_by_its_byte() {
    assert_eq!(
        bad(b"a\nb\xff"),
        "f:2: not UTF-8: the byte at offset 3 is wrong; save the file as UTF-8"
    );
    assert_eq!(
        bad(vec![b'#'; MAX_FILE_BYTES + 1]),
        "f: larger than 8 MiB; write a shorter file"
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
fn aliases_are_followed_but_not_without_end() {
    assert_eq!(cidrs("nonMasqueradeCIDRs: [&x 10.0.0.0/8, *x]").len(), 2);
    let mut bomb = String::from("a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n");
    for i in 0..20 {
        bomb += &format!(
            "a{}: &a{} [*a{i},*a{i},*a{i},*a{i},*a{i},*a{i},*a{i},*a{i}]\n",
            i + 1,
            i + 1
        );
    }
    assert!(bad(bomb).contains("repetition limit exceeded"));
    let mut flow = String::from("{a0: &a0 [1,1,1,1,1,1,1,1,1,1]");
    for i in 0..20 {
        flow += &format!(
            ",a{}: &a{} [*a{i},*a{i},*a{i},*a{i},*a{i},*a{i},*a{i},*a{i}]",
            i + 1,
            i + 1
        );
    }
    assert!(bad(flow + "}").contains("repetition limit exceeded"));
    let long_list = "1.0.0.0/8,".repeat(10_000);
    let many = format!("a: &x [{long_list}]\nb: [{}]", "*x,".repeat(1_000));
    assert!(bad(many).contains("aliases unfold this file to many times its size"));
    assert!(bad("a: &x [*x]").contains("recursion limit exceeded"));
}

#[test]
fn a_long_good_list_is_within_all_limits() {
    let shortest = "1.0.0.0/8,".repeat(100_000);
    assert_eq!(
        cidrs(&format!("nonMasqueradeCIDRs: [{shortest}]")).len(),
        100_000
    );
}

proptest! {
    #[test]
    fn nothing_in_a_file_can_crash(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = judge("f", &bytes, &FLAGS);
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
        let judged = judge("f", text.as_bytes(), &FLAGS);
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
        let judged = judge("f", text.as_bytes(), &FLAGS);
        assert!(
            judged.is_ok_and(|judged| judged.config.masq_link_local),
            "{end}"
        );
    }
}
