# The proxy's image: takes the place of kamal-proxy's (same user, paths, command, label; no ENTRYPOINT, because Kamal
# passes `kamal-proxy run ...` as the command). It also carries the keeper, for the images of apps:
#   COPY --from=<this image> /usr/local/bin/lockgate-keep /usr/local/bin/
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --no-default-features --bin lockgate --bin kamal-proxy \
 && host=$(rustc -vV | sed -n 's/^host: //p') \
 && RUSTFLAGS='-C target-feature=+crt-static -C opt-level=s -C strip=symbols' \
    cargo build --release --locked --no-default-features --bin lockgate-keep --target "$host" \
 && cp "target/$host/release/lockgate-keep" target/release/

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 1001 --create-home kamal-proxy \
 && install -d -m 700 -o kamal-proxy -g kamal-proxy /home/kamal-proxy/.config /home/kamal-proxy/.config/kamal-proxy
COPY --from=build /src/target/release/lockgate /src/target/release/kamal-proxy /src/target/release/lockgate-keep \
     /usr/local/bin/
USER kamal-proxy:kamal-proxy
EXPOSE 80 443
LABEL org.opencontainers.image.title=kamal-proxy
CMD ["kamal-proxy", "run"]
