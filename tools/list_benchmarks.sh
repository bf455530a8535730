#!/usr/bin/env bash
# Lists the benchmarks with the first line of what each says about itself. Called by `make bench`.
set -euo pipefail
cd "$(dirname "$0")/.."

found=false
for file in benchmarks/*.py benchmarks/*/*.py; do
  [ -f "$file" ] || continue
  case "$(basename "$file")" in _*) continue ;; esac
  found=true
  printf '  %-40s %s\n' "$file" "$(sed -n -E '/^("""|#[^!])/{s/^("""|# *)//;s/"""$//;p;q}' "$file")"
done
if $found; then
  printf '\nRun one with: .venv/bin/python FILE --help\n'
else
  printf 'There are no benchmarks yet.\n'
fi
