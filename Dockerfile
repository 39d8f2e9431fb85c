# Debian 12 in both stages: the binary needs the libc that it was linked against.
FROM rust:1.95.0-slim-bookworm AS builder
WORKDIR /build

# Less makes the image sooner, for tests of it: --build-arg CARGO_PROFILE_RELEASE_OPT_LEVEL=1
ARG CARGO_PROFILE_RELEASE_OPT_LEVEL=3

# The dependencies in a layer of their own, built with an empty program: cached until Cargo.lock changes.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src \
    && touch src/lib.rs \
    && echo 'fn main() {}' > src/main.rs \
    && cargo build --release --locked \
    && rm -r src

# The commit, for the metric flash_sale_build_info: --build-arg FLASH_SALE_COMMIT="$(git rev-parse HEAD)"
ARG FLASH_SALE_COMMIT

# Cargo compares the times of files, and a checkout may be older than the empty program above.
COPY web web
# Served as it is.
COPY docs/asyncapi.yaml docs/
COPY src src
RUN touch src/lib.rs src/main.rs \
    && cargo build --release --locked

# libc and libgcc, no shell, no package manager; the root certificates for TLS are compiled in. Without a shell there is
# no HEALTHCHECK: probe GET /health/live and /health/ready from outside. It has no numbered versions: the name stands for
# Debian 12 with its latest fixes.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=builder /build/target/release/flash-sale /usr/local/bin/flash-sale

# HOST: a server in a container is reached from outside it. You must set MONGO_URI and JWT_SECRET: the embedded
# MongoDB is only for trying out, and the image does not contain it.
ENV HOST=0.0.0.0 \
    PORT=3000
EXPOSE 3000
STOPSIGNAL SIGTERM
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/flash-sale"]
