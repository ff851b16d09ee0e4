#!/usr/bin/env bash
# Runs deploy/nginx.conf, and deploy/Caddyfile where there is a `caddy` newer than Debian 12's, in front of a relay and the emulator,
# and checks what a proxy may break: that streams arrive as they are made, that a broken stream arrives broken,
# that large bodies, errors and refusals pass. Only names, ports and certificates are put into the files.
#
#   cargo build -p gemini-relay -p gemini-emulator
#   deploy/check.sh [FOLDER OF THE TWO PROGRAMS, default target/debug]
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
bin=$(cd "${1:-$here/../target/debug}" && pwd)
work=$(mktemp -d)
pids=()
failed=0

cleanup() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT

main() {
    for tool in nginx openssl curl python3; do
        PATH="$PATH:/usr/sbin" command -v "$tool" >/dev/null || { echo "check.sh needs $tool" >&2; exit 1; }
    done
    for program in gemini-emulator gemini-relay; do
        [ -x "$bin/$program" ] || { echo "there is no $program in $bin: cargo build -p gemini-relay -p gemini-emulator" >&2; exit 1; }
    done
    start_emulator
    start_relay
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=relay.example \
        -addext subjectAltName=DNS:relay.example -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null

    start_nginx
    check nginx
    if ! command -v "${CADDY:-caddy}" >/dev/null; then
        echo "caddy: NOT RUN: there is none here, so deploy/Caddyfile was not looked at"
    elif "${CADDY:-caddy}" version | grep -qE '^v?2\.[0-6]\.'; then
        # It ends broken streams as if they were whole; docs/behind-a-proxy.md says so.
        echo "caddy: NOT RUN: this one is too old for deploy/Caddyfile: $("${CADDY:-caddy}" version)"
    else
        start_caddy
        check caddy
    fi
    exit "$failed"
}

start_emulator() {
    printf '[[projects]]\nname = "alpha"\nkeys = ["made-up-alpha"]\n' > "$work/emulator.toml"
    "$bin/gemini-emulator" --listen 127.0.0.1:0 --config "$work/emulator.toml" > "$work/emulator.log" 2>&1 &
    pids+=($!)
    wait_for grep -q 'listening on' "$work/emulator.log"
    emulator=$(grep -o 'http://[^ ]*' "$work/emulator.log" | head -1)
}

start_relay() {
    relay_port=$(free_port)
    (cd "$work" && exec env GEMINI_API_KEYS=made-up-alpha GEMINI_RELAY_TOKENS=check=$token \
        "$bin/gemini-relay" --listen "127.0.0.1:$relay_port" --upstream "$emulator" --proxy none) > "$work/relay.log" 2>&1 &
    pids+=($!)
    wait_for curl -sf -o /dev/null "http://127.0.0.1:$relay_port/-/ready"
}

start_nginx() {
    port=$(free_port)
    {
        echo "daemon off; pid $work/nginx.pid; error_log $work/nginx.log; events { } http { access_log off;"
        for kind in client_body proxy fastcgi uwsgi scgi; do echo "${kind}_temp_path $work/$kind;"; done
        sed -e "s|127.0.0.1:8787|127.0.0.1:$relay_port|" -e "s|listen 443|listen 127.0.0.1:$port|" \
            -e "s|/etc/ssl/relay.example.pem|$work/cert.pem|" -e "s|/etc/ssl/relay.example.key|$work/key.pem|" "$here/nginx.conf"
        echo "}"
    } > "$work/nginx.conf"
    PATH="$PATH:/usr/sbin" nginx -c "$work/nginx.conf" -e "$work/nginx.log" &
    pids+=($!)
    wait_for through -sf -o /dev/null "$(url)/-/ready"
}

start_caddy() {
    port=$(free_port)
    {
        printf '{\n\tadmin off\n\tauto_https disable_redirects\n\thttps_port %s\n}\n' "$port"
        sed -e "s|127.0.0.1:8787|127.0.0.1:$relay_port|" -e "s|^relay.example {|&\n\ttls $work/cert.pem $work/key.pem|" "$here/Caddyfile"
    } > "$work/Caddyfile"
    HOME="$work" XDG_DATA_HOME="$work" XDG_CONFIG_HOME="$work" \
        "${CADDY:-caddy}" run --adapter caddyfile --config "$work/Caddyfile" > "$work/caddy.log" 2>&1 &
    pids+=($!)
    wait_for through -sf -o /dev/null "$(url)/-/ready"
}

check() {
    local proxy=$1 model=v1beta/models/gemini-2.5-flash out code

    # Five events, 500 ms apart: the last must come well after the first, over HTTP/1.1 and HTTP/2.
    for version in --http1.1 --http2; do
        for stream in 'streamGenerateContent?alt=sse' 'streamGenerateContent'; do
            out=$(through -sN "$version" "$(url)/$model:$stream" -H "x-goog-api-key: $token" -H 'content-type: application/json' \
                -d '{"contents":[{"parts":[{"text":"[[chunks:5]] [[delay:500ms]] paced"}]}]}' | spread)
            say "$proxy" "a stream arrives as it is made ($version $stream: $out ms)" test "${out%% *}" -ge 1000
        done
    done

    # A stream that breaks upstream must not look complete.
    curl -sf -o /dev/null -X POST "$emulator/_emulator/faults" -d '{"match":{},"count":1,"fault":{"reset":"after_chunks","chunks":2}}'
    code=0
    through -sN -o /dev/null "$(url)/$model:streamGenerateContent?alt=sse" -H "x-goog-api-key: $token" \
        -H 'content-type: application/json' -d '{"contents":[{"parts":[{"text":"[[chunks:5]] cut"}]}]}' || code=$?
    say "$proxy" "a broken stream arrives broken (curl ends with $code)" test "$code" -ne 0

    # 20 MB of body.
    { printf '{"contents":[{"parts":[{"inlineData":{"mimeType":"image/png","data":"'; head -c 20000000 /dev/zero | tr '\0' A
        printf '"}}]}]}'; } > "$work/large.json"
    code=$(through -s -o /dev/null -w '%{http_code}' "$(url)/$model:countTokens" -H "x-goog-api-key: $token" \
        -H 'content-type: application/json' --data-binary @"$work/large.json")
    say "$proxy" "a 20 MB body passes (status $code)" test "$code" = 200

    # A client that hangs up ends the request upstream.
    curl -sf -o /dev/null -X DELETE "$emulator/_emulator/requests"
    through -sN -m 1 -o /dev/null "$(url)/$model:streamGenerateContent?alt=sse" -H "x-goog-api-key: $token" \
        -H 'content-type: application/json' -d '{"contents":[{"parts":[{"text":"[[chunks:60]] [[delay:300ms]] left"}]}]}' || true
    say "$proxy" "a client that hangs up ends it upstream" wait_for cancelled

    code=$(through -s -o /dev/null -w '%{http_code}' "$(url)/$model:countTokens" -H 'content-type: application/json' -d '{}')
    say "$proxy" "a client without a token is refused (status $code)" test "$code" = 401
    code=$(through -s -o /dev/null -w '%{http_code}' "$(url)/-/metrics")
    say "$proxy" "the relay's own pages are not shown (status $code)" test "$code" = 404
}

say() {
    local proxy=$1 what=$2
    shift 2
    if "$@"; then echo "$proxy: ok: $what"; else echo "$proxy: FAILED: $what"; failed=1; fi
}

url() { echo "https://relay.example:$port"; }

through() { curl --noproxy '*' --cacert "$work/cert.pem" --resolve "relay.example:$port:127.0.0.1" "$@"; }

cancelled() { curl -s "$emulator/_emulator/requests" | grep -q '"outcome": *"cancelled"'; }

# Milliseconds from the first piece to the last, and how many pieces there were.
spread() {
    python3 -c '
import os, time
at = []
while os.read(0, 65536):
    at.append(time.monotonic())
print(round((at[-1] - at[0]) * 1000) if at else 0, "in", len(at), "pieces,")'
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

wait_for() {
    local deadline=$((SECONDS + 15))
    until "$@" 2>/dev/null; do
        if ((SECONDS >= deadline)); then
            echo "waited in vain for: $*" >&2
            return 1
        fi
        sleep 0.05
    done
}

token=made-up-token-for-this-check
main
