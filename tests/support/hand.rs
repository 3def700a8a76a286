//! A hand inside of the worker: it acts between two of its steps, of which a whole pass is one request.
//!
//! A library that is loaded before libnftables and stands between it and the worker. It sees each document that the worker
//! has libnftables take, and each transaction that the worker sends by itself.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::daemon::TemporaryDirectory;
use super::netns::{feed, succeed};
use super::nft::debian_13_root;

/// Has the library with its orders loaded, with the host's libnftables.
const WORKER_ON_THE_HOST: &str = r#"#!/bin/sh
export ORDERS
exec env LD_PRELOAD=DIRECTORY/hand.so PROGRAM "$@"
"#;

/// The same below another root. The mounts end with the worker.
const WORKER_IN_ROOT: &str = r#"#!/bin/sh
export ORDERS
exec unshare --mount sh -ceu '
	mount --rbind /proc "$0/proc"
	mount --bind "$1" "$0/mnt"
	mount --bind "$3" "$0/media"
	program=$2
	root=$0
	shift 3
	exec chroot "$root" /usr/bin/env LD_PRELOAD=/media/hand.so "/mnt/$program" "$@"
' ROOT PROGRAM_DIRECTORY PROGRAM_NAME DIRECTORY "$@"
"#;

/// The library. What it is to do stands in the environment.
const LIBRARY: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

struct nft_ctx;

static const char *at, *does, *refuses, *drops, *version;
static int is_late, acts, answers_until_lost;
static char refusal[256];

__attribute__((constructor)) static void take_orders(void)
{
	/* The programs that the hand runs have none. */
	unsetenv("LD_PRELOAD");
	at = getenv("HAND_AT");
	does = getenv("HAND_DOES");
	refuses = getenv("HAND_REFUSES");
	drops = getenv("HAND_DROPS");
	version = getenv("HAND_VERSION");
	is_late = getenv("HAND_IS_LATE") != NULL;
	const char *times = getenv("HAND_ACTS");
	acts = times ? atoi(times) : 0;
	const char *lost = getenv("HAND_LOSES");
	answers_until_lost = lost ? atoi(lost) : 0;
}

static void act(int is_met, int is_after)
{
	if (!is_met || !does || is_after != is_late || acts == 0)
		return;
	acts--;
	int status = system(does);
	if (status != 0) {
		fprintf(stderr, "the hand failed: %s\n", does);
		exit(WEXITSTATUS(status));
	}
}

int nft_run_cmd_from_buffer(struct nft_ctx *ctx, const char *document)
{
	int (*real)(struct nft_ctx *, const char *) = dlsym(RTLD_NEXT, "nft_run_cmd_from_buffer");
	int is_met = at && strstr(document, at);
	refusal[0] = 0;
	if (is_met && refuses && acts > 0) {
		acts--;
		/* Each message of a refused transaction has an answer, and of thousands some are lost. */
		const char *reason = strstr(document, "\"elem\"") ? "No buffer space available" : refuses;
		snprintf(refusal, sizeof(refusal), "internal:0:0-0: Error: Could not process rule: %s\n", reason);
		return -1;
	}
	act(is_met, 0);
	char *taken = strdup(document);
	for (char *part = drops ? strstr(taken, drops) : NULL; part; part = strstr(part, drops))
		memmove(part, part + strlen(drops), strlen(part + strlen(drops)) + 1);
	int status = real(ctx, taken);
	free(taken);
	/* libnftables before 1.1.0 refuses the first form of a declaration, which is then written in another. */
	act(is_met && status == 0, 1);
	return status;
}

const char *nft_ctx_get_error_buffer(struct nft_ctx *ctx)
{
	const char *(*real)(struct nft_ctx *) = dlsym(RTLD_NEXT, "nft_ctx_get_error_buffer");
	return refusal[0] ? refusal : real(ctx);
}

const char *nft_ctx_get_output_buffer(struct nft_ctx *ctx)
{
	const char *(*real)(struct nft_ctx *) = dlsym(RTLD_NEXT, "nft_ctx_get_output_buffer");
	const char *output = real(ctx);
	static char older[128];
	if (!version || !strstr(output, "metainfo"))
		return output;
	snprintf(older, sizeof(older), "{\"nftables\": [{\"metainfo\": {\"version\": \"%s\"}}]}", version);
	return older;
}

ssize_t send(int socket, const void *bytes, size_t length, int flags)
{
	ssize_t (*real)(int, const void *, size_t, int) = dlsym(RTLD_NEXT, "send");
	char request[32] = "";
	uint16_t first, second;
	/* NFNL_MSG_BATCH_BEGIN (16) has 20 bytes, and the type stands at the fifth of a message. */
	if (length >= 26) {
		memcpy(&first, (const char *)bytes + 4, 2);
		memcpy(&second, (const char *)bytes + 24, 2);
		if (first == 16)
			snprintf(request, sizeof(request), "nfnetlink %d", second & 255);
	}
	int is_met = at && request[0] && strcmp(request, at) == 0;
	act(is_met, 0);
	ssize_t sent = real(socket, bytes, length, flags);
	act(is_met, 1);
	return sent;
}

ssize_t recv(int socket, void *bytes, size_t length, int flags)
{
	ssize_t (*real)(int, void *, size_t, int) = dlsym(RTLD_NEXT, "recv");
	if (answers_until_lost > 0 && --answers_until_lost == 0) {
		errno = ENOBUFS;
		return -1;
	}
	return real(socket, bytes, length, flags);
}
"#;

/// What happens in the middle of a pass.
#[derive(Clone, Copy, Debug)]
pub struct Hand<'a> {
    /// Where: a part of the document that libnftables is to take, or one of [`DELETES_SET`] and the like.
    pub at: &'a str,
    /// What, in words of the shell, whose parent is the worker; `None`: nothing. Where it fails, the worker exits as it does.
    pub does: Option<&'a str>,
    /// After libnftables or the kernel has taken it, and before the worker looks at anything; else just before.
    pub is_late: bool,
    /// How often, in each worker.
    pub acts: u32,
    /// Libnftables does not see the document at all: it is refused, so often, for this reason of the kernel's.
    pub refuses: Option<&'a str>,
    /// A part of each document that libnftables passes over, as an older one does with what it does not know.
    pub drops: Option<&'a str>,
    /// Which of the answers that the worker itself reads is lost, counted from 1; the socket keeps it. 0: none.
    pub loses: u32,
    /// The version that libnftables tells of itself, in place of all that it lists.
    pub version: Option<&'a str>,
}

/// The transaction by which the worker deletes a table: its message, linux/netfilter/nf_tables.h.
pub const DELETES_TABLE: &str = "nfnetlink 2";
/// The same for a named object: a counter, a quota and so on.
pub const DELETES_OBJECT: &str = "nfnetlink 20";
/// The same for a set, or a map.
pub const DELETES_SET: &str = "nfnetlink 11";

impl<'a> Hand<'a> {
    const IDLE: Self = Self {
        at: "",
        does: None,
        is_late: false,
        acts: 0,
        refuses: None,
        drops: None,
        loses: 0,
        version: None,
    };

    /// Does something once, just before the first document that has `at` in it.
    pub fn before(at: &'a str, does: &'a str) -> Self {
        Self {
            at,
            does: Some(does),
            acts: 1,
            ..Self::IDLE
        }
    }

    /// The same, just after.
    pub fn after(at: &'a str, does: &'a str) -> Self {
        Self {
            is_late: true,
            ..Self::before(at, does)
        }
    }

    /// Has each document refused that has `at` in it.
    pub fn that_refuses(at: &'a str, reason: &'a str) -> Self {
        Self {
            at,
            acts: 1_000_000,
            refuses: Some(reason),
            ..Self::IDLE
        }
    }

    /// Loses one of the answers that the worker itself reads, counted from 1.
    pub fn that_loses(answer: u32) -> Self {
        Self {
            loses: answer,
            ..Self::IDLE
        }
    }

    /// Has libnftables tell that it is of this version.
    pub fn that_says(version: &'a str) -> Self {
        Self {
            version: Some(version),
            ..Self::IDLE
        }
    }

    /// So often, in place of once, or of each time.
    pub fn times(self, acts: u32) -> Self {
        Self { acts, ..self }
    }

    /// Makes the program that starts such a worker, with the host's libnftables.
    pub fn install(self, directory: &TemporaryDirectory, daemon: &str) -> io::Result<PathBuf> {
        self.installed(WORKER_ON_THE_HOST, directory, daemon)
    }

    /// The same with Debian 13's.
    pub fn install_on_debian_13(
        self,
        directory: &TemporaryDirectory,
        daemon: &str,
    ) -> io::Result<PathBuf> {
        self.installed(WORKER_IN_ROOT, directory, daemon)
    }

    fn installed(
        self,
        script: &str,
        directory: &TemporaryDirectory,
        daemon: &str,
    ) -> io::Result<PathBuf> {
        let library = directory.path().join("hand.so");
        let mut compiler = Command::new("gcc");
        compiler.args(["-shared", "-fPIC", "-Wall", "-Werror", "-o"]);
        feed(compiler.arg(&library).args(["-x", "c", "-"]), LIBRARY)?;
        let daemon = Path::new(daemon).canonicalize()?;
        let shown = |path: Option<&Path>| quoted(&path.unwrap_or(Path::new("")).to_string_lossy());
        let text = script
            .replace("PROGRAM_DIRECTORY", &shown(daemon.parent()))
            .replace("PROGRAM_NAME", &shown(daemon.file_name().map(Path::new)))
            .replace("PROGRAM", &shown(Some(&daemon)))
            .replace("DIRECTORY", &shown(Some(directory.path())))
            .replace("ROOT", &shown(Some(&debian_13_root())))
            .replace("ORDERS", &self.orders());
        written_script(directory, "with-a-hand", &text)
    }

    /// As words of the shell's `export`.
    fn orders(self) -> String {
        let mut orders = format!(
            "HAND_AT={} HAND_ACTS={} HAND_LOSES={}",
            quoted(self.at),
            self.acts,
            self.loses
        );
        for (name, value) in [
            ("HAND_DOES", self.does),
            ("HAND_REFUSES", self.refuses),
            ("HAND_DROPS", self.drops),
            ("HAND_VERSION", self.version),
        ] {
            if let Some(value) = value {
                orders += &format!(" {name}={}", quoted(value));
            }
        }
        if self.is_late {
            orders += " HAND_IS_LATE=1";
        }
        orders
    }
}

/// One word of the shell.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Written by another process: what a test beside this one is just starting may hold a copy of what is open here, and then
/// the script could not be run (ETXTBSY, execve(2)).
pub fn written_script(
    directory: &TemporaryDirectory,
    name: &str,
    text: &str,
) -> io::Result<PathBuf> {
    let script = directory.path().join(name);
    let write = r#"printf %s "$1" > "$0"; chmod 755 "$0""#;
    let mut writer = Command::new("sh");
    succeed(writer.args(["-c", write]).arg(&script).arg(text))?;
    Ok(script)
}
