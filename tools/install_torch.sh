#!/usr/bin/env bash
# Brings torch to an environment: a CPU build where one is to be had, since the default one for Linux brings three
# gigabytes of CUDA. Called by `make setup`, `make wheel-test` and manifests/images/install_part.sh; docs/decisions/0092-torch-outside-the-lock.md says why.
#
# Where packages come from is the business of pip's and uv's own configuration; no address stands here. In order:
#   1. torch is there already: nothing to do;
#   2. pip's configuration (an index or a folder of wheels) has the CPU build;
#   3. uv knows where torch's makers keep theirs;
#   4. the default build, where that is a CPU build (not on Linux), or in CI, which may leave no test out.
# Else the tests that need torch are left out, and the run says so.
#
# Usage: install_torch.sh PYTHON      environment: MELTGUARD_TORCH=cpu|any|cuda|none, by default cpu, and any in CI;
# cuda takes the default build of Linux at once, for images that serve from a GPU
set -euo pipefail

readonly python=$1
readonly version=2.13.0
readonly policy=${MELTGUARD_TORCH:-$([ "${CI:-}" = true ] && printf any || printf cpu)}
# Wheels of two hundred megabytes are not fetched twice.
readonly cache=${XDG_CACHE_HOME:-$HOME/.cache}/meltguard/wheels
readonly pip_options=(--quiet --disable-pip-version-check)

say() { printf 'setup: %s\n' "$*" >&2; }

has_uv() { command -v uv >/dev/null 2>&1 && uv --version >/dev/null 2>&1; }

install() {
  if has_uv; then
    uv pip install --quiet --python "$python" "$@"
  else
    "$python" -m pip install "${pip_options[@]}" "$@"
  fi
}

# An environment that uv made has no pip; the interpreter that it was made from may have.
pip_of() {
  local base
  base=$("$python" -c 'import sys; print(sys._base_executable)')
  for candidate in "$python" "$base"; do
    if "$candidate" -m pip --version >/dev/null 2>&1; then
      printf '%s' "$candidate"
      return 0
    fi
  done
  return 1
}

cached_wheel() {
  local tag
  tag=$("$python" -c 'import sys; print("cp%d%d" % sys.version_info[:2])')
  find "$cache" -name "torch-$version+cpu-$tag-*.whl" -print -quit
}

# The local version "+cpu" exists only for CPU builds, so nothing else can answer.
from_pip() {
  local with_pip found
  with_pip=$(pip_of) || return 1
  mkdir -p "$cache"
  found=$(cached_wheel)
  if [ -z "$found" ]; then
    "$with_pip" -m pip download "${pip_options[@]}" --no-deps --only-binary :all: --dest "$cache" \
      "torch==$version+cpu" >/dev/null 2>&1 || return 1
    found=$(cached_wheel)
  fi
  [ -n "$found" ] && install "$found"
}

from_uv() {
  has_uv && UV_HTTP_TIMEOUT=20 UV_HTTP_RETRIES=1 \
    uv pip install --quiet --python "$python" --torch-backend cpu "torch==$version" 2>/dev/null
}

from_default() {
  case $(uname -s)-$policy in
    Linux-any) say "no CPU build of torch is to be had; taking the default one, three gigabytes with CUDA" ;;
    Linux-*) return 1 ;;
  esac
  install "torch==$version"
}

if [ "$policy" = none ] || "$python" -c 'import torch' >/dev/null 2>&1; then exit 0; fi
if [ "$policy" = cuda ]; then
  say "bringing the default build of torch $version, three gigabytes with CUDA"
  install "torch==$version"
  exit 0
fi
say "bringing torch $version (a CPU build, if there is one)"
from_pip || from_uv || from_default ||
  say "no CPU build of torch $version is to be had: tests that draw images are left out (MELTGUARD_TORCH=any takes the default build)"
