//! CAP_NET_ADMIN, capabilities(7).

use caps::{CapSet, Capability};

/// Makes CAP_NET_ADMIN effective where it is permitted (a file capability `cap_net_admin+p` permits
/// it only), and says whether it is.
///
/// # Errors
/// Where the kernel does not tell the capabilities.
pub fn raise_net_admin() -> Result<bool, caps::errors::CapsError> {
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_NET_ADMIN)? {
        return Ok(true);
    }
    if !caps::has_cap(None, CapSet::Permitted, Capability::CAP_NET_ADMIN)? {
        return Ok(false);
    }
    caps::raise(None, CapSet::Effective, Capability::CAP_NET_ADMIN)?;
    Ok(true)
}
