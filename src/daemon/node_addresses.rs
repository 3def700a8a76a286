//! The node's addresses, as far as `snatAddressCIDRs` asks for them: which there are, when they may have changed, and
//! which of those that connections were given have left the node.

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;
use tracing::info;

use super::repetitions::Repetitions;
use super::work::{InAThread, end_of, in_a_thread};
use crate::kernel::conntrack::{self, Filter};
use crate::kernel::notifications::AddressNotifications;
use crate::kernel::routing;
use crate::policy::Policy;
use crate::policy::judgement::{AddressKind, Node};
use crate::policy::node_address::NodeAddress;
use crate::ruleset::Family;
use crate::tracked::ThisNode;

/// The state between two looks.
pub(super) struct NodeAddresses {
    /// `None`: none is asked for, or there is no socket to be had.
    notifications: Option<AddressNotifications>,
    /// What notifications are waited for of.
    watched: Vec<IpNet>,
    /// Those that were found last.
    found: Vec<NodeAddress>,
    /// Those that connections were given, and that have not left the node.
    given: HashSet<IpAddr>,
    /// Of these families it is not known which were given: the daemon before may have given any, and some of those may have
    /// left.
    unknown: Vec<Family>,
    /// Some of these may have left since that was looked at.
    may_be_gone: bool,
    /// A thread ends connections.
    ending: Option<Ending>,
    errors: Repetitions,
}

/// A thread that ends the connections that were given addresses which have left.
struct Ending {
    thread: InAThread<u64>,
    /// Those that have left, and have not come back meanwhile.
    gone: Arc<Mutex<HashSet<IpAddr>>>,
    /// Of these families it is not known which were given.
    unknown: Vec<Family>,
}

impl NodeAddresses {
    /// Of a daemon that starts.
    pub(super) fn new() -> Self {
        Self {
            notifications: None,
            watched: Vec::new(),
            found: Vec::new(),
            given: HashSet::new(),
            unknown: Family::ALL.to_vec(),
            may_be_gone: false,
            ending: None,
            errors: Repetitions::default(),
        }
    }

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
        if let Some(ending) = &self.ending {
            let mut gone = locked(&ending.gone);
            let back = self.found.iter().map(|own| own.address);
            self.given
                .extend(back.filter(|address| gone.remove(address)));
        }
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
                Some(ending) => (&mut ending.thread).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = told => {}
            ended = ended => self.have_ended(end_of(ended)),
        }
    }

    /// Where they could not be, the next look tries it again.
    fn have_ended(&mut self, ended: io::Result<u64>) {
        let Some(ending) = self.ending.take() else {
            return;
        };
        match ended {
            Ok(0) => {}
            Ok(ended) => info!(
                ended,
                "connections that were given an address which has left the node are ended ({ended})"
            ),
            Err(error) => {
                self.given.extend(locked(&ending.gone).iter());
                self.unknown.extend(ending.unknown);
                let text = format!(
                    "connections that were given an address which has left the node may go on: {error}"
                );
                self.errors.warn(&text);
            }
        }
    }

    /// The policy is in force for these families: ends the connections that were given an address that has left the node since.
    /// `masquerade` does that by itself; what `snat` has given goes on being sent from it. In a thread, one at a time: reading
    /// the entries of a large table takes the kernel a third of a second.
    pub(super) fn end_connections_of_gone_ones(&mut self, in_force: &[Family]) {
        if !self.may_be_gone || self.ending.is_some() {
            return;
        }
        // Until they are, those of the other family stay as they are.
        self.may_be_gone = Family::ALL.iter().any(|family| !in_force.contains(family));
        let is_in_force = |address: IpAddr| in_force.contains(&Family::of(address));
        let there: HashSet<IpAddr> = self.found.iter().map(|own| own.address).collect();
        let is_gone = |address: &IpAddr| is_in_force(*address) && !there.contains(address);
        let gone: HashSet<IpAddr> = self.given.extract_if(is_gone).collect();
        let is_unknown = |family: &mut Family| in_force.contains(family);
        let unknown: Vec<Family> = self.unknown.extract_if(.., is_unknown).collect();
        let of_unknown = |address: IpAddr| unknown.contains(&Family::of(address));
        let cidrs = self.watched.iter().copied();
        let may_have_left: Vec<IpNet> = cidrs.filter(|cidr| of_unknown(cidr.addr())).collect();
        self.given
            .extend(there.iter().copied().filter(|own| of_unknown(*own)));
        if gone.is_empty() && may_have_left.is_empty() {
            return;
        }
        let gone = Arc::new(Mutex::new(gone));
        self.ending = Some(Ending {
            gone: Arc::clone(&gone),
            unknown,
            thread: in_a_thread(move || end_connections(&gone, &may_have_left, &there)),
        });
    }
}

fn locked(gone: &Mutex<HashSet<IpAddr>>) -> MutexGuard<'_, HashSet<IpAddr>> {
    gone.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Those that were translated to an address that has `gone`, or that lies in `unknown` and is not `there`, but for one that is
/// LOCAL by a route alone. Tells how many.
fn end_connections(
    gone: &Mutex<HashSet<IpAddr>>,
    unknown: &[IpNet],
    there: &HashSet<IpAddr>,
) -> io::Result<u64> {
    let node = ThisNode::read()?;
    let may_have_left = |address: IpAddr| {
        unknown.iter().any(|cidr| cidr.contains(&address)) && !there.contains(&address)
    };
    conntrack::end(&Filter::default(), |entry| {
        let given = entry.reply.destination;
        // In zones of their own, virtual routers (OVN) give addresses that are not the node's.
        let is_gone = locked(gone).contains(&given) || entry.zone == 0 && may_have_left(given);
        is_gone && entry.original.source != given && node.kind_of(given) != AddressKind::Local
    })
}
