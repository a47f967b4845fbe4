#!/usr/bin/env bash
# Our border router and end host beside official SCION services; docs/interop/scion.md says what is shown.
#   SCION_BIN=FOLDER test/interop/official.sh [--no-bfd] [--sibling ours|official] [--official-only] [--keep]
# FOLDER holds the official programs router, control, daemon, dispatcher, scion and scion-pki. Everything runs on loopback
# addresses; exit status 0 only when every step passed.
set -euo pipefail
cd "$(dirname "$0")/../.."
: "${SCION_BIN:?set it to the folder with the official programs}"
SCION_BIN=$(cd "$SCION_BIN" && pwd)
export SCION_BIN
node=$PWD/node_modules/.bin/node
[ -x "$node" ] || node=node
[ -n "${S3MP_GATEWAY:-}" ] || "$node" build.mjs >/dev/null
version=$("$node" -p 'require("./package.json").version')
node_modules/.bin/esbuild test/interop/official/main.ts --bundle --platform=node --format=cjs --target=node20 \
  --outfile=dist/interop/official.js --define:S3MP_VERSION="\"$version\"" --log-level=warning
exec "$node" dist/interop/official.js "$@"
