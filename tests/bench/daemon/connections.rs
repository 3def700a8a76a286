//! What it costs to judge as many connections as a node tracks at most by default, beside reading them and no more.

use std::fs;
use std::io;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::ptrace::{self, Options};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use non_masquerade_daemon::kernel::conntrack::{Conntrack, Filter};
use non_masquerade_daemon::ruleset::Family;
use serde_json::{Value, json};

use crate::DAEMON;
use crate::configurations::with_separators;
use crate::process::{own_cpu_time, peak_kibibytes};
use crate::samples::{Samples, print_head, print_line, verdict};
use crate::support::daemon::TemporaryDirectory;
use crate::support::netns::{Namespace, feed, succeed};
use crate::support::process::cpu_time;

const CONFIGURATION: &str = "
enableIPv6: true
nonMasqueradeCIDRs: [10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 'fd00::/8']
";
const CONNECTIONS: usize = 262_144;
/// Of so many connections two contradict the configuration, one in each way.
const KINDS: usize = 16;
/// CPU time in user space and in the kernel.
const BOUND: Duration = Duration::from_secs(1);
const N: usize = 5;

/// Prints the table.
pub(crate) fn print() -> io::Result<()> {
    let connections = with_separators(CONNECTIONS);
    if let Some(most) = most_tracked().filter(|most| (1..CONNECTIONS).contains(most)) {
        println!(
            "\n{connections} connections: left out, for the host tracks {most} at most \
             (sysctl -w net.netfilter.nf_conntrack_max={CONNECTIONS})"
        );
        return Ok(());
    }
    let (namespace, directory) = (Namespace::new()?, TemporaryDirectory::new()?);
    let file = directory.path().join("config");
    fs::write(&file, CONFIGURATION)?;
    let daemon = |arguments: &[&str]| {
        let mut command = namespace.command(DAEMON);
        command.args(["connections", "--config"]).arg(&file);
        command.args(arguments);
        command
    };
    track(&namespace)?;
    check(&mut daemon(&["--format", "json"]))?;
    print_head(&format!(
        "CPU time for {connections} connections, and the most memory (resident)"
    ));
    let mut alone = Samples::default();
    for _ in 0..N {
        alone.push(namespace.run(read_alone)?);
    }
    print_cost("connections", &alone, true, || daemon(&[]))?;
    let contradicting = || daemon(&["--contradicting"]);
    print_cost("connections --contradicting", &alone, true, contradicting)?;
    print_line("each read, and not judged", &alone, Some(&alone), "");
    print_cost("conntrack -L", &alone, false, || {
        let mut list = namespace.command("conntrack");
        list.arg("-L");
        list
    })
}

/// How many connections a namespace may have, which only the initial one can change; 0: any number. `None`: conntrack is not
/// loaded yet.
fn most_tracked() -> Option<usize> {
    let most = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max").ok()?;
    most.trim().parse().ok()
}

/// Has the namespace track them: of both families, some of them Services'.
fn track(namespace: &Namespace) -> io::Result<()> {
    let lines: String = (0..CONNECTIONS).map(line).collect();
    let mut conntrack = namespace.command("conntrack");
    feed(conntrack.args(["--load-file", "-"]), &lines).map(drop)
}

/// One of them in conntrack(8)'s words. No two have the same pod, port and destination.
fn line(number: usize) -> String {
    let (kind, port) = (number % KINDS, 1_024 + (number >> 16));
    let (high, low) = (number >> 8 & 0xff, number & 0xff);
    let is_ipv6 = (number / KINDS).is_multiple_of(4);
    let [pod, exempt, public] = match is_ipv6 {
        false => ["10.244", "10.1", "1.1"].map(|network| format!("{network}.{high}.{low}")),
        true => ["fd00:244", "fd00:1", "2606:4700"]
            .map(|network| format!("{network}::{high:x}:{low:x}")),
    };
    let [node, service] = match is_ipv6 {
        false => ["192.0.2.1", "10.96.0.10"],
        true => ["2001:db8::1", "fd00:96::a"],
    };
    let (sent_to, destination, seen_source) = match kind {
        0 => (&*exempt, &exempt, node),
        1 => (&*public, &public, &*pod),
        2 | 3 => (service, &exempt, &*pod),
        4..10 => (&*exempt, &exempt, &*pod),
        _ => (&*public, &public, node),
    };
    format!(
        "-I -p udp -t 3600 -u SEEN_REPLY -s {pod} -d {sent_to} -r {destination} -q {seen_source} \
         --sport {port} --dport 53 --reply-port-src 53 --reply-port-dst {port}\n"
    )
}

/// Fails unless all are told of, and what contradicts is.
fn check(command: &mut Command) -> io::Result<()> {
    let told: Value = serde_json::from_slice(&succeed(command)?.stdout)?;
    let of_each = CONNECTIONS / KINDS;
    let contradictions = json!({
        "masqueraded_though_exempt": of_each,
        "kept_though_to_be_masqueraded": of_each,
        "other_address": 0,
    });
    if told.get("connections") == Some(&json!(CONNECTIONS))
        && told.get("contradictions") == Some(&contradictions)
    {
        return Ok(());
    }
    Err(io::Error::other(format!("not what is tracked: {told}")))
}

/// The CPU time in which all are read, and nothing is found of them.
fn read_alone() -> io::Result<Duration> {
    let before = own_cpu_time()?;
    let (conntrack, mut read) = (Conntrack::open()?, 0);
    for family in Family::ALL {
        conntrack.dump(family, &Filter::default(), |_| read += 1)?;
    }
    match read {
        CONNECTIONS => Ok(own_cpu_time()? - before),
        _ => Err(io::Error::other(format!("{read} were read"))),
    }
}

fn print_cost(
    what: &str,
    alone: &Samples,
    is_bound: bool,
    command: impl Fn() -> Command,
) -> io::Result<()> {
    let (mut times, mut peak) = (Samples::default(), 0);
    for _ in 0..N {
        let (cpu_time, kibibytes) = cost(&mut command())?;
        times.push(cpu_time);
        peak = peak.max(kibibytes);
    }
    let mut said = format!("{peak} KiB");
    if is_bound {
        said += &verdict("  at most 1 s", times.median() <= BOUND);
    }
    print_line(what, &times, Some(alone), &said);
    Ok(())
}

/// The CPU time of a command, and the most KiB that it had resident.
fn cost(command: &mut Command) -> io::Result<(Duration, u64)> {
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let process = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
    // A tracer holds it where it ends: afterwards nobody knows how much it had. (What wait4(2) says includes the memory of
    // the process that started it.)
    ptrace::seize(process, Options::PTRACE_O_TRACEEXIT)?;
    waitpid(process, None)?;
    let cost = (cpu_time(process)?, peak_kibibytes(process)?);
    ptrace::detach(process, None)?;
    child.wait()?;
    Ok(cost)
}
