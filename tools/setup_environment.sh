#!/usr/bin/env bash
# Makes the development environment in DIRECTORY: the locked packages and this project, editable.
# Called by `make setup`. Uses uv when it is on PATH, else the standard library's venv and pip.
#
# Usage: setup_environment.sh DIRECTORY
set -euo pipefail

readonly environment=$1
readonly lock=locks/development.txt

fail() {
  printf 'setup: error: %s\n' "$*" >&2
  exit 1
}

# Prints the newest interpreter that really runs: a pyenv shim may exist for a version that is not there.
find_python() {
  local name
  for name in ${MELTGUARD_PYTHON:-python3.14 python3.13 python3.12 python3.11 python3 /usr/bin/python3}; do
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
      command -v "$name"
      return 0
    fi
  done
  return 1
}

has_venv() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }

usable() { "$environment/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

setup_with_uv() {
  if ! usable; then
    # Without an interpreter here, uv looks for one of its own.
    uv venv --quiet --clear --python "$(find_python || printf '>=3.11')" "$environment"
  fi
  local python=$environment/bin/python
  uv pip install --quiet --python "$python" --require-hashes --requirement "$lock"
  uv pip install --quiet --python "$python" --no-deps --no-build-isolation --editable .
}

setup_with_pip() {
  local python=$environment/bin/python
  if ! usable || ! "$python" -m pip --version >/dev/null 2>&1; then
    local base
    base=$(find_python) ||
      fail "Python 3.11 or newer is needed and none was found; install one (Debian, Ubuntu: apt-get install python3 python3-venv) or uv"
    has_venv "$base" ||
      fail "$base has no venv module; install it (Debian, Ubuntu: apt-get install python3-venv) or uv"
    rm -rf "$environment"
    "$base" -m venv "$environment"
  fi
  "$python" -m pip install --quiet --disable-pip-version-check --require-hashes --requirement "$lock"
  "$python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
}

cd "$(dirname "$0")/.."
printf 'setup: making %s from %s (a minute or two)\n' "$environment" "$lock" >&2
if command -v uv >/dev/null 2>&1 && uv --version >/dev/null 2>&1; then
  setup_with_uv
else
  setup_with_pip
fi
tools/install_torch.sh "$environment/bin/python"
