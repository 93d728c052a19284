#!/bin/sh
# Runs a fuzz target under libFuzzer (needs clang), with ASan and UBSan:
#   libfuzzer.sh TARGET SECONDS [CORPUS_DIR]          TARGET: parsers, ip, udp, tcp, tcp_crash
# From the clone's root. A failing input is left as crash-... in the current directory's corpus.
set -eu
target="$1"
seconds="$2"
build="$(mktemp -d)"
trap 'rm -rf "$build"' EXIT
corpus="${3:-$build/corpus}"
mkdir -p "$corpus"
sources="tests/fuzz/$target.c newtos_py/net/addr.c newtos_py/net/buffers.c
  newtos_py/net/checksum.c newtos_py/net/netconf.c newtos_py/net/tcp.c newtos_py/kernel/area.c
  newtos_py/kernel/arena.c newtos_py/kernel/base.c newtos_py/kernel/channel.c
  newtos_py/kernel/doorbell.c newtos_py/kernel/listener.c newtos_py/kernel/pool.c
  newtos_py/kernel/regions.c newtos_py/kernel/status.c"
if [ -d "servers/$target" ]; then
    sources="$sources $(echo servers/"$target"/*.c)"
fi
if [ "$target" = tcp_crash ]; then
    sources="$sources $(echo servers/tcp/*.c) newtos_py/sim/tcp_host.c"
fi
# shellcheck disable=SC2086 # a list of files without spaces
clang -std=c11 -D_GNU_SOURCE -g -O1 -I. -fsanitize=fuzzer,address,undefined \
    -fno-sanitize-recover=all $sources -o "$build/fuzz"
"$build/fuzz" -max_total_time="$seconds" -max_len=8192 -timeout=20 -print_final_stats=1 "$corpus"
