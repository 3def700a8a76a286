//! Interfaces by which traffic leaves that is looked at.

use crate::config::Finding;
use crate::in_words;

/// How many names a warning shows.
const NAMED: usize = 4;

/// By their names, as `oifname` matches them (nft(8)): an interface that is renamed, or made anew, counts as its name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interfaces {
    /// All of them.
    Any,
    /// Those of these names. A `*` at the end stands for any rest. No interface has two of them: a packet that met a rule for
    /// each would be counted twice.
    Only(Vec<String>),
}

impl Interfaces {
    /// Those that any of the names means; all of them where there is no name.
    #[must_use]
    pub fn named(names: &[String]) -> Self {
        if names.is_empty() || names.iter().any(|name| name == "*") {
            return Self::Any;
        }
        // What begins as a name with a `*` does comes right behind it, so that each is compared with one other: a file has room
        // for 100,000.
        let mut names = names.to_vec();
        names.sort_by_cached_key(|name| match name.strip_suffix('*') {
            Some(beginning) => (beginning.to_owned(), false),
            None => (name.clone(), true),
        });
        names.dedup_by(|name, kept| contains(kept, name));
        Self::Only(names)
    }

    /// Whether what leaves by the interface of this name is looked at.
    #[must_use]
    pub fn contain(&self, interface: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Only(names) => names.iter().any(|name| contains(name, interface)),
        }
    }

    /// What is likely not meant on a machine whose default routes of a family lead by `uplinks`: the name of a bridge's port
    /// instead of the bridge's is as good as none.
    #[must_use]
    pub fn warning(&self, family: &str, uplinks: &[&str]) -> Option<Finding> {
        let Self::Only(names) = self else {
            return None;
        };
        if uplinks.is_empty() || uplinks.iter().any(|uplink| self.contain(uplink)) {
            return None;
        }
        let names = in_words::first(names, NAMED, ", ");
        let uplinks = in_words::first(uplinks, NAMED, ", ");
        Some(Finding::about_key(
            "outputInterfaces",
            format!(
                "no default route of {family} on this machine leads by {names}, and what leaves by {uplinks} is left alone"
            ),
            format!(
                "name {uplinks} in outputInterfaces, unless that is to be left alone: a bond, bridge, VLAN or tunnel is named, not its port"
            ),
        ))
    }
}

/// Whether what `name` means contains `other`, which is a name with or without a `*` itself.
fn contains(name: &str, other: &str) -> bool {
    match name.strip_suffix('*') {
        Some(beginning) => other.starts_with(beginning),
        None => name == other,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn named(names: &[&str]) -> Interfaces {
        Interfaces::named(&names.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    fn only(names: &[&str]) -> Interfaces {
        Interfaces::Only(names.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn no_interface_has_two_of_the_names() {
        assert_eq!(named(&[]), Interfaces::Any);
        assert_eq!(named(&["eth0", "*"]), Interfaces::Any);
        assert_eq!(named(&["wg0", "eth0", "wg0"]), only(&["eth0", "wg0"]));
        assert_eq!(named(&["eth0", "eth*", "eth", "et"]), only(&["et", "eth*"]));
        assert_eq!(named(&["eth1*", "eth*", "e*h"]), only(&["e*h", "eth*"]));
        assert_eq!(named(&["eth*", "eth#", "eth~1*"]), only(&["eth*"]));
    }

    /// Compared each with each, they take minutes.
    #[test]
    fn as_many_names_as_a_file_has_room_for_are_compared_in_time() {
        let names: Vec<String> = (0..100_000).map(|number| format!("e{number:06}")).collect();
        let started = Instant::now();
        assert_eq!(Interfaces::named(&names), Interfaces::Only(names));
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_name_with_a_star_means_all_that_begin_so() {
        let some = named(&["eth*", "wg0"]);
        for (interface, is_meant) in [
            ("eth0", true),
            ("eth", true),
            ("wg0", true),
            ("wg01", false),
        ] {
            assert_eq!(some.contain(interface), is_meant, "{interface}");
        }
        assert!(named(&[]).contain("eth0"));
    }

    #[test]
    fn that_default_routes_lead_by_others_alone_is_likely_not_meant() {
        let bond = named(&["bond0", "wg*"]);
        let said = |uplinks: &[&str]| bond.warning("IPv4", uplinks).map(|it| it.to_string());
        let told = said(&["eth0", "eth1"]).unwrap();
        for words in [
            "outputInterfaces: no default route of IPv4 on this machine leads by bond0, wg*, and what leaves by eth0, eth1 is",
            "; name eth0, eth1 in outputInterfaces",
        ] {
            assert!(told.contains(words), "{told}");
        }
        for uplinks in [&["bond0", "eth0"][..], &["wg1"], &[]] {
            assert_eq!(said(uplinks), None, "{uplinks:?}");
        }
        assert_eq!(named(&[]).warning("IPv4", &["eth0"]), None);
    }
}
