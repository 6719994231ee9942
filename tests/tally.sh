#!/usr/bin/env bash
# tally.sh - runs the parts of a check, counts their TAP lines and ends with one sum.
#
#   tally.sh start                     an empty tally
#   tally.sh run NAME CMD...           runs CMD; its "ok" and "not ok" lines are counted, the others kept in the log
#   tally.sh one NAME CMD...           the same for a CMD that prints no TAP: it counts as one test, passed if it exits 0
#   tally.sh sum                       prints "N passed, N failed" and exits 1 if any failed
#
# A part that exits other than 0 without a "not ok", prints no test at all, or fewer than its plan, counts as one failure
# more: a check that did not run must not look like one that passed.  TALLY_SECONDS bounds each part (default 900).
set -u
dir=${TALLY_DIR:-${BUILD:-build}/tally}
verb=${1:-}
shift || true
mkdir -p "$dir"

record() { # name passed failed skipped seconds log
    printf '%s %d %d %d\n' "$1" "$2" "$3" "$4" >>"$dir/sums"
    printf '%-34s %4d passed %3d failed %3d skipped  %5.1f s\n' "$1" "$2" "$3" "$4" "$5"
    [ "$3" = 0 ] && return 0
    grep -E '^not ok|^Bail out' "$6" | head -20 | sed 's/^/    /'
    echo "    last lines of $6:"
    tail -n 40 "$6" | grep -v '^ok' | tail -n 25 | sed 's/^/    | /'
}

elapsed() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }'; }

case $verb in
start)
    rm -rf "$dir"
    mkdir -p "$dir"
    : >"$dir/sums"
    ;;
run | one)
    name=$1
    shift
    log=$dir/${name//\//-}.log
    began=$EPOCHREALTIME
    timeout --foreground -k 20 "${TALLY_SECONDS:-900}" "$@" >"$log" 2>&1 </dev/null
    status=$?
    if [ "$verb" = one ]; then
        [ $status = 0 ] && record "$name" 1 0 0 "$(elapsed "$began")" "$log" ||
            record "$name" 0 1 0 "$(elapsed "$began")" "$log"
        exit 0
    fi
    read -r passed failed skipped planned < <(awk '
        /^(#.*)?1\.\.[0-9]+/ { sub(/^.*1\.\./, ""); planned += $1 }
        /^ok .*# [Ss][Kk][Ii][Pp]/ { skipped++; next }
        /^ok/ { passed++ }
        /^not ok/ { failed++ }
        END { print passed + 0, failed + 0, skipped + 0, planned + 0 }' "$log")
    if [ $status != 0 ] && [ "$failed" = 0 ]; then
        echo "not ok - $name ended with status $status" >>"$log"
        failed=1
    elif [ $((passed + failed + skipped)) = 0 ]; then
        echo "not ok - $name ran no test" >>"$log"
        failed=1
    elif [ "$planned" -gt $((passed + failed + skipped)) ] || [ "$planned" = 0 ]; then
        echo "not ok - $name ran $((passed + failed + skipped)) of $planned planned tests" >>"$log"
        failed=$((failed + 1))
    fi
    record "$name" "$passed" "$failed" "$skipped" "$(elapsed "$began")" "$log"
    ;;
sum)
    awk '{ p += $2; f += $3; s += $4 }
         END { if (s) printf "%d skipped (this machine does not allow them; each log names its own)\n", s
               printf "%d passed, %d failed\n", p, f
               exit f > 0 || p == 0 }' "$dir/sums"
    ;;
*)
    echo "tally.sh: start, run NAME CMD..., one NAME CMD... or sum" >&2
    exit 64
    ;;
esac
