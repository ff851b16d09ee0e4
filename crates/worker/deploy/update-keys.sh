#!/bin/sh
# Puts gemini-keys.json into KV: see update-keys.mjs.
cd "$(dirname "$0")" || exit 1
if ! command -v node >/dev/null 2>&1; then
    echo "update-keys: Node is missing: install Node 20 or newer from https://nodejs.org" >&2
    exit 1
fi
exec node update-keys.mjs "$@"
