# syntax=docker/dockerfile:1

# The release 12 of Debian on both sides: the binary needs the libc that it was linked against.
FROM rust:1.95-slim-bookworm AS builder
WORKDIR /build

# The dependencies in a layer of their own, built for an empty program: it lasts until Cargo.lock changes.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src \
    && touch src/lib.rs \
    && echo 'fn main() {}' > src/main.rs \
    && cargo build --release --locked \
    && rm -r src

# Cargo goes by the time of a file, and a checkout may be older than the empty program above.
COPY web web
COPY src src
RUN touch src/lib.rs src/main.rs \
    && cargo build --release --locked

# libc and libgcc, no shell, no package manager; the roots for TLS are compiled in. So there is nothing that could
# call a HEALTHCHECK: whoever runs the container asks GET /health/live and /health/ready from outside.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=builder /build/target/release/flash-sale /usr/local/bin/flash-sale

# A server in a container is reached from outside of it. MONGO_URI and JWT_SECRET come from whoever runs it:
# the embedded MongoDB is for trying out, and the image has none.
ENV HOST=0.0.0.0 \
    PORT=3000
EXPOSE 3000
STOPSIGNAL SIGTERM
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/flash-sale"]
