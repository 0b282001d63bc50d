#!/usr/bin/env bash
# Run every speed benchmark in a process of its own, then rewrite the tables that quote them.
set -euo pipefail
cd "$(dirname "$0")/.."
for bench in benchmarks/speed/*.py; do
    case "$(basename "$bench")" in _*) continue ;; esac
    echo "$bench"
    .venv/bin/python "$bench"
done
.venv/bin/python scripts/results_table.py
