# The image of the daemon: `make container`.

# Rust with the C compiler that it links by, on the Debian whose libraries the image holds.
ARG RUST_IMAGE=docker.io/library/rust:1-trixie
ARG DEBIAN_IMAGE=docker.io/library/debian:trixie-slim

# Runs on the host's own platform, whichever the image is for: in an emulator, it takes hours.
FROM --platform=${BUILDPLATFORM} ${RUST_IMAGE} AS build
ARG TARGETARCH
WORKDIR /source
COPY .image/install-build-tools .image/
RUN .image/install-build-tools ${TARGETARCH}
# The crates come in a layer of their own, which is made again only where these two files change.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src \
    && echo 'fn main() {}' >src/main.rs \
    && touch src/lib.rs \
    && cargo build --locked --release --bins
COPY .image/licences-of-crates .image/
RUN .image/licences-of-crates /licences
COPY src src
# cargo tells what changed by the time of files, and those of the placeholders are later.
RUN touch src/main.rs src/lib.rs \
    && cargo build --locked --release --bins

# For `make all-build`, which takes the program out.
FROM scratch AS program
COPY --from=build /source/target/*/release/non-masquerade-daemon /

# The default, but buildah (seen in 1.28 to 1.39) keeps the platform of the stage before.
FROM --platform=${TARGETPLATFORM} ${DEBIAN_IMAGE} AS root
# buildah before 1.37 gives FROM the host's platform unless an ARG names this one.
ARG TARGETPLATFORM
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libcap2-bin libnftables1 \
    && rm -rf /var/lib/apt/lists/*
COPY .image LICENSE /source/.image/
COPY --from=build /source/target/*/release/non-masquerade-daemon /source/
COPY --from=build /licences /root-file-system/usr/share/doc/non-masquerade-daemon/crates
RUN /source/.image/root-file-system /source/non-masquerade-daemon /root-file-system \
    # Permitted, not effective: where the capability is not granted, exec(2) of a program that has it effective fails,
    # `--help` included. The program itself makes it effective.
    && setcap cap_net_admin+p /root-file-system/usr/bin/non-masquerade-daemon

FROM scratch
# The version, the revision and where the source is come from the Makefile as labels: as arguments they would go stale,
# because some versions of buildah take a layer from their cache although the argument in it has another value.
LABEL org.opencontainers.image.title="non-masquerade-daemon" \
      org.opencontainers.image.description="Keeps the pod's source address towards configured CIDRs and masquerades all other traffic that leaves the node, with one nftables table of its own" \
      org.opencontainers.image.licenses="GPL-2.0-only"
COPY --from=root /root-file-system/ /
ENV PATH=/usr/bin
# By numbers, or the kubelet cannot tell that it is not root (runAsNonRoot).
USER 65532:65532
ENTRYPOINT ["/usr/bin/non-masquerade-daemon"]
