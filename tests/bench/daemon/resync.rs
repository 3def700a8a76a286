//! What a resync costs that finds all in step, and what the daemon costs between two.

use std::fs;
use std::io;
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use crate::configurations::Flip;
use crate::process;
use crate::samples::{milliseconds, ratio, verdict};
use crate::support::daemon::TemporaryDirectory;
use crate::support::netns::Namespace;
use crate::watched::Watched;
use crate::yardstick::Yardstick;

/// The shortest that a file may ask for.
const INTERVAL: Duration = Duration::from_millis(100);
/// Resyncs whose CPU time is measured.
const RESYNCS: u32 = 40;
/// Resyncs whose system calls are counted: strace(1) slows them down.
const TRACED_RESYNCS: u32 = 20;
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
    for cidrs in [64, 10_000] {
        if cidrs > most_cidrs {
            continue;
        }
        let alone = Namespace::new()?;
        let cost = alone.run(|| measure(Flip::one_of(cidrs), &alone))?;
        let both = cost.daemon + cost.worker;
        println!(
            "  {:<14}{RESYNCS:>6}{:>9.2}{:>9.2}{:>9.2}{:>9.2}{:>8.2}{:>22}",
            format!("{cidrs} CIDRs"),
            milliseconds(cost.daemon),
            milliseconds(cost.worker),
            milliseconds(both),
            milliseconds(cost.alone),
            ratio(both, cost.alone),
            cost.system_calls
                .map_or("no strace".to_owned(), |[d, w]| format!("{d} + {w}")),
        );
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

fn measure(flip: Flip, alone: &Namespace) -> io::Result<Cost> {
    let mut yardstick = Yardstick::new(alone)?;
    yardstick.prepare(flip)?;
    let file = format!("resyncInterval: {INTERVAL:?}\n{}", flip.file(0));
    let (watched, _) = Watched::start(&Namespace::new()?, &file)?;
    let [daemon, worker] = processes(&watched)?;
    let resyncs = Resyncs::of(&watched)?;
    resyncs.wait(1)?;
    let before = [process::cpu_time(daemon)?, process::cpu_time(worker)?];
    resyncs.wait(RESYNCS)?;
    let spent =
        |process, before| Ok::<_, io::Error>((process::cpu_time(process)? - before) / RESYNCS);
    Ok(Cost {
        daemon: spent(daemon, before[0])?,
        worker: spent(worker, before[1])?,
        system_calls: traced(&resyncs, [daemon, worker])?,
        alone: listing_alone(&mut yardstick)?,
    })
}

fn processes(watched: &Watched) -> io::Result<[Pid; 2]> {
    let worker = watched.daemon.worker();
    let worker = worker.ok_or_else(|| io::Error::other("the daemon has no worker"))?;
    Ok([watched.daemon.process_id(), worker])
}

/// At the daemon's pace: a CPU that has slept is slower than one that has not.
fn listing_alone(yardstick: &mut Yardstick) -> io::Result<Duration> {
    let mut spent = Duration::ZERO;
    for _ in 0..RESYNCS {
        thread::sleep(INTERVAL);
        let before = own_cpu_time()?;
        yardstick.list()?;
        spent += own_cpu_time()? - before;
    }
    Ok(spent / RESYNCS)
}

fn own_cpu_time() -> io::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
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
fn traced(resyncs: &Resyncs, processes: [Pid; 2]) -> io::Result<Option<[u32; 2]>> {
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
    resyncs.wait(TRACED_RESYNCS)?;
    traces.into_iter().try_for_each(end)?;
    let [daemon, worker] = summaries.map(|summary| calls(&fs::read_to_string(summary)?));
    Ok(Some([daemon? / TRACED_RESYNCS, worker? / TRACED_RESYNCS]))
}

fn end(mut trace: Child) -> io::Result<()> {
    let process = i32::try_from(trace.id()).map_err(io::Error::other)?;
    kill(Pid::from_raw(process), Signal::SIGINT)?;
    trace.wait()?;
    Ok(())
}

/// The fourth column of strace's last line, `100.00 seconds usecs/call calls … total`.
fn calls(summary: &str) -> io::Result<u32> {
    summary
        .lines()
        .find(|line| line.ends_with(" total"))
        .and_then(|line| line.split_whitespace().nth(3)?.parse().ok())
        .ok_or_else(|| io::Error::other(format!("no total in strace's summary: {summary}")))
}
