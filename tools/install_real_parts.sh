#!/usr/bin/env bash
# Brings the servers and tools that tests start: Debian packages, and a Kubernetes API server.
# Called by `make test`, `make cluster` and `make real-parts`; silent and quick when nothing is missing.
#
# Installs only as root with apt-get. Elsewhere it says which tests will be left out and how to change that,
# and still exits 0: a person without root can run the rest. In CI a missing part is an error.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

# The command that shows a part is here, the package that brings it, the tests that need it.
readonly parts=(
  'prometheus|prometheus|tests against a real Prometheus'
  'promtool|prometheus|tests of alert and recording rules'
  'prometheus-alertmanager|prometheus-alertmanager|tests against a real Alertmanager'
  'amtool|prometheus-alertmanager|tests of alert routes'
  'redis-server|redis-server|tests of the shared quota store'
  'etcd|etcd-server|tests against a real Kubernetes API'
  'gcc|gcc|tests of the exporter against the NVML stub'
  'chromium|chromium|tests of pages in a real browser'
)

# Debian calls the program prometheus-alertmanager; the project's own release calls it alertmanager.
present() {
  case $1 in
    prometheus-alertmanager) command -v prometheus-alertmanager || command -v alertmanager ;;
    chromium) command -v chromium || command -v chromium-browser || command -v google-chrome ;;
    etcd) command -v etcd || [ -x "${KUBEBUILDER_ASSETS:-}/etcd" ] ;;
    gcc) command -v gcc && printf '#include <stdio.h>\n' | gcc -fsyntax-only -x c - ;;
    *) command -v "$1" ;;
  esac >/dev/null 2>&1
}

missing_of() { # FIELD: the field of every part that is not here
  local part
  for part in "${parts[@]}"; do
    present "${part%%|*}" || printf '%s\n' "$part" | cut -d'|' -f"$1"
  done
}

# Debian's servers start themselves on installation; for tests they must not, so a policy forbids it meanwhile.
install_packages() {
  local policy=/usr/sbin/policy-rc.d wrote_policy=false status=0 names=("$@")
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 0755 "$policy" && wrote_policy=true
  fi
  export DEBIAN_FRONTEND=noninteractive
  local options=(-y -qq --no-install-recommends -o Acquire::Retries=2 -o Acquire::http::Timeout=60 -o DPkg::Lock::Timeout=300)
  {
    timeout 300 apt-get update -qq && timeout 1200 apt-get install "${options[@]}" "${names[@]}"
  } >"$log" 2>&1 || status=$?
  if $wrote_policy; then rm -f "$policy"; fi
  if [ "$status" != 0 ]; then tail -n 5 "$log" >&2; fi
  return "$status"
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT

mapfile -t packages < <(missing_of 2 | sort -u)
if [ "${#packages[@]}" -gt 0 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  [ -e /usr/include/stdio.h ] || packages+=(libc6-dev)
  printf 'real parts: installing %s\n' "${packages[*]}" >&2
  install_packages "${packages[@]}" || printf 'real parts: apt-get could not install all of them\n' >&2
fi

mapfile -t left_out < <(missing_of 3)
mapfile -t packages < <(missing_of 2 | sort -u)
if present etcd; then
  "$here/build_control_plane.sh" >/dev/null || left_out+=('tests against a real Kubernetes API')
fi
"$here/fetch_newer_tools.sh" >/dev/null || left_out+=('tests of rules on Prometheus 3, tests of manifests with a current kubectl')
[ "${#left_out[@]}" -gt 0 ] || exit 0

{
  printf '\nLeft out of the test run, because a real part is missing and cannot be installed from here:\n'
  printf '  - %s\n' "${left_out[@]}" | sort -u
  if [ "${#packages[@]}" -gt 0 ]; then
    printf 'To run them too (Debian, Ubuntu; as root): apt-get install %s\n' "${packages[*]}"
  fi
  printf '\n'
} >&2
[ "${CI:-}" != true ]
