//! `existingConnections: follow`: which policies connections have been under, and when those are ended that the one in force
//! treats otherwise.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;
use tracing::info;

use super::configuration::Desired;
use super::repetitions::Repetitions;
use super::work::{WorkEvent, beside_all_orders};
use crate::config::ExistingConnections;
use crate::ruleset::Family;
use crate::tracked;

/// The state between two passes.
pub(super) struct Following {
    families: [OfFamily; 2],
    tell: mpsc::Sender<WorkEvent>,
    thread: Option<Thread>,
    errors: Repetitions,
}

/// What connections of one family are under.
#[derive(Debug, Clone)]
struct OfFamily {
    family: Family,
    /// What the family's table was left as by the last pass that left it as it was desired.
    in_force: Option<Arc<Desired>>,
    /// What was in force before that, since connections came to follow.
    before: Vec<Arc<Desired>>,
}

/// It ends connections.
struct Thread {
    families: Vec<Family>,
    /// False: it is to give up.
    goes_on: Arc<AtomicBool>,
}

impl Following {
    /// Its thread tells its end by `tell`.
    pub(super) fn new(tell: mpsc::Sender<WorkEvent>) -> Self {
        Self {
            families: Family::ALL.map(|family| OfFamily {
                family,
                in_force: None,
                before: Vec::new(),
            }),
            tell,
            thread: None,
            errors: Repetitions::default(),
        }
    }

    /// What is in force for each family of which that is known.
    pub(super) fn in_force(&self) -> Vec<(Family, Arc<Desired>)> {
        let families = self.families.iter();
        let known = families.filter_map(|of| Some((of.family, of.in_force.clone()?)));
        known.collect()
    }

    /// Another policy is wanted, by which connections that are about to be ended may be right.
    pub(super) fn give_up(&self) {
        if let Some(thread) = &self.thread {
            thread.goes_on.store(false, Ordering::Relaxed);
        }
    }

    /// The tables of these families are what `now` wants, and `desired` is wanted by now. Neither a start nor a repair ends a
    /// connection.
    pub(super) fn are_in_force(
        &mut self,
        families: &[Family],
        now: &Arc<Desired>,
        desired: Option<&Arc<Desired>>,
    ) {
        let those = self.families.iter_mut();
        for of_family in those.filter(|of| families.contains(&of.family)) {
            of_family.is_in_force(now);
        }
        self.begin(desired);
    }

    fn begin(&mut self, desired: Option<&Arc<Desired>>) {
        let desired = desired.map(|desired| &desired.policy);
        let is_desired = |of: &OfFamily| of.in_force.as_ref().map(|now| &now.policy) == desired;
        let mut turned = self.families.to_vec();
        turned.retain(|of| !of.before.is_empty() && is_desired(of));
        if turned.is_empty() || self.thread.is_some() {
            return;
        }
        let goes_on = Arc::new(AtomicBool::new(true));
        self.thread = Some(Thread {
            families: turned.iter().map(|of| of.family).collect(),
            goes_on: Arc::clone(&goes_on),
        });
        let follow = move || turned.iter().map(|of| of.follow(&goes_on)).sum();
        beside_all_orders(&self.tell, follow, WorkEvent::Followed);
    }

    /// The thread has ended. `desired` may not be in force yet.
    pub(super) fn ended(&mut self, ended: io::Result<u64>, desired: Option<&Arc<Desired>>) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        let is_given_up = !thread.goes_on.load(Ordering::Relaxed);
        let mut is_to_be_forgotten = !is_given_up;
        match ended {
            Ok(_) if is_given_up => {}
            Ok(ended) => info!(
                ended,
                "existing connections follow the policy: {ended} that it treats otherwise now were ended"
            ),
            Err(error) => {
                let text = format!("existing connections cannot follow the policy: {error}");
                self.errors.warn(&text);
                // Otherwise the next pass tries it again.
                is_to_be_forgotten = error.kind() == io::ErrorKind::Unsupported;
            }
        }
        if is_to_be_forgotten {
            let those = self.families.iter_mut();
            let those = those.filter(|of| thread.families.contains(&of.family));
            those.for_each(|of| of.before.clear());
        }
        if is_given_up || is_to_be_forgotten {
            self.begin(desired);
        }
    }
}

impl OfFamily {
    fn is_in_force(&mut self, now: &Arc<Desired>) {
        if let Some(before) = self.in_force.replace(Arc::clone(now))
            && !self.are_alike(&before, now)
            && !self.before.iter().any(|it| self.are_alike(it, &before))
        {
            self.before.push(before);
        }
        if now.config.existing_connections == ExistingConnections::Keep {
            self.before.clear();
        }
    }

    /// Both treat connections of the family alike. Ports, `enforce` and `dropInvalid` decide over nothing that is judged.
    fn are_alike(&self, one: &Desired, other: &Desired) -> bool {
        let (one, other) = (&one.policy, &other.policy);
        let is_family_alike = match self.family {
            Family::Ip => one.ipv4 == other.ipv4,
            Family::Ip6 => one.ipv6 == other.ipv6,
        };
        is_family_alike
            && one.masq_node_traffic == other.masq_node_traffic
            && one.output_interfaces == other.output_interfaces
    }

    fn follow(&self, goes_on: &AtomicBool) -> io::Result<u64> {
        let Some(now) = &self.in_force else {
            return Ok(0);
        };
        let before = self.before.iter().map(|desired| &desired.policy);
        tracked::follow(self.family, before, &now.policy, || {
            goes_on.load(Ordering::Relaxed)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::policy::Policy;
    use crate::ruleset::{ChosenNames, Tables};

    /// With this list of IPv4 CIDRs, and IPv6 on.
    fn desired(cidr: &str, existing_connections: ExistingConnections) -> Arc<Desired> {
        let config = Config {
            enable_ipv6: true,
            non_masquerade_cidrs: vec![cidr.parse().unwrap()],
            existing_connections,
            ..Config::default()
        };
        let policy = Policy::new(&config);
        Arc::new(Desired {
            tables: Arc::new(Tables::new(&policy, &ChosenNames::default())),
            policy,
            config,
        })
    }

    /// How many policies its connections have been under that the one in force turns, after each of these.
    fn turned(family: Family, policies: &[&Arc<Desired>]) -> Vec<usize> {
        let mut of_family = OfFamily {
            family,
            in_force: None,
            before: Vec::new(),
        };
        let counts = policies.iter().map(|now| {
            of_family.is_in_force(now);
            of_family.before.len()
        });
        counts.collect()
    }

    #[test]
    fn neither_a_start_nor_a_repair_turns_connections_and_what_was_not_followed_yet_counts_once() {
        use ExistingConnections::{Follow, Keep};
        let [a, b, c] = ["10.0.0.0/8", "11.0.0.0/8", "12.0.0.0/8"].map(|it| desired(it, Follow));
        let keeps = desired("13.0.0.0/8", Keep);
        for (policies, expected) in [
            (vec![&a, &a], vec![0, 0]),
            (vec![&a, &b, &b, &c], vec![0, 1, 1, 2]),
            (vec![&a, &b, &a, &b, &a], vec![0, 1, 2, 2, 2]),
            (vec![&a, &b, &keeps, &a], vec![0, 1, 0, 1]),
        ] {
            assert_eq!(turned(Family::Ip, &policies), expected);
            // Of IPv6 nothing changes.
            assert_eq!(turned(Family::Ip6, &policies), vec![0; policies.len()]);
        }
    }
}
