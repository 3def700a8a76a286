//! Requests to the worker and its answers.

use std::borrow::Cow;

use non_masquerade_daemon::kernel::worker::{Answer, Request, Words};

/// A line that is a request or an answer is one line when it is written out, and reads the same. So does an answer with
/// any text in it.
pub(super) fn hold(bytes: &[u8]) {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap();
    if let Ok(request) = serde_json::from_slice::<Request>(line) {
        let line = serde_json::to_vec(&request).unwrap();
        assert!(!line.contains(&b'\n'));
        assert_eq!(serde_json::from_slice::<Request>(&line).unwrap(), request);
    }
    if let Ok(answer) = serde_json::from_slice::<Answer<'_>>(line) {
        assert_is_read(&answer);
    }
    let text = String::from_utf8_lossy(bytes);
    let words = |succeeded| Words {
        succeeded,
        output: Cow::Borrowed(&*text),
        error: Cow::Borrowed(&*text),
    };
    assert_is_read(&Answer {
        id: u64::try_from(bytes.len()).unwrap(),
        said: vec![words(true), words(false)],
    });
}

fn assert_is_read(answer: &Answer<'_>) {
    let line = serde_json::to_vec(answer).unwrap();
    assert!(!line.contains(&b'\n'));
    let again: Answer<'_> = serde_json::from_slice(&line).unwrap();
    assert_eq!(again.id, answer.id);
    assert_eq!(again.said.len(), answer.said.len());
    for (read, written) in again.said.iter().zip(&answer.said) {
        assert_eq!(read.succeeded, written.succeeded);
        assert_eq!(
            (&read.output, &read.error),
            (&written.output, &written.error)
        );
    }
}
