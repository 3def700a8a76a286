//! Files on disk, as they are found and read.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::stat::Mode;

use super::*;

/// A directory of its own for each test, removed when dropped.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "config-source-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, bytes: &[u8]) -> PathBuf {
        self.named("config", bytes)
    }

    fn named(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn error(path: &Path) -> String {
    load(&[path.into()], &Flags::default())
        .unwrap_err()
        .error
        .to_string()
}

fn without_file() -> Loaded {
    Loaded {
        config: config::defaults(&Flags::default()),
        warnings: Vec::new(),
        files: Vec::new(),
        silent_files: Vec::new(),
        found: Vec::new(),
    }
}

/// What is exempt by the files in the directory.
fn exempt(directory: &Path) -> Vec<String> {
    let loaded = load(&[directory.into()], &Flags::default()).unwrap();
    let cidrs = loaded.config.non_masquerade_cidrs;
    cidrs.iter().map(ToString::to_string).collect()
}

fn list(cidr: &str) -> String {
    format!("nonMasqueradeCIDRs: [{cidr}]\n")
}

#[test]
fn an_absent_file_or_directory_means_the_defaults() {
    let directory = Directory::new();
    for path in ["config", "no/such/config"] {
        let loaded = load(&[directory.0.join(path)], &Flags::default()).unwrap();
        assert_eq!(loaded, without_file());
        assert!(loaded.files.is_empty());
    }
    assert_eq!(load(&[], &Flags::default()).unwrap(), without_file());
}

#[test]
fn where_a_configuration_comes_from_names_the_files_or_what_was_looked_at() {
    let directory = Directory::new();
    let origin = |paths: &[&PathBuf]| {
        let paths: Vec<PathBuf> = paths.iter().map(|&path| path.clone()).collect();
        let loaded = load(&paths, &Flags::default()).unwrap();
        Origin::of(&loaded, &paths).to_string()
    };
    let root = &directory.0;
    let [a, b] = ["a", "b"].map(|name| root.join(name));
    let [in_words_of_a, in_words_of_b, in_words_of_root] =
        [&a, &b, root].map(|path| path.display().to_string());
    let absent = format!("there is no file {in_words_of_a}");
    let nothing = format!("no configuration file in directory {in_words_of_root}");
    assert_eq!(origin(&[&a]), format!("{absent}, so the defaults apply"));
    assert_eq!(
        origin(&[&a, &b, root]),
        format!("{absent} or {in_words_of_b} and {nothing}, so the defaults apply")
    );
    assert_eq!(
        origin(&[root]),
        format!("there is {nothing}, so the defaults apply")
    );
    assert_eq!(origin(&[]), "there is no file, so the defaults apply");
    directory.named("a", "");
    assert_eq!(
        origin(&[root]),
        format!("{in_words_of_a} says nothing, so the defaults apply")
    );
    directory.named("b", list("10.0.0.0/8"));
    assert_eq!(
        origin(&[root]),
        format!("the configuration is that of {in_words_of_b}")
    );
}

#[test]
fn a_file_is_read_and_judged() {
    let directory = Directory::new();
    let path = directory.file(b"masqlinklocal: true");
    let loaded = load(std::slice::from_ref(&path), &Flags::default()).unwrap();
    assert!(loaded.files == [path.clone()] && loaded.config.masq_link_local);
    assert_eq!(loaded.warnings.len(), 1);
    fs::write(&path, "a: 1\nb: 2\n").unwrap();
    let said = error(&path);
    assert_eq!(said.lines().count(), 2);
    assert!(
        said.starts_with(&format!("{}:1: a: unknown key", path.display())),
        "{said}"
    );
}

fn set_modified(path: &Path, time: SystemTime) {
    let file = OpenOptions::new().append(true).open(path).unwrap();
    file.set_modified(time).unwrap();
}

#[test]
fn what_does_not_parse_may_be_half_written_until_it_has_been_left_alone_for_a_moment() {
    let directory = Directory::new();
    let path = directory.file(b"nonMasqueradeCIDRs: [");
    let paths = [path.clone()];
    let is_half_written = || {
        let failure = load(&paths, &Flags::default()).unwrap_err();
        assert!(failure.error.bad.is_some(), "{failure:?}");
        assert_eq!(failure.files_with_contents, paths);
        failure.may_be_half_written
    };
    assert!(is_half_written());
    set_modified(&path, SystemTime::now() - SETTLED_AFTER);
    assert!(!is_half_written());
    // Of a clock that was put back meanwhile.
    set_modified(&path, SystemTime::now() + Duration::from_secs(3600));
    assert!(is_half_written());
    set_modified(&path, SystemTime::UNIX_EPOCH - Duration::from_secs(1));
    assert!(!is_half_written());
}

#[test]
fn what_parses_counts_at_once_also_while_someone_has_it_open_for_writing() {
    let directory = Directory::new();
    let paths = [directory.file(b"masqLinkLocal: true")];
    let _writer = OpenOptions::new().append(true).open(&paths[0]).unwrap();
    assert!(
        load(&paths, &Flags::default())
            .unwrap()
            .config
            .masq_link_local
    );
}

/// It may have given what it held, cut where it ends now.
#[test]
fn a_file_that_is_written_anew_in_place_while_it_is_read_is_read_again() {
    let directory = Directory::new();
    let path = directory.file(list("10.0.0.0/8").as_bytes());
    let paths = [path.clone()];
    let reading = Reading::of(&paths).unwrap();
    assert!(reading.is_of_one_moment(&paths).unwrap());
    fs::write(&path, list("172.16.0.0/12")).unwrap();
    assert!(!reading.is_of_one_moment(&paths).unwrap());
}

#[test]
fn a_command_waits_for_what_is_half_written_and_no_longer_than_it_must() {
    let directory = Directory::new();
    let path = directory.file(b"nonMasqueradeCIDRs: [");
    let paths = [path.clone()];
    let started = Instant::now();
    let bad = load_patiently(&paths, &Flags::default()).unwrap_err();
    assert!(bad.bad.is_some(), "{bad:?}");
    assert!(started.elapsed() >= SETTLED_AFTER && started.elapsed() < PATIENCE);
    let started = Instant::now();
    assert!(load_patiently(&paths, &Flags::default()).is_err());
    assert!(started.elapsed() < SETTLED_AFTER, "it is settled by now");
    fs::write(&path, "nonMasqueradeCIDRs: [").unwrap();
    let writer = thread::spawn(move || {
        for piece in ["192.0.2.1/32", ", ", "192.0.2.2/32", "]"] {
            thread::sleep(Duration::from_millis(50));
            let mut file = OpenOptions::new().append(true).open(&path).unwrap();
            file.write_all(piece.as_bytes()).unwrap();
        }
    });
    let loaded = load_patiently(&paths, &Flags::default()).unwrap();
    assert_eq!(loaded.config.non_masquerade_cidrs.len(), 2);
    writer.join().unwrap();
}

#[test]
fn a_command_waits_at_most_a_second() {
    let directory = Directory::new();
    let path = directory.file(b"bad");
    set_modified(&path, SystemTime::now() + Duration::from_secs(3600));
    let started = Instant::now();
    let bad = load_patiently(&[path], &Flags::default()).unwrap_err();
    assert!(bad.bad.is_some(), "{bad:?}");
    assert!(started.elapsed() >= PATIENCE && started.elapsed() < 2 * PATIENCE);
}

#[test]
fn a_file_named_for_its_own_sake_must_be_there() {
    let directory = Directory::new();
    let absent = load_existing(&[directory.0.join("config")], &Flags::default());
    let unread = absent.unwrap_err().unread;
    assert!(matches!(*unread, [ReadError::Absent { .. }]), "{unread:?}");
}

#[test]
fn a_symbolic_link_is_followed() {
    let directory = Directory::new();
    let link = directory.0.join("link");
    symlink(directory.file(b"masqLinkLocal: true"), &link).unwrap();
    assert!(
        load(&[link], &Flags::default())
            .unwrap()
            .config
            .masq_link_local
    );
}

#[test]
fn only_a_regular_file_is_opened() {
    let directory = Directory::new();
    let fifo = directory.0.join("fifo");
    nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    assert!(error(&fifo).contains("not a regular file"));
    assert!(error(Path::new("/dev/zero")).contains("not a regular file"));
}

#[test]
fn a_file_below_a_file_cannot_be_read() {
    let directory = Directory::new();
    let below = directory.file(b"").join("config");
    assert!(error(&below).starts_with("cannot read the configuration file"));
}

#[test]
fn a_file_over_the_limit_is_not_read_on() {
    let directory = Directory::new();
    let path = directory.file(b"");
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(1 << 40).unwrap();
    drop(file);
    assert!(
        error(&path).ends_with("larger than 1 MiB, which no ConfigMap holds; write a shorter file")
    );
}

#[test]
fn the_regular_files_of_a_directory_are_read_in_the_order_of_names() {
    let directory = Directory::new();
    let version = directory.0.join("..version");
    fs::create_dir(&version).unwrap();
    fs::write(version.join("linked"), list("192.0.2.3/32")).unwrap();
    symlink("..version", directory.0.join("..data")).unwrap();
    symlink("..data/linked", directory.0.join("c")).unwrap();
    directory.named("d", list("192.0.2.4/32"));
    directory.named("B", list("192.0.2.1/32"));
    directory.named("a.json", "{\"nonMasqueradeCIDRs\": [\"192.0.2.2/32\"]}");
    directory.named(".hidden", "bad");
    directory.named("d~", "bad");
    fs::create_dir(directory.0.join("sub-directory")).unwrap();
    directory.named("sub-directory/bad", "bad");
    symlink("sub-directory", directory.0.join("linked-directory")).unwrap();
    symlink("nowhere", directory.0.join("dangling")).unwrap();
    nix::unistd::mkfifo(&directory.0.join("fifo"), Mode::S_IRWXU).unwrap();
    assert_eq!(
        exempt(&directory.0),
        [
            "192.0.2.1/32",
            "192.0.2.2/32",
            "192.0.2.3/32",
            "192.0.2.4/32"
        ]
    );
    let loaded = load(std::slice::from_ref(&directory.0), &Flags::default()).unwrap();
    let names = ["B", "a.json", "c", "d"];
    assert_eq!(loaded.files, names.map(|name| directory.0.join(name)));
}

#[test]
fn files_and_directories_are_read_in_the_order_given_and_those_that_are_not_there_say_nothing() {
    let directory = Directory::new();
    let first = Directory::new();
    first.named("config", list("192.0.2.1/32"));
    let paths = [
        directory.0.join("absent"),
        directory.named("b", list("192.0.2.2/32")),
        first.0.clone(),
        directory.named("empty", ""),
        first.0.join("absent/config"),
    ];
    let loaded = load(&paths, &Flags::default()).unwrap();
    let cidrs: Vec<String> = loaded
        .config
        .non_masquerade_cidrs
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(cidrs, ["192.0.2.2/32", "192.0.2.1/32"]);
    let paths = ["b", "empty"].map(|name| directory.0.join(name));
    let [b, empty] = paths;
    assert_eq!(loaded.files, [b, first.0.join("config"), empty.clone()]);
    assert_eq!(loaded.silent_files, [empty]);
}

#[test]
fn a_directory_without_files_means_the_defaults() {
    let directory = Directory::new();
    let loaded = load(std::slice::from_ref(&directory.0), &Flags::default()).unwrap();
    assert_eq!(loaded, without_file());
    directory.named("empty", "");
    let loaded = load(std::slice::from_ref(&directory.0), &Flags::default()).unwrap();
    assert!(!loaded.files.is_empty() && loaded.files == loaded.silent_files);
    assert_eq!(loaded.config, without_file().config);
}

#[test]
fn all_errors_of_all_files_come_at_once() {
    let directory = Directory::new();
    let fifo = directory.0.join("fifo");
    nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let paths = [
        directory.named("a", "nonMasqueradeCIDRs: [10.0.0.1/8]\n"),
        fifo,
        directory.named("b", "a: ]"),
        // Whether this one is an error depends on what the others hold.
        directory.named("c", list("fd00::/8")),
        directory.named("d", "masqLinkLocal: 1"),
    ];
    let said = load(&paths, &Flags::default())
        .unwrap_err()
        .error
        .to_string();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 4, "{said}");
    assert!(lines[0].contains("fifo is not a regular file"), "{said}");
    assert!(lines[1].contains("/a:1: nonMasqueradeCIDRs"), "{said}");
    assert!(lines[2].contains("/b:1: not valid YAML"), "{said}");
    assert!(lines[3].contains("/d:1: masqLinkLocal"), "{said}");
}

/// What is wrong with one may be because another is not whole yet.
#[test]
fn one_file_of_several_that_was_written_a_moment_ago_is_waited_for() {
    let directory = Directory::new();
    let [a, b] = [("a", "bad"), ("b", "")].map(|(name, text)| directory.named(name, text));
    set_modified(&a, SystemTime::UNIX_EPOCH);
    let paths = [directory.0.clone()];
    assert!(
        load(&paths, &Flags::default())
            .unwrap_err()
            .may_be_half_written
    );
    set_modified(&b, SystemTime::UNIX_EPOCH);
    let failure = load(&paths, &Flags::default()).unwrap_err();
    assert!(!failure.may_be_half_written);
    assert_eq!(failure.files_with_contents, [a]);
}

#[test]
fn files_that_are_too_large_together_are_not_read_on() {
    let directory = Directory::new();
    for name in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"] {
        directory.named(name, "#".repeat(MAX_FILE_BYTES));
    }
    let said = error(&directory.0);
    let expected = "/i: larger than 8 MiB together with the files before; write shorter files";
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.ends_with(expected), "{said}");
}

#[test]
fn there_is_a_limit_to_how_many_files_there_are() {
    let directory = Directory::new();
    for number in 0..MAX_FILES {
        directory.named(
            &format!("{number:03}"),
            list(&format!("10.0.{number}.0/24")),
        );
    }
    assert_eq!(exempt(&directory.0).len(), MAX_FILES);
    directory.named("one-more", "");
    let error = load_patiently(std::slice::from_ref(&directory.0), &Flags::default()).unwrap_err();
    assert!(matches!(*error.unread, [ReadError::TooMany]), "{error:?}");
}

#[test]
fn a_named_directory_must_be_there() {
    let directory = Directory::new();
    directory.named("a", list("192.0.2.1/32"));
    assert!(load_existing(std::slice::from_ref(&directory.0), &Flags::default()).is_ok());
    let absent = load_existing(
        &[directory.0.clone(), directory.0.join("absent")],
        &Flags::default(),
    );
    let unread = absent.unwrap_err().unread;
    assert!(
        matches!(&*unread, [ReadError::Absent { path }] if path.ends_with("absent")),
        "{unread:?}"
    );
}

#[test]
fn a_file_that_is_named_twice_is_read_once() {
    let directory = Directory::new();
    let text = format!("cidrLimit: 1\n{}", list("10.0.0.0/8"));
    let file = directory.named("a", text);
    let paths = [directory.0.clone(), file, directory.0.clone()];
    let loaded = load(&paths, &Flags::default()).unwrap();
    assert_eq!(loaded.config.non_masquerade_cidrs.len(), 1);
}

/// As the kubelet swaps a ConfigMap volume with two keys that must agree.
#[test]
fn a_volume_that_is_swapped_while_it_is_read_gives_files_of_one_version() {
    let directory = Directory::new();
    let publish = |version: usize| {
        let name = format!("..{version}");
        fs::create_dir(directory.0.join(&name)).unwrap();
        for key in ["a", "b", "c", "d"] {
            let text = format!(
                "cidrLimit: {}\n{}",
                version + 4,
                list(&format!("10.0.0.{}/32", version % 256))
            );
            fs::write(directory.0.join(&name).join(key), text).unwrap();
        }
        symlink(&name, directory.0.join("..data_tmp")).unwrap();
        fs::rename(directory.0.join("..data_tmp"), directory.0.join("..data")).unwrap();
        if version > 0 {
            fs::remove_dir_all(directory.0.join(format!("..{}", version - 1))).unwrap();
        }
    };
    publish(0);
    for key in ["a", "b", "c", "d"] {
        symlink(format!("..data/{key}"), directory.0.join(key)).unwrap();
    }
    thread::scope(|scope| {
        let publisher = scope.spawn(|| (1..400).for_each(publish));
        loop {
            let is_last = publisher.is_finished();
            match load(std::slice::from_ref(&directory.0), &Flags::default()) {
                Ok(loaded) => assert_eq!(loaded.files.len(), 4),
                Err(failure) if failure.may_be_half_written && !is_last => {}
                Err(failure) => panic!("{failure:?}"),
            }
            if is_last {
                break;
            }
        }
    });
}

/// A volume as the kubelet mounts it, with these keys; `links` of them lead to where the user looks.
fn volume(keys: &[&str], links: &[&str]) -> Directory {
    let directory = Directory::new();
    let version = directory.0.join("..2026");
    fs::create_dir(&version).unwrap();
    symlink("..2026", directory.0.join("..data")).unwrap();
    for key in keys {
        fs::write(version.join(key), "enforce: true").unwrap();
    }
    for link in links {
        symlink(format!("..data/{link}"), directory.0.join(link)).unwrap();
    }
    directory
}

#[test]
fn a_volume_that_is_there_without_the_file_is_warned_of() {
    let warnings = |directory: &Directory, path: PathBuf| {
        let loaded = load(&[path], &Flags::default()).unwrap();
        let warnings = loaded.warnings.iter().map(ToString::to_string);
        let in_words = format!("{}", directory.0.display());
        warnings
            .map(|warning| warning.replace(&in_words, "DIR"))
            .collect::<Vec<_>>()
    };
    let of_file = |directory: &Directory| warnings(directory, directory.0.join("config"));
    let of_directory = |directory: &Directory| warnings(directory, directory.0.clone());

    let another_key = volume(&["ip-masq-agent", "z"], &["ip-masq-agent", "z"]);
    assert_eq!(
        of_file(&another_key),
        [
            "DIR/config: not there, so that it says nothing, though its volume is mounted and holds ip-masq-agent, z; \
             name that key as the file, or this file as the key"
        ]
    );
    assert_eq!(of_directory(&another_key), [""; 0]);
    let lost_link = volume(&["config"], &[]);
    let said = "not there, so that it says nothing, though its volume is mounted and holds config; \
                delete the pod, so that the kubelet mounts the volume again";
    assert_eq!(of_file(&lost_link), [format!("DIR/config: {said}")]);
    assert_eq!(of_directory(&lost_link), [format!("DIR: {said}")]);
    for good in [
        // `optional: true`, and no such ConfigMap.
        volume(&[], &[]),
        volume(&["config"], &["config"]),
        Directory::new(),
    ] {
        assert_eq!(of_file(&good), [""; 0]);
        assert_eq!(of_directory(&good), [""; 0]);
    }
}

#[test]
fn a_file_without_a_key_says_nothing() {
    let directory = Directory::new();
    for (text, is_silent) in [
        ("", true),
        ("# nothing\n---\n", true),
        ("{}", true),
        ("enforce:", false),
    ] {
        let path = directory.file(text.as_bytes());
        let loaded = load(std::slice::from_ref(&path), &Flags::default()).unwrap();
        assert_eq!(loaded.silent_files.contains(&path), is_silent, "{text}");
        assert_eq!(loaded.files_with_contents().is_empty(), is_silent, "{text}");
    }
}
