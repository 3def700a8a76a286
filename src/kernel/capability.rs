//! CAP_NET_ADMIN, capabilities(7).

use caps::{CapSet, Capability};
use nix::sys::prctl;

/// How this process has CAP_NET_ADMIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetAdmin {
    /// It was effective.
    Effective,
    /// It was permitted only, as by a file capability `cap_net_admin+p`, and has been made effective.
    Raised,
    /// Not at all.
    Missing,
}

/// Makes CAP_NET_ADMIN effective where it is permitted.
///
/// # Errors
/// Where the kernel does not tell the capabilities.
pub fn raise_net_admin() -> Result<NetAdmin, caps::errors::CapsError> {
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_NET_ADMIN)? {
        return Ok(NetAdmin::Effective);
    }
    if !caps::has_cap(None, CapSet::Permitted, Capability::CAP_NET_ADMIN)? {
        return Ok(NetAdmin::Missing);
    }
    caps::raise(None, CapSet::Effective, Capability::CAP_NET_ADMIN)?;
    Ok(NetAdmin::Raised)
}

/// What gives CAP_NET_ADMIN to a program that lacks it.
///
/// # Errors
/// Where the kernel does not tell the capabilities.
pub fn remedy() -> Result<&'static str, caps::errors::CapsError> {
    let is_granted = caps::has_cap(None, CapSet::Bounding, Capability::CAP_NET_ADMIN)?;
    // Linux tells it since 3.5.
    let gains_nothing = prctl::get_no_new_privs().unwrap_or(false);
    Ok(remedy_where(is_granted, gains_nothing))
}

/// Whether it is granted is whether the bounding set holds it: exec(2) then gives it to root, and to whom the file gives it.
/// Under no_new_privs, prctl(2), the file gives only what the caller of exec(2) has permitted already.
fn remedy_where(is_granted: bool, gains_nothing: bool) -> &'static str {
    match (is_granted, gains_nothing) {
        (true, false) => {
            "the process may have it, but neither its user nor its program brings it: run as root (Kubernetes: the \
             component manifests/components/root, where a registry or a copy has lost the file capability of the image's \
             program), or setcap cap_net_admin+p on the program; systemd: AmbientCapabilities=CAP_NET_ADMIN"
        }
        (true, true) => {
            "the process may have it, but neither its user nor its program brings it, and under no_new_privs (Kubernetes: \
             allowPrivilegeEscalation: false; systemd: NoNewPrivileges=yes) a file capability alone does not either: run as \
             root (Kubernetes: the component manifests/components/root, where a registry or a copy has lost the file \
             capability of the image's program, or the runtime gives users other than root none), or start it with the \
             capability (systemd: AmbientCapabilities=CAP_NET_ADMIN)"
        }
        (false, _) => {
            "it is not granted, not even to root: grant it (Kubernetes: securityContext.capabilities.add: [NET_ADMIN]; \
             systemd: CapabilityBoundingSet=CAP_NET_ADMIN, with AmbientCapabilities=CAP_NET_ADMIN unless it is root)"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_granted_it_needs_root_or_a_file_capability_and_who_is_not_needs_the_grant() {
        assert!(remedy_where(true, false).contains("manifests/components/root"));
        assert!(remedy_where(true, false).contains("setcap cap_net_admin+p"));
        for gains_nothing in [true, false] {
            let remedy = remedy_where(false, gains_nothing);
            assert!(remedy.contains("capabilities.add: [NET_ADMIN]"));
            assert!(!remedy.contains("setcap"));
        }
    }

    #[test]
    fn where_a_file_capability_gives_nothing_new_it_is_not_what_is_missing() {
        let remedy = remedy_where(true, true);
        assert!(!remedy.contains("setcap"));
        for words in [
            "manifests/components/root",
            "AmbientCapabilities",
            "no_new_privs",
        ] {
            assert!(remedy.contains(words), "{words}");
        }
    }
}
