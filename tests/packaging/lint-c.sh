#!/bin/sh
# clang-format and clang-tidy over the C files, as `make lint` calls it:
#   lint-c.sh BUILD_DIR FILE...
# BUILD_DIR holds the compile_commands.json of the last build. A tool that is not there is
# named and skipped.
set -eu
build="$1"
shift
[ $# -gt 0 ] || exit 0

if command -v clang-format >/dev/null; then
    clang-format --dry-run -Werror "$@"
else
    echo "clang-format is missing: C formatting not checked"
fi

if ! command -v clang-tidy >/dev/null; then
    echo "clang-tidy is missing: C not analysed"
    exit 0
fi
compiled=''
for file in "$@"; do
    case "$file" in
    tests/*) ;; # not in the package's build
    *.c) compiled="$compiled $file" ;;
    esac
done
[ -n "$compiled" ] || exit 0
# Two at a time; -Wno-unknown: the build may have been gcc's.
printf '%s\n' $compiled |
    xargs -P 2 -n 4 clang-tidy --quiet -p "$build" --extra-arg=-Wno-unknown-warning-option
