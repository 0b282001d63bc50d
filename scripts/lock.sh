#!/usr/bin/env bash
# Write the lock files anew: scripts/lock.sh [--upgrade]. Needs uv; set UV to its path when it is not on PATH.
#
# The locks are universal (every platform and Python of pyproject.toml) and carry hashes. They name no index, so that a
# mirror serves as well as the public one.
set -euo pipefail
cd "$(dirname "$0")/.."
uv="${UV:-uv}"
compile() {
    "$uv" pip compile "$@" --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
}
upgrade=("$@")
compile pyproject.toml --extra cpu "${upgrade[@]}" -o requirements/cpu.lock
# All three go into one environment, so what one lock has decided binds the next.
compile requirements/build.in -c requirements/cpu.lock "${upgrade[@]}" -o requirements/build.lock
compile pyproject.toml --extra cpu --group dev -c requirements/cpu.lock -c requirements/build.lock "${upgrade[@]}" \
    -o requirements/dev.lock
if grep -nE '^--|https?://|file:|(^|[^[:alnum:]])/[a-z]+/' requirements/*.lock; then
    echo "A lock names an index or a local path; see the lines above." >&2
    exit 1
fi
