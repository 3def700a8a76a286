# `make help` says what there is. Packages of Debian that are missing are installed (root) or named.

TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
DAEMON := $(TARGET_DIR)/debug/non-masquerade-daemon
export DEBIAN_13_ROOT ?= $(abspath $(TARGET_DIR))/debian-13

# What `make install` installs, and where to; DESTDIR stands before each path, for those who make packages.
PROGRAM ?= $(TARGET_DIR)/release/non-masquerade-daemon
PREFIX ?= /usr/local
DOC_DIR := $(DESTDIR)$(PREFIX)/share/doc/non-masquerade-daemon

BUILD_PACKAGES := gcc libc6-dev libnftables-dev
RUN_PACKAGES := $(BUILD_PACKAGES) iproute2 nftables util-linux
TEST_PACKAGES := $(RUN_PACKAGES) conntrack iptables strace
BENCH_PACKAGES := $(RUN_PACKAGES) strace
ROOT := $(filter 0,$(shell id -u))
ifdef ROOT
TEST_PACKAGES += debootstrap
endif

.PHONY: help build run test bench golden install install-test-packages clean

help:
	@echo 'make build   the daemon, optimised: $(TARGET_DIR)/release/non-masquerade-daemon'
	@echo 'make run     the main job: real packets through throw-away namespaces, with daemon-config/config'
	@echo 'make test    all tests; what needs root is skipped and listed for an ordinary user'
	@echo 'make bench   times and sizes of the daemon, beside those of libnftables alone; 10,000 CIDRs need root'
	@echo 'make golden  rewrites tests/golden: what render, nft and --help print; as root'
	@echo 'make install the built daemon and its systemd unit, below $(PREFIX); PREFIX and DESTDIR choose another place'
	@echo 'make clean   removes what was built'

build:
	@.ci/install-packages $(BUILD_PACKAGES)
	cargo build --locked --release

# The example runs in namespaces of its own: see .cargo/in-own-namespaces.
run:
	@.ci/install-packages $(RUN_PACKAGES)
	cargo build --locked --bins --example main_job
	@cargo run --locked --quiet --example main_job -- $(DAEMON) daemon-config/config

ifdef ROOT
test: install-test-packages
	.ci/install-debian-13 $(DEBIAN_13_ROOT)
	.ci/test
else
test: install-test-packages
	.ci/test -- --skip needs_root
	@echo 'Skipped, because they need root:'
	@cargo test --locked --quiet -- --list --format terse needs_root | sed -n 's/^\(.*\): test$$/  \1/p'
endif

# Two cores without other work, or the times say little.
bench:
	@.ci/install-packages $(BENCH_PACKAGES)
	cargo bench --locked --bench daemon

# Look at the difference before you commit it.
golden: install-test-packages
	.ci/install-debian-13 $(DEBIAN_13_ROOT)
	REWRITE_GOLDENS=1 cargo test --locked --test golden --test help

install-test-packages:
	@.ci/install-packages $(TEST_PACKAGES)

# No file of the host's configuration is written, and nothing is started.
install:
	@[ -x '$(PROGRAM)' ] || { echo 'There is no $(PROGRAM): run make build first' >&2; exit 1; }
	install -D '$(PROGRAM)' '$(DESTDIR)$(PREFIX)/bin/non-masquerade-daemon'
	install -D --mode=644 manifests/systemd/non-masquerade-daemon.service --target-directory='$(DESTDIR)$(PREFIX)/lib/systemd/system'
	sed --in-place 's|/usr/local/|$(PREFIX)/|' '$(DESTDIR)$(PREFIX)/lib/systemd/system/non-masquerade-daemon.service'
	install -D --mode=644 daemon-config/config LICENSE README.md --target-directory='$(DOC_DIR)'

clean:
	cargo clean
