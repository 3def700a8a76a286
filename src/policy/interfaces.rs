//! Interfaces by which traffic leaves that is looked at.

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
        let mut names = names.to_vec();
        names.sort_unstable();
        names.dedup();
        let all = names.clone();
        names.retain(|name| {
            !all.iter()
                .any(|other| other != name && contains(other, name))
        });
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
}
