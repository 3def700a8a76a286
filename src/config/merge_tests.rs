//! What several files mean together.

use proptest::prelude::*;

use super::super::{Judged, MAX_FILE_BYTES, Source, judge_together};
use super::*;

/// Files named a, b, c and so on.
fn judged(files: &[&str]) -> Result<Judged, String> {
    let names = ["a", "b", "c", "d"];
    let sources: Vec<Source<'_>> = names
        .iter()
        .zip(files)
        .map(|(name, text)| Source {
            name,
            bytes: Some(text.as_bytes()),
        })
        .collect();
    judge_together(&sources, &Flags::default()).map_err(|errors| errors.to_string())
}

#[track_caller]
fn good(files: &[&str]) -> Judged {
    judged(files).unwrap_or_else(|errors| panic!("{files:?}: {errors}"))
}

#[track_caller]
fn bad(files: &[&str]) -> String {
    judged(files).expect_err("an error")
}

fn warnings(files: &[&str]) -> Vec<String> {
    let warnings = good(files).warnings;
    warnings.iter().map(ToString::to_string).collect()
}

fn exempt(files: &[&str]) -> Vec<String> {
    let cidrs = good(files).config.non_masquerade_cidrs;
    cidrs.iter().map(ToString::to_string).collect()
}

#[test]
fn lists_are_united_in_the_order_of_files() {
    let a = "nonMasqueradeCIDRs: [10.0.0.0/8, 192.0.2.0/24]";
    let b = "{\"nonMasqueradeCIDRs\": [\"192.0.2.0/24\", \"172.16.0.0/12\"]}";
    assert_eq!(
        exempt(&[a, b]),
        [
            "10.0.0.0/8",
            "192.0.2.0/24",
            "192.0.2.0/24",
            "172.16.0.0/12"
        ]
    );
    assert_eq!(exempt(&[b, "", a]).len(), 4);
    let sources = good(&["sourceCIDRs: [10.0.0.0/8]", "sourceCIDRs: [10.1.0.0/16]"]).config;
    assert_eq!(sources.source_cidrs.len(), 2);
    let files = [
        "snatAddressCIDRs: [192.0.2.0/24]",
        "snatAddressCIDRs: [10.1.0.0/16]",
    ];
    let cidrs = good(&files).config.snat_address_cidrs;
    assert_eq!(
        cidrs,
        files.map(|file| file[19..file.len() - 1].parse().unwrap())
    );
    let masqueraded = good(&["masqueradeCIDRs: [192.0.2.0/24]", "masqueradeCIDRs: []"]).config;
    assert_eq!(masqueraded.masquerade_cidrs.len(), 1);
}

#[test]
fn a_list_that_no_file_gives_takes_its_default_and_one_that_any_file_gives_does_not() {
    let default = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"];
    assert_eq!(exempt(&["masqLinkLocal: true", ""]), default);
    assert!(good(&["", ""]).config.non_masquerade_cidrs_are_default);
    let given = good(&["nonMasqueradeCIDRs: []", "masqLinkLocal: true"]).config;
    assert!(given.non_masquerade_cidrs.is_empty() && !given.non_masquerade_cidrs_are_default);
    assert_eq!(
        exempt(&[
            "nonMasqueradeCIDRs: []",
            "nonMasqueradeCIDRs: [192.0.2.0/24]"
        ]),
        ["192.0.2.0/24"]
    );
}

#[test]
fn a_boolean_is_true_where_any_file_says_so_and_a_disagreement_is_warned_of() {
    for key in KEYS.map(|key| key.name) {
        let is_boolean = good_boolean(key);
        if !is_boolean {
            continue;
        }
        let (on, off) = (format!("{key}: true"), format!("\n{key}: false"));
        let base = "nonMasqueradeCIDRs: [10.0.0.0/8]";
        assert_eq!(
            good(&[base, &on, &off]).config,
            good(&[base, &on]).config,
            "{key}"
        );
        let said = format!(
            "c:2: {key}: false: without effect, because this key is true in b:1; write the same in both files, \
             or leave the key out of one"
        );
        assert!(warnings(&[base, &on, &off, &off]).contains(&said), "{key}");
        assert!(warnings(&[base, &off, &on, &on])[0].starts_with("b:2: "));
        let agree = [base, &off, &off].map(str::to_owned);
        let agree: Vec<&str> = agree.iter().map(String::as_str).collect();
        assert_eq!(warnings(&agree), [""; 0], "{key}");
    }
}

fn good_boolean(key: &str) -> bool {
    judged(&[&format!("{key}: false")]).is_ok()
}

#[test]
fn among_files_the_flag_does_not_count() {
    let flags = Flags {
        enable_ipv6: true,
        ..Flags::default()
    };
    let off = |name| Source {
        name,
        bytes: Some(&b"enableIPv6: false\nrandomFully: false"[..]),
    };
    let judged = judge_together(&[off("a"), off("b")], &flags).unwrap();
    assert!(!judged.config.enable_ipv6 && !judged.config.random_fully);
    assert_eq!(judged.warnings, []);
}

#[test]
fn a_scalar_that_differs_is_an_error_that_names_both_files() {
    for (key, one, same, other) in [
        ("toPorts", "1-2,5", "'5,1-2'", "1-3"),
        ("toPorts", "''", "\"\"", "1-2"),
        ("cidrLimit", "64", "64.0", "65"),
        ("resyncInterval", "60s", "1m", "61s"),
        ("existingConnections", "keep", "'keep'", "follow"),
    ] {
        let text = |value: &str| format!("{key}: {value}");
        good(&[&text(one), &text(same), &text("~"), ""]);
        let said = bad(&["", &text(one), &text(same), &format!("\n\n{}", text(other))]);
        let shown = if key == "cidrLimit" {
            other.into()
        } else {
            format!("{other:?}")
        };
        assert_eq!(
            said,
            format!(
                "d:3: {key}: {shown}: not the value that this key has in b:1; write the same in both files, or \
                 leave the key out of one"
            )
        );
    }
}

#[test]
fn the_limit_holds_for_the_united_list() {
    let a = "cidrLimit: 3\nnonMasqueradeCIDRs: [10.0.0.0/8, 10.1.0.0/16]";
    let b = "# more\nnonMasqueradeCIDRs: [10.2.0.0/16, 10.3.0.0/16]";
    good(&[a, "nonMasqueradeCIDRs: [10.0.0.0/8]"]);
    good(&[a, "sourceCIDRs: [10.0.0.0/8, 10.0.0.0/8, 10.0.0.0/8]"]);
    assert_eq!(
        bad(&[a, b, "nonMasqueradeCIDRs: []"]),
        "b:2: nonMasqueradeCIDRs: 4 items in 3 files: longer than cidrLimit, which is 3 in a:1; \
         shorten the list or raise cidrLimit"
    );
    assert_eq!(
        bad(&[b, a]),
        "b:2: nonMasqueradeCIDRs: 4 items in 2 files: longer than cidrLimit, which is 3; \
         shorten the list or raise cidrLimit"
    );
}

#[test]
fn the_same_prefix_in_both_lists_of_two_files_names_both() {
    assert_eq!(
        bad(&[
            "nonMasqueradeCIDRs:\n- 10.0.0.0/8\n- 192.0.2.0/24",
            "masqueradeCIDRs:\n- 10.1.0.0/16\n- 192.0.2.0/24",
        ]),
        "b:3: masqueradeCIDRs: \"192.0.2.0/24\": nonMasqueradeCIDRs holds the same prefix in a:3; \
         leave it in one of the two lists"
    );
    assert_eq!(
        bad(&[
            "masqueradeCIDRs: [192.0.2.0/24]",
            "",
            "nonMasqueradeCIDRs: [192.0.2.0/24]"
        ]),
        "a:1: masqueradeCIDRs: \"192.0.2.0/24\": nonMasqueradeCIDRs holds the same prefix in c:1; \
         leave it in one of the two lists"
    );
    good(&["masqueradeCIDRs: [10.0.0.0/8]", "nonMasqueradeCIDRs: []"]);
}

#[test]
fn ipv6_may_be_turned_on_by_another_file() {
    good(&["nonMasqueradeCIDRs: [fd00::/8]", "enableIPv6: true"]);
    good(&[
        "nonMasqueradeCIDRs: [fd00::/8]\nenableIPv6: no",
        "enableIPv6: true",
    ]);
    assert!(bad(&["nonMasqueradeCIDRs: [fd00::/8]", "enableIPv6: false"]).contains("IPv6 is off"));
    let warned = warnings(&["nonMasqueradeCIDRs: [10.0.0.0/8]", "enableIPv6: true"]);
    assert_eq!(warned.len(), 1);
}

#[test]
fn errors_of_all_files_come_at_once_in_their_order() {
    let said = bad(&[
        "a: 1\nmasqueradeCIDRs: [10.0.0.0/8]",
        "b: ]",
        "cidrLimit: 1\nnonMasqueradeCIDRs: [10.0.0.0/8, x]",
        "- d",
    ]);
    let starts = [
        "a:1: a: unknown key",
        "a:2: masqueradeCIDRs: \"10.0.0.0/8\": nonMasqueradeCIDRs holds the same prefix in c:2;",
        "b:1: not valid YAML",
        "c:2: nonMasqueradeCIDRs: \"x\": not a CIDR",
        "c:2: nonMasqueradeCIDRs: 2 items: longer than cidrLimit",
        "d: a list where keys with values must stand",
    ];
    assert_eq!(said.lines().count(), starts.len(), "{said}");
    for (line, start) in said.lines().zip(starts) {
        assert!(line.starts_with(start), "{line}\n{start}");
    }
}

#[test]
fn what_depends_on_a_file_that_cannot_be_read_is_not_judged() {
    let files = |text: &'static str| {
        let texts = [Some(text), None];
        texts.map(|text| Source {
            name: "f",
            bytes: text.map(str::as_bytes),
        })
    };
    for text in [
        "nonMasqueradeCIDRs: [fd00::/8]",
        "masqueradeCIDRs: [10.0.0.0/8]",
    ] {
        assert!(
            judge_together(&files(text), &Flags::default()).is_ok(),
            "{text}"
        );
    }
    for text in [
        "nonMasqueradeCIDRs: [10.0.0.0/8]\nmasqueradeCIDRs: [10.0.0.0/8]",
        "cidrLimit: 0\nsourceCIDRs: [10.0.0.0/8]",
    ] {
        assert!(
            judge_together(&files(text), &Flags::default()).is_err(),
            "{text}"
        );
    }
}

#[test]
fn a_thousand_errors_of_all_files_are_shown_and_the_rest_counted() {
    let many = format!("nonMasqueradeCIDRs: [{}]", "x,".repeat(700));
    let said = bad(&[&many, "]", &many]);
    assert_eq!(said.lines().count(), 1_001);
    assert!(said.ends_with("… and 401 more errors"), "{said}");
    let shown = |file: &str| said.lines().filter(|line| line.starts_with(file)).count();
    assert_eq!([shown("a:"), shown("b:"), shown("c:")], [700, 1, 299]);
}

#[test]
fn files_are_at_most_8_mib_together() {
    let comments = "#".repeat(MAX_FILE_BYTES);
    let sources = |count: usize, last: &'static str| {
        let mut sources = vec![comments.as_str(); count];
        sources.push(last);
        let sources: Vec<Source<'_>> = sources
            .into_iter()
            .map(|text| Source {
                name: "f",
                bytes: Some(text.as_bytes()),
            })
            .collect();
        judge_together(&sources, &Flags::default()).map_err(|errors| errors.to_string())
    };
    assert_eq!(
        sources(8, "").map(|judged| judged.silent_files.len()),
        Ok(9)
    );
    assert_eq!(
        sources(8, "#"),
        Err("f: larger than 8 MiB together with the files before; write shorter files".into())
    );
}

#[test]
fn many_files_cost_no_more_than_one() {
    let dense = format!("a: [{}]", "1,".repeat(200_000));
    let source = Source {
        name: "f",
        bytes: Some(dense.as_bytes()),
    };
    let said = judge_together(&[source; 7], &Flags::default())
        .unwrap_err()
        .to_string();
    let together = "more than 262144 keys and items, with those of the files before";
    assert_eq!(said.matches("a: unknown key").count(), 1, "{said}");
    assert_eq!(said.matches(together).count(), 6, "{said}");
}

/// A line that a file may hold.
fn line() -> impl Strategy<Value = String> {
    let cidr = prop::sample::select(vec![
        "10.0.0.0/8",
        "10.1.0.0/16",
        "fd00::/8",
        "10.0.0.1/8",
        "x",
    ]);
    let list = prop::sample::select(vec![
        "nonMasqueradeCIDRs",
        "masqueradeCIDRs",
        "sourceCIDRs",
        "snatAddressCIDRs",
    ]);
    let boolean = prop::sample::select(vec![
        "enableIPv6",
        "masqLinkLocal",
        "masqNodeTraffic",
        "enforce",
    ]);
    prop_oneof![
        (list, proptest::collection::vec(cidr, 0..4))
            .prop_map(|(key, cidrs)| format!("{key}: [{}]", cidrs.join(", "))),
        (
            boolean,
            prop::sample::select(vec!["true", "false", "on", "", "1"])
        )
            .prop_map(|(key, value)| format!("{key}: {value}")),
        prop::sample::select(vec![
            "cidrLimit: 2",
            "cidrLimit: 3",
            "toPorts: 1-2",
            "toPorts: '3'",
            "x: 1",
            "]"
        ])
        .prop_map(str::to_owned),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn whatever_files_hold_is_merged_or_each_error_is_one_line_of_a_file(
        files in proptest::collection::vec(proptest::collection::vec(line(), 0..4), 0..4)
    ) {
        let files: Vec<String> = files.iter().map(|lines| lines.join("\n")).collect();
        let texts: Vec<&str> = files.iter().map(String::as_str).collect();
        match judged(&texts) {
            Err(said) => for line in said.lines() {
                prop_assert!(line.starts_with(|c| ('a'..='d').contains(&c)), "{}", line);
            },
            Ok(Judged { config, warnings, .. }) => {
                let lists = [&config.non_masquerade_cidrs, &config.masquerade_cidrs, &config.source_cidrs, &config.snat_address_cidrs];
                let holds_ipv6 = lists.into_iter().flatten().any(|cidr| matches!(cidr, IpNet::V6(_)));
                prop_assert!(config.enable_ipv6 || !holds_ipv6);
                let in_both = |cidr| config.non_masquerade_cidrs.contains(cidr);
                prop_assert!(!config.masquerade_cidrs.iter().any(in_both));
                prop_assert!(warnings.iter().all(|warning| warning.to_string().lines().count() == 1));
                // What the first files mean does not depend on empty ones among them.
                let mut with_empty = vec![""];
                with_empty.extend(&texts);
                let again = judge_together(
                    &with_empty
                        .iter()
                        .map(|text| Source { name: "f", bytes: Some(text.as_bytes()) })
                        .collect::<Vec<_>>(),
                    &Flags::default(),
                );
                prop_assert_eq!(again.map(|judged| judged.config), Ok(config));
            }
        }
    }
}
