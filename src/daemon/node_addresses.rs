//! The node's addresses, as far as `snatAddressCIDRs` asks for them: which there are, when they may have changed, and
//! which of those that connections were given have left the node.

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use tokio::task::{JoinHandle, spawn_blocking};
use tracing::{info, warn};

use super::repetitions::Repetitions;
use crate::kernel::conntrack::{self, Filter};
use crate::kernel::notifications::AddressNotifications;
use crate::kernel::routing;
use crate::policy::Policy;
use crate::policy::judgement::{AddressKind, Node};
use crate::policy::node_address::NodeAddress;
use crate::tracked::ThisNode;

/// The state between two looks.
#[derive(Default)]
pub(super) struct NodeAddresses {
    /// `None`: none is asked for, or there is no socket to be had.
    notifications: Option<AddressNotifications>,
    /// What notifications are waited for of.
    watched: Vec<IpNet>,
    /// Those that were found last.
    found: Vec<NodeAddress>,
    /// Those that connections were given, and that have not left the node.
    given: HashSet<IpAddr>,
    /// Not so at first: the daemon before may have given any, and some of those may have left.
    knows_given: bool,
    /// Some of these may have left since that was looked at.
    may_be_gone: bool,
    /// A thread ends connections.
    ending: Option<JoinHandle<()>>,
    errors: Repetitions,
}

impl NodeAddresses {
    /// The policy on the node as it is now. What changes from here on is waited for.
    pub(super) fn look(&mut self, policy: Policy) -> Policy {
        self.watched = policy.snat_cidrs();
        self.watched
            .extend(self.given.iter().copied().map(IpNet::from));
        // Before they are read, so that no change in between is missed.
        self.subscribe();
        match routing::addresses_within(&self.watched) {
            Ok(found) => self.found = found,
            // Those that were found last count: who knows no address would give another to all connections.
            Err(error) => {
                let text = format!("the node's addresses cannot be read: {error}");
                self.errors.warn(&text);
            }
        }
        self.may_be_gone = true;
        let policy = policy.on_node(&self.found);
        self.given.extend(policy.chosen_addresses());
        policy
    }

    fn subscribe(&mut self) {
        if self.watched.is_empty() {
            self.notifications = None;
        } else if self.notifications.is_none() {
            match AddressNotifications::subscribe() {
                Ok(notifications) => self.notifications = Some(notifications),
                Err(error) => {
                    let text = format!(
                        "addresses that come and go are seen at the next resync only: {error}"
                    );
                    self.errors.warn(&text);
                }
            }
        }
    }

    /// Waits until one that counts has come, changed or gone, or connections were ended; for ever where none is asked for.
    pub(super) async fn changed(&mut self) {
        let Self {
            notifications,
            watched,
            ending,
            ..
        } = self;
        let told = async {
            match notifications {
                Some(notifications) => notifications.changed(watched).await,
                None => std::future::pending().await,
            }
        };
        let ended = async {
            match ending {
                // That a thread has panicked is told by itself.
                Some(thread) => drop(thread.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = told => {}
            () = ended => self.ending = None,
        }
    }

    /// [`Self::end_connections_of_gone_ones`] has something to do.
    pub(super) fn are_to_be_examined(&self) -> bool {
        self.may_be_gone && self.ending.is_none()
    }

    /// The policy is in force: ends the connections that were given an address that has left the node since. `masquerade` does
    /// that by itself; what `snat` has given goes on being sent from it. In a thread, one at a time: reading the entries of a
    /// large table takes the kernel a third of a second.
    pub(super) fn end_connections_of_gone_ones(&mut self) {
        self.may_be_gone = false;
        let there: HashSet<IpAddr> = self.found.iter().map(|own| own.address).collect();
        let is_gone = |address: &IpAddr| !there.contains(address);
        let gone: HashSet<IpAddr> = self.given.extract_if(is_gone).collect();
        let unknown = match std::mem::replace(&mut self.knows_given, true) {
            true => Vec::new(),
            false => {
                self.given.extend(&there);
                self.watched.clone()
            }
        };
        if gone.is_empty() && unknown.is_empty() {
            return;
        }
        self.ending = Some(spawn_blocking(move || {
            match end_connections(&gone, &unknown, &there) {
                Ok(0) => {}
                Ok(ended) => info!(
                    ended,
                    "connections that were given an address which has left the node are ended ({ended})"
                ),
                Err(error) => warn!(
                    "connections that were given an address which has left the node may go on: {error}"
                ),
            }
        }));
    }
}

/// Those that were translated to an address that has `gone`, or that lies in `unknown` and is neither `there` nor LOCAL by a
/// route alone. Tells how many.
fn end_connections(
    gone: &HashSet<IpAddr>,
    unknown: &[IpNet],
    there: &HashSet<IpAddr>,
) -> io::Result<u64> {
    let node = ThisNode::read()?;
    let may_have_left = |address: IpAddr| {
        unknown.iter().any(|cidr| cidr.contains(&address))
            && !there.contains(&address)
            && node.kind_of(address) != AddressKind::Local
    };
    conntrack::end(&Filter::default(), |entry| {
        let given = entry.reply.destination;
        // In zones of their own, virtual routers (OVN) give addresses that are not the node's.
        let is_gone = gone.contains(&given) || entry.zone == 0 && may_have_left(given);
        is_gone && entry.original.source != given
    })
}
