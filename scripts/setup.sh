#!/usr/bin/env bash
# Makes the virtual environment and fetches Azurite. Finds a Python 3.13 that runs (python3.13, pyenv), else fetches one with uv.
set -euo pipefail
venv="$1"
cd "$(dirname "$0")/.."

works() { "$1" -c 'import sys, ssl, venv; raise SystemExit(sys.version_info[:2] != (3, 13))' >/dev/null 2>&1; }

find_python() {
  local candidate
  for candidate in python3.13 /usr/bin/python3.13 /usr/local/bin/python3.13 "$HOME"/.pyenv/versions/3.13*/bin/python3.13 python3; do
    if command -v "$candidate" >/dev/null 2>&1 && works "$candidate"; then command -v "$candidate"; return 0; fi
  done
  if command -v pyenv >/dev/null 2>&1; then
    local version
    for version in $(pyenv versions --bare 2>/dev/null | grep -E '^3\.13(\.|$)' || true); do
      candidate="$(pyenv root)/versions/$version/bin/python3.13"
      if works "$candidate"; then echo "$candidate"; return 0; fi
    done
  fi
  return 1
}

if ! { [ -x "$venv/bin/python" ] && works "$venv/bin/python"; }; then
  rm -rf "$venv"
  if python="$(find_python)"; then
    echo "setup: virtual environment from $python"
    "$python" -m venv "$venv"
  else
    echo "setup: no Python 3.13 found; fetching one with uv"
    command -v python3 >/dev/null 2>&1 || { echo "setup: python3 is needed to fetch uv; install Python 3.13 and run this again" >&2; exit 1; }
    bootstrap="$(mktemp -d)"
    python3 -m venv "$bootstrap/venv" && "$bootstrap/venv/bin/pip" install -q uv
    "$bootstrap/venv/bin/uv" venv --seed --python 3.13 "$venv"
    rm -rf "$bootstrap"
  fi
fi

echo "setup: Python packages"
"$venv/bin/python" -m pip install -q --disable-pip-version-check -r requirements.txt -r requirements-dev.txt

if ! node --version >/dev/null 2>&1; then
  echo "setup: Node is needed for Azurite; install Node 20 or later and run this again" >&2
  exit 1
fi
if [ ! -x node_modules/.bin/azurite ]; then
  echo "setup: Azurite"
  npm ci --no-audit --no-fund --loglevel=error
fi
