//! The image: what is in it, and the rights that its program gets by with, in a real OCI runtime and with the manifest's
//! security context.
//!
//! By itself this tests the root file system as the Dockerfile's scripts lay it out for a quick build of the program;
//! `make test-image` gives it the one of a built image.

mod needs_root {
    use std::collections::BTreeSet;
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::path::{Path, PathBuf};
    use std::process::Command;
    use std::time::Duration;

    use nix::unistd::Pid;

    use crate::DAEMON;
    use crate::support::container::Container;
    use crate::support::daemon::WAIT_LIMIT;
    use crate::support::http::get;
    use crate::support::netns::{Namespace, succeed};
    use crate::support::nft::{Element, Nft, TABLE};
    use crate::support::root_file_system::{DOCUMENTS, PROGRAM, RootFileSystem, dockerfile};
    use crate::support::security_context::Manifest;
    use crate::support::wait_until;

    /// Unpacked, in bytes.
    const SIZE_LIMIT: u64 = 15_000_000;
    /// Bit 12, capability.h, as /proc/PID/status has it.
    const ONLY_NET_ADMIN: &str = "0000000000001000";
    const NONE: &str = "0000000000000000";
    /// PR_SET_SECCOMP's SECCOMP_MODE_FILTER.
    const FILTERED: &str = "2";

    /// What the API server lets a ConfigMap hold, in bytes.
    const CONFIG_MAP_LIMIT: usize = 1 << 20;
    /// Some 70,000 CIDRs take seven seconds on a machine with nothing else to do.
    const LONG_LIST_LIMIT: Duration = Duration::from_secs(90);

    const CONFIGURATION: &str = "
nonMasqueradeCIDRs: [10.0.0.0/8]
masqueradeCIDRs: [10.9.0.0/16]
toPorts: 1024-29999,32768-65535
enforce: true
enableIPv6: true
";

    /// All regular files and links, relative to the root.
    fn files(root: &Path) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        let mut directories = vec![root.to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_dir() {
                    directories.push(entry.path());
                } else {
                    let relative = entry.path().strip_prefix(root).unwrap().to_owned();
                    found.insert(relative);
                }
            }
        }
        found
    }

    /// What the loader of the root itself loads for its program.
    fn loaded(root: &Path) -> BTreeSet<PathBuf> {
        let interpreter = files(root)
            .into_iter()
            .find(|file| file.to_string_lossy().contains("/ld-linux"))
            .unwrap();
        let mut list = Command::new("chroot");
        list.arg(root)
            .arg(Path::new("/").join(&interpreter))
            .args(["--list", &format!("/{PROGRAM}")]);
        let output = String::from_utf8(succeed(&mut list).unwrap().stdout).unwrap();
        let words = output.split_whitespace();
        words
            .filter_map(|word| word.strip_prefix('/'))
            .map(PathBuf::from)
            .chain([interpreter.clone()])
            .collect()
    }

    /// A field of /proc/PID/status.
    fn status(process: Pid, field: &str) -> String {
        let text = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap().trim().to_owned()
    }

    #[track_caller]
    fn assert_has_only_net_admin(process: Pid, user: u32) {
        for (field, expected) in [
            ("CapPrm", ONLY_NET_ADMIN),
            ("CapEff", ONLY_NET_ADMIN),
            ("CapBnd", ONLY_NET_ADMIN),
            ("CapInh", NONE),
            ("CapAmb", NONE),
            ("NoNewPrivs", "1"),
            ("Seccomp", FILTERED),
        ] {
            assert_eq!(status(process, field), expected, "{field}");
        }
        let users = status(process, "Uid");
        let users: BTreeSet<&str> = users.split_whitespace().collect();
        assert_eq!(users, BTreeSet::from([user.to_string().as_str()]));
    }

    #[track_caller]
    fn assert_ready(namespace: &Namespace) {
        wait_until(WAIT_LIMIT, || {
            get(namespace, "/readyz").is_ok_and(|answer| answer.status == 200)
        })
        .unwrap();
        for (path, words) in [
            ("/healthz", "ok"),
            ("/readyz", "ready"),
            ("/metrics", "non_masquerade_daemon_in_step{family=\"ip\"} 1"),
        ] {
            let answer = get(namespace, path).unwrap();
            assert_eq!(answer.status, 200, "{path}");
            assert!(answer.body.contains(words), "{path}: {}", answer.body);
        }
    }

    /// The prefixes in the set of the IPv4 table, as seen from outside of the container.
    fn exempt(namespace: &Namespace) -> BTreeSet<String> {
        let nft = Nft::debian_13();
        let Ok(set) = nft.exempt_set(namespace) else {
            return BTreeSet::new();
        };
        // It may go meanwhile.
        let elements = nft.elements(namespace, TABLE, &set).unwrap_or_default();
        elements.iter().map(Element::origin).collect()
    }

    fn origins(names: [&str; 2]) -> BTreeSet<String> {
        names.map(str::to_owned).into()
    }

    #[test]
    fn the_image_holds_the_program_what_it_loads_and_their_licences_and_nothing_else() {
        let root = RootFileSystem::new(DAEMON).unwrap();
        let root = root.path();
        let loaded = loaded(&root);
        assert!(loaded.iter().any(|file| file.ends_with("libnftables.so.1")));
        let text_below = |file: &Path| {
            [
                "usr/share/doc",
                "usr/share/common-licenses",
                "var/lib/dpkg/status.d",
            ]
            .iter()
            .any(|directory| file.starts_with(directory))
        };
        let files = files(&root);
        let others: BTreeSet<&PathBuf> = files
            .iter()
            .filter(|file| !text_below(file) && *file != Path::new("etc/os-release"))
            .collect();
        let program = PathBuf::from(PROGRAM);
        let expected: BTreeSet<&PathBuf> = loaded.iter().chain([&program]).collect();
        assert_eq!(others, expected);
        for file in files.iter().filter(|file| text_below(file)) {
            let metadata = fs::symlink_metadata(root.join(file)).unwrap();
            assert!(metadata.is_file(), "{}", file.display());
            assert_eq!(metadata.mode() & 0o111, 0, "{}", file.display());
        }
        let sizes = files.iter();
        let sizes = sizes.map(|file| fs::symlink_metadata(root.join(file)).unwrap().len());
        let size: u64 = sizes.sum();
        assert!(size <= SIZE_LIMIT, "{size} bytes");
    }

    #[test]
    fn every_library_has_its_licence_and_its_source_named() {
        let root = RootFileSystem::new(DAEMON).unwrap();
        let root = root.path();
        let documents = root.join("usr/share/doc");
        let own = root.join(DOCUMENTS);
        let sources = fs::read_to_string(own.join("sources")).unwrap();
        let packages: BTreeSet<&str> = sources
            .lines()
            .filter_map(|line| line.split(' ').next())
            .collect();
        // The loader is the C library's.
        assert_eq!(packages.len(), loaded(&root).len() - 1, "{sources}");
        for package in &packages {
            assert!(
                documents.join(package).join("copyright").is_file(),
                "{package}"
            );
            let status =
                fs::read_to_string(root.join("var/lib/dpkg/status.d").join(package)).unwrap();
            assert!(
                status.starts_with(&format!("Package: {package}\n")),
                "{status}"
            );
        }
        assert!(sources.contains("libnftables1 1.1."), "{sources}");
        assert!(
            sources.contains(": source package nftables 1.1."),
            "{sources}"
        );
        let copyright = fs::read_to_string(own.join("copyright")).unwrap();
        assert!(copyright.contains("apt-get source"), "{copyright}");
        assert_eq!(
            fs::read_to_string(own.join("LICENSE")).unwrap(),
            include_str!("../../LICENSE")
        );
        let gpl = fs::read_to_string(root.join("usr/share/common-licenses/GPL-2")).unwrap();
        assert!(gpl.contains("GNU GENERAL PUBLIC LICENSE"));
    }

    #[test]
    fn the_program_has_net_admin_permitted_only_and_the_images_user_is_the_manifests() {
        let root = RootFileSystem::new(DAEMON).unwrap();
        let output = succeed(Command::new("getcap").arg(root.program())).unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.ends_with(" cap_net_admin=p\n"), "{said}");
        let context = Manifest::base().security_context;
        let user = format!("{}:{}", context.run_as_user, context.run_as_group);
        assert_eq!(dockerfile("USER"), user);
    }

    #[test]
    fn with_the_manifests_rights_it_programs_the_rules_answers_its_probes_and_follows_the_configmap()
     {
        let root = RootFileSystem::new(DAEMON).unwrap();
        let node = Namespace::new().unwrap();
        let manifest = Manifest::base();
        let mut container = Container::start(&root, &manifest, &node, CONFIGURATION, &[]).unwrap();
        assert_ready(&node);
        let user = manifest.security_context.run_as_user;
        assert_has_only_net_admin(container.daemon().unwrap(), user);
        assert_has_only_net_admin(container.worker().unwrap(), user);
        assert!(
            container.log().contains("libnftables 1.1."),
            "{}",
            container.log()
        );
        assert_eq!(exempt(&node), origins(["10.0.0.0/8", "link-local"]));

        // From inside.
        let status = container.exec(&["status"]).unwrap();
        status.assert_code(0);
        assert!(status.output.contains("is in step"), "{}", status.output);
        let explained = container.exec(&["explain", "10.9.1.1"]).unwrap();
        assert!(explained.output.contains("agrees"), "{}", explained.output);

        let swapped = "nonMasqueradeCIDRs: [198.51.100.0/24]\nenableIPv6: true\n";
        container.volume().update(swapped).unwrap();
        let expected = origins(["198.51.100.0/24", "link-local"]);
        wait_until(WAIT_LIMIT, || exempt(&node) == expected).unwrap();
        container.exec(&["status"]).unwrap().assert_code(0);
        assert_eq!(container.terminate().unwrap(), 0);
    }

    #[test]
    fn in_the_default_pod_the_doctor_warns_of_nothing() {
        let root = RootFileSystem::new(DAEMON).unwrap();
        let node = Namespace::new().unwrap();
        // As every node of a cluster has it.
        node.sysctl("net/ipv4/ip_forward", "1").unwrap();
        let container = Container::start(&root, &Manifest::base(), &node, "", &[]).unwrap();
        assert_ready(&node);
        let doctor = container.exec(&["doctor"]).unwrap();
        doctor.assert_code(0);
        let is_well = |line: &str| line.starts_with("ok ");
        assert!(doctor.output.lines().all(is_well), "{}", doctor.output);
    }

    #[test]
    fn with_the_manifests_rights_it_hears_of_what_others_change_and_repairs_it() {
        let root = RootFileSystem::new(DAEMON).unwrap();
        let node = Namespace::new().unwrap();
        let mut manifest = Manifest::base();
        let off = ("NON_MASQUERADE_DAEMON_TABLE_OWNER".into(), "off".into());
        manifest.environment.extend([off]);
        let container =
            Container::start(&root, &manifest, &node, "resyncInterval: 1h\n", &[]).unwrap();
        assert_ready(&node);
        let flush = format!("flush chain ip {TABLE} postrouting");
        Nft::debian_13().apply(&node, &flush).unwrap();
        container.wait_for_log("repaired and read back").unwrap();
        container.exec(&["status"]).unwrap().assert_code(0);
    }

    #[test]
    fn without_the_file_capability_it_ends_with_exit_code_4_and_names_the_component_for_root() {
        let root = RootFileSystem::new(DAEMON).unwrap();
        root.lose_file_capability().unwrap();
        let node = Namespace::new().unwrap();
        let manifest = Manifest::base();
        let (code, log) = Container::run_to_end(&root, &manifest, &node, "", &[]).unwrap();
        assert_eq!(code, 4, "{log}");
        for words in ["CAP_NET_ADMIN is missing", "manifests/components/root"] {
            assert!(log.contains(words), "{log}");
        }

        let component = Manifest::with_root();
        assert_eq!(component.security_context.run_as_user, 0);
        let container = Container::start(&root, &component, &node, "", &[]).unwrap();
        assert_ready(&node);
        assert_has_only_net_admin(container.daemon().unwrap(), 0);
        assert_has_only_net_admin(container.worker().unwrap(), 0);
        container.exec(&["status"]).unwrap().assert_code(0);
    }

    #[test]
    fn where_net_admin_is_not_granted_check_and_the_help_work_and_run_says_how_to_grant_it() {
        let root = RootFileSystem::new(DAEMON).unwrap();
        let node = Namespace::new().unwrap();
        let mut manifest = Manifest::base();
        manifest.security_context.capabilities.add.clear();
        for (arguments, expected, words) in [
            (["--help"], 0, "Usage: non-masquerade-daemon"),
            (["check"], 0, "keeps its source address"),
            (["run"], 4, "securityContext.capabilities.add: [NET_ADMIN]"),
        ] {
            let ended = Container::run_to_end(&root, &manifest, &node, "", &arguments);
            let (code, said) = ended.unwrap();
            assert_eq!(code, expected, "{arguments:?}: {said}");
            assert!(said.contains(words), "{arguments:?}: {said}");
        }
    }

    /// As many single addresses as a ConfigMap can hold, none beside another, below this first byte.
    fn longest_list(first_byte: u8) -> String {
        let mut list = String::from("nonMasqueradeCIDRs: [");
        for number in 0_u32.. {
            let [_, b, c, d] = (number * 2).to_be_bytes();
            let cidr = format!("{first_byte}.{b}.{c}.{d}/32,");
            if list.len() + cidr.len() >= CONFIG_MAP_LIMIT {
                break;
            }
            list.push_str(&cidr);
        }
        list + "]"
    }

    #[test]
    fn the_longest_lists_of_a_configmap_one_after_the_other_fit_the_manifests_memory_limit() {
        let root = RootFileSystem::new(DAEMON).unwrap();
        let node = Namespace::new().unwrap();
        let manifest = Manifest::base();
        let mut container =
            Container::start(&root, &manifest, &node, &longest_list(1), &[]).unwrap();
        // Listed by nft, such a set would take a second of its own each time.
        let is_in_step = |policies: usize| {
            let log = container.log();
            let after = log.rsplit("INFO policy: ").next().unwrap_or_default();
            log.matches("INFO policy: ").count() == policies
                && ["read back", "in step already"]
                    .iter()
                    .any(|words| after.contains(words))
        };
        wait_until(LONG_LIST_LIMIT, || is_in_step(1)).unwrap();
        container.volume().update(&longest_list(2)).unwrap();
        wait_until(LONG_LIST_LIMIT, || is_in_step(2)).unwrap();
        assert!(!container.log().contains("SIGKILL"), "{}", container.log());
        assert_eq!(container.terminate().unwrap(), 0);
    }
}
