#!/bin/sh
# Installs one part of meltguard into a folder of its own: the packages of its lock, then meltguard without
# dependencies; for the inference pod torch and the trained digit model, too. The Dockerfiles run it; so does `make images`, where no Docker engine is needed.
#
# Usage: install_part.sh PART FOLDER      PART: exporter, operator, inference; in the root of the source tree
set -eu

part=$1
folder=$2
lock=locks/image-$part.txt

fail() {
  printf 'install_part: error: %s\n' "$*" >&2
  exit 1
}

[ -f "$lock" ] || fail "no lock for the part '$part': $lock does not exist; parts are exporter, operator, inference"
[ ! -e "$folder" ] || fail "$folder exists already; name a folder that does not"

python3 -m venv "$folder"
python=$folder/bin/python
site=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
options='--quiet --disable-pip-version-check --no-cache-dir --no-compile --no-deps'
# shellcheck disable=SC2086  # options are words
"$python" -m pip install $options --require-hashes --requirement "$lock"
# shellcheck disable=SC2086
"$python" -m pip install $options .
if [ "$part" = inference ]; then
  # Beside the lock, which can hold no build for both processor and GPU; all that a CPU build needs is in the lock.
  tools/install_torch.sh "$python"
  "$python" -c 'import torch' 2>/dev/null ||
    fail 'no CPU build of torch is to be had; set MELTGUARD_TORCH=cuda for the default one, or let pip know of an index that has it'
  # The default model, so that a pod draws as soon as it starts; nothing else is ever written to the image.
  XDG_CACHE_HOME=$folder/cache "$python" -m inference.models.digits >/dev/null
fi
# Nothing is installed into an image later, and other people's tests are a tenth of what they weigh.
"$python" -m pip uninstall --quiet --yes pip setuptools 2>/dev/null || "$python" -m pip uninstall --quiet --yes pip
find "$site" -depth -type d \( -name tests -o -name test \) -not -path '*/numpy/*' -exec rm -rf {} +
find "$folder" -depth -type d -name __pycache__ -exec rm -rf {} +
