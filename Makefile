# `make help` says what there is. Packages of Debian that are missing are installed (root) or named.

TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
DAEMON := $(TARGET_DIR)/debug/non-masquerade-daemon
export DEBIAN_13_ROOT ?= $(abspath $(TARGET_DIR))/debian-13

BUILD_PACKAGES := gcc libc6-dev libnftables-dev
RUN_PACKAGES := $(BUILD_PACKAGES) iproute2 nftables util-linux
TEST_PACKAGES := $(RUN_PACKAGES) conntrack iptables strace
BENCH_PACKAGES := $(RUN_PACKAGES) strace
ROOT := $(filter 0,$(shell id -u))
ifdef ROOT
TEST_PACKAGES += debootstrap
endif

.PHONY: help build run test bench chaos soak golden install-test-packages clean

help:
	@echo 'make build   the daemon, optimised: $(TARGET_DIR)/release/non-masquerade-daemon'
	@echo 'make run     the main job: real packets through throw-away namespaces, with daemon-config/config'
	@echo 'make test    all tests; what needs root is skipped and listed for an ordinary user'
	@echo 'make bench   times and sizes of the daemon, beside those of libnftables alone; 10,000 CIDRs need root'
	@echo 'make chaos   ten minutes of kills, foreign changes, bad files, limits and more under many flows; CHAOS_SECONDS=60 CHAOS_SEED=1'
	@echo 'make soak    100,000 changes, after which the daemon is as large as before'
	@echo 'make golden  rewrites tests/golden: what render, nft and --help print; as root'
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

# The daemon is that of the tests, whose arithmetic is checked. As root half of the time with Debian 13's libnftables.
chaos: install-test-packages
ifdef ROOT
	.ci/install-debian-13 $(DEBIAN_13_ROOT)
endif
	cargo bench --locked --profile dev --bench chaos

soak: install-test-packages
	SOAK_CHANGES=100000 cargo test --locked --test soak -- --nocapture $(if $(ROOT),,--skip needs_root)

# Look at the difference before you commit it.
golden: install-test-packages
	.ci/install-debian-13 $(DEBIAN_13_ROOT)
	REWRITE_GOLDENS=1 cargo test --locked --test golden --test help

install-test-packages:
	@.ci/install-packages $(TEST_PACKAGES)

clean:
	cargo clean
