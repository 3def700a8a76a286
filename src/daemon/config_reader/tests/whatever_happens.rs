//! The reader in a small world: whatever happens to the file in whatever order, soon after the last of it what is in force
//! is what the file says, and then there is quiet.

use proptest::prelude::*;

use super::*;

/// A file that is missed or written for a second, and some readings.
const SOON: Duration = Duration::from_millis(1_200);
const SETTLES_AFTER: Duration = Duration::from_millis(100);

const FAR_TOO_MANY_READINGS: usize = 20_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum File {
    Good(usize),
    Gone,
    Empty,
    Bad,
    /// With a time of modification that is far in the future.
    BadAndOfTheFuture,
    Unreadable,
}

#[derive(Debug, Clone, Copy)]
enum Happening {
    /// The file becomes this, and inotify tells it or does not.
    File(File, bool),
    /// Something else happens in the file's directory, a hundred times a second for so long.
    Noise(Duration),
    Reload,
}

use Happening::*;

struct World {
    now: Instant,
    reader: ConfigReader,
    file: File,
    modified: Instant,
    /// The version that the last good configuration is of; the defaults are version 0.
    in_force: Option<usize>,
    readings: usize,
    last_reading: Instant,
    next_noise: Instant,
    no_more_noise: Instant,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            now,
            reader: ConfigReader::new(now),
            file: File::Good(1),
            modified: now,
            in_force: None,
            readings: 0,
            last_reading: now,
            next_noise: now,
            no_more_noise: now,
        }
    }

    fn happens(&mut self, happening: Happening) {
        match happening {
            File(file, is_told) => {
                (self.file, self.modified) = (file, self.now);
                if is_told {
                    self.reader.may_have_changed(self.now);
                }
            }
            Noise(time) => (self.next_noise, self.no_more_noise) = (self.now, self.now + time),
            Reload => self.reader.reload(self.now),
        }
    }

    fn read(&mut self) {
        self.readings += 1;
        assert!(self.readings < FAR_TOO_MANY_READINGS, "a busy loop");
        self.last_reading = self.now;
        let reading = match self.file {
            File::Good(_) => good(&["file"]),
            File::Gone | File::Empty => absent(),
            File::Unreadable => unreadable(),
            File::Bad if self.now >= self.modified + SETTLES_AFTER => bad(),
            File::Bad | File::BadAndOfTheFuture => half_written(),
        };
        if self.reader.read(reading, self.now) == Verdict::Counts {
            self.in_force = self.wanted();
        }
    }

    /// What the file says, or the last good one said.
    fn wanted(&self) -> Option<usize> {
        match self.file {
            File::Good(version) => Some(version),
            File::Gone | File::Empty => Some(0),
            File::Bad | File::BadAndOfTheFuture | File::Unreadable => self.in_force,
        }
    }

    fn time_passes(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            let due = self.reader.due().expect("there is a next resync");
            let noise = Some(self.next_noise).filter(|noise| *noise < self.no_more_noise);
            let first = noise.map_or(due, |noise| noise.min(due));
            if first > until {
                break;
            }
            self.now = self.now.max(first);
            if noise == Some(first) {
                self.next_noise = first + Duration::from_millis(10);
                self.reader.may_have_changed(self.now);
            }
            if self.reader.next(self.now) {
                self.read();
            }
            let unread = self.now.duration_since(self.last_reading);
            assert!(unread <= INTERVAL, "not read for {unread:?}");
        }
        self.now = until;
    }
}

fn file() -> impl Strategy<Value = File> {
    prop_oneof![
        4 => (1..4_usize).prop_map(File::Good),
        1 => Just(File::Gone),
        1 => Just(File::Empty),
        2 => Just(File::Bad),
        1 => Just(File::BadAndOfTheFuture),
        1 => Just(File::Unreadable),
    ]
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        8 => file().prop_map(|file| File(file, true)),
        1 => file().prop_map(|file| File(file, false)),
        1 => (0..3_u64).prop_map(|seconds| Noise(Duration::from_secs(seconds))),
        1 => Just(Reload),
    ]
}

/// Many things at once, some a while apart, and some beyond the next resync.
fn pause() -> impl Strategy<Value = Duration> {
    let milliseconds = prop_oneof![6 => 0..30_u64, 3 => 0..1500_u64, 1 => 0..70_000_u64];
    milliseconds.prop_map(Duration::from_millis)
}

/// The longest that it may take once nothing happens any more.
fn agreement_takes(happenings: &[(Happening, Duration)]) -> Duration {
    let is_untold = |happening: &Happening| matches!(happening, File(_, false));
    match happenings.iter().any(|(it, _)| is_untold(it)) {
        true => INTERVAL + SOON,
        false => SOON,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn soon_after_the_last_change_the_file_is_in_force_and_then_there_is_quiet(
        happenings in prop::collection::vec((happening(), pause()), 1..30),
    ) {
        let mut world = World::new();
        for (happening, pause) in happenings.clone() {
            world.happens(happening);
            world.time_passes(pause);
        }
        world.happens(Noise(Duration::ZERO));
        world.time_passes(agreement_takes(&happenings));
        prop_assert_eq!(world.in_force, world.wanted());
        // The waits after failures have become as long as they get.
        world.time_passes(2 * INTERVAL);
        let before = world.readings;
        world.time_passes(10 * INTERVAL);
        // One with each resync; what is never settled is looked at for a second each time.
        let most = match world.file {
            File::BadAndOfTheFuture => 10 * 52,
            File::Unreadable => 10 * 2 + 1,
            _ => 10,
        };
        let readings = world.readings - before;
        prop_assert!(readings <= most, "{readings} readings");
    }
}
