# Two images of one build:
#
#   docker build --target service -t sandpiper .
#   docker build --target ingress -t sandpiper-ingress .
#
# Each holds one static program and what it reads, and nothing else: no shell, no package manager, no C library.

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
    CARGO_PROFILE_RELEASE_DEBUG=false CARGO_PROFILE_RELEASE_STRIP=debuginfo

# Everything that is not ours first: this layer stays until a manifest or the lock changes.
COPY .cargo .cargo
COPY Cargo.toml Cargo.lock build.rs ./
COPY src/sandbox/text.ld src/sandbox/
COPY crates/domain/Cargo.toml crates/domain/
COPY crates/http-kit/Cargo.toml crates/http-kit/
COPY ingress/Cargo.toml ingress/
# Cargo wants the files of tests and benchmarks that the manifests name, and builds none of them.
RUN mkdir -p src crates/domain/src crates/http-kit/src ingress/src tests benches ingress/tests \
 && touch src/lib.rs crates/domain/src/lib.rs crates/http-kit/src/lib.rs ingress/src/lib.rs \
 && echo 'fn main() {}' | tee src/main.rs ingress/src/main.rs tests/it.rs tests/walls.rs tests/deploy.rs \
      benches/engine.rs benches/micro.rs benches/soak.rs ingress/tests/it.rs \
 && cargo build --workspace --bins --release --locked --target $TARGET \
 && cargo clean --workspace --release --target $TARGET \
 && rm -r src crates/domain/src crates/http-kit/src ingress/src

COPY src src
COPY crates/domain/src crates/domain/src
COPY crates/http-kit/src crates/http-kit/src
COPY ingress/src ingress/src
RUN cargo build --workspace --bins --release --locked --target $TARGET \
 && mkdir -p /root-of-service/data /root-of-service/sources /root-of-ingress/keys /root-of-ingress/sources \
 && cp target/$TARGET/release/sandpiper /root-of-service \
 && cp target/$TARGET/release/sandpiper-ingress /root-of-ingress
COPY example-scripts /root-of-service/example-scripts
COPY --from=page /build/frontend/dist /root-of-ingress/page
# Read-only for everybody but the folders that are written to.
RUN chmod -R a+rX,go-w /root-of-service /root-of-ingress \
 && chown -R 65532:65532 /root-of-service/data /root-of-service/sources /root-of-ingress/sources

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
ENV SANDPIPER_SCRIPTS_DIR=/example-scripts \
    SANDPIPER_STORE=sqlite:/data/sandpiper.db
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
USER 65532:65532
# Reached from outside of the container. It starts once it is told who may use it: SANDPIPER_INGRESS_KEYS_FILE,
# SANDPIPER_INGRESS_TRUSTED_NETWORK=true or SANDPIPER_INGRESS_OPEN=true.
ENV HOST=0.0.0.0 \
    SANDPIPER_INGRESS_PAGES_DIR=/page
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=5s --start-period=10s --retries=3 CMD ["/sandpiper-ingress", "health"]
ENTRYPOINT ["/sandpiper-ingress"]
CMD ["serve"]
