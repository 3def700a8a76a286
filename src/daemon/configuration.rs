//! The configuration: what the last good one asks for, what is wrong with the file now, and what was said of both.

use std::sync::Arc;

use tracing::{error, info, warn};

use super::repetitions::Repetitions;
use crate::config::{Config, Finding};
use crate::config_source::{LoadError, Loaded, Origin};
use crate::policy::Policy;
use crate::policy::words::PolicyChange;
use crate::ruleset::{ChosenNames, Tables};

/// What a good configuration asks for.
#[derive(Debug)]
pub(super) struct Desired {
    pub(super) tables: Arc<Tables>,
    /// What the tables are made of.
    pub(super) policy: Policy,
    /// What the policy is made of.
    pub(super) config: Config,
}

/// The state between two readings that count.
#[derive(Debug, Default)]
pub(super) struct Configuration {
    /// Of the last good one.
    desired: Option<Arc<Desired>>,
    /// What is wrong with the one that was read last; `None`: it is good, or none was read yet.
    errors: Option<String>,
    origin: Option<Origin>,
    warnings: Vec<Finding>,
    /// Of the node's addresses: one that comes and goes again and again is not to fill the log.
    address_warnings: Repetitions,
}

impl Configuration {
    /// A good one was read, which means `policy` on this node. Tells whether it asks for something else than the one before.
    pub(super) fn take_good(
        &mut self,
        loaded: Loaded,
        policy: Policy,
        origin: Origin,
        names: &ChosenNames,
    ) -> bool {
        if self.errors.take().is_some() {
            info!("the configuration is good again");
        }
        self.say_origin(origin);
        if self.warnings != loaded.warnings {
            for warning in &loaded.warnings {
                warn!("{warning}");
            }
            self.warnings = loaded.warnings;
        }
        self.want(policy, loaded.config, names)
    }

    /// The last good one means another policy, as the node has other addresses. Tells whether it does.
    pub(super) fn take_policy(&mut self, policy: Policy, names: &ChosenNames) -> bool {
        let Some(desired) = self.desired.as_deref() else {
            return false;
        };
        let config = desired.config.clone();
        self.want(policy, config, names)
    }

    fn want(&mut self, policy: Policy, config: Config, names: &ChosenNames) -> bool {
        for warning in policy.warnings() {
            self.address_warnings.warn(&warning.to_string());
        }
        let before = self.desired.as_deref();
        if let Some(before) = before
            && before.policy == policy
            && before.config.existing_connections == config.existing_connections
            && before.config.resync_interval == config.resync_interval
        {
            // With what there is to be said of the node's other addresses.
            self.desired = Some(Arc::new(Desired {
                tables: Arc::clone(&before.tables),
                policy,
                config,
            }));
            return false;
        }
        let desired = Desired {
            tables: Arc::new(Tables::new(&policy, names)),
            policy,
            config,
        };
        desired.say_what_changes(before);
        self.desired = Some(Arc::new(desired));
        true
    }

    /// A bad one was read: the last good one stays.
    pub(super) fn take_bad(&mut self, error: &LoadError) {
        let errors = error.to_string();
        if self.errors.as_ref() == Some(&errors) {
            return;
        }
        for line in errors.lines() {
            error!("{line}");
        }
        error!("{}", self.consequence());
        self.errors = Some(errors);
    }

    pub(super) fn desired(&self) -> Option<&Arc<Desired>> {
        self.desired.as_ref()
    }

    /// Why the daemon is not ready, in one line; `None`: not for the configuration's sake.
    pub(super) fn reason(&self) -> Option<String> {
        match (&self.errors, &self.desired) {
            (None, Some(_)) => None,
            (None, None) => Some("no configuration has been read yet".to_owned()),
            (Some(errors), _) => {
                let (first, rest) = errors.split_once('\n').unwrap_or((errors, ""));
                let more = match rest.lines().count() {
                    0 => String::new(),
                    more => format!(" (and {more} more)"),
                };
                Some(format!("{}: {first}{more}", self.consequence()))
            }
        }
    }

    fn consequence(&self) -> &'static str {
        match self.desired {
            Some(_) => "the configuration is bad: the last good one stays in force",
            None => "the configuration is bad: nothing is changed until it is good",
        }
    }

    /// That no file is there at the start is as likely meant as not; that none is any more may let another policy in.
    fn say_origin(&mut self, origin: Origin) {
        match (&self.origin, &origin) {
            (Some(before), now) if before == now => return,
            (Some(Origin::Files(_)), Origin::Defaults(_)) => warn!("{origin}"),
            _ => info!("{origin}"),
        }
        self.origin = Some(origin);
    }
}

impl Desired {
    /// One line, with what differs from the one `before`.
    fn say_what_changes(&self, before: Option<&Self>) {
        let policy = &self.policy;
        let Some(before) = before else {
            info!("policy: {policy}");
            return;
        };
        let mut change = PolicyChange::between(&before.policy, policy);
        let (before, now) = (&before.config, &self.config);
        if before.resync_interval != now.resync_interval {
            let interval = format!("resyncInterval now {:?}", now.resync_interval);
            change.words.push(interval);
        }
        if before.existing_connections != now.existing_connections {
            let name = now.existing_connections.name();
            change.words.push(format!("existingConnections now {name}"));
        }
        let PolicyChange { added, removed, .. } = change;
        if change.words.is_empty() {
            info!(added, removed, "policy: {policy}");
        } else {
            info!(added, removed, change = %change, "policy: {change}; now: {policy}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Flags;

    impl Configuration {
        fn take_the_defaults(&mut self) -> bool {
            let loaded = crate::config_source::load(&[], &Flags::default()).unwrap();
            let names = ChosenNames {
                table: "t".to_owned(),
                masq_chain: "c".to_owned(),
            };
            let policy = Policy::new(&loaded.config);
            self.take_good(loaded, policy, Origin::Defaults(String::new()), &names)
        }
    }

    #[test]
    fn a_bad_file_is_a_reason_with_its_first_error_until_it_is_good() {
        let mut configuration = Configuration::default();
        let reason = "no configuration has been read yet";
        assert_eq!(configuration.reason().unwrap(), reason);
        configuration.errors = Some("one".to_owned());
        let reason = "the configuration is bad: nothing is changed until it is good: one";
        assert_eq!(configuration.reason().unwrap(), reason);
        let is_new = configuration.take_the_defaults();
        assert_eq!((is_new, configuration.reason()), (true, None));
        configuration.errors = Some("one\ntwo\nthree".to_owned());
        let reason = "the configuration is bad: the last good one stays in force: one (and 2 more)";
        assert_eq!(configuration.reason().unwrap(), reason);
        let is_new = configuration.take_the_defaults();
        assert_eq!((is_new, configuration.reason()), (false, None));
    }
}
