//! What is done beside the event loop, one order at a time: passes, which the worker does; and in a thread, for the kernel may
//! take a second for a long list, readings of the counters and of the connections. While there is no order, the end of the
//! worker is waited for.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::Signal;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::configuration::Desired;
use super::connections::{self, Counters};
use super::contradictions::{self, Contradictions};
use super::http::Reply;
use super::inherited;
use super::worker::{Worker, WorkerError};
use crate::kernel::ownership::TableOwner;
use crate::kernel::pass::PassReport;
use crate::ruleset::{Family, Tables};
use crate::tracked;

/// What is to be done.
#[derive(Debug)]
pub(super) enum Order {
    /// A pass over the tables that are desired. Those of `repairs` may be repaired; others are only compared.
    Pass {
        desired: Arc<Desired>,
        repairs: Vec<Family>,
    },
    /// To read what these tables have counted, for a page of metrics.
    Count {
        tables: Arc<Tables>,
        /// To count the connections that contradict it as well, where that is due.
        in_force: Option<Arc<Desired>>,
        reply: Reply,
    },
    /// To end the connections that the change of the policy has turned. No pass changes it meanwhile.
    Follow {
        before: Arc<Desired>,
        now: Arc<Desired>,
    },
}

/// What has happened.
#[derive(Debug)]
pub(super) enum WorkEvent {
    Passed(PassEnd),
    Counted(Counted, Reply),
    /// How many connections were ended.
    Followed(io::Result<u64>),
    /// The worker ended while nothing was asked of it.
    WorkerEnded,
}

/// What was counted for a page of metrics.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) counters: io::Result<Vec<Counters>>,
    /// `None`: that was not asked for.
    pub(super) contradictions: Option<io::Result<Contradictions>>,
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
                Some(Order::Count {
                    tables,
                    in_force,
                    reply,
                }) => WorkEvent::Counted(count(tables, in_force).await, reply),
                Some(Order::Follow { before, now }) => {
                    let follow = move || tracked::follow(&before.policy, &now.policy);
                    WorkEvent::Followed(in_a_thread(follow).await)
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

async fn count(tables: Arc<Tables>, in_force: Option<Arc<Desired>>) -> Counted {
    let counters = in_a_thread(move || connections::read(&tables)).await;
    let contradictions = match in_force {
        Some(in_force) => Some(in_a_thread(move || contradictions::count(&in_force)).await),
        None => None,
    };
    Counted {
        counters,
        contradictions,
    }
}

async fn in_a_thread<T: Send + 'static>(
    task: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = spawn_blocking(task).await;
    done.unwrap_or_else(|panic| Err(io::Error::other(panic)))
}
