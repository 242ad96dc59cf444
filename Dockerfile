# The gateway. Built in this directory: docker build -t tandem .
# Machines of Docker and Kubernetes need: docker build --build-arg FEATURES=otlp,docker,kubernetes -t tandem .
FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
ARG FEATURES="otlp"
COPY Cargo.toml Cargo.lock ./
COPY benches ./benches
COPY config ./config
COPY src ./src
RUN cargo build --release --locked --bin tandem --features "$FEATURES"

FROM debian:bookworm-slim
# The certificate authorities: providers and model servers are reached over TLS.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 10001 --no-create-home tandem && mkdir -p /var/lib/tandem && chown tandem /var/lib/tandem
COPY --from=build /build/target/release/tandem /usr/local/bin/tandem

USER 10001
WORKDIR /var/lib/tandem
# What must survive a restart: the record of leases, and users if they are kept here.
ENV TANDEM_MODE=production TANDEM__STATE__DIR=/var/lib/tandem TANDEM__LOGGING__FORMAT=json
EXPOSE 8080
# Bash asks, because there is no curl.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/${PORT:-8080} && printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200 '"]
ENTRYPOINT ["tandem"]
CMD ["serve"]
