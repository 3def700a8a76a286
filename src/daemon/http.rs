//! `/healthz`, `/readyz` and `/metrics` over HTTP/1.1.
//!
//! Each question is put to the event loop, which answers it: an answer shows that the loop turns. Whoever can connect
//! may be slow, silent or hostile, so everything is bounded: how many connections there are, for how long each lives,
//! how much of a request is read. A connection carries one request.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
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
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};

/// How many connections there may be. One more ends the oldest that has not asked anything yet.
const MOST_CONNECTIONS: usize = 16;
/// How long a client may take to send its request's head, and how many bytes and fields that may have. hyper takes no
/// less than 8 KiB.
const HEAD_TIME: Duration = Duration::from_secs(5);
const MOST_HEAD_BYTES: usize = 8 * 1024;
const MOST_HEAD_FIELDS: usize = 64;
/// How long a connection may live, all in all.
const CONNECTION_TIME: Duration = Duration::from_secs(10);
/// After a failure to listen or to accept, the next try comes after so long, twice as long each time.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);

const TEXT: &str = "text/plain; charset=utf-8";

/// What was asked, and where the answer goes.
#[derive(Debug)]
pub(super) enum Question {
    /// Whether the event loop turns.
    Health(Reply),
    /// Whether the daemon does what it is there for.
    Readiness(Reply),
    /// The metrics.
    Metrics(Reply),
}

/// Where an answer goes. That nobody waits for it any more is no error.
pub(super) type Reply = oneshot::Sender<Answer>;

/// An answer.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    status: StatusCode,
    content_type: &'static str,
    body: Bytes,
}

impl Answer {
    /// 200
    pub(super) fn ok(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self {
            status: StatusCode::OK,
            content_type,
            body: body.into(),
        }
    }

    /// Plain text.
    pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            content_type: TEXT,
            body: body.into(),
        }
    }

    fn response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }
}

/// The server. It does its work while [`Self::asked`] is awaited.
pub(super) struct Http {
    /// `None`: off.
    address: Option<SocketAddr>,
    listener: Option<TcpListener>,
    connections: VecDeque<Connection>,
    questions: mpsc::Receiver<Question>,
    asker: mpsc::Sender<Question>,
    /// When to listen or accept again; `None`: nothing is in the way.
    next_try: Option<Instant>,
    retry: Duration,
    last_failure: Option<String>,
}

struct Connection {
    task: AbortHandle,
    has_asked: Arc<AtomicBool>,
}

impl Http {
    /// A server on `address`; `None`: it serves nothing.
    pub(super) fn new(address: Option<SocketAddr>) -> Self {
        let (asker, questions) = mpsc::channel(MOST_CONNECTIONS);
        Self {
            address,
            listener: None,
            connections: VecDeque::new(),
            questions,
            asker,
            next_try: Some(Instant::now()),
            retry: FIRST_RETRY,
            last_failure: None,
        }
    }

    /// Waits for the next question. Dropped at any point, it loses none.
    pub(super) async fn asked(&mut self) -> Question {
        let Some(address) = self.address else {
            return std::future::pending().await;
        };
        loop {
            if self.next_try.is_some_and(|due| due <= Instant::now()) {
                self.next_try = None;
                self.listen(address);
            }
            let may_accept = self.next_try.is_none();
            tokio::select! {
                Some(question) = self.questions.recv() => return question,
                accepted = accept(&self.listener), if may_accept => match accepted {
                    Ok((stream, _)) => self.accepted(stream),
                    Err(error) => self.failed(&format!("no connection to {address} can be accepted: {error}")),
                },
                () = until(self.next_try) => {}
            }
            // A flood of connections must not keep those that are there from their answers.
            yield_now().await;
        }
    }

    fn listen(&mut self, address: SocketAddr) {
        if self.listener.is_some() {
            return;
        }
        match listener(address) {
            Ok(listener) => {
                info!("serving /metrics, /healthz and /readyz on {address}");
                self.listener = Some(listener);
                self.retry = FIRST_RETRY;
                self.last_failure = None;
            }
            Err(error) => self.failed(&format!(
                "/metrics, /healthz and /readyz cannot be served on {address}: {error}; tried again until it succeeds \
                 (--http-address chooses another address, or off)"
            )),
        }
    }

    /// Said once, tried again later and later.
    fn failed(&mut self, failure: &str) {
        if self.last_failure.as_deref() != Some(failure) {
            warn!("{failure}");
            self.last_failure = Some(failure.to_owned());
        }
        self.next_try = Instant::now().checked_add(self.retry);
        self.retry = (self.retry * 2).min(LAST_RETRY);
    }

    fn accepted(&mut self, stream: TcpStream) {
        self.retry = FIRST_RETRY;
        let is_open = |connection: &Connection| !connection.task.is_finished();
        self.connections.retain(is_open);
        if self.connections.len() >= MOST_CONNECTIONS {
            let is_silent = |c: &Connection| !c.has_asked.load(Ordering::Relaxed);
            let oldest = self.connections.iter().position(is_silent).unwrap_or(0);
            if let Some(ended) = self.connections.remove(oldest) {
                ended.task.abort();
            }
        }
        let has_asked = Arc::new(AtomicBool::new(false));
        let serving = serve(stream, self.asker.clone(), Arc::clone(&has_asked));
        let task = tokio::spawn(serving).abort_handle();
        self.connections.push_back(Connection { task, has_asked });
    }
}

fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

async fn accept(listener: &Option<TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

/// Waits for the moment; for ever where there is none.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

async fn serve(stream: TcpStream, asker: mpsc::Sender<Question>, has_asked: Arc<AtomicBool>) {
    let service = service_fn(move |request: Request<Incoming>| {
        has_asked.store(true, Ordering::Relaxed);
        let asker = asker.clone();
        async move {
            let answer = answer(request.method(), request.uri().path(), &asker).await;
            Ok::<_, Infallible>(answer.response())
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MOST_HEAD_BYTES)
        .max_headers(MOST_HEAD_FIELDS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // What goes wrong here is the client's affair: it sent what is no HTTP, was too slow, or has gone.
    let _ = timeout(CONNECTION_TIME, connection).await;
}

async fn answer(method: &Method, path: &str, asker: &mpsc::Sender<Question>) -> Answer {
    let question = match path {
        "/healthz" => Question::Health,
        "/readyz" => Question::Readiness,
        "/metrics" => Question::Metrics,
        _ => {
            let known = "not found; there are /metrics, /healthz and /readyz\n";
            return Answer::text(StatusCode::NOT_FOUND, known);
        }
    };
    if ![Method::GET, Method::HEAD].contains(method) {
        return Answer::text(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only\n");
    }
    let (reply, answer) = oneshot::channel();
    let is_asked = asker.send(question(reply)).await.is_ok();
    match answer.await {
        Ok(answer) if is_asked => answer,
        _ => Answer::text(StatusCode::SERVICE_UNAVAILABLE, "the daemon is ending\n"),
    }
}
