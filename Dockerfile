# Two images of one build:
#
#   docker build --target service -t sandpiper .
#   docker build --target ingress -t sandpiper-ingress .
#
# Each holds static programs and what they read, and nothing else: no shell, no package manager, no C library.

ARG RUST_IMAGE=rust:1.95.0-slim-bookworm
ARG NODE_IMAGE=node:22.21.0-bookworm-slim

# --- the web page -------------------------------------------------------------------------------------------------------
FROM ${NODE_IMAGE} AS page
WORKDIR /build/frontend
COPY frontend/package.json frontend/package-lock.json ./
RUN npm ci --no-audit --no-fund --loglevel=error
COPY frontend ./
RUN npm run --silent build

# --- the programs -------------------------------------------------------------------------------------------------------
FROM ${RUST_IMAGE} AS programs
WORKDIR /build
# The target is named so that the flag stays away from build scripts; the Makefile does the same.
ENV TARGET=x86_64-unknown-linux-gnu \
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C target-feature=+crt-static" \
    CARGO_PROFILE_DIST_DEBUG=false CARGO_PROFILE_DIST_STRIP=debuginfo

# Everything that is not ours first: this layer stays until a manifest or the lock changes.
COPY .cargo .cargo
COPY Cargo.toml Cargo.lock ./
COPY crates/domain/Cargo.toml crates/domain/
COPY crates/http-kit/Cargo.toml crates/http-kit/
COPY crates/sandbox/Cargo.toml crates/sandbox/build.rs crates/sandbox/
COPY crates/sandbox-attackers/Cargo.toml crates/sandbox-attackers/
COPY crates/sandbox-client/Cargo.toml crates/sandbox-client/
COPY crates/sandbox-protocol/Cargo.toml crates/sandbox-protocol/build.rs crates/sandbox-protocol/
COPY crates/store/Cargo.toml crates/store/
COPY ingress/Cargo.toml ingress/
# Cargo wants the files of tests and benchmarks that the manifests name, and builds none of them.
ENV PROGRAMS="-p sandpiper -p sandpiper-sandbox -p sandpiper-ingress --bins"
RUN for member in . crates/* ingress; do mkdir -p $member/src $member/tests && touch $member/src/lib.rs; done \
 && mkdir benches \
 && echo 'fn main() {}' | tee src/main.rs ingress/src/main.rs crates/sandbox/src/main.rs crates/sandbox-attackers/src/main.rs \
      tests/it.rs tests/deploy.rs crates/sandbox-attackers/tests/walls.rs ingress/tests/it.rs \
      benches/engine.rs benches/micro.rs benches/soak.rs \
 && cargo build $PROGRAMS --profile dist --locked --target $TARGET \
 && cargo clean --workspace --profile dist --target $TARGET \
 && for member in . crates/* ingress; do rm -r $member/src; done

COPY example-scripts example-scripts
COPY src src
COPY crates/domain/src crates/domain/src
COPY crates/http-kit/src crates/http-kit/src
COPY crates/sandbox/src crates/sandbox/src
COPY crates/sandbox-attackers/src crates/sandbox-attackers/src
COPY crates/sandbox-client/src crates/sandbox-client/src
COPY crates/sandbox-protocol/src crates/sandbox-protocol/src
COPY crates/store/src crates/store/src
COPY ingress/src ingress/src
RUN cargo build $PROGRAMS --profile dist --locked --target $TARGET \
 && mkdir -p /root-of-service/data /root-of-service/sources /root-of-ingress/keys /root-of-ingress/sources /root-of-ingress/uses \
 && cp target/$TARGET/dist/sandpiper target/$TARGET/dist/sandpiper-sandbox /root-of-service \
 && cp target/$TARGET/dist/sandpiper-ingress /root-of-ingress
COPY --from=page /build/frontend/dist /root-of-ingress/page
# Read-only for everybody but the folders that are written to.
RUN chmod -R a+rX,go-w /root-of-service /root-of-ingress \
 && chown -R 65532:65532 /root-of-service/data /root-of-service/sources /root-of-ingress/sources /root-of-ingress/uses

# --- the service --------------------------------------------------------------------------------------------------------
FROM scratch AS service
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Sandpiper" \
      org.opencontainers.image.description="Runs JavaScript that nobody trusts, over HTTP: every execution in a process of its own." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=programs /root-of-service/ /
COPY --from=programs --chown=65532:65532 /root-of-service/data/ /data/
COPY --from=programs --chown=65532:65532 /root-of-service/sources/ /sources/
USER 65532:65532
ENV SANDPIPER_STORE=sqlite:/data/sandpiper.db
EXPOSE 8081
HEALTHCHECK --interval=5s --timeout=5s --start-period=10s --retries=3 CMD ["/sandpiper", "health"]
ENTRYPOINT ["/sandpiper"]
CMD ["serve"]

# --- the ingress --------------------------------------------------------------------------------------------------------
FROM scratch AS ingress
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Sandpiper ingress" \
      org.opencontainers.image.description="The door of Sandpiper: rate limits, keys, remote scripts, the web page." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=programs /root-of-ingress/ /
COPY --from=programs --chown=65532:65532 /root-of-ingress/sources/ /sources/
COPY --from=programs --chown=65532:65532 /root-of-ingress/uses/ /uses/
USER 65532:65532
# Reached from outside of the container. It starts once it is told who may use it: SANDPIPER_INGRESS_KEYS_FILE,
# SANDPIPER_INGRESS_TRUSTED_NETWORK=true or SANDPIPER_INGRESS_OPEN=true.
ENV HOST=0.0.0.0 \
    SANDPIPER_INGRESS_PAGES_DIR=/page
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=5s --start-period=10s --retries=3 CMD ["/sandpiper-ingress", "health"]
ENTRYPOINT ["/sandpiper-ingress"]
CMD ["serve"]
