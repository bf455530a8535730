#!/usr/bin/env bash
# Brings single programs that the host's Debian has too old or not at all, from a newer Debian, without
# installing anything: the packages are fetched with apt's signature check and unpacked into a cache.
#
#   promtool, prometheus   3.x, because rules have to hold on Debian's 2.42 and on a current Prometheus
#   kubectl                with Kustomize components, where the host has none or one older than 1.21
#
# Usage: fetch_newer_tools.sh [--cached]     prints the folder that holds them; --cached: only look
#   XDG_CACHE_HOME           where the cache lies, by default ~/.cache
#   MELTGUARD_NEWER_TOOLS    a folder with these programs, which is then used as it is
#   MELTGUARD_DEBIAN_MIRROR  the address of a Debian archive, where the host is not a Debian
set -euo pipefail

readonly suite=forky
readonly packages=(promtool prometheus kubectl)
readonly programs=(promtool prometheus kubectl)
readonly keyring=/usr/share/keyrings/debian-archive-keyring.gpg
readonly cache=${XDG_CACHE_HOME:-${HOME:?HOME or XDG_CACHE_HOME has to be set}/.cache}/meltguard/newer-tools
readonly place=$cache/$suite

say() { printf 'newer tools: %s\n' "$*" >&2; }

complete() {
  local name
  for name in "${programs[@]}"; do [ -x "$1/$name" ] || return 1; done
}

find_ready() {
  if [ -n "${MELTGUARD_NEWER_TOOLS:-}" ]; then
    printf '%s\n' "$MELTGUARD_NEWER_TOOLS"
  elif complete "$place"; then
    printf '%s\n' "$place"
  else
    return 1
  fi
}

debian_archive() {
  if [ -n "${MELTGUARD_DEBIAN_MIRROR:-}" ]; then
    printf '%s\n' "$MELTGUARD_DEBIAN_MIRROR"
    return
  fi
  # shellcheck disable=SC2016  # apt-get fills these in, not the shell
  apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' |
    awk -F'|' '$1 == "Debian" && $2 == "Debian" { print $3; exit }'
}

# An apt of its own: own source list, own lists, no word to the host's. Needs no root.
fetch() { # SCRATCH
  local scratch=$1 archive
  archive=$(debian_archive)
  [ -n "$archive" ] || {
    say "no Debian archive is configured here; set MELTGUARD_DEBIAN_MIRROR to the address of one"
    return 1
  }
  mkdir -p "$scratch/lists/partial" "$scratch/sources" "$scratch/apt-cache/archives/partial" "$scratch/packages"
  cat >"$scratch/sources/newer.sources" <<SOURCES
Types: deb
URIs: $archive
Suites: $suite
Components: main
Signed-By: $keyring
SOURCES
  local options=(
    -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$scratch/sources" -o "Dir::State::lists=$scratch/lists"
    -o "Dir::Cache=$scratch/apt-cache" -o Acquire::Retries=2 -o Acquire::http::Timeout=60 -o APT::Sandbox::User=
    -o Acquire::Languages=none -o Dir::State::status=/dev/null
  )
  (
    cd "$scratch/packages"
    timeout 300 apt-get "${options[@]}" -qq update
    timeout 600 apt-get "${options[@]}" -qq download "${packages[@]}"
  )
}

unpack() { # SCRATCH STAGING
  local scratch=$1 staging=$2 package name
  for package in "$scratch"/packages/*.deb; do dpkg-deb --extract "$package" "$scratch/tree"; done
  for name in "${programs[@]}"; do
    install -m 0755 "$scratch/tree/usr/bin/$name" "$staging/$name"
    "$staging/$name" --version >/dev/null 2>&1 || "$staging/$name" version --client >/dev/null 2>&1 || {
      say "$name of $suite does not run here"
      return 1
    }
  done
}

if find_ready; then exit 0; fi
if [ "${1:-}" = --cached ]; then exit 1; fi
for command in apt-get dpkg-deb; do
  command -v "$command" >/dev/null 2>&1 || {
    say "no $command here; set MELTGUARD_NEWER_TOOLS to a folder with ${programs[*]}"
    exit 1
  }
done

mkdir -p "$cache"
# One maker at a time; whoever waited finds the work done.
exec 9>"$cache/lock"
flock --wait 900 9
find_ready && exit 0
scratch=$(mktemp -d "$cache/making.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/staging"
fetch "$scratch" >&2 && unpack "$scratch" "$scratch/staging" || exit 1
rm -rf "$place"
mv "$scratch/staging" "$place"
printf '%s\n' "$place"
