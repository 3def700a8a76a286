//! The node's addresses, as far as `snatAddressCIDRs` asks for them: which there are, when they may have changed, and
//! which of those that connections were given have left the node.

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
use crate::policy::node_address::NodeAddress;

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
    given: Vec<IpAddr>,
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
        for chosen in policy.chosen_addresses() {
            if !self.given.contains(&chosen) {
                self.given.push(chosen);
            }
        }
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

    /// `policy` is in force: ends the connections that were given an address that has left the node since. `masquerade` does
    /// that by itself; what `snat` has given goes on being sent from it. In a thread, one at a time: reading the entries of a
    /// large table takes the kernel a third of a second.
    pub(super) fn end_connections_of_gone_ones(&mut self, policy: &Policy) {
        self.may_be_gone = false;
        let chosen: Vec<IpAddr> = policy.chosen_addresses().collect();
        let is_there = |address: &IpAddr| self.found.iter().any(|own| own.address == *address);
        let is_gone = |address: &mut IpAddr| !chosen.contains(address) && !is_there(address);
        let gone: Vec<IpAddr> = self.given.extract_if(.., is_gone).collect();
        if !gone.is_empty() {
            self.ending = Some(spawn_blocking(move || {
                for address in gone {
                    match end_connections(address) {
                        Ok(ended) => info!(
                            ended,
                            "{address} has left the node: connections that were given it are ended ({ended})"
                        ),
                        Err(error) => warn!(
                            "{address} has left the node, and connections that were given it go on: {error}"
                        ),
                    }
                }
            }));
        }
    }
}

/// Those that were translated to the address; tells how many.
fn end_connections(address: IpAddr) -> io::Result<u64> {
    let filter = Filter {
        seen_source: Some(address),
        ..Filter::default()
    };
    conntrack::end(&filter, |entry| entry.original.source != address)
}
