#!/usr/bin/env bash
# clang-tidy over the sources that changed since the commit in tools/tidied, at which it passed over all of
# them (--all: over all), with results kept by content: a file that passed with the same headers is not
# looked at again.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
export kept=$PWD/build/tidy
mkdir -p "$kept"
[ -f build/lint/compile_commands.json ] || { echo "configure first: ./dev lint --no-tidy"; exit 1; }

rules=$({ cat .clang-tidy; git ls-files -s 'src/*.h'; } | sha256sum)
stamp_of() { # the file, all headers of the tree, and the rules
  { cat "$1"; echo "$rules"; } | sha256sum | cut -d' ' -f1
}

base=$(cat tools/tidied)
if [ "${1:-}" = --all ] || ! git cat-file -e "$base^{commit}" 2>/dev/null; then  # a shallow clone lacks it
  mapfile -t files < <(git ls-files 'src/*.cc')
else
  mapfile -t files < <(git diff --name-only --diff-filter=d "$base" -- 'src/*.cc')
fi
wanted=()
for file in "${files[@]}"; do
  case $file in *_test.cc) continue ;; esac
  stamp=$(stamp_of "$file")
  [ -e "$kept/$stamp" ] || wanted+=("$stamp $file")
done
echo "clang-tidy: ${#wanted[@]} of ${#files[@]} files"
[ ${#wanted[@]} -eq 0 ] && exit 0
printf '%s\n' "${wanted[@]}" | xargs -P "$(nproc)" -L 1 sh -c '
  if clang-tidy-19 -p build/lint --quiet "$1" 2>/dev/null; then : >"$kept/$0"; else
    echo "$1: clang-tidy has complaints"; exit 1
  fi'
