#!/usr/bin/env bash
# Make or complete the environment in .venv: scripts/setup.sh run|dev
#
# `run` is what segloop needs, `dev` adds what its tests need. Safe to repeat: what is installed stays, and pip keeps
# what it has downloaded, so a broken download goes on where it stopped.
set -euo pipefail
cd "$(dirname "$0")/.."
kind="$1"
lock="requirements/$([ "$kind" = dev ] && echo dev || echo cpu).lock"
python=".venv/bin/python"

if ! "$python" -m pip --version >/dev/null 2>&1; then
    base="$(scripts/find_python.sh)"
    echo "Making .venv with $("$base" --version)"
    "$base" -m venv --clear .venv
fi
size="$(sed -n "s/^$kind //p" requirements/size.txt)"
echo "Installing $lock: $size (measured on x86-64 Linux; what is there already is not fetched again)."
pip=("$python" -m pip --disable-pip-version-check --no-input install)
# Someone who waits sees pip's progress; a log does not need it.
[ -t 1 ] || pip+=(--quiet)
"${pip[@]}" --quiet --require-hashes -r requirements/build.lock
# Byte code is written when a module is first used: compiling everything beforehand takes longer than it ever saves.
"${pip[@]}" --require-hashes --resume-retries 5 --no-compile -r "$lock"
"${pip[@]}" --quiet --no-deps --no-build-isolation --editable .
# The models are tried on this machine, and the faster runtime found, before the first study has to wait for it.
.venv/bin/segloop models selftest
