# `make help` says what there is. Packages of Debian that are missing are installed (root) or named.

# Tag and commit of git; `-dirty` where files differ from the commit.
VERSION ?= $(or $(shell git describe --tags --always --dirty 2>/dev/null),unknown)
REVISION ?= $(or $(shell git rev-parse HEAD 2>/dev/null),unknown)
REGISTRY ?= localhost
# Where the source can be had, as the image's label says it: libnftables' licence wants that of who pushes an image.
SOURCE_URL ?=

OS := linux
HOST_ARCH := $(patsubst aarch64,arm64,$(patsubst x86_64,amd64,$(shell uname -m)))
ARCH ?= $(HOST_ARCH)
ALL_PLATFORMS ?= linux/amd64 linux/arm64
IMAGE := $(REGISTRY)/non-masquerade-daemon
TAG ?= $(VERSION)
# Of the commit, as the image's label says it.
CREATED := $(or $(shell TZ=UTC git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ 2>/dev/null),unknown)
# All other times in the image, so that two of one commit are alike. Not the commit's: buildah gives it to files, and takes
# layers from its cache that have another commit's. docker takes it from the environment.
export SOURCE_DATE_EPOCH := 0
LABEL := org.opencontainers.image
# docker, podman or buildah.
CONTAINER_TOOL ?= $(or $(firstword $(notdir $(shell command -v docker podman buildah))),buildah)
# More words for its `build`, such as --no-cache, and for its `push`.
CONTAINER_BUILD_FLAGS ?=
CONTAINER_PUSH_FLAGS ?=
# Empty for buildah and podman.
IS_DOCKER := $(filter docker,$(notdir $(firstword $(CONTAINER_TOOL))))
# Debian 12's buildah does not tell the Dockerfile on which platform it builds. docker does, also of an engine elsewhere.
BUILD_IMAGE = $(CONTAINER_TOOL) build $(if $(IS_DOCKER),,--build-arg BUILDPLATFORM=linux/$(HOST_ARCH))
# The Dockerfile needs BuildKit, which docker before 23 takes only with this.
export DOCKER_BUILDKIT := 1
# More words for `cosign sign`, such as --key=cosign.key.
COSIGN_FLAGS ?=

TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
DAEMON := $(TARGET_DIR)/debug/non-masquerade-daemon
export DEBIAN_13_ROOT ?= $(abspath $(TARGET_DIR))/debian-13

# What `make install` installs, and where to; DESTDIR stands before each path, for those who make packages.
PROGRAM ?= $(TARGET_DIR)/release/non-masquerade-daemon
PREFIX ?= /usr/local
SHARE := $(DESTDIR)$(PREFIX)/share
DOC_DIR := $(SHARE)/doc/non-masquerade-daemon
# What the program prints, and where it is looked for: by man, bash-completion, fish, and zsh below /usr/local.
PRINTED := 'man:$(SHARE)/man/man8/non-masquerade-daemon.8' \
	'completions bash:$(SHARE)/bash-completion/completions/non-masquerade-daemon' \
	'completions fish:$(SHARE)/fish/vendor_completions.d/non-masquerade-daemon.fish' \
	'completions zsh:$(SHARE)/zsh/site-functions/_non-masquerade-daemon'
# With their directories, so that the links between them go on leading somewhere.
PAGES := LICENSE README.md daemon-config/README.md daemon-config/config manifests/README.md src/README.md tests/README.md \
	manifests/schemas/connections.schema.json manifests/schemas/doctor.schema.json manifests/schemas/status.schema.json

BUILD_PACKAGES := gcc libc6-dev libnftables-dev
RUN_PACKAGES := $(BUILD_PACKAGES) iproute2 nftables util-linux
TEST_PACKAGES := $(RUN_PACKAGES) conntrack iptables mandoc python3-jsonschema strace
BENCH_PACKAGES := $(RUN_PACKAGES) conntrack iptables strace
KERNEL_PACKAGES := $(RUN_PACKAGES) cpio debootstrap e2fsprogs kmod qemu-system-x86 xz-utils zstd
ARM64_PACKAGES := gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-system-arm
FUZZ_PACKAGES := $(BUILD_PACKAGES) g++
# How long each target of `make fuzz` runs.
FUZZ_SECONDS ?= 60
# `short`: the oldest and one newer, in minutes. Suites of Debian in place of the job's own: KERNELS="sid trixie/arm64".
KERNEL_JOB ?= all
KERNELS ?=
ROOT := $(filter 0,$(shell id -u))
ifdef ROOT
TEST_PACKAGES += debootstrap golang-github-containers-common libcap2-bin runc
endif

.PHONY: help build run test test-kernels bench chaos soak fuzz deny golden install install-test-packages clean version
.PHONY: container push sign all-build all-container all-push test-image install-container-tool

help:
	@echo 'make build   the daemon, optimised: $(TARGET_DIR)/release/non-masquerade-daemon'
	@echo 'make run     the main job: real packets through throw-away namespaces, with daemon-config/config'
	@echo 'make test    all tests; what needs root is skipped and listed for an ordinary user'
	@echo 'make test-kernels  boots five kernels of Debian from 5.10 on in software, and tests in each; as root, an hour or two; KERNEL_JOB=short'
	@echo 'make bench   times and sizes of the daemon beside libnftables alone and iptables, in minutes; 10,000 CIDRs and more need root'
	@echo 'make chaos   ten minutes of kills, foreign changes, bad files, limits and more under many flows; CHAOS_SECONDS=60 CHAOS_SEED=1'
	@echo 'make soak    100,000 changes, after which the daemon is as large as before'
	@echo 'make fuzz    looks for input that breaks a reader, $(FUZZ_SECONDS) s for each; FUZZ_SECONDS says how long'
	@echo 'make deny    licences, advisories and sources of the crates, by cargo-deny; built at first, which takes minutes'
	@echo 'make golden  rewrites tests/golden: what render, nft, --help, man and completions print; as root'
	@echo 'make install the built daemon, its systemd unit, pages, manual and completions, below $(PREFIX); PREFIX and DESTDIR choose another place'
	@echo 'make clean   removes what was built'
	@echo 'make version prints $(VERSION), the tag of images'
	@echo
	@echo 'make container      the image $(IMAGE):$(TAG), by $(CONTAINER_TOOL)'
	@echo 'make push           pushes it; REGISTRY=registry.example.org/team names where to, also when it is built'
	@echo 'make sign           signs by cosign what was pushed last, by its digest; COSIGN_FLAGS=--key=cosign.key'
	@echo 'make all-build      the daemon for $(ALL_PLATFORMS), below $(TARGET_DIR)'
	@echo 'make all-container  an image for each of these; container-linux_arm64 makes one'
	@echo 'make all-push       pushes them, and $(IMAGE):$(VERSION) as the list of them'
	@echo 'make test-image     builds the image without pulling any, and tests it in an OCI runtime; as root'
	@echo 'Variables: REGISTRY, VERSION, SOURCE_URL, ARCH, ALL_PLATFORMS, CONTAINER_TOOL, CONTAINER_BUILD_FLAGS, CONTAINER_PUSH_FLAGS, COSIGN_FLAGS'

build:
	@.ci/install-packages $(BUILD_PACKAGES)
	cargo build --locked --release

# It runs in namespaces of its own: see .cargo/in-own-namespaces.
run:
	@.ci/install-packages $(RUN_PACKAGES)
	cargo build --locked --bins --features main-job
	@cargo run --locked --quiet --features main-job --bin main_job -- $(DAEMON) daemon-config/config

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

ifdef ROOT
test-kernels:
	@.ci/install-packages $(KERNEL_PACKAGES) $(if $(findstring arm64,$(KERNELS)),$(ARM64_PACKAGES))
	.ci/install-debian-13 $(DEBIAN_13_ROOT)
	.ci/test-kernels $(abspath $(TARGET_DIR))/kernels $(KERNEL_JOB) $(KERNELS)
else
test-kernels:
	@echo 'Only root can make the root file systems of the guests: make test-kernels is skipped'
endif

# Two cores without other work, or the times say little. One part: cargo bench --bench daemon flows.
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
	SOAK_CHANGES=100000 cargo test --locked --test daemon soak:: -- --nocapture $(if $(ROOT),,--skip needs_root)

fuzz:
	@.ci/install-packages $(FUZZ_PACKAGES)
	.ci/fuzz $(FUZZ_SECONDS) $(abspath $(TARGET_DIR))/fuzz

deny:
	@.ci/install-packages $(BUILD_PACKAGES)
	.ci/deny

# Look at the difference before you commit it.
golden: install-test-packages
	.ci/install-debian-13 $(DEBIAN_13_ROOT)
	REWRITE_GOLDENS=1 cargo test --locked --test cli -- golden:: help:: completions:: man::

install-test-packages:
	@.ci/install-packages $(TEST_PACKAGES)

version:
	@echo '$(VERSION)'

# Said where the build of an image for a foreign architecture fails.
hint_if_foreign = $(if $(filter $(HOST_ARCH),$1),,|| { echo 'Programs of $1 run on $(HOST_ARCH) by QEMU \
	(binfmt_misc). If that is missing: apt-get install qemu-user-static, on Debian' >&2; exit 1; })

container: install-container-tool
	$(BUILD_IMAGE) --platform $(OS)/$(ARCH) --tag $(IMAGE):$(TAG) \
		--label $(LABEL).version=$(VERSION) --label $(LABEL).revision=$(REVISION) --label $(LABEL).source=$(SOURCE_URL) \
		--label $(LABEL).created=$(CREATED) \
		$(if $(IS_DOCKER),,--timestamp $(SOURCE_DATE_EPOCH)) $(CONTAINER_BUILD_FLAGS) . $(call hint_if_foreign,$(ARCH))

# What was pushed last, by digest: who signs a tag may sign what somebody else has given it meanwhile.
PUSHED := $(TARGET_DIR)/pushed-digest

push: name-a-registry container
	@mkdir -p $(TARGET_DIR)
	$(CONTAINER_TOOL) push $(CONTAINER_PUSH_FLAGS) $(if $(IS_DOCKER),,--digestfile $(PUSHED)) $(IMAGE):$(TAG)
ifneq ($(IS_DOCKER),)
	docker image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' $(IMAGE):$(TAG) | sed -n 's|^$(IMAGE)@||p' >$(PUSHED)
endif

sign: name-a-registry
	@command -v cosign >/dev/null || { echo 'cosign is missing: install it (Debian 13 has a package of that name), then run make sign again' >&2; exit 1; }
	@[ -s $(PUSHED) ] || { echo 'Nothing was pushed from here: run make push first' >&2; exit 1; }
	cosign sign $(COSIGN_FLAGS) $(IMAGE)@$$(cat $(PUSHED))

# A platform's `/` is a `_` here, because a pattern of make takes no `/`.
build-%: install-container-tool
	mkdir -p $(TARGET_DIR)/$*
	$(BUILD_IMAGE) --platform $(subst _,/,$*) --target program --output type=local,dest=$(TARGET_DIR)/$* \
		$(CONTAINER_BUILD_FLAGS) .

container-%:
	@$(MAKE) --no-print-directory container OS=$(firstword $(subst _, ,$*)) ARCH=$(lastword $(subst _, ,$*)) \
		TAG=$(VERSION)__$*

push-%:
	@$(MAKE) --no-print-directory push OS=$(firstword $(subst _, ,$*)) ARCH=$(lastword $(subst _, ,$*)) \
		TAG=$(VERSION)__$*

PLATFORM_TAGS := $(subst /,_,$(ALL_PLATFORMS))

all-build: $(addprefix build-,$(PLATFORM_TAGS))

all-container: $(addprefix container-,$(PLATFORM_TAGS))

# docker pushes a list of what the registry has; the others make it here first. Under a name of its own: they give no list
# the name that `container` or `push` has given to an image.
LOCAL_LIST := $(IMAGE):$(VERSION)__all
all-push: $(addprefix push-,$(PLATFORM_TAGS))
ifneq ($(IS_DOCKER),)
	docker buildx imagetools create --tag $(IMAGE):$(VERSION) $(addprefix $(IMAGE):$(VERSION)__,$(PLATFORM_TAGS))
	docker buildx imagetools inspect --format '{{.Manifest.Digest}}' $(IMAGE):$(VERSION) >$(PUSHED)
else
	-@$(CONTAINER_TOOL) manifest rm $(LOCAL_LIST) >/dev/null 2>&1
	$(CONTAINER_TOOL) manifest create $(LOCAL_LIST) $(addprefix $(IMAGE):$(VERSION)__,$(PLATFORM_TAGS))
	$(CONTAINER_TOOL) manifest push --all $(CONTAINER_PUSH_FLAGS) --digestfile $(PUSHED) $(LOCAL_LIST) docker://$(IMAGE):$(VERSION)
endif

.PHONY: name-a-registry
name-a-registry:
	@[ '$(REGISTRY)' != localhost ] || { echo 'Which registry? make push REGISTRY=registry.example.org/team' >&2; exit 1; }

install-container-tool:
	@command -v $(firstword $(CONTAINER_TOOL)) >/dev/null || .ci/install-packages $(CONTAINER_TOOL)

# Minutes, most of them for the optimised program, which is built twice. `make test` lays the same root file system out for a quick build.
test-image: install-test-packages
	@.ci/install-packages buildah
	.ci/install-debian-13 $(DEBIAN_13_ROOT)
	.ci/test-image $(abspath $(TARGET_DIR))/image-storage $(DEBIAN_13_ROOT)

# No file of the host's configuration is written, and nothing is started.
install:
	@[ -x '$(PROGRAM)' ] || { echo 'There is no $(PROGRAM): run make build first' >&2; exit 1; }
	install -D '$(PROGRAM)' '$(DESTDIR)$(PREFIX)/bin/non-masquerade-daemon'
	install -D --mode=644 manifests/systemd/non-masquerade-daemon.service --target-directory='$(DESTDIR)$(PREFIX)/lib/systemd/system'
	sed --in-place 's|/usr/local/|$(PREFIX)/|' '$(DESTDIR)$(PREFIX)/lib/systemd/system/non-masquerade-daemon.service'
	for printed in $(PRINTED); do \
		install -D --mode=644 /dev/null "$${printed#*:}" && '$(PROGRAM)' $${printed%%:*} >"$${printed#*:}" || exit; \
	done
	for page in $(PAGES); do install -D --mode=644 "$$page" '$(DOC_DIR)'/"$$page" || exit; done

clean:
	cargo clean
