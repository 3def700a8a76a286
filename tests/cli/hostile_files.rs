//! Hostile files in a small size: each is judged, and none crashes. Their times in full size are a benchmark,
//! `cargo bench --bench hostile_files`.

use crate::support::hostile_files::HOSTILE;
use non_masquerade_daemon::config::{Flags, judge};

#[test]
fn no_hostile_file_crashes() {
    for file in HOSTILE {
        for size in [4 << 10, 16 << 10] {
            let bytes = file.bytes(size);
            // A thread's stack is smaller than the main one's.
            let judged = std::thread::Builder::new()
                .stack_size(2 << 20)
                .spawn(move || judge("f", &bytes, &Flags::default()).map(|_| ()))
                .expect("a thread")
                .join();
            assert!(judged.is_ok(), "{}", file.name);
        }
    }
}
