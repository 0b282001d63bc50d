#!/usr/bin/env bash
# Print a Python 3.11 to 3.13 that can make virtual environments, or say what to install.
#
# A name on PATH proves nothing: a version manager's shim may stand there for a Python that is not active, and Debian
# ships Python without venv. So each candidate is asked to run. PYTHON=… overrides the search.
set -u
for candidate in ${PYTHON:-python3.13 python3.12 python3.11 python3}; do
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
        >/dev/null 2>&1; then
        echo "$candidate"
        exit 0
    fi
done
cat >&2 <<TEXT
segloop needs Python 3.11, 3.12 or 3.13 with venv; looked for: ${PYTHON:-python3.13 python3.12 python3.11 python3}.
Install one, then run make again:
  Debian, Ubuntu   sudo apt-get install python3 python3-venv
  Fedora, RHEL     sudo dnf install python3.12
  macOS            brew install python@3.12
  any system       https://www.python.org/downloads/, or: make setup PYTHON=/path/to/python3.12
TEXT
exit 2
