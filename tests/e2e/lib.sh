# lib.sh - what every end-to-end test needs.  Sourced by tests/e2e/NN-name.sh:
#
#   . "$(dirname "$0")/lib.sh"
#   ...                       results with ok, is, exits, like; skip where the machine does not allow a test
#   finish
#
# Programs are taken from $BUILD (default build/), so that a sanitizer's build runs the same tests.  $W is a scratch directory,
# removed at the end unless KEEP=1.  Whatever a test starts with `start` is ended by its process id when the test ends.
# shellcheck shell=bash
set -u -o pipefail
export LC_ALL=C.UTF-8
unset FARSHORE_STORE FARSHORE_STATE FARSHORE_IO
umask 022

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BUILD=${BUILD:-build}
case $BUILD in /*) ;; *) BUILD=$TOP/$BUILD ;; esac
E2E=$TOP/tests/e2e
NAME=$(basename "$0" .sh)
W=$(mktemp -d "${TMPDIR:-/tmp}/farshore-$NAME.XXXXXX") || exit 2
PATH=$BUILD:$PATH
# A program that loops must not fill the disk; a test with larger (sparse) files raises it for itself.
ulimit -S -f $((6 * 1024 * 1024))
# Sanitizers' reports go to files: a daemon's report must fail the test even where its exit status is not looked at.
# A bus error in LMDB's map is ours to answer (common/kv.c).
export ASAN_OPTIONS="handle_sigbus=0:log_path=$W/sanitizer:exitcode=99:${ASAN_OPTIONS:-}"
export UBSAN_OPTIONS="log_path=$W/sanitizer:halt_on_error=1:print_stacktrace=1:exitcode=99:${UBSAN_OPTIONS:-}"
export TSAN_OPTIONS="log_path=$W/sanitizer:exitcode=99:${TSAN_OPTIONS:-}"
SLOW=1 # how much longer things may take here
case $BUILD in *asan*) SLOW=6 ;; *tsan*) SLOW=20; export FARSHORE_IO=plain ;; esac # TSan does not understand the ring's memory

TESTS=0
FAILED=0
PIDS=()
MOUNTS=()
STORE=$W/site

# --- results

ok() { # description, command...: passes if the command succeeds
    local what=$1
    shift
    TESTS=$((TESTS + 1))
    if "$@" >"$W/.ok" 2>&1; then
        echo "ok $TESTS - $what"
    else
        FAILED=$((FAILED + 1))
        echo "not ok $TESTS - $what"
        echo "#   command: $*"
        head -c 4000 "$W/.ok" | sed 's/^/#   /'
        return 1
    fi
}
not() { ! "$@"; }
is() { # got, expected, description
    ok "$3" test "$1" = "$2" || { echo "#   got:      $1" | head -c 2000; echo; echo "#   expected: $2" | head -c 2000; echo; return 1; }
}
at_most() { # number, bound, description
    ok "$3 ($1, at most $2)" test "$1" -le "$2"
}
at_least() { ok "$3 ($1, at least $2)" test "$1" -ge "$2"; }
# Runs a command and checks its exit status; what it printed is in $OUT and $ERR, and in files $W/out and $W/err.
exits() { # status, description, command...
    local want=$1 what=$2 got
    shift 2
    timeout -k 10 "${SECONDS_MAX:-300}" "$@" >"$W/out" 2>"$W/err" </dev/null
    got=$?
    OUT=$(tr -d '\0' <"$W/out")
    ERR=$(tr -d '\0' <"$W/err")
    TESTS=$((TESTS + 1))
    if [ "$got" = "$want" ]; then
        echo "ok $TESTS - $what"
    else
        FAILED=$((FAILED + 1))
        echo "not ok $TESTS - $what"
        echo "#   command: $*"
        echo "#   exit status $got, expected $want"
        tail -n 15 "$W/out" | cut -c1-300 | sed 's/^/#   out: /'
        tail -n 15 "$W/err" | cut -c1-300 | sed 's/^/#   err: /'
        return 1
    fi
}
says() { # extended regular expression (case does not matter), description: the last `exits` command said so, on either stream
    if ok "$2" grep -qaiE -- "$1" "$W/out" "$W/err"; then return 0; fi
    tail -n 12 "$W/out" "$W/err" | cut -c1-300 | sed 's/^/#   /'
    return 1
}
json() { # jq filter, description: holds for the standard output of the last `exits` command (all of its JSON lines, slurped)
    if ok "$2" jq -se "$1" "$W/out"; then return 0; fi
    head -c 1500 "$W/out" | sed 's/^/#   /'
    return 1
}
skip() { # count, why
    local i
    for ((i = 0; i < $1; i++)); do
        TESTS=$((TESTS + 1))
        echo "ok $TESTS - # SKIP $2"
    done
}
note() { echo "# $*"; }
bail() { # the rest of this test makes no sense
    echo "not ok $((TESTS + 1)) - $*"
    TESTS=$((TESTS + 1))
    FAILED=$((FAILED + 1))
    [ -f "$W/site.log" ] && tail -n 20 "$W/site.log" | sed 's/^/#   site: /'
    finish
}
finish() {
    local f
    for f in "$W"/sanitizer*; do
        [ -f "$f" ] || continue
        FAILED=$((FAILED + 1))
        TESTS=$((TESTS + 1))
        echo "not ok $TESTS - a sanitizer found something"
        head -n 60 "$f" | sed 's/^/#   /'
    done
    echo "1..$TESTS"
    exit $((FAILED > 0))
}

# --- processes

cleanup() {
    local pid m
    trap - EXIT
    for pid in "${PIDS[@]}"; do kill -TERM "$pid" 2>/dev/null; done
    for pid in "${PIDS[@]}"; do gone "$pid" 10 || kill -KILL "$pid" 2>/dev/null; done
    for m in "${MOUNTS[@]}"; do umount -l "$m" 2>/dev/null; done
    if [ "${KEEP:-0}" = 1 ]; then echo "# kept $W"; else
        chmod -R u+rwx "$W" 2>/dev/null
        rm -rf "$W" 2>/dev/null || python3 "$E2E/trees.py" remove "$W"
    fi
}
trap cleanup EXIT
trap 'exit 143' TERM INT HUP

# Waits until a condition holds, looking every 20 ms; fails after that many seconds (times SLOW).
await() { # seconds, command...
    local until=$((SECONDS + $1 * SLOW))
    shift
    until "$@"; do
        [ $SECONDS -le $until ] || return 1
        tick
    done
}
exec {TICK}<> <(:)
tick() { read -r -t 0.02 -u "$TICK" _ || true; }
gone() { await "$2" not kill -0 "$1" 2>/dev/null; }
# Reads a growing log until a line matches; fails when the process that writes it ends, or time is up.
await_line() { # file, regex, pid, seconds
    timeout "$(($4 * SLOW))" tail -n +1 -f -s 0.02 --pid="$3" "$1" 2>/dev/null | grep -qaE -m1 -- "$2"
    [ "${PIPESTATUS[1]}" = 0 ] # tail itself ends by a closed pipe
}
start() { # log file, command...: in the background; its id is in $PID
    local log=$1
    shift
    : >"$log"
    "$@" >>"$log" 2>&1 </dev/null &
    PID=$!
    PIDS+=("$PID")
}
# Ends a started process and gives its exit status.
stop() { # pid, signal
    local status
    kill "-${2:-TERM}" "$1" 2>/dev/null
    gone "$1" 30 || kill -KILL "$1" 2>/dev/null
    wait "$1" 2>/dev/null
    status=$?
    forget "$1"
    return $status
}
forget() {
    local i
    for i in "${!PIDS[@]}"; do [ "${PIDS[$i]}" = "$1" ] && unset "PIDS[$i]"; done
    PIDS=("${PIDS[@]}")
}
free_port() {
    python3 -c 'import socket, random
while True:
    with socket.socket() as s:
        port = random.randrange(20000, 32000)
        try: s.bind(("127.0.0.1", port))
        except OSError: continue
        print(port); break'
}

# --- a site and its agents

site_make() { # makes $STORE and chooses $PORT
    PORT=$(free_port)
    farshore-site init --store "$STORE" --name sichuan --address "127.0.0.1:$PORT" >"$W/init.out" 2>&1 ||
        { sed 's/^/# /' "$W/init.out"; bail "farshore-site init failed"; }
}
# Starts the site on $STORE; $SITE is its process id.  The log goes on in $W/site.log, the newest start in $W/site.now.
# shellcheck disable=SC2120 # arguments come from some tests
site_start() { # [option...]
    [ -f "$W/site.now" ] && cat "$W/site.now" >>"$W/site.log"
    start "$W/site.now" farshore-site serve --store "$STORE" "$@"
    SITE=$PID
    await_line "$W/site.now" 'listening on ' "$SITE" 20
}
site_stop() { stop "$SITE" "${1:-TERM}"; }
site_up() { site_make && { site_start || { sed 's/^/# site: /' "$W/site.now"; bail "the site does not start"; }; }; }
token() { farshore-site token --store "$STORE" "$1" 2>>"$W/token.err"; }
agent_join() { # name, state directory
    local t
    t=$(token "$1") || bail "no token for $1"
    farshore-agent join "$t" --state "$2" >"$W/join.out" 2>&1 || { sed 's/^/# /' "$W/join.out"; bail "$1 could not join"; }
}
source_add() { # state directory, source name, path, [further line...]
    local state=$1 name=$2 path=$3
    shift 3
    { printf '\n[source %s]\ntype = files\npath = %s\n' "$name" "$path"; [ $# = 0 ] || printf '%s\n' "$@"; } >>"$state/agent.conf"
}
pass() { timeout -k 10 "${SECONDS_MAX:-300}" farshore-agent once --state "$@" >"$W/pass.out" 2>&1 </dev/null; }
marks() { farshore-snapshot list --store "$STORE" --json | jq --arg s "${1:-}" '[.marks[] | select($s == "" or .source == $s)] | length'; }
mark_id() { # source, n-th from the end (default the last)
    farshore-snapshot list --store "$STORE" --json "$1" | jq -r ".marks[${2:--1}].id"
}
restore() { # point, target, [option...]
    farshore-restore files --store "$STORE" "$@" >"$W/restore.out" 2>&1 </dev/null
}
store_bytes() { du -sb --apparent-size "$STORE/packs" | cut -f1; }
# No difference in anything that rsync knows of.
same_tree() { # a, b
    rsync -aHAXS --checksum --dry-run --itemize-changes --delete "$1/" "$2/" >"$W/rsync.out" 2>&1 || { cat "$W/rsync.out"; return 1; }
    [ ! -s "$W/rsync.out" ] || { head -n 30 "$W/rsync.out"; return 1; }
}
as_root() { [ "$(id -u)" = 0 ]; }
