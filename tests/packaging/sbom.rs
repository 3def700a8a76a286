//! The list of what is in the image, `sbom.spdx.json`. Of a built image in `make test-image`, otherwise of one that is laid
//! out for a quick build of the program.

mod needs_root {
    use std::collections::BTreeSet;
    use std::fs;

    use serde_json::Value;

    use crate::DAEMON;
    use crate::support::root_file_system::{DOCUMENTS, RootFileSystem};

    /// The crates are those of which there are licences, the packages those that scanners find.
    #[test]
    fn the_list_of_what_is_inside_is_spdx_and_names_each_crate_and_package() {
        let root = RootFileSystem::new(DAEMON).unwrap();
        let root = root.path();
        let own = root.join(DOCUMENTS);
        let text = fs::read_to_string(own.join("sbom.spdx.json")).unwrap();
        let list: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(list["spdxVersion"], "SPDX-2.3");
        let mut listed = BTreeSet::new();
        let mut identifiers = BTreeSet::new();
        for package in list["packages"].as_array().unwrap() {
            let word = |key: &str| package[key].as_str().unwrap();
            assert!(identifiers.insert(word("SPDXID").to_owned()), "{package}");
            let version = word("versionInfo");
            match package.pointer("/externalRefs/0/referenceLocator") {
                Some(purl) if purl.as_str().unwrap().starts_with("pkg:deb/") => {
                    listed.insert(format!("{} {version}", word("name")));
                }
                Some(purl) => {
                    let encoded = version.replace('+', "%2B");
                    assert_eq!(*purl, format!("pkg:cargo/{}@{encoded}", word("name")));
                    listed.insert(format!("{}-{version}", word("name")));
                }
                None => assert_eq!(version, env!("CARGO_PKG_VERSION")),
            }
        }
        let relationships = list["relationships"].as_array().unwrap().iter();
        let related = relationships.map(|of| of["relatedSpdxElement"].as_str().unwrap().to_owned());
        let related: BTreeSet<String> = related.collect();
        assert_eq!(related, identifiers);
        let sources = fs::read_to_string(own.join("sources")).unwrap();
        let packages = sources
            .lines()
            .filter_map(|line| line.split_once(": source"));
        let packages = packages.map(|(package, _)| package.to_owned());
        let crates = fs::read_dir(own.join("crates"))
            .unwrap()
            .map(Result::unwrap);
        let crates = crates.filter(|entry| entry.path().is_dir());
        let crates = crates.map(|entry| entry.file_name().into_string().unwrap());
        let inside: BTreeSet<String> = packages.chain(crates).collect();
        listed.retain(|name| !name.starts_with("rust-standard-library-"));
        assert!(inside.iter().any(|name| name.starts_with("serde-1.")));
        assert_eq!(listed, inside);
    }
}
