#!/usr/bin/env bash
# Builds the documentation as a site, with every link and anchor checked. Called by `make site`.
# MkDocs and its theme have an environment of their own (build/site-environment), so that they are in no lock.
#
# Usage: build_site.sh PYTHON      the development environment's interpreter, which stages the pages
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1
environment=build/site-environment

"$python" -m tools.site.stage
if ! [ -x "$environment/bin/mkdocs" ]; then
  if command -v uv >/dev/null 2>&1; then
    uv venv --quiet --clear --python "$python" "$environment"
    uv pip install --quiet --python "$environment/bin/python" --group site
  else
    "$python" -m venv --clear "$environment"
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check --group site
  fi
fi
# Without --quiet: it would silence the warnings before --strict has counted them.
NO_MKDOCS_2_WARNING=1 "$environment/bin/mkdocs" build --strict
printf 'site: build/site/index.html\n' >&2
