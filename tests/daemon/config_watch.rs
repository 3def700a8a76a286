//! Whatever path the configuration has, what changes on the way to it is followed before any resync, and nothing else
//! that happens there disturbs.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::DAEMON;
use crate::support::daemon::{TemporaryDirectory, spawn};
use crate::support::netns::{Namespace, succeed};
use crate::support::volume::Volume;
use crate::support::wait_until;

/// Generous: the promise is milliseconds, the resync interval a minute.
const LIMIT: Duration = Duration::from_secs(5);

/// A daemon, the directory in which all lies that it reads, and one for its log. Dropped, it is killed.
struct Watching {
    daemon: Child,
    directory: TemporaryDirectory,
    log: TemporaryDirectory,
    _namespace: Namespace,
}

impl Watching {
    /// Starts the daemon on a path below the directory that `prepare` has filled.
    fn start(path: &str, prepare: impl FnOnce(&Path)) -> Self {
        let namespace = Namespace::new().unwrap();
        let command = namespace.command(DAEMON);
        Self::start_with(command, namespace, path, prepare)
    }

    fn start_with(
        mut command: Command,
        namespace: Namespace,
        path: &str,
        prepare: impl FnOnce(&Path),
    ) -> Self {
        let (directory, log) = (
            TemporaryDirectory::new().unwrap(),
            TemporaryDirectory::new().unwrap(),
        );
        prepare(directory.path());
        command
            .args(["run", "--http-address=off", "--config"])
            .arg(directory.path().join(path));
        command.stderr(fs::File::create(log.path().join("log")).unwrap());
        let watching = Self {
            daemon: spawn(command).unwrap(),
            directory,
            log,
            _namespace: namespace,
        };
        watching.wait_for_log("applied and read back");
        watching
    }

    fn at(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.log.path().join("log")).unwrap()
    }

    #[track_caller]
    fn wait_for_log(&self, words: &str) {
        wait_until(LIMIT, || self.log().contains(words))
            .unwrap_or_else(|error| panic!("{words}: {error}\n{}", self.log()));
    }

    /// Writes the file in place, and waits until the daemon has read it.
    #[track_caller]
    fn edit(&self, path: &str, cidr: &str) {
        write(&self.at(path), cidr);
        self.wait_for_log(cidr);
    }

    fn process(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.daemon.id()).unwrap())
    }

    fn reload(&self) {
        kill(self.process(), Signal::SIGHUP).unwrap();
    }

    fn wakeups(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.unwrap().trim().parse().unwrap()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // An error here says that it has ended already.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// A file with one CIDR, in a directory that is made if need be.
fn write(file: &Path, cidr: &str) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, format!("nonMasqueradeCIDRs: [{cidr}]\n")).unwrap();
}

/// Makes `link` lead to `target` in one step, as deployments and ConfigMap volumes do.
fn swap(link: &Path, target: impl AsRef<Path>) {
    let new = link.with_extension("new");
    symlink(target, &new).unwrap();
    fs::rename(new, link).unwrap();
}

#[test]
fn a_link_to_a_directory_that_is_swapped_is_followed_and_what_is_edited_behind_it() {
    let watching = Watching::start("current/etc/config", |directory| {
        write(&directory.join("v0/etc/config"), "192.0.2.0/24");
        symlink("v0", directory.join("current")).unwrap();
    });
    for n in 1..20 {
        let file = format!("v{n}/etc/config");
        write(&watching.at(&file), &format!("192.0.2.{n}/32"));
        swap(&watching.at("current"), format!("v{n}"));
        watching.wait_for_log(&format!("192.0.2.{n}/32"));
        watching.edit(&file, &format!("198.51.100.{n}/32"));
    }
}

#[test]
fn a_parent_directory_that_is_replaced_is_followed_and_what_is_edited_in_the_new_one() {
    let watching = Watching::start("etc/app/config", |directory| {
        write(&directory.join("etc/app/config"), "192.0.2.0/24");
    });
    for n in 1..20 {
        // The parent, or the one above it.
        let (parent, new) = match n % 2 {
            0 => ("etc/app", "new/config"),
            _ => ("etc", "new/app/config"),
        };
        let cidr = format!("192.0.2.{n}/32");
        write(&watching.at(new), &cidr);
        fs::rename(watching.at(parent), watching.at(&format!("old-{n}"))).unwrap();
        fs::rename(watching.at("new"), watching.at(parent)).unwrap();
        watching.wait_for_log(&cidr);
        watching.edit("etc/app/config", &format!("198.51.100.{n}/32"));
        watching.edit("etc/app/config", &format!("203.0.113.{n}/32"));
    }
}

#[test]
fn each_link_on_a_long_way_is_followed() {
    let watching = Watching::start("a/b/../c/config", |directory| {
        write(&directory.join("real/config"), "192.0.2.0/24");
        write(&directory.join("other/config"), "192.0.2.1/32");
        fs::create_dir_all(directory.join("elsewhere/b")).unwrap();
        // Relative and absolute, through each other, and up from where a link has led.
        symlink("elsewhere", directory.join("a")).unwrap();
        symlink(directory.join("hop"), directory.join("elsewhere/c")).unwrap();
        symlink("./elsewhere/b/../hop/", directory.join("hop")).unwrap();
        symlink("../real", directory.join("elsewhere/hop")).unwrap();
        symlink("none", directory.join("gone")).unwrap();
    });
    swap(&watching.at("elsewhere/hop"), "../other");
    watching.wait_for_log("192.0.2.1/32");
    watching.edit("other/config", "192.0.2.2/32");
    swap(&watching.at("hop"), watching.at("real"));
    watching.edit("real/config", "192.0.2.3/32");
    swap(&watching.at("elsewhere/c"), "../third/deep");
    watching.wait_for_log("10.0.0.0/8");
    watching.edit("third/deep/config", "192.0.2.4/32");
    fs::remove_file(watching.at("a")).unwrap();
    write(&watching.at("a/c/config"), "192.0.2.5/32");
    fs::create_dir(watching.at("a/b")).unwrap();
    watching.wait_for_log("192.0.2.5/32");
}

/// The kernel tells of the end of a directory only when nobody stands in it any more, inotify(7).
#[test]
fn a_directory_that_is_made_anew_while_a_shell_stands_in_the_old_one_is_followed() {
    let watching = Watching::start("etc/app/config", |directory| {
        write(&directory.join("etc/app/config"), "192.0.2.0/24");
    });
    let _standing_in = ["etc", "etc/app"].map(|path| fs::File::open(watching.at(path)).unwrap());
    fs::remove_file(watching.at("etc/app/config")).unwrap();
    watching.wait_for_log("10.0.0.0/8");
    fs::remove_dir(watching.at("etc/app")).unwrap();
    watching.edit("etc/app/config", "192.0.2.2/32");
    fs::remove_file(watching.at("etc/app/config")).unwrap();
    wait_until(LIMIT, || watching.log().matches("10.0.0.0/8").count() == 2).unwrap();
    fs::remove_dir_all(watching.at("etc")).unwrap();
    watching.edit("etc/app/config", "192.0.2.1/32");
}

/// No watch tells of a mount.
#[test]
fn what_is_mounted_over_a_directory_is_watched_from_the_next_reading_on() {
    let watching = Watching::start("etc/config", |directory| {
        write(&directory.join("etc/config"), "192.0.2.0/24");
        write(&directory.join("volume/config"), "192.0.2.1/32");
    });
    let mut mount = Command::new("mount");
    mount.arg("--bind");
    succeed(mount.args([watching.at("volume"), watching.at("etc")])).unwrap();
    watching.reload();
    watching.wait_for_log("192.0.2.1/32");
    let edited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        watching.edit("volume/config", "192.0.2.2/32");
    }));
    succeed(Command::new("umount").arg(watching.at("etc"))).unwrap();
    edited.unwrap();
}

/// As `docker run -v file:file` does it: no directory tells of such a file.
#[test]
fn a_file_that_is_mounted_by_itself_is_followed_and_that_it_is_one_is_said_once() {
    let watching = Watching::start("etc/config", |directory| {
        write(&directory.join("host/config"), "192.0.2.0/24");
        write(&directory.join("etc/config"), "192.0.2.1/32");
        let mut mount = Command::new("mount");
        mount.arg("--bind");
        succeed(mount.args([directory.join("host/config"), directory.join("etc/config")])).unwrap();
    });
    let followed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        for n in 2..10 {
            // Where it comes from, and where it is mounted.
            let path = ["host/config", "etc/config"][n % 2];
            watching.edit(path, &format!("192.0.2.{n}/32"));
        }
        let log = watching.log();
        assert_eq!(log.matches("is mounted by itself").count(), 1, "{log}");
        assert!(!log.contains("10.0.0.0/8"), "{log}");
    }));
    succeed(Command::new("umount").arg(watching.at("etc/config"))).unwrap();
    followed.unwrap();
    watching.reload();
    watching.wait_for_log("192.0.2.1/32");
    watching.edit("etc/config", "198.51.100.1/32");
}

#[test]
fn each_version_of_a_config_map_volume_is_followed() {
    let watching = Watching::start("volume/config", |directory| {
        publish(&directory.join("volume"), 0);
    });
    for n in 1..30 {
        publish(&watching.at("volume"), n);
        watching.wait_for_log(&format!("192.0.2.{n}/32"));
    }
    let log = watching.log();
    assert!(!log.contains("10.0.0.0/8"), "{log}");
    assert!(!log.contains("is mounted by itself"), "{log}");
}

/// As the kubelet does it, with no pause between the versions: the last one counts.
#[test]
fn the_last_of_many_versions_at_once_is_followed() {
    let watching = Watching::start("volume/config", |directory| {
        publish(&directory.join("volume"), 0);
    });
    for n in 1..250 {
        publish(&watching.at("volume"), n);
    }
    watching.wait_for_log("192.0.2.249/32");
    let log = watching.log();
    assert!(!log.contains("10.0.0.0/8"), "{log}");
}

fn publish(volume: &Path, n: usize) {
    let text = format!("nonMasqueradeCIDRs: [192.0.2.{n}/32]\n");
    fs::create_dir_all(volume).unwrap();
    let volume = Volume(volume.to_owned());
    volume.publish(&format!("v{n}"), &text).unwrap();
}

/// Each piece is told by the kernel, and none of them but the last can be read.
#[test]
fn a_file_that_is_half_written_and_completed_soon_after_was_never_bad() {
    let watching = Watching::start("etc/config", |directory| {
        write(&directory.join("etc/config"), "192.0.2.0/24");
    });
    for n in 1..5 {
        let cidr = format!("192.0.2.{n}/32");
        fs::write(watching.at("etc/config"), "").unwrap();
        let (half, rest) = cidr.split_at(7);
        for piece in ["nonMasqueradeCIDRs: [", half, rest, "]"] {
            std::thread::sleep(Duration::from_millis(30));
            let mut file = fs::File::options();
            let mut file = file.append(true).open(watching.at("etc/config")).unwrap();
            file.write_all(piece.as_bytes()).unwrap();
        }
        watching.wait_for_log(&cidr);
    }
    let log = watching.log();
    assert!(!log.contains("bad") && !log.contains("10.0.0.0/8"), "{log}");
}

#[test]
fn what_else_happens_on_the_way_brings_no_reading_and_above_plain_directories_no_wake_up() {
    let watching = Watching::start("busy/current/config", |directory| {
        write(&directory.join("busy/v0/config"), "192.0.2.0/24");
        symlink("v0", directory.join("busy/current")).unwrap();
    });
    std::thread::sleep(Duration::from_millis(200));
    let readings = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).unwrap();
    let file = watching.at("busy/v0/config");
    readings.add_watch(&file, AddWatchFlags::IN_OPEN).unwrap();
    let before = watching.wakeups();
    disturb(&watching.at(""));
    assert_eq!(watching.wakeups(), before);
    disturb(&watching.at("busy"));
    disturb(&watching.at("busy/v0"));
    assert!(readings.read_events().is_err());
    watching.edit("busy/v0/config", "192.0.2.1/32");
    assert!(readings.read_events().is_ok());
}

/// All that can happen to another name in a directory.
fn disturb(directory: &Path) {
    for n in 0..50 {
        let (file, moved) = (
            directory.join(format!("other-{n}")),
            directory.join("moved"),
        );
        fs::write(&file, "noise").unwrap();
        fs::rename(file, &moved).unwrap();
        fs::remove_file(moved).unwrap();
    }
    fs::create_dir(directory.join("other")).unwrap();
    fs::remove_dir(directory.join("other")).unwrap();
    std::thread::sleep(Duration::from_millis(200));
}

/// `user.max_inotify_watches` or another limit of the user namespace that a daemon lives in, namespaces(7).
fn limit(daemon: &Watching, name: &str, value: u32) {
    let mut nsenter = Command::new("nsenter");
    nsenter.args(["--user", "--target", &daemon.process().to_string()]);
    let script = format!("echo {value} > /proc/sys/user/{name}");
    succeed(nsenter.args(["sh", "-ceu", &script])).unwrap();
}

/// Starts a daemon in a user namespace of its own where the limit is 0.
fn start_without(name: &str) -> Watching {
    let script = format!("echo 0 > /proc/sys/user/{name}; exec \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "sh", "-ceu"]);
    command.args([&script, "sh", DAEMON]);
    Watching::start_with(
        command,
        Namespace::new().unwrap(),
        "etc/config",
        |directory| {
            write(&directory.join("etc/config"), "192.0.2.0/24");
            let mut file = fs::File::options();
            let file = file.append(true).open(directory.join("etc/config"));
            file.unwrap().write_all(b"resyncInterval: 100ms\n").unwrap();
        },
    )
}

/// A limit is said once, however many readings there are, and what it has kept away is tried again at each of them.
#[track_caller]
fn assert_limit_is_said_once_and_forgotten_when_lifted(name: &str, words: &str) {
    let watching = start_without(name);
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(50));
        watching.reload();
    }
    std::thread::sleep(Duration::from_millis(500));
    let log = watching.log();
    assert_eq!(
        log.matches("seen at the next resync only").count(),
        1,
        "{log}"
    );
    assert!(log.contains(words), "{log}");
    limit(&watching, name, 1000);
    watching.wait_for_log("changes of the configuration are seen at once again");
    // From here on no resync helps.
    watching.edit("etc/config", "192.0.2.1/32");
    watching.edit("etc/config", "192.0.2.2/32");
    let log = watching.log();
    assert_eq!(log.matches("at once again").count(), 1, "{log}");
}

#[test]
fn a_watch_that_cannot_be_made_is_said_once_and_made_at_a_resync() {
    assert_limit_is_said_once_and_forgotten_when_lifted(
        "max_inotify_watches",
        "raise fs.inotify.max_user_watches",
    );
}

#[test]
fn an_inotify_instance_that_cannot_be_had_is_said_once_and_made_at_a_resync() {
    assert_limit_is_said_once_and_forgotten_when_lifted(
        "max_inotify_instances",
        "raise fs.inotify.max_user_instances",
    );
}

#[test]
fn events_while_a_watch_cannot_be_made_do_not_fill_the_log() {
    let watching = start_without("max_inotify_watches");
    // As many watches as the plain directories on the way need.
    for watches in 1..20 {
        limit(&watching, "max_inotify_watches", watches);
        std::thread::sleep(Duration::from_millis(250));
        if watching.log().contains("at once again") {
            break;
        }
    }
    let said = || {
        watching
            .log()
            .matches("seen at the next resync only")
            .count()
    };
    let before = said();
    fs::create_dir_all(watching.at("there")).unwrap();
    fs::rename(watching.at("etc/config"), watching.at("there/config")).unwrap();
    for _ in 0..200 {
        swap(&watching.at("etc/config"), "../there/config");
        std::thread::sleep(Duration::from_millis(2));
    }
    wait_until(LIMIT, || said() > before).unwrap_or_else(|_| panic!("{}", watching.log()));
    assert_eq!(said(), before + 1, "{}", watching.log());
}
