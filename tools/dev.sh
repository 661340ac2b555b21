# The body of ./dev. Each verb is a function; nothing runs before its verb is chosen.
set -euo pipefail

jobs=$(nproc)
lock=build/.lock
# What another checkout on this machine compiled from the same text is taken over.
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1
# Where threads meet; the rest is looked at by ASan and UBSan.
tsan_tests=(cairn_parallel_test cairn_catalog_test cairn_net_test cairn_docker_test cairn_repository_test)

say() { printf '== %s\n' "$*"; }
die() { printf 'dev: %s\n' "$*" >&2; exit 1; }
need_root() { [ "$(id -u)" = 0 ] || die "$1 needs root: it starts an engine and keeps owners of files"; }

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

# configure KIND: each kind of build has its own directory below build/.
configure() {
  local kind=$1 args=()
  local clang=(-DCMAKE_CXX_COMPILER=clang++-19 -DCMAKE_C_COMPILER=clang-19)
  local gcc=(-DCMAKE_CXX_COMPILER=g++ -DCMAKE_C_COMPILER=gcc)
  case $kind in
    release) args=("${gcc[@]}") ;;
    seeded) args=("${gcc[@]}" -DCAIRN_SEEDED_BUGS=ON) ;;
    asan) args=("${clang[@]}" -DCAIRN_SANITIZE=address,undefined -DCAIRN_FUZZ=ON) ;;
    tsan) args=("${clang[@]}" -DCAIRN_SANITIZE=thread) ;;
    lint) args=("${clang[@]}" -DCAIRN_UNITY=OFF) ;;  # never built: clang-tidy takes its flags from it
    *) die "unknown kind of build: $kind" ;;
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

# The same, quiet unless it fails.
build_quietly() {
  local kind=$1 began=$SECONDS; shift
  say "build $kind"
  mkdir -p build
  build_kind "$kind" "$@" >"build/$kind.build.log" 2>&1 || { tail -60 "build/$kind.build.log"; die "the $kind build failed"; }
  say "build $kind took $((SECONDS - began)) s"
}

# --- results: every suite adds its counts, so that the last line speaks for all of them
passed=0
failed=0
failures=()
note_pass() { passed=$((passed + 1)); }
note_fail() { failed=$((failed + 1)); failures+=("$1"); printf 'FAILED: %s\n' "$1"; }

# suite NAME COMMAND...: one thing that passes or fails, its log kept and shown on failure.
suite() {
  local name=$1 began=$SECONDS log; shift
  log="build/log/${name//[^a-zA-Z0-9_.-]/_}.log"
  mkdir -p build/log
  if "$@" >"$log" 2>&1; then
    note_pass
    say "$name: ok ($((SECONDS - began)) s)"
  else
    tail -80 "$log"
    note_fail "$name (log: $log)"
  fi
}

# side_by_side: each line of its input is NAME COMMAND...; as many at once as there are processors.
# Leaves build/log/NAME.log and build/log/NAME.status.
side_by_side() {
  mkdir -p build/log
  xargs -r -P "$jobs" -L 1 bash -c '
    log=build/log/${0//\//_} status=0
    rm -f "$log.status"
    "$@" >"$log.log" 2>&1 || status=$?
    echo "$status" >"$log.status"'
}

# ended_well NAME: what side_by_side ran by that name; its log is shown where it did not.
ended_well() {
  local log=build/log/${1//\//_}
  [ "$(cat "$log.status" 2>/dev/null)" = 0 ] && return 0
  tail -60 "$log.log"
  note_fail "$1 (log: $log.log)"
  return 1
}

# gtest_suites NAME DIRECTORY [RUNNER...]: the unit test binaries in it, each in as many parts as there are
# processors, since one of them takes as long as all others; their single tests counted.
gtest_suites() {
  local name=$1 directory=$2 began=$SECONDS binary part one runs=(); shift 2
  for binary in "$directory"/cairn_*_test; do
    for ((part = 0; part < jobs; ++part)); do runs+=("$(basename "$binary").$part"); done
  done
  for one in "${runs[@]}"; do
    echo "$name/$one" timeout 600 "$@" \
      env "GTEST_TOTAL_SHARDS=$jobs" "GTEST_SHARD_INDEX=${one##*.}" "$directory/${one%.*}"
  done | side_by_side
  for one in "${runs[@]}"; do
    ended_well "$name/$one" || continue
    passed=$((passed + $(grep -cE '^\[       OK \]' "build/log/${name}_$one.log" || true)))
  done
  say "unit tests, $name: $((SECONDS - began)) s"
}

# The unit tests as who is not root, from where everybody may read them.
gtest_suites_as_nobody() {
  local copy
  copy=$(mktemp -d /tmp/cairn-unit-XXXXXX)
  cp build/release/bin/cairn_*_test "$copy"
  chown -R nobody "$copy"
  gtest_suites nobody "$copy" setpriv --reuid 65534 --regid 65534 --clear-groups env -C "$copy" "HOME=$copy"
  rm -rf "$copy"
}

# pytest_suite NAME ARGUMENTS...: runs Debian's pytest, its single tests counted.
pytest_suite() {
  local name=$1 log count; shift
  mkdir -p build/log
  log="build/log/pytest_$name.log"
  say "pytest $name"
  local status=0
  (cd tests && timeout "${CAIRN_PYTEST_TIMEOUT:-2400}" /usr/bin/python3 -m pytest -q -rfE --durations=8 "$@") >"$log" 2>&1 || status=$?
  count=$(grep -oE '[0-9]+ passed' "$log" | tail -1 | grep -oE '[0-9]+' || echo 0)
  passed=$((passed + count))
  tail -25 "$log"
  if [ "$status" != 0 ]; then
    count=$({ tail -1 "$log" | grep -oE '[0-9]+ (failed|error)' || true; } | awk '{ n += $1 } END { print n ? n : 1 }')
    failed=$((failed + count - 1))
    note_fail "pytest $name ended with $status (log: $log)"
  fi
  if grep -qE '[0-9]+ skipped' "$log"; then note_fail "pytest $name skipped tests"; fi
}

finish() {
  local one
  for one in ${failures[@]+"${failures[@]}"}; do printf 'FAILED: %s\n' "$one"; done
  printf '%d passed, %d failed\n' "$passed" "$failed"
  [ "$failed" = 0 ]
}

run_fuzzers() {
  local seconds=$1 binary name
  build_quietly asan fuzzers
  for binary in build/asan/bin/*_fuzz; do
    name=$(basename "$binary")
    mkdir -p "build/corpus/$name" "tests/corpus/$name"
    echo "fuzz/$name" "$binary" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
      -print_final_stats=1 "build/corpus/$name" "tests/corpus/$name"
  done | side_by_side
  for binary in build/asan/bin/*_fuzz; do
    name=fuzz/$(basename "$binary")
    ended_well "$name" || continue
    # libFuzzer goes on where nothing counts branches, and then tries bytes at random.
    if grep -q 'no interesting inputs were found' "build/log/${name//\//_}.log"; then
      note_fail "$name saw none of what it ran: is its module compiled for it?"
    else
      note_pass
      say "$name: ok, $(grep -oE 'cov: [0-9]+ ft: [0-9]+' "build/log/${name//\//_}.log" | tail -1)"
    fi
  done
}

# --- verbs

verb_build() {
  local kind=release
  case ${1:-} in release | asan | tsan | seeded) kind=$1; shift ;; esac
  install_missing
  build_kind "$kind" "$@"
}

verb_lint() {
  install_missing
  mkdir -p build
  configure lint
  suite lint/tree /usr/bin/python3 tools/check_tree.py
  suite lint/floors /usr/bin/python3 tools/check_layers.py
  suite lint/limits /usr/bin/python3 tools/check_limits.py
  suite lint/format bash -c 'git ls-files "*.cc" "*.h" | xargs clang-format-19 --dry-run -Werror'
  if [ "${1:-}" != --no-tidy ]; then suite lint/tidy bash tools/tidy.sh "$@"; fi
  [ "${CAIRN_NESTED:-}" ] || finish
}

verb_test() {
  local began=$SECONDS
  if [ "${1:-}" = fast ]; then
    install_missing
    build_quietly release
    gtest_suites release build/release/bin
    finish
    return
  fi
  need_root "./dev test"
  install_missing
  say "load at the start: $(cut -d' ' -f1-3 /proc/loadavg), $jobs cores"
  CAIRN_NESTED=1 verb_lint
  build_quietly release
  gtest_suites release build/release/bin
  gtest_suites_as_nobody
  # These mostly wait, for containers and for health: more of them at once than there are processors.
  pytest_suite contract -n "$((jobs + 1))" contract
  pytest_suite functional -n "$((jobs + 1))" functional
  build_quietly seeded cairnd cairn
  # The crashes inside recoveries are the same in every run of one commit; ./dev soak takes all.
  export CAIRN_CRASH_SEED=${CAIRN_CRASH_SEED:-20261123}
  pytest_suite crash_calls crash/test_daemon_calls.py
  pytest_suite crash crash --ignore=crash/test_daemon_calls.py
  build_quietly asan unit_tests
  gtest_suites asan build/asan/bin
  build_quietly tsan "${tsan_tests[@]}"
  gtest_suites tsan build/tsan/bin
  run_fuzzers 20
  say "all of it took $((SECONDS - began)) s"
  finish
}

verb_demo() {
  need_root "./dev demo"
  local began=$SECONDS
  install_missing
  say "packages: $((SECONDS - began)) s"
  began=$SECONDS
  build_quietly release cairn cairnd
  /usr/bin/python3 tools/demo.py "$@"
}

verb_bench() {
  need_root "./dev bench"
  install_missing
  build_quietly release
  say "load: $(cut -d' ' -f1-3 /proc/loadavg), $jobs cores"
  local one
  for one in bench/*_bench.py; do say "$one"; /usr/bin/python3 "$one" "$@"; done
}

# What takes hours, or one of N parts of it: the crash loops take every call in every mode.
verb_soak() {
  need_root "./dev soak"
  local part=${1:-1/1} fuzz_s=7200
  export CAIRN_SOAK=$part CAIRN_CRASH_SEED=${CAIRN_CRASH_SEED:-$RANDOM} CAIRN_PYTEST_TIMEOUT=172800
  install_missing
  (cd tests/functional && /usr/bin/python3 -c 'import lib.soak')
  build_quietly release
  say "part $part of the soak"
  pytest_suite soak_crash crash/test_daemon_calls.py crash/test_daemon_engine.py crash/test_daemon_power.py
  pytest_suite soak_writer -n "$jobs" functional/test_running_writer.py
  run_fuzzers $((fuzz_s / ${part#*/} + 1))
  finish
}

# A daemon in the foreground on a scratch data directory, beside the machine's engine.
verb_run() {
  need_root "./dev run"
  install_missing
  build_quietly release cairn cairnd
  local base
  base=$(mktemp -d /tmp/cairn-run-XXXXXX)
  say "build/release/bin/cairn --socket $base/cairn.sock system info"
  exec build/release/bin/cairnd --data "$base/data" --socket "$base/cairn.sock" "$@"
}

# A Debian package in build/.
verb_deb() {
  install_missing
  build_quietly release cairn cairnd
  bash tools/deb.sh
}

verb_help() {
  cat <<'TEXT'
./dev demo [--use-docker] [--keep]     the main job on real parts, from nothing to an undone restore
./dev test                             every test; as root
./dev test fast                        build and unit tests, no root
./dev build [KIND] [TARGET...]         KIND: release (default), asan (with the fuzzers), tsan, seeded
./dev run                              a daemon in the foreground on a scratch data directory
./dev bench                            the benchmarks, as ratios measured in one run
./dev lint [--no-tidy]                 floors, lists, formats, limits, clang-tidy
./dev soak [K/N]                       the long crash, writer and fuzz loops, or the K-th of N parts
./dev deb                              a Debian package
TEXT
}

verb=${1:-help}
[ $# -gt 0 ] && shift
if declare -F "verb_$verb" >/dev/null; then "verb_$verb" "$@"; else verb_help; exit 2; fi
