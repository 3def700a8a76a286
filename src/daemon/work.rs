//! What is done beside the event loop, one order at a time: passes, which the worker does; and in a thread, for the kernel may
//! take a second for a long list, readings of the counters. While there is no order, the end of the worker is waited for.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, oneshot};

use super::configuration::Desired;
use super::connections::{self, Counters};
use super::contradictions::Contradictions;
use super::http::Reply;
use super::inherited;
use super::worker::{Worker, WorkerError};
use crate::kernel::ownership::TableOwner;
use crate::kernel::pass::PassReport;
use crate::ruleset::{Family, Tables};

/// What is to be done.
#[derive(Debug)]
pub(super) enum Order {
    /// A pass over the tables that are desired. Those of `repairs` may be repaired; others are only compared.
    Pass {
        desired: Arc<Desired>,
        repairs: Vec<Family>,
    },
    /// To read what these tables have counted, for a page of metrics.
    Count { tables: Arc<Tables>, reply: Reply },
}

/// What has happened.
#[derive(Debug)]
pub(super) enum WorkEvent {
    Passed(PassEnd),
    Counted(io::Result<Vec<Counters>>, Reply),
    CountedContradictions(io::Result<Contradictions>, Reply),
    /// Connections follow the policy, and so many were ended for it; or that was given up.
    Followed(io::Result<u64>),
    /// The worker ended while nothing was asked of it.
    WorkerEnded,
}

/// How a pass ended.
#[derive(Debug)]
pub(super) struct PassEnd {
    pub(super) desired: Arc<Desired>,
    pub(super) report: Result<PassReport, WorkerError>,
    pub(super) took: Duration,
    /// How many workers have been started.
    pub(super) worker_starts: u32,
}

/// Does what is ordered, until nobody listens any more. `children`: SIGCHLD, also of processes that the daemon inherits.
/// They are waited for between two orders, for in a pass workers come and go.
pub(super) async fn work(
    mut worker: Worker,
    table_owner: TableOwner,
    mut children: Signal,
    mut orders: mpsc::Receiver<Order>,
    events: mpsc::Sender<WorkEvent>,
) {
    loop {
        inherited::reap(worker.process_id());
        let event = tokio::select! {
            order = orders.recv() => match order {
                None => return,
                Some(Order::Pass { desired, repairs }) => {
                    let started = Instant::now();
                    WorkEvent::Passed(PassEnd {
                        report: worker.pass(&desired.tables, repairs, table_owner).await,
                        took: started.elapsed(),
                        worker_starts: worker.starts(),
                        desired,
                    })
                }
                Some(Order::Count { tables, reply }) => {
                    let read = in_a_thread(move || connections::read(&tables));
                    WorkEvent::Counted(end_of(read.await), reply)
                }
            },
            () = worker.ended() => WorkEvent::WorkerEnded,
            _ = children.recv() => continue,
        };
        if events.send(event).await.is_err() {
            return;
        }
    }
}

/// Has a thread do what no order is to wait for, for a table of connections takes the kernel up to a second, and tells its end.
pub(super) fn beside_all_orders<T: Send + 'static>(
    events: &mpsc::Sender<WorkEvent>,
    task: impl FnOnce() -> io::Result<T> + Send + 'static,
    event: impl FnOnce(io::Result<T>) -> WorkEvent + Send + 'static,
) {
    let events = events.clone();
    tokio::spawn(async move {
        // Nobody listens any more where the daemon ends.
        let _ = events.send(event(end_of(in_a_thread(task).await))).await;
    });
}

/// What a thread tells at its end: see [`end_of`].
pub(super) type InAThread<T> = oneshot::Receiver<io::Result<T>>;

/// Has a thread of its own do this, from now on. Tokio's `spawn_blocking` ends its caller where the kernel gives no thread, as at
/// the limit of processes; here that is the task's error.
pub(super) fn in_a_thread<T: Send + 'static>(
    task: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> InAThread<T> {
    let (tell, told) = oneshot::channel();
    // Nobody listens any more where the daemon ends.
    let thread = move || drop(tell.send(task()));
    let Err(error) = thread::Builder::new().spawn(thread) else {
        return told;
    };
    let (tell, told) = oneshot::channel();
    let text = format!("no thread can be started: {error}");
    drop(tell.send(Err(io::Error::new(error.kind(), text))));
    told
}

/// What the thread came to.
pub(super) fn end_of<T>(told: Result<io::Result<T>, oneshot::error::RecvError>) -> io::Result<T> {
    told.unwrap_or_else(|_| Err(io::Error::other("the thread for it has panicked")))
}
