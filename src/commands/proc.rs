//! Files of /proc that are there only where the kernel has something to tell.

use std::fs;
use std::io;

/// What is not there is empty: no such module is loaded. Where /proc is not mounted, nothing is there.
pub(crate) fn content(path: &str) -> io::Result<String> {
    match fs::read_to_string(path) {
        Err(error)
            if error.kind() == io::ErrorKind::NotFound && fs::exists("/proc/net/netlink")? =>
        {
            Ok(String::new())
        }
        content => content,
    }
}
