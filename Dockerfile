# One image for every role: `longshore intake`, `longshore work email`, `longshore migrate`.

ARG RUST_VERSION=1.95
ARG DEBIAN=bookworm

FROM rust:${RUST_VERSION}-slim-${DEBIAN} AS build
# For the allocator, which is C.
RUN apt-get update \
    && apt-get install -y --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
# The dependencies are a layer of their own, built for an empty program: it is used again
# until Cargo.lock changes.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src workers \
    && touch src/lib.rs \
    && echo 'fn main() {}' > workers/main.rs \
    && cargo build --release --locked \
    && rm -r src workers
COPY queues.toml ./
COPY src src
COPY workers workers
# Newer than the empty program, whatever times the files have in the repository.
RUN touch src/lib.rs workers/main.rs \
    && cargo build --release --locked

FROM debian:${DEBIAN}-slim
# To check the certificates of mail servers, gateways, brokers and databases.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /build/target/release/longshore /usr/local/bin/longshore
# Embedded data, and the sandbox's: a volume mounted there is the program's own.
RUN install -d -o 10001 -g 10001 /var/lib/longshore
COPY queues.toml LICENSE-MIT LICENSE-APACHE /usr/share/longshore/
# By number, so that an orchestrator can see that it is not root.
USER 10001:10001
ENV LONGSHORE_LISTEN=0.0.0.0:7070 \
    LONGSHORE_HEALTH_LISTEN=0.0.0.0:7071
EXPOSE 7070 7071
# The program is process 1 and gets SIGTERM itself: it drains within
# LONGSHORE_SHUTDOWN_DEADLINE. It starts no children, so no init is needed.
ENTRYPOINT ["longshore"]
CMD ["--help"]
