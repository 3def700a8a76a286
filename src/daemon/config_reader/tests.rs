//! The reader of the configuration, with a clock of its own.

mod whatever_happens;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const INTERVAL: Duration = Duration::from_secs(60);

fn files(names: &[&str]) -> Vec<PathBuf> {
    names.iter().map(PathBuf::from).collect()
}

/// Read from these files.
fn good(names: &[&str]) -> Reading {
    Reading::Good {
        files: files(names),
        resync_interval: INTERVAL,
    }
}

/// Read where there is none.
fn absent() -> Reading {
    good(&[])
}

/// Read from a file that is bad.
fn bad() -> Reading {
    Reading::Bad {
        files: files(&["file"]),
        may_be_half_written: false,
        may_pass: false,
    }
}

/// Read from a file that was written a moment ago.
fn half_written() -> Reading {
    Reading::Bad {
        files: files(&["file"]),
        may_be_half_written: true,
        may_pass: false,
    }
}

/// Of a file that cannot be read.
fn unreadable() -> Reading {
    Reading::Bad {
        files: files(&["file"]),
        may_be_half_written: false,
        may_pass: true,
    }
}

/// A reader that has just started, and the time.
fn started() -> (ConfigReader, Instant) {
    let now = Instant::now();
    (ConfigReader::new(now), now)
}

/// A reader that has read a good file, and the time a second later.
fn in_force() -> (ConfigReader, Instant) {
    let (mut reader, start) = started();
    assert_eq!(reads(&mut reader, start, good(&["file"])), Verdict::Counts);
    assert_eq!(reader.due(), Some(start + INTERVAL));
    (reader, start + SECOND)
}

#[track_caller]
fn reads(reader: &mut ConfigReader, now: Instant, reading: Reading) -> Verdict {
    assert!(reader.next(now), "a reading is due");
    let verdict = reader.read(reading, now);
    assert!(!reader.next(now), "one reading is enough");
    verdict
}

/// The readings that give the same again and again until that counts: when it does.
#[track_caller]
fn counts_at(reader: &mut ConfigReader, reading: impl Fn() -> Reading) -> Instant {
    loop {
        let now = reader.due().unwrap();
        if reads(reader, now, reading()) == Verdict::Counts {
            return now;
        }
        assert_eq!(reader.due(), Some(now + READ_AGAIN));
    }
}

#[test]
fn what_was_read_last_counts_at_once() {
    let (mut reader, start) = in_force();
    for reading in [bad(), good(&["file"]), good(&["file", "other"])] {
        reader.reload(start);
        assert_eq!(reads(&mut reader, start, reading), Verdict::Counts);
        assert_eq!(reader.due(), Some(start + INTERVAL));
    }
}

#[test]
fn without_a_file_from_the_start_the_defaults_come_at_once() {
    let (mut reader, now) = started();
    assert_eq!(reads(&mut reader, now, absent()), Verdict::Counts);
}

#[test]
fn changes_are_read_at_once_and_then_at_most_every_20_ms_and_the_last_is_not_lost() {
    let (mut reader, start) = in_force();
    let mut readings = Vec::new();
    for milliseconds in 0..=50 {
        let now = start + Duration::from_millis(milliseconds);
        reader.may_have_changed(now);
        if reader.next(now) {
            let _ = reader.read(good(&["file"]), now);
            readings.push(milliseconds);
        }
    }
    assert_eq!(readings, [0, 20, 40]);
    assert_eq!(reader.due(), Some(start + Duration::from_millis(60)));
}

/// Where the file is read beside the events.
#[test]
fn a_change_during_a_reading_is_read() {
    let (mut reader, now) = in_force();
    reader.may_have_changed(now);
    assert!(reader.next(now));
    reader.may_have_changed(now);
    assert_eq!(reader.read(good(&["file"]), now), Verdict::Counts);
    assert_eq!(reader.due(), Some(now));
}

#[test]
fn a_change_does_not_put_off_what_is_due() {
    let (mut reader, start) = in_force();
    reader.reload(start);
    reader.may_have_changed(start);
    assert_eq!(reader.due(), Some(start));
}

#[test]
fn a_reload_is_not_paced_also_while_a_file_is_waited_for() {
    let (mut reader, now) = in_force();
    for reading in [good(&["file"]), absent(), half_written(), unreadable()] {
        reader.reload(now);
        let _ = reads(&mut reader, now, reading);
        reader.reload(now);
        assert!(reader.next(now));
        let _ = reader.read(good(&["file"]), now);
    }
}

#[test]
fn a_file_that_goes_counts_as_gone_after_a_second() {
    let (mut reader, start) = in_force();
    reader.may_have_changed(start);
    assert_eq!(counts_at(&mut reader, absent), start + SECOND);
    assert_eq!(reader.due(), Some(start + SECOND + INTERVAL));
}

#[test]
fn a_file_that_comes_back_within_the_second_never_was_gone() {
    let (mut reader, now) = in_force();
    reader.may_have_changed(now);
    assert_eq!(reads(&mut reader, now, absent()), Verdict::NotYet);
    let later = now + READ_AGAIN;
    assert_eq!(reads(&mut reader, later, good(&["file"])), Verdict::Counts);
    // The second starts anew.
    let start = now + 5 * SECOND;
    reader.may_have_changed(start);
    assert_eq!(counts_at(&mut reader, absent), start + SECOND);
}

/// Those that said nothing are not among the files of a reading; one that says nothing any more is as good as gone, for
/// a writer that begins anew empties it first.
#[test]
fn one_of_several_files_that_goes_is_waited_for() {
    let (mut reader, start) = in_force();
    reader.reload(start);
    let with_two = good(&["file", "other"]);
    assert_eq!(reads(&mut reader, start, with_two), Verdict::Counts);
    reader.reload(start);
    let with_one = || good(&["file"]);
    assert_eq!(counts_at(&mut reader, with_one), start + SECOND);
}

#[test]
fn a_half_written_file_is_waited_for_a_second_and_then_counts_as_bad() {
    let (mut reader, start) = in_force();
    reader.may_have_changed(start);
    assert_eq!(counts_at(&mut reader, half_written), start + SECOND);
    assert_eq!(reader.due(), Some(start + SECOND + INTERVAL));
}

/// An editor that moves the file away, and writes the new one in steps.
#[test]
fn a_file_that_is_gone_and_then_half_written_is_waited_for_a_second_in_all() {
    let (mut reader, start) = in_force();
    reader.may_have_changed(start);
    assert_eq!(reads(&mut reader, start, absent()), Verdict::NotYet);
    assert_eq!(counts_at(&mut reader, half_written), start + SECOND);
}

#[test]
fn a_bad_file_at_first_start_that_is_gone_for_a_moment_does_not_bring_the_defaults() {
    for first in [bad(), half_written(), unreadable()] {
        let (mut reader, start) = started();
        let _ = reads(&mut reader, start, first);
        let gone = start + READ_AGAIN;
        reader.may_have_changed(gone);
        let counted = counts_at(&mut reader, absent);
        assert!(counted >= start + SECOND, "{:?}", counted - start);
    }
}

#[test]
fn a_bad_file_at_first_start_is_read_again_after_a_minute() {
    let (mut reader, start) = started();
    assert_eq!(reads(&mut reader, start, bad()), Verdict::Counts);
    assert_eq!(reader.due(), Some(start + FIRST_RESYNC_INTERVAL));
}

/// What is the last good configuration's is waited for, whatever a bad one named.
#[test]
fn a_bad_file_after_a_good_one_does_not_say_which_files_are_waited_for() {
    let (mut reader, start) = in_force();
    reader.reload(start);
    let of_another = Reading::Bad {
        files: files(&["other"]),
        may_be_half_written: false,
        may_pass: false,
    };
    assert_eq!(reads(&mut reader, start, of_another), Verdict::Counts);
    reader.reload(start);
    assert_eq!(counts_at(&mut reader, absent), start + SECOND);
}

#[test]
fn a_file_that_cannot_be_read_is_read_again_later_and_later() {
    let (mut reader, mut now) = in_force();
    reader.may_have_changed(now);
    let mut waits = Vec::new();
    for _ in 0..12 {
        assert_eq!(reads(&mut reader, now, unreadable()), Verdict::Counts);
        let due = reader.due().unwrap();
        waits.push((due - now).as_millis());
        now = due;
    }
    let doubled = [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600];
    assert_eq!(waits[..9], doubled);
    assert_eq!(waits[9..], [30_000; 3]);
    assert_eq!(reads(&mut reader, now, good(&["file"])), Verdict::Counts);
    assert_eq!(reader.due(), Some(now + INTERVAL));
}

#[test]
fn a_file_that_cannot_be_read_is_tried_at_least_once_in_an_interval() {
    let (mut reader, now) = started();
    let in_short = Reading::Good {
        files: files(&["file"]),
        resync_interval: SECOND,
    };
    let _ = reads(&mut reader, now, in_short);
    let mut due = reader.due().unwrap();
    for _ in 0..10 {
        let _ = reads(&mut reader, due, unreadable());
        assert!(reader.due().unwrap() <= due + SECOND);
        due = reader.due().unwrap();
    }
}

/// The last of them is what is to be read soon.
#[test]
fn many_changes_of_a_file_that_cannot_be_read_do_not_put_off_the_next_reading() {
    let (mut reader, mut now) = in_force();
    for _ in 0..20 {
        reader.may_have_changed(now);
        let due = reader.due().unwrap();
        assert_eq!(reads(&mut reader, due, unreadable()), Verdict::Counts);
        assert_eq!(reader.due(), Some(due + Duration::from_millis(100)));
        now += Duration::from_millis(1);
    }
}

#[test]
fn an_interval_of_centuries_is_no_overflow() {
    let (mut reader, now) = started();
    let of_centuries = Reading::Good {
        files: Vec::new(),
        resync_interval: Duration::MAX,
    };
    assert_eq!(reads(&mut reader, now, of_centuries), Verdict::Counts);
    assert_eq!(reader.due(), None);
    reader.may_have_changed(now + SECOND);
    assert_eq!(reader.due(), Some(now + SECOND));
}
