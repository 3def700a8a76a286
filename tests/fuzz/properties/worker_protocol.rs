//! Requests to the worker and its answers.

use non_masquerade_daemon::kernel::libnftables::{Mode, Said};
use non_masquerade_daemon::kernel::serve::{Answer, Request};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A line that is a request or an answer is one line when it is written out, and reads the same. So do a request and an
/// answer with any text in them.
pub(super) fn hold(bytes: &[u8]) {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap();
    if let Ok(request) = serde_json::from_slice::<Request>(line) {
        assert_is_read(&request);
    }
    if let Ok(answer) = serde_json::from_slice::<Answer>(line) {
        assert_is_read(&answer);
    }
    let text = String::from_utf8_lossy(bytes);
    for mode in [Mode::Full, Mode::Terse, Mode::DryRun] {
        assert_is_read(&Request::Take(text.to_string(), mode));
    }
    for succeeded in [true, false] {
        assert_is_read(&Answer::Said(Said {
            succeeded,
            output: text.to_string(),
            error: text.to_string(),
        }));
    }
}

/// By its bytes, of which the same value has always the same.
fn assert_is_read<T: Serialize + DeserializeOwned>(said: &T) {
    let line = serde_json::to_vec(said).unwrap();
    assert!(!line.contains(&b'\n'));
    let again: T = serde_json::from_slice(&line).unwrap();
    assert_eq!(serde_json::to_vec(&again).unwrap(), line);
}
