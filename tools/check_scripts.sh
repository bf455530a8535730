#!/usr/bin/env bash
# Runs shellcheck over every shell script of the repository. Called by `make check`.
# Installs shellcheck where it may (root and apt-get); in CI its absence is an error.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v shellcheck >/dev/null 2>&1; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    timeout 300 apt-get install -y -qq --no-install-recommends shellcheck >/dev/null 2>&1 ||
      { timeout 300 apt-get update -qq && timeout 300 apt-get install -y -qq --no-install-recommends shellcheck >/dev/null; } || true
  fi
fi
if ! command -v shellcheck >/dev/null 2>&1; then
  printf 'scripts: shellcheck is missing, so shell scripts were not checked (Debian, Ubuntu: apt-get install shellcheck)\n' >&2
  [ "${CI:-}" != true ]
  exit
fi

scripts=()
while IFS= read -r -d '' file; do
  if [ -f "$file" ] && head -c 64 "$file" | grep -qaE '^#!.*\b(ba|da)?sh\b'; then scripts+=("$file"); fi
done < <(git ls-files --cached --others --exclude-standard -z)
# SC2317: older versions take functions that are only called by name for unreachable.
[ "${#scripts[@]}" = 0 ] || shellcheck --exclude=SC2317 "${scripts[@]}"
