//! The only FFI: the functions of libnftables that are called, and two of the C library that no crate wraps.
//!
//! Prototypes as in nftables/libnftables.h; each exists since `LIBNFTABLES_1`. The attribute links
//! the library, so no build script is needed.

use std::ffi::{c_char, c_int, c_uint};

/// `NFT_CTX_DEFAULT`
pub(super) const NFT_CTX_DEFAULT: u32 = 0;
/// `NFT_CTX_OUTPUT_JSON`
pub(super) const NFT_CTX_OUTPUT_JSON: c_uint = 1 << 4;
/// `NFT_CTX_OUTPUT_TERSE`
pub(super) const NFT_CTX_OUTPUT_TERSE: c_uint = 1 << 11;

/// `struct nft_ctx`, opaque.
#[repr(C)]
pub(super) struct NftCtx {
    _private: [u8; 0],
}

#[link(name = "nftables")]
unsafe extern "C" {
    pub(super) fn nft_ctx_new(flags: u32) -> *mut NftCtx;
    pub(super) fn nft_ctx_free(ctx: *mut NftCtx);
    pub(super) fn nft_ctx_set_dry_run(ctx: *mut NftCtx, dry: bool);
    pub(super) fn nft_ctx_output_set_flags(ctx: *mut NftCtx, flags: c_uint);
    pub(super) fn nft_ctx_buffer_output(ctx: *mut NftCtx) -> c_int;
    pub(super) fn nft_ctx_get_output_buffer(ctx: *mut NftCtx) -> *const c_char;
    pub(super) fn nft_ctx_buffer_error(ctx: *mut NftCtx) -> c_int;
    pub(super) fn nft_ctx_get_error_buffer(ctx: *mut NftCtx) -> *const c_char;
    pub(super) fn nft_run_cmd_from_buffer(ctx: *mut NftCtx, buf: *const c_char) -> c_int;
}

/// Gives the pages of freed allocations back to the kernel, malloc_trim(3): the C library keeps what was freed below
/// something that is still in use, after one long transaction more than a MiB for good. Other C libraries than glibc have
/// no such function.
pub(super) fn give_freed_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes a number, and may be called at any time.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

/// Waits until no packet is under way any more that was when this began: an RCU grace period, some 10 ms, by membarrier(2)
/// (`synchronize_rcu` in kernel/sched/membarrier.c). Where the kernel has none (`nohz_full`), nothing is waited for.
pub(super) fn wait_for_packets_under_way() {
    // SAFETY: membarrier takes numbers, and touches no memory.
    unsafe {
        nix::libc::syscall(
            nix::libc::SYS_membarrier,
            nix::libc::MEMBARRIER_CMD_GLOBAL,
            0,
            0,
        );
    }
}
