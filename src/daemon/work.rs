//! What is done beside the event loop, one order at a time: passes, which the worker does; and in a thread, for the kernel may
//! take a second for a long list, readings of the counters. While there is no order, the end of the worker is waited for.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::Signal;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

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
                    let read = in_a_thread(move || connections::read(&tables)).await;
                    WorkEvent::Counted(read, reply)
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
        let _ = events.send(event(in_a_thread(task).await)).await;
    });
}

async fn in_a_thread<T: Send + 'static>(
    task: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = spawn_blocking(task).await;
    done.unwrap_or_else(|panic| Err(io::Error::other(panic)))
}
