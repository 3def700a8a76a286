//! Requests to the worker and its answers.

use std::borrow::Cow;

use non_masquerade_daemon::kernel::worker::{Answer, Request, Words};

/// A line that is a request or an answer is one line when it is written out, and reads the same. So does an answer with
/// any text in it.
pub(super) fn hold(bytes: &[u8]) {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap();
    if let Ok(request) = serde_json::from_slice::<Request<'_>>(line) {
        assert_reads_the_same(&request);
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

fn assert_reads_the_same(request: &Request<'_>) {
    let line = serde_json::to_vec(request).unwrap();
    assert!(!line.contains(&b'\n'));
    let again: Request<'_> = serde_json::from_slice(&line).unwrap();
    let documents = |request: &Request<'_>| -> Vec<String> {
        let documents = request.documents.iter();
        documents
            .map(|document| document.get().to_owned())
            .collect()
    };
    assert_eq!(documents(&again), documents(request));
    assert_eq!((again.id, again.mode), (request.id, request.mode));
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
