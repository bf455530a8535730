#!/usr/bin/env bash
# Compiles kube-apiserver, kube-controller-manager and kube-scheduler 1.20.2 from the source package
# that Debian bookworm ships. Called by build_control_plane.sh, which installs what this needs and
# keys its cache by the content of this file: every edit here means one new build.
#
# Usage: control_plane_recipe.sh OUTPUT_DIRECTORY
set -euo pipefail

readonly kubernetes_version=v1.20.2
readonly debian_suite=bookworm
readonly reflect2_source=/usr/share/gocode/src/github.com/modern-go/reflect2

output=$(mkdir -p "$1" && cd "$1" && pwd)
scratch=$(mktemp -d "${TMPDIR:-/tmp}/meltguard-control-plane.XXXXXX")
# Go marks parts of its trees read-only, which would make a plain removal fail.
trap 'chmod -R u+w "$scratch" && rm -rf "$scratch"' EXIT

say() { printf 'control plane: %s\n' "$*" >&2; }

# Prints the archive that the host already uses for Debian packages, so that a mirror keeps working;
# on another distribution MELTGUARD_DEBIAN_MIRROR has to name one.
debian_archive() {
  if [ -n "${MELTGUARD_DEBIAN_MIRROR:-}" ]; then
    printf '%s\n' "$MELTGUARD_DEBIAN_MIRROR"
    return
  fi
  # shellcheck disable=SC2016  # apt-get fills these in, not the shell
  apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' |
    awk -F'|' '$1 == "Debian" && $2 == "Debian" { print $3; exit }'
}

# Downloads the upstream tarball through an apt source index of its own, with apt's signature check,
# and leaves the host's apt configuration untouched. Needs no root.
fetch_source() {
  local archive lists=$scratch/lists
  archive=$(debian_archive)
  if [ -z "$archive" ]; then
    say "no Debian archive is configured here; set MELTGUARD_DEBIAN_MIRROR to the address of one"
    return 1
  fi
  mkdir -p "$lists/partial" "$scratch/sources" "$scratch/apt-cache/archives/partial"
  cat >"$scratch/sources/bookworm.sources" <<SOURCES
Types: deb-src
URIs: $archive
Suites: $debian_suite
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
  local options=(
    -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$scratch/sources" -o "Dir::State::lists=$lists"
    -o "Dir::Cache=$scratch/apt-cache" -o Acquire::Retries=2 -o Acquire::http::Timeout=60 -o APT::Sandbox::User=
  )
  (
    cd "$scratch"
    timeout 300 apt-get "${options[@]}" -qq update
    timeout 600 apt-get "${options[@]}" -qq --download-only source kubernetes
    mkdir -p kubernetes
    tar -xzf kubernetes_*.orig.tar.gz --strip-components=1 -C kubernetes
  )
}

# GOPATH mode, because the tarball predates what newer Go demands of module metadata.
enter_go_tree() {
  export GO111MODULE=off CGO_ENABLED=0
  # A trimmed binary forgets where Go's own library lies, and the generator reads it.
  GOROOT=$(go env GOROOT)
  export GOROOT
  export GOPATH=$scratch/go GOCACHE=$scratch/go-cache
  mkdir -p "$GOPATH/src/k8s.io"
  mv "$scratch/kubernetes" "$GOPATH/src/k8s.io/kubernetes"
  cd "$GOPATH/src/k8s.io/kubernetes"
}

mend_source() {
  # The vendored reflect2 reaches into runtime internals that Go 1.18 changed, and crashes at start.
  rm -rf vendor/github.com/modern-go/reflect2
  cp -rL "$reflect2_source" vendor/github.com/modern-go/reflect2
  # A linker flag does not reach the packages behind the vendor symlinks; the source itself does.
  sed -i -E \
    -e "s|gitVersion( +string)? += .*|gitVersion = \"$kubernetes_version\"|" \
    -e 's|gitMajor( +string)? += .*|gitMajor = "1"|' -e 's|gitMinor( +string)? += .*|gitMinor = "20"|' \
    staging/src/k8s.io/component-base/version/base.go staging/src/k8s.io/client-go/pkg/version/base.go
}

# The tarball lacks one generated file: the OpenAPI definitions of every marked package.
generate_openapi() {
  local packages
  go build -o "$scratch/openapi-gen" k8s.io/kubernetes/vendor/k8s.io/kube-openapi/cmd/openapi-gen
  packages=$(
    grep -rl --include='*.go' -F '+k8s:openapi-gen=' vendor/k8s.io/ staging/src/k8s.io pkg cmd |
      while IFS= read -r file; do dirname "$file"; done |
      sed 's|^staging/src/|vendor/|' |
      grep -vE 'code-generator|sample-apiserver|kube-openapi/(cmd|test)|/testdata' |
      sort -u | sed 's|^|k8s.io/kubernetes/|' | paste -sd, -
  )
  "$scratch/openapi-gen" --logtostderr --input-dirs "$packages" \
    --output-package k8s.io/kubernetes/pkg/generated/openapi --output-file-base zz_generated.openapi \
    --go-header-file hack/boilerplate/boilerplate.generatego.txt --report-filename "$scratch/violations"
}

compile() {
  local names=(kube-apiserver kube-controller-manager kube-scheduler) targets=() name
  for name in "${names[@]}"; do targets+=("k8s.io/kubernetes/cmd/$name"); done
  go build -trimpath -ldflags '-s -w' -o "$scratch/bin/" "${targets[@]}"
  for name in "${names[@]}"; do
    "$scratch/bin/$name" --version | grep -qF "$kubernetes_version" ||
      say "$name does not report $kubernetes_version"
    install -m 0755 "$scratch/bin/$name" "$output/$name"
  done
}

say "fetching the source of Kubernetes $kubernetes_version"
fetch_source
enter_go_tree
mend_source
say "generating the OpenAPI definitions"
generate_openapi
say "compiling three binaries (about seven minutes on two idle cores)"
mkdir -p "$scratch/bin"
compile
say "built into $output"
