#!/usr/bin/env bash
# Builds the wheel, looks inside, and runs the tests against the installed wheel, away from the working tree.
# Called by `make wheel-test`; docs/decisions/0005-tests-against-the-installed-wheel.md says why.
#
# Usage: test_wheel.sh PYTHON      the development environment's interpreter, which builds
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
python=$(realpath -s "$1")
readonly root python
readonly suites=(unit properties golden contract cli)

scratch=$(mktemp -d "${TMPDIR:-/tmp}/meltguard-wheel.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
fresh=$scratch/venv/bin/python

install() {
  if command -v uv >/dev/null 2>&1 && uv --version >/dev/null 2>&1; then
    uv pip install --quiet --python "$fresh" "$@"
  else
    "$fresh" -m pip install --quiet --disable-pip-version-check "$@"
  fi
}

"$python" -m hatchling build -t wheel -d "$scratch/dist" >/dev/null
wheel=$(ls "$scratch"/dist/*.whl)
"$python" -m tools.checks.wheel "$wheel"

# First only what a user installs: a dependency that is used but not declared shows here.
if command -v uv >/dev/null 2>&1 && uv --version >/dev/null 2>&1; then
  uv venv --quiet --python "$python" "$scratch/venv"
else
  "$python" -m venv "$scratch/venv"
fi
install --require-hashes --requirement locks/runtime.txt
install --no-deps "$wheel"
mkdir "$scratch/elsewhere"
(cd "$scratch/elsewhere" && "$fresh" -I "$root/tools/checks/installed.py" "$root")

# Then the tests, from a copy of the repository that lacks the packages: only the wheel can be what they import.
install --require-hashes --requirement locks/development.txt
tools/install_torch.sh "$fresh"
mkdir "$scratch/tree"
git ls-files --cached --others --exclude-standard -z |
  while IFS= read -r -d '' file; do
    case $file in controller/* | exporters/* | forecasting/* | inference/*) ;; *) [ -e "$file" ] && printf '%s\0' "$file" ;; esac
  done | tar --create --null --files-from=- | tar --extract --directory "$scratch/tree"
cd "$scratch/tree"
selected=()
for suite in "${suites[@]}"; do
  if compgen -G "tests/$suite/*" >/dev/null; then selected+=("tests/$suite"); fi
done
printf 'wheel test: %s against %s\n' "${selected[*]}" "$(basename "$wheel")" >&2
MELTGUARD_DATA=${MELTGUARD_DATA:-$root/../shared/data} "$fresh" -P -m pytest -q -p no:cacheprovider "${selected[@]}"
