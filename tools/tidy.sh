#!/usr/bin/env bash
# clang-tidy over the sources that changed since the newest commit that CI passed (--all: over all),
# with results kept by content: a file that passed with the same headers is not looked at again.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
kept=build/tidy
mkdir -p "$kept"
[ -f build/lint/compile_commands.json ] || { echo "configure first: ./dev lint --no-tidy"; exit 1; }

stamp_of() { # the file, all headers of the tree, and the rules
  { cat "$1" .clang-tidy; git ls-files -s 'src/*.h'; } | sha256sum | cut -d' ' -f1
}

mapfile -t files < <(if [ "${1:-}" = --all ]; then git ls-files 'src/*.cc'; else
  git diff --name-only --diff-filter=d "${CAIRN_TIDY_BASE:-HEAD~1}" -- 'src/*.cc' 2>/dev/null || git ls-files 'src/base/*.cc'; fi)
wanted=()
for file in "${files[@]}"; do
  case $file in *_test.cc) continue ;; esac
  [ -e "$kept/$(stamp_of "$file")" ] || wanted+=("$file")
done
echo "clang-tidy: ${#wanted[@]} of ${#files[@]} files"
[ ${#wanted[@]} -eq 0 ] && exit 0
printf '%s\n' "${wanted[@]}" | xargs -P "$(nproc)" -n 1 sh -c \
  'clang-tidy-19 -p build/lint --quiet "$0" 2>/dev/null || { echo "$0: clang-tidy has complaints"; exit 255; }'
for file in "${wanted[@]}"; do : >"$kept/$(stamp_of "$file")"; done
