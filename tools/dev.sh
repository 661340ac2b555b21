# The body of ./dev. Each verb is a function; nothing runs before its verb is chosen.
set -euo pipefail

jobs=$(nproc)
lock=build/.lock

say() { printf '== %s\n' "$*"; }
die() { printf 'dev: %s\n' "$*" >&2; exit 1; }

wanted_packages() { grep -v '^#' tools/packages.txt; }

# Installs what is missing, and nothing when all is there.
install_missing() {
  local missing=() p
  for p in $(wanted_packages); do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing+=("$p")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  [ "$(id -u)" = 0 ] || die "these packages are missing, install them as root: ${missing[*]}"
  say "installing ${#missing[@]} Debian packages"
  mkdir -p build
  # A service that starts on installation would use the machine's own ports and directories.
  local policy=/usr/sbin/policy-rc.d made_policy=
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod 755 "$policy"; made_policy=1
  fi
  local status=0
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive \
      apt-get install -y -q --no-install-recommends "${missing[@]}"; } >build/apt.log 2>&1 || status=$?
  [ -n "$made_policy" ] && rm -f "$policy"
  [ "$status" = 0 ] || { tail -20 build/apt.log >&2; die "apt-get failed, see build/apt.log"; }
}

# configure KIND: KIND is release, asan, tsan, fuzz or seeded; each has its own build directory.
configure() {
  local kind=$1 args=()
  case $kind in
    release) args=(-DCMAKE_CXX_COMPILER=g++ -DCMAKE_C_COMPILER=gcc) ;;
    asan) args=(-DCMAKE_CXX_COMPILER=clang++-19 -DCMAKE_C_COMPILER=clang-19 -DCAIRN_SANITIZE=address,undefined) ;;
    tsan) args=(-DCMAKE_CXX_COMPILER=clang++-19 -DCMAKE_C_COMPILER=clang-19 -DCAIRN_SANITIZE=thread) ;;
    fuzz) args=(-DCMAKE_CXX_COMPILER=clang++-19 -DCMAKE_C_COMPILER=clang-19 -DCAIRN_SANITIZE=address,undefined -DCAIRN_FUZZ=ON) ;;
    seeded) args=(-DCMAKE_CXX_COMPILER=g++ -DCMAKE_C_COMPILER=gcc -DCAIRN_SEEDED_BUGS=ON) ;;
    *) die "unknown build kind $kind" ;;
  esac
  [ -f "build/$kind/build.ninja" ] && return 0
  cmake -S . -B "build/$kind" -G Ninja -DCMAKE_CXX_COMPILER_LAUNCHER=ccache \
    -DCMAKE_C_COMPILER_LAUNCHER=ccache "${args[@]}" >"build/$kind.cmake.log" 2>&1 ||
    { cat "build/$kind.cmake.log" >&2; die "cmake failed for $kind"; }
}

# build_kind KIND [TARGET...]: one build at a time on this machine.
build_kind() {
  local kind=$1; shift
  mkdir -p build
  (
    flock 9
    configure "$kind"
    ninja -C "build/$kind" -j "$jobs" "$@"
  ) 9>"$lock"
}

verb_build() {
  local kind=release
  case ${1:-} in release | asan | tsan | fuzz | seeded) kind=$1; shift ;; esac
  install_missing
  build_kind "$kind" "$@"
}

verb_help() {
  cat <<'TEXT'
./dev build [release|asan|tsan|fuzz|seeded] [target...]
TEXT
}

verb=${1:-help}
[ $# -gt 0 ] && shift
if declare -F "verb_$verb" >/dev/null; then "verb_$verb" "$@"; else verb_help; exit 2; fi
