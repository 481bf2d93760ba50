#!/usr/bin/env bash
# Build out/concord.zip and prove it: it installs alone, imports without a connection, and indexes with every function.
#   scripts/package.sh               both
#   scripts/package.sh --build       builds only
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python="${PYTHON:-.venv/bin/python}"
command -v "$python" >/dev/null || { echo "package: there is no $python; make check sets it up" >&2; exit 1; }
"$python" scripts/package.py out/concord.zip
[ "${1:-}" = --build ] || "$python" scripts/package.py --prove out/concord.zip
