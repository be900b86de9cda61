# The image of all of Bekk's services: which one a container is, its command says.
#
#     docker build -t bekk .

# What the dependencies are compiled from: the manifests, with an empty source in each package. Its content
# changes only when a manifest or Cargo.lock does, whatever else has changed.
FROM debian:bookworm-20260824-slim@sha256:88200866dfff7ea7f5cbcb6ec7c8a701889efe6fe859fe64d6990e4b07ea4171 AS manifests
WORKDIR /build
COPY . .
RUN echo '//! Empty.' >/tmp/lib.rs \
    && find . -path '*/src/lib.rs' -exec cp /tmp/lib.rs {} \; \
    && printf '//! Empty.\nfn main() {}\n' >/tmp/main.rs \
    && find . -path '*/src/main.rs' -exec cp /tmp/main.rs {} \; \
    && find . -type f ! -name Cargo.toml ! -name Cargo.lock \
        ! -path '*/src/lib.rs' ! -path '*/src/main.rs' -delete \
    && find . -type d -empty -delete

FROM rust:1.95.0-slim-bookworm@sha256:d7482085ff5b415f84dba5647ae71606650bdef00db7aeb69f4b3d170c3e4082 AS build
# For librdkafka, whose configure script asks for a C++ compiler, and its TLS.
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ libssl-dev make pkg-config \
    && rm -rf /var/lib/apt/lists/*
ENV CARGO_PROFILE_RELEASE_DEBUG=false CARGO_PROFILE_RELEASE_STRIP=true
# Cargo's own default is one job a core; less needs less memory.
ARG CARGO_BUILD_JOBS
WORKDIR /build
COPY --from=manifests /build .
RUN cargo build --release --locked --package bekk --features kafka-tls
COPY . .
# Cargo goes by times, and the files may be older than the empty ones that stood in for them.
RUN find . -path ./target -prune -o -name '*.rs' -exec touch {} + \
    && cargo build --release --locked --package bekk --features kafka-tls

FROM debian:bookworm-20260824-slim@sha256:88200866dfff7ea7f5cbcb6ec7c8a701889efe6fe859fe64d6990e4b07ea4171
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libssl3 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/* /var/log/apt /var/log/dpkg.log \
    && groupadd --gid 10001 bekk \
    && useradd --uid 10001 --gid bekk --no-create-home --home-dir /bekk --shell /usr/sbin/nologin bekk \
    # New volumes take their owner from these.
    && install --directory --owner bekk --group bekk \
        /bekk /bekk/data /bekk/.bekk /bekk/.bekk/log /bekk/.bekk/ingest
COPY --from=build /build/target/release/bekk /usr/local/bin/
WORKDIR /bekk
USER bekk
ENTRYPOINT ["bekk"]
CMD ["--help"]
