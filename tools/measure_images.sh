#!/usr/bin/env bash
# Runs the install step of every image in a plain environment, says what weighs, and starts what was installed.
# Called by `make images`, for machines without a Docker engine; exits 1 where a part is above its bound or will not run.
set -euo pipefail
cd "$(dirname "$0")/.."

# Part, its command, and the bound of its site-packages in MB (the inference pod's with a CPU build of torch).
readonly bounds=('exporter exporter 150' 'operator operator 650' 'inference serve 1300')

scratch=$(mktemp -d "${TMPDIR:-/tmp}/meltguard-images.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
failed=0

for line in "${bounds[@]}"; do
  read -r part command bound <<<"$line"
  manifests/images/install_part.sh "$part" "$scratch/$part"
  site=$(echo "$scratch/$part"/lib/python3.*/site-packages)
  size=$(du --summarize --block-size=1M "$site" | cut -f1)
  heaviest=$(du --block-size=1M --max-depth=1 "$site" | sort --numeric-sort --reverse | sed -n '2,6p' |
    while read -r megabytes path; do printf '%s %s, ' "$(basename "$path")" "$megabytes"; done)
  printf '%-10s %4d MB of %d; heaviest: %s\n' "$part" "$size" "$bound" "${heaviest%, }"
  if [ "$size" -gt "$bound" ]; then
    printf '%s: error: %d MB is above its bound of %d MB\n' "$part" "$size" "$bound" >&2
    failed=1
  fi
  # Away from the source tree, so that only what was installed can be what runs.
  (cd "$scratch" && "$scratch/$part/bin/meltguard" "$command" --help >/dev/null) || {
    printf '%s: error: meltguard %s --help does not run from its image\n' "$part" "$command" >&2
    failed=1
  }
done
exit "$failed"
