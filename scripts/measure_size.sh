#!/usr/bin/env bash
# Measure what the locks download and occupy on this machine into requirements/size.txt, which `make setup` quotes.
# Run after scripts/lock.sh, on x86-64 Linux, in an environment made by `make test`.
set -euo pipefail
cd "$(dirname "$0")/.."
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
megabytes() { echo "$(($(du -sk --apparent-size "$1" | cut -f1) * 1024 / 1000000))"; }
for kind in cpu dev; do
    .venv/bin/python -m pip download --quiet --no-deps --require-hashes -r "requirements/$kind.lock" -d "$scratch/$kind"
done
run="$(megabytes "$scratch/cpu")" dev="$(megabytes "$scratch/dev")" disk="$(megabytes .venv)"
cat >requirements/size.txt <<TEXT
run about $run MB to download
dev about $dev MB to download, $disk MB installed
TEXT
cat requirements/size.txt
