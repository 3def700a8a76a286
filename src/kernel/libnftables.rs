//! A safe libnftables context. Only the worker process makes one: libnftables may call `exit()`
//! and may crash its caller (design §6).

use std::ffi::{CStr, c_char};
use std::fs;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::ptr::NonNull;

use nix::sys::socket::{NetlinkAddr, getsockname};
use serde::{Deserialize, Serialize};

use super::ffi as sys;
use super::netlink::Netlink;

/// The first libnftables with which packets meet what was asked for. Before, it lacks the flag without which the kernel chooses
/// any port for `masquerade to` (`NF_NAT_RANGE_PROTO_SPECIFIED`), and 0.9.2 cannot fill each set of intervals.
const OLDEST: [u32; 3] = [0, 9, 4];

/// The first that writes the counter of a set by JSON.
const WITH_COUNTERS: [u32; 3] = [1, 0, 6];

/// One libnftables context with its netlink socket, JSON in and JSON out.
///
/// Neither `Send` nor `Sync` (it holds a pointer): libnftables keeps state in statics.
pub struct Context {
    ctx: NonNull<sys::NftCtx>,
    socket: Netlink,
}

/// How libnftables takes a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Whole.
    Full,
    /// It lists no elements of named sets and maps.
    Terse,
    /// The kernel judges it, and nothing is applied.
    DryRun,
}

/// What libnftables said to one document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// False: nothing of the document was applied.
    pub succeeded: bool,
    /// The listing, where one was asked for; its bytes need be neither JSON nor whole.
    pub output: String,
    /// Error messages.
    pub error: String,
}

/// Why there is no context.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// `nft_ctx_new` gave none.
    #[error("libnftables made no context; is memory or the number of open files exhausted?")]
    New,
    /// `nft_ctx_buffer_output` or `nft_ctx_buffer_error` failed.
    #[error("libnftables cannot buffer its output; is memory exhausted?")]
    Buffer,
    /// Its netlink socket was not found.
    #[error("libnftables' netlink socket cannot be found: {0}; is /proc mounted?")]
    Socket(#[source] io::Error),
}

impl Context {
    /// Makes a context.
    ///
    /// # Errors
    /// Where libnftables cannot make one. Where it cannot open a netlink socket it calls `exit()`.
    pub fn new() -> Result<Self, ContextError> {
        let before = netlink_sockets().map_err(ContextError::Socket)?;
        // SAFETY: takes flags only; NULL is the one failure it knows.
        let ctx = unsafe { sys::nft_ctx_new(sys::NFT_CTX_DEFAULT) };
        let ctx = NonNull::new(ctx).ok_or(ContextError::New)?;
        let socket = new_socket(&before).map_err(|error| {
            // SAFETY: `ctx` came from nft_ctx_new, and nothing holds it any more.
            unsafe { sys::nft_ctx_free(ctx.as_ptr()) };
            ContextError::Socket(error)
        })?;
        let context = Self { ctx, socket };
        let ctx = context.ctx.as_ptr();
        // SAFETY: `ctx` came from nft_ctx_new and lives until `drop`.
        let failures = unsafe { sys::nft_ctx_buffer_output(ctx) | sys::nft_ctx_buffer_error(ctx) };
        if failures == 0 {
            Ok(context)
        } else {
            Err(ContextError::Buffer)
        }
    }

    /// Runs one JSON document in a mode: all its commands take effect, or none.
    pub fn run(&mut self, document: &CStr, mode: Mode) -> Said {
        let terse = match mode {
            Mode::Terse => sys::NFT_CTX_OUTPUT_TERSE,
            Mode::Full | Mode::DryRun => 0,
        };
        let ctx = self.ctx.as_ptr();
        // SAFETY: `ctx` is a live context that nobody else holds (`&mut self`); the document ends
        // with NUL and outlives the call.
        let status = unsafe {
            sys::nft_ctx_output_set_flags(ctx, sys::NFT_CTX_OUTPUT_JSON | terse);
            sys::nft_ctx_set_dry_run(ctx, mode == Mode::DryRun);
            sys::nft_run_cmd_from_buffer(ctx, document.as_ptr())
        };
        // Both buffers after every command: what is not read is still there after the next one.
        // SAFETY: as above; the buffers are owned by the context and copied before its next call.
        let (output, error) = unsafe {
            (
                copied(sys::nft_ctx_get_output_buffer(ctx)),
                copied(sys::nft_ctx_get_error_buffer(ctx)),
            )
        };
        Said {
            succeeded: status == 0,
            output,
            error,
        }
    }

    /// The socket on which libnftables writes. It, and not the process, is what may own a table; between two commands
    /// nothing is under way on it.
    #[must_use]
    pub fn socket(&self) -> &Netlink {
        &self.socket
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: `ctx` came from nft_ctx_new and is freed once, here.
        unsafe { sys::nft_ctx_free(self.ctx.as_ptr()) }
    }
}

/// A version's numbers, `1.0.6` and the like; what follows the third does not count.
#[must_use]
pub fn numbers(version: &str) -> Option<[u32; 3]> {
    let mut parts = version
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().ok());
    let mut next = || parts.next().flatten();
    Some([next()?, next()?, next().unwrap_or(0)])
}

/// Whether this version writes what is not asked for.
#[must_use]
pub fn is_too_old(version: &str) -> bool {
    numbers(version).is_some_and(|numbers| numbers < OLDEST)
}

/// Whether this version writes the counter of a set. Before 1.0.6, libnftables passes over it in JSON without a word; that a
/// distribution may have mended an older one does no harm, for sets with counters are right as well.
#[must_use]
pub fn writes_counters(version: &str) -> bool {
    numbers(version).is_none_or(|numbers| numbers >= WITH_COUNTERS)
}

/// The descriptors of this process's netlink sockets.
fn netlink_sockets() -> io::Result<Vec<RawFd>> {
    let mut sockets = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        let descriptor = name.to_str().and_then(|name| name.parse().ok());
        sockets.extend(descriptor.filter(|fd| getsockname::<NetlinkAddr>(*fd).is_ok()));
    }
    Ok(sockets)
}

/// The one that libnftables has opened since; it tells it nobody.
fn new_socket(before: &[RawFd]) -> io::Result<Netlink> {
    let is_new = |descriptor: &RawFd| !before.contains(descriptor);
    let opened = netlink_sockets()?.into_iter().find(is_new);
    let opened = opened.ok_or(io::ErrorKind::NotFound)?;
    // SAFETY: libnftables keeps the descriptor open as long as its context lives, which is longer than this call.
    let opened = unsafe { BorrowedFd::borrow_raw(opened) };
    Ok(Netlink::from(opened.try_clone_to_owned()?))
}

/// # Safety
/// `buffer` is NULL or a NUL-terminated string that lives during the call.
unsafe fn copied(buffer: *const c_char) -> String {
    if buffer.is_null() {
        return String::new();
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(buffer) }
        .to_string_lossy()
        .into_owned()
}
