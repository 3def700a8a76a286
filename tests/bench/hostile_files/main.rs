//! How long each hostile file of 1 MiB takes, and how much memory: `cargo bench --bench hostile_files [NAME]`; and how long eight, or 64
//! small ones, of the same kind that are 8 MiB together.
//! Fails where one of 1 MiB takes longer than the second that the design promises. Memory is what the peak grows by; what
//! an earlier file left in the allocator is not counted, so that one file, by its name, gives the true figure.

#[path = "../../support/hostile_files.rs"]
mod hostile_files;

use std::process::ExitCode;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use non_masquerade_daemon::config::{
    Flags, MAX_BYTES_TOGETHER, MAX_FILE_BYTES, Source, judge_together,
};

const PROMISE: Duration = Duration::from_secs(1);
const FILES: usize = 64;

fn main() -> ExitCode {
    let name = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with("--"));
    let mut kept = true;
    println!(
        "{:>19} {:>19} {:>19}  file",
        "1 MiB", "8 × 1 MiB", "64 × 128 KiB"
    );
    for file in hostile_files::HOSTILE {
        if name
            .as_ref()
            .is_some_and(|name| !file.name.contains(name.as_str()))
        {
            continue;
        }
        let times = [1, MAX_BYTES_TOGETHER / MAX_FILE_BYTES, FILES].map(|files| {
            let bytes = MAX_FILE_BYTES.min(MAX_BYTES_TOGETHER / files);
            measure(&vec![file.bytes(bytes); files])
        });
        for (took, memory, _) in &times {
            print!("{took:>9.3?} {memory:>4} MiB ");
        }
        kept &= times.iter().all(|(took, ..)| *took < PROMISE);
        let [(_, _, said), ..] = times;
        println!(" {:<40} {said:.100}", file.name);
    }
    if kept {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn measure(files: &[Vec<u8>]) -> (Duration, u64, String) {
    let flags = Flags::default();
    let sources: Vec<Source<'_>> = files
        .iter()
        .map(|bytes| Source {
            name: "f",
            bytes: Some(bytes),
        })
        .collect();
    reset_peak_memory();
    let before = peak_memory_kibibytes();
    let before_judging = cpu_time();
    let judged = judge_together(&sources, &flags);
    let took = cpu_time() - before_judging;
    let memory = peak_memory_kibibytes().saturating_sub(before) / 1024;
    let said = match judged {
        Ok(judged) => format!("ok, {} CIDRs", judged.config.non_masquerade_cidrs.len()),
        Err(errors) => errors
            .to_string()
            .lines()
            .next()
            .unwrap_or_default()
            .to_string(),
    };
    (took, memory, said)
}

/// Of this thread, which waits for nothing: what other processes do meanwhile is not in it.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
    time.map(Duration::from).unwrap_or_default()
}

/// proc_pid_clear_refs(5): 5 resets the peak to what is used now.
fn reset_peak_memory() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

fn peak_memory_kibibytes() -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
            line.split_whitespace().nth(1)?.parse().ok()
        })
        .unwrap_or(0)
}
