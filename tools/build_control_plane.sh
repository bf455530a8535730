#!/usr/bin/env bash
# Finds or makes the binaries of a Kubernetes control plane and prints the folder that holds them.
#
# In this order: KUBEBUILDER_ASSETS, the cache, the official download, a build from Debian's source package.
# The cache lies outside the checkout and is keyed by version (download) or by the recipe's content (build).
#
# Usage: build_control_plane.sh [--cached]      --cached: only look, never download, install or build
#   KUBEBUILDER_ASSETS            a folder with kube-apiserver (and kubectl, etcd) that is used as it is
#   XDG_CACHE_HOME                where the cache lies, by default ~/.cache
#   MELTGUARD_KUBERNETES_DOWNLOAD a mirror of the official downloads, or "none" to go without
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
readonly here
readonly download_version=v1.29.15
readonly download_site=${MELTGUARD_KUBERNETES_DOWNLOAD:-https://dl.k8s.io}
readonly binaries=(kube-apiserver kube-controller-manager kube-scheduler)
readonly packages=(golang-go golang-github-modern-go-reflect2-dev dpkg-dev debian-archive-keyring ca-certificates)
readonly cache=${XDG_CACHE_HOME:-${HOME:?HOME or XDG_CACHE_HOME has to be set}/.cache}/meltguard/control-plane

recipe_hash=$(sha256sum "$here/control_plane_recipe.sh" | cut -c1-12)
readonly downloaded=$cache/$download_version
readonly built=$cache/debian-$recipe_hash

say() { printf 'control plane: %s\n' "$*" >&2; }

complete() {
  local name
  for name in "${binaries[@]}"; do [ -x "$1/$name" ] || return 1; done
}

# A person's own folder needs to hold only the API server; envtest's holds no controller manager.
own_assets() { [ -n "${KUBEBUILDER_ASSETS:-}" ] && [ -x "$KUBEBUILDER_ASSETS/kube-apiserver" ]; }

find_ready() {
  if own_assets; then
    printf '%s\n' "$KUBEBUILDER_ASSETS"
  elif complete "$downloaded"; then
    printf '%s\n' "$downloaded"
  elif complete "$built"; then
    printf '%s\n' "$built"
  else
    return 1
  fi
}

architecture() {
  case "$(uname -m)" in
    x86_64) echo amd64 ;;
    aarch64) echo arm64 ;;
    *) return 1 ;;
  esac
}

# Gives up within seconds where the site is out of reach, and never leaves half a folder behind.
download() {
  local folder=$1 name arch expected
  [ "$download_site" != none ] && command -v curl >/dev/null 2>&1 && arch=$(architecture) || return 1
  local get=(curl --fail --silent --location --connect-timeout 5 --speed-limit 50000 --speed-time 20 --max-time 300)
  for name in "${binaries[@]}"; do
    local address=$download_site/$download_version/bin/linux/$arch/$name
    expected=$("${get[@]}" --max-time 20 "$address.sha256") || return 1
    "${get[@]}" --output "$folder/$name" "$address" || return 1
    printf '%s  %s\n' "${expected%% *}" "$folder/$name" | sha256sum --check --status || {
      say "the checksum of $name from $download_site is wrong; not using it"
      return 1
    }
    chmod 0755 "$folder/$name"
  done
}

missing_packages() {
  local package
  for package in "${packages[@]}"; do
    dpkg-query --show --showformat '${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' || printf '%s ' "$package"
  done
}

# Only where Debian's packages and its source archive are to be had.
build() {
  local folder=$1 missing
  command -v apt-get >/dev/null 2>&1 || {
    say "no apt-get here to fetch the source with; set KUBEBUILDER_ASSETS to a folder with kube-apiserver"
    return 1
  }
  missing=$(missing_packages)
  if [ -n "$missing" ]; then
    if [ "$(id -u)" != 0 ]; then
      say "a build from source needs packages: apt-get install $missing(as root), or set KUBEBUILDER_ASSETS"
      return 1
    fi
    say "installing $missing"
    # shellcheck disable=SC2086  # one word per package
    timeout 900 apt-get install -y -qq --no-install-recommends $missing >/dev/null 2>&1 ||
      { timeout 300 apt-get update -qq && timeout 900 apt-get install -y -qq --no-install-recommends $missing; } >&2 ||
      return 1
  fi
  timeout 3000 nice -n 5 "$here/control_plane_recipe.sh" "$folder" >&2
}

# Makes a folder in full beside its place, then moves it there: a killed run leaves no half of one.
make_folder() {
  local maker=$1 place=$2 staging
  staging=$(mktemp -d "$cache/making.XXXXXX")
  if "$maker" "$staging" && complete "$staging"; then
    chmod 0755 "$staging"
    rm -rf "$place"
    mv "$staging" "$place"
    printf '%s\n' "$place"
  else
    rm -rf "$staging"
    return 1
  fi
}

if find_ready; then exit 0; fi
if [ "${1:-}" = --cached ]; then exit 1; fi

mkdir -p "$cache"
# One maker at a time; whoever waited finds the work done.
exec 9>"$cache/lock"
flock --wait 3600 9
find_ready && exit 0
make_folder download "$downloaded" && exit 0
say "$download_version cannot be downloaded here; building from Debian's source, once (a few minutes)"
make_folder build "$built" && exit 0
say "there is no kube-apiserver here"
exit 1
