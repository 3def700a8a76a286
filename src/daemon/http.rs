//! `/healthz`, `/readyz`, `/configuration` and `/metrics` over HTTP/1.1.
//!
//! Each question is put to the event loop, which answers it: an answer shows that the loop turns. Whoever can connect
//! may be slow, silent or hostile, so everything is bounded: how many connections there are, for how long each lives,
//! how much of a request is read. A connection carries one request.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, yield_now};
use tokio::time::{sleep, timeout};
use tracing::info;

use super::backoff::Backoff;
use super::repetitions::Repetitions;

/// How many connections there may be. One more ends the oldest that has not asked anything yet.
const MOST_CONNECTIONS: usize = 16;
/// How long a client may take to send its request's head, and how many bytes and fields that may have. hyper takes no
/// less than 8 KiB.
const HEAD_TIME: Duration = Duration::from_secs(5);
const MOST_HEAD_BYTES: usize = 8 * 1024;
const MOST_HEAD_FIELDS: usize = 64;
/// How long a connection may live, all in all.
const CONNECTION_TIME: Duration = Duration::from_secs(10);
/// When it is tried again to listen, or to accept.
const RETRIES: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));

/// What was asked, and where the answer goes. That nobody waits for it any more is no error.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) page: Page,
    pub(super) reply: Reply,
}

pub(super) type Reply = oneshot::Sender<Answer>;

#[derive(Debug)]
pub(super) enum Page {
    /// Whether the event loop turns.
    Health,
    /// Whether the daemon does what it is there for.
    Readiness,
    /// The last good configuration.
    Configuration,
    /// The metrics.
    Metrics,
}

pub(super) type Answer = Response<Full<Bytes>>;

/// An answer of this `Content-Type`.
pub(super) fn answer(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// An answer in plain text.
pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    answer(status, "text/plain; charset=utf-8", body)
}

/// An answer that could not be made.
pub(super) fn failed(why: &str) -> Answer {
    text(StatusCode::INTERNAL_SERVER_ERROR, format!("{why}\n"))
}

/// Serves on `address` from now on. Gives what is asked there; nothing, where there is no address.
pub(super) fn serve(address: Option<SocketAddr>) -> mpsc::Receiver<Question> {
    let (asker, questions) = mpsc::channel(MOST_CONNECTIONS);
    if let Some(address) = address {
        tokio::spawn(listen(address, asker));
    }
    questions
}

/// Listens until the runtime ends. What fails is said once an hour, and tried again later and later.
async fn listen(address: SocketAddr, asker: mpsc::Sender<Question>) {
    let (mut retries, mut errors) = (RETRIES, Repetitions::default());
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(error) => errors.warn(&format!(
                "/metrics, /healthz, /readyz and /configuration cannot be served on {address}: {error}; tried again until it succeeds \
                 (--http-address chooses another address, or off)"
            )),
        }
        sleep(retries.failed()).await;
    };
    info!("serving /metrics, /healthz, /readyz and /configuration on {address}");
    let mut connections = Connections::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                retries.succeeded();
                connections.accepted(stream, &asker);
            }
            Err(error) => {
                errors.warn(&format!(
                    "no connection to {address} can be accepted: {error}"
                ));
                sleep(retries.failed()).await;
            }
        }
        // A flood of connections must not keep those that are there from their answers.
        yield_now().await;
    }
}

/// Those that are open, the oldest first.
#[derive(Default)]
struct Connections(VecDeque<Connection>);

struct Connection {
    task: AbortHandle,
    has_asked: Arc<AtomicBool>,
}

impl Connections {
    fn accepted(&mut self, stream: TcpStream, asker: &mpsc::Sender<Question>) {
        let Self(connections) = self;
        connections.retain(|connection| !connection.task.is_finished());
        if connections.len() >= MOST_CONNECTIONS {
            let is_silent = |c: &Connection| !c.has_asked.load(Ordering::Relaxed);
            let oldest = connections.iter().position(is_silent).unwrap_or(0);
            if let Some(ended) = connections.remove(oldest) {
                ended.task.abort();
            }
        }
        let has_asked = Arc::new(AtomicBool::new(false));
        let answering = converse(stream, asker.clone(), Arc::clone(&has_asked));
        let task = tokio::spawn(answering).abort_handle();
        connections.push_back(Connection { task, has_asked });
    }
}

async fn converse(stream: TcpStream, asker: mpsc::Sender<Question>, has_asked: Arc<AtomicBool>) {
    let service = service_fn(move |request: Request<Incoming>| {
        has_asked.store(true, Ordering::Relaxed);
        let asker = asker.clone();
        async move {
            Ok::<_, Infallible>(answer_to(request.method(), request.uri().path(), &asker).await)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MOST_HEAD_BYTES)
        .max_headers(MOST_HEAD_FIELDS)
        .keep_alive(false)
        // `nc -N` ends its half of the connection with the request, and waits for the answer.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    // What goes wrong here is the client's affair: it sent what is no HTTP, was too slow, or has gone.
    let _ = timeout(CONNECTION_TIME, connection).await;
}

async fn answer_to(method: &Method, path: &str, asker: &mpsc::Sender<Question>) -> Answer {
    let page = match path {
        "/healthz" => Page::Health,
        "/readyz" => Page::Readiness,
        "/configuration" => Page::Configuration,
        "/metrics" => Page::Metrics,
        _ => {
            let known = "not found; there are /metrics, /healthz, /readyz and /configuration\n";
            return text(StatusCode::NOT_FOUND, known);
        }
    };
    if ![Method::GET, Method::HEAD].contains(method) {
        let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only\n");
        let allowed = HeaderValue::from_static("GET, HEAD");
        refusal.headers_mut().insert(ALLOW, allowed);
        return refusal;
    }
    let (reply, answer) = oneshot::channel();
    // Where it cannot be asked, the reply is dropped, and there is no answer either.
    let _ = asker.send(Question { page, reply }).await;
    answer
        .await
        .unwrap_or_else(|_ending| text(StatusCode::SERVICE_UNAVAILABLE, "the daemon is ending\n"))
}
