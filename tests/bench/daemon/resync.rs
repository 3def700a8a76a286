//! What a resync costs that finds all in step, and what the daemon costs between two.

use std::fs;
use std::io;
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::configurations::{Flip, with_separators};
use crate::process;
use crate::samples::{milliseconds, ratio, verdict};
use crate::support::daemon::TemporaryDirectory;
use crate::support::netns::Namespace;
use crate::support::process::cpu_time;
use crate::watched::Watched;
use crate::yardstick::Yardstick;

/// The shortest that a file may ask for.
const INTERVAL: Duration = Duration::from_millis(100);
/// How many CIDRs, and how many resyncs: once for their CPU time, once for their system calls, because strace(1) slows
/// them down.
const CASES: [(usize, u32); 5] = [(4, 40), (64, 40), (1_000, 40), (10_000, 20), (50_000, 3)];
/// How long the daemon is left alone.
const QUIET: Duration = Duration::from_secs(3);

/// CPU time of a resync, or its system calls.
struct Cost {
    daemon: Duration,
    worker: Duration,
    alone: Duration,
    system_calls: Option<[u32; 2]>,
}

/// Prints both tables.
pub(crate) fn print(most_cidrs: usize) -> io::Result<()> {
    println!(
        "\nA resync that finds all in step (ratio: both processes to one listing by libnftables alone)"
    );
    println!(
        "  {:<14}{:>6}{:>9}{:>9}{:>9}{:>9}{:>8}{:>22}",
        "CPU time, ms", "n", "daemon", "worker", "both", "alone", "ratio", "system calls d + w"
    );
    for (cidrs, resyncs) in CASES {
        if cidrs > most_cidrs {
            continue;
        }
        let alone = Namespace::new()?;
        let name = format!("{} CIDRs", with_separators(cidrs));
        match alone.run(|| measure(Flip::one_of(cidrs), resyncs, &alone))? {
            Some(cost) => cost.print(&name, resyncs),
            None => println!("  {name:<14}  left out: a worker was too slow, and was replaced"),
        }
    }
    print_quiet()
}

fn print_quiet() -> io::Result<()> {
    let (watched, _) = Watched::start(&Namespace::new()?, "")?;
    let [daemon, worker] = processes(&watched)?;
    thread::sleep(Duration::from_millis(200));
    let count = || Ok::<_, io::Error>(process::wake_ups(daemon)? + process::wake_ups(worker)?);
    let before = count()?;
    thread::sleep(QUIET);
    let woken = count()? - before;
    let verdict = verdict("0", woken == 0);
    println!("  Wake-ups of both processes in {QUIET:?} between two resyncs: {woken}  {verdict}");
    Ok(())
}

impl Cost {
    fn print(&self, name: &str, n: u32) {
        let both = self.daemon + self.worker;
        println!(
            "  {name:<14}{n:>6}{:>9.2}{:>9.2}{:>9.2}{:>9.2}{:>8.2}{:>22}",
            milliseconds(self.daemon),
            milliseconds(self.worker),
            milliseconds(both),
            milliseconds(self.alone),
            ratio(both, self.alone),
            self.system_calls
                .map_or("no strace".to_owned(), |[d, w]| format!("{d} + {w}")),
        );
    }
}

/// Nothing if the worker did not live until the end of it.
fn measure(flip: Flip, n: u32, alone: &Namespace) -> io::Result<Option<Cost>> {
    let file = format!("resyncInterval: {INTERVAL:?}\n{}", flip.file(0));
    let (watched, _) = Watched::start(&Namespace::new()?, &file)?;
    let processes = processes(&watched)?;
    let counted = count(&watched, processes, n);
    if watched.daemon.worker() != Some(processes[1]) {
        return Ok(None);
    }
    let ([daemon, worker], system_calls) = counted?;
    watched.daemon.terminate()?;
    let mut yardstick = Yardstick::new(alone)?;
    let creation = yardstick.creation(&flip.ruleset(0)?)?;
    yardstick.apply(&creation)?;
    Ok(Some(Cost {
        daemon,
        worker,
        system_calls,
        alone: listing_alone(&mut yardstick, n)?,
    }))
}

/// CPU time of both processes in a resync, and their system calls.
fn count(watched: &Watched, processes: [Pid; 2], n: u32) -> io::Result<Counted> {
    let resyncs = Resyncs::of(watched)?;
    resyncs.wait(1)?;
    let [daemon, worker] = processes.map(cpu_time);
    let before = [daemon?, worker?];
    resyncs.wait(n)?;
    let [daemon, worker] = processes.map(cpu_time);
    let spent = [(daemon? - before[0]) / n, (worker? - before[1]) / n];
    Ok((spent, traced(&resyncs, n, processes)?))
}

type Counted = ([Duration; 2], Option<[u32; 2]>);

fn processes(watched: &Watched) -> io::Result<[Pid; 2]> {
    let worker = watched.daemon.worker();
    let worker = worker.ok_or_else(|| io::Error::other("the daemon has no worker"))?;
    Ok([watched.daemon.process_id(), worker])
}

/// At the daemon's pace: a CPU that has slept is slower than one that has not.
fn listing_alone(yardstick: &mut Yardstick, n: u32) -> io::Result<Duration> {
    let mut spent = Duration::ZERO;
    for _ in 0..n {
        thread::sleep(INTERVAL);
        let before = process::own_cpu_time()?;
        yardstick.list()?;
        spent += process::own_cpu_time()? - before;
    }
    Ok(spent / n)
}

/// Each resync opens the file once, which inotify(7) tells.
struct Resyncs(Inotify);

impl Resyncs {
    fn of(watched: &Watched) -> io::Result<Self> {
        let opened = Inotify::init(InitFlags::IN_CLOEXEC)?;
        let file = watched.daemon.config_file();
        opened.add_watch(&file, AddWatchFlags::IN_OPEN)?;
        Ok(Self(opened))
    }

    /// Waits until so many have begun.
    fn wait(&self, count: u32) -> io::Result<()> {
        let mut begun = 0;
        while begun < count as usize {
            begun += self.0.read_events()?.len();
        }
        Ok(())
    }
}

/// System calls of each process in a resync, if strace(1) is there to count them.
fn traced(resyncs: &Resyncs, n: u32, processes: [Pid; 2]) -> io::Result<Option<[u32; 2]>> {
    let directory = TemporaryDirectory::new()?;
    let summaries = ["daemon", "worker"].map(|name| directory.path().join(name));
    let mut traces = Vec::new();
    for (process, summary) in processes.iter().zip(&summaries) {
        let mut strace = Command::new("strace");
        strace.args(["-c", "-qq", "-o"]).arg(summary);
        match strace.args(["-p", &process.to_string()]).spawn() {
            Ok(trace) => traces.push(trace),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    resyncs.wait(n)?;
    traces.into_iter().try_for_each(end)?;
    let [daemon, worker] = summaries.map(|summary| calls(&fs::read_to_string(summary)?));
    Ok(Some([daemon? / n, worker? / n]))
}

fn end(mut trace: Child) -> io::Result<()> {
    let process = i32::try_from(trace.id()).map_err(io::Error::other)?;
    kill(Pid::from_raw(process), Signal::SIGINT)?;
    trace.wait()?;
    Ok(())
}

/// The fourth column of strace's last line, `100.00 seconds usecs/call calls … total`. There is none of no call at all.
fn calls(summary: &str) -> io::Result<u32> {
    if summary.trim().is_empty() {
        return Ok(0);
    }
    summary
        .lines()
        .find(|line| line.ends_with(" total"))
        .and_then(|line| line.split_whitespace().nth(3)?.parse().ok())
        .ok_or_else(|| io::Error::other(format!("no total in strace's summary: {summary}")))
}
