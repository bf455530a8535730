#!/usr/bin/env bash
# Renews the lock files from pyproject.toml. Called by `make lock`.
#
# Both are requirement files with hashes, for every platform, that pip and uv read alike, and name no
# index: whoever installs decides where from (docs/decisions/0003-lock-files.md).
# Usage: lock.sh [--upgrade]
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v uv >/dev/null 2>&1 || ! uv --version >/dev/null 2>&1; then
  printf 'lock: error: uv is needed to write the lock files; install it (pip install uv)\n' >&2
  exit 1
fi
mkdir -p locks
compile() {
  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
    --no-emit-find-links --custom-compile-command 'make lock' pyproject.toml "$@"
}
compile "$@" --extra nvml --extra kubernetes --extra plot --extra pods --extra web-auth --extra aws --extra flag-sync \
  --group build --group test --group check --output-file locks/development.txt
# What a user installs, at the versions that the tests ran with.
compile --constraint locks/development.txt --output-file locks/runtime.txt
for input in manifests/images/requirements/*.in; do
  part=$(basename "$input" .in)
  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
    --custom-compile-command 'make lock' "$input" --constraint locks/development.txt \
    --output-file "locks/image-$part.txt"
done
printf 'lock: wrote %s\n' "$(echo locks/*.txt)" >&2
