#!/usr/bin/env bash
# run.sh FUZZER CORPUS SECONDS - one libFuzzer target for a while: new inputs go to a scratch copy, a crash is shown in hexadecimal.
set -u
fuzzer=$(realpath "$1")
corpus=$2
scratch=$(mktemp -d "${TMPDIR:-/tmp}/farshore-fuzz.XXXXXX") || exit 2
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/new"
[ -d "$corpus" ] && corpus=$(realpath "$corpus") || { echo "no corpus at $corpus" >&2; exit 2; }
cd "$scratch" || exit 2
ulimit -S -f $((1024 * 1024))
"$fuzzer" -max_total_time="$3" -rss_limit_mb=2048 -timeout=20 -print_final_stats=1 -verbosity=1 new "$corpus" 2>log
status=$?
tail -n 40 log
for f in crash-* leak-* timeout-* oom-*; do
    [ -f "$f" ] && { echo "input of $f:"; head -c 2048 "$f" | od -An -tx1; }
done
exit $status
