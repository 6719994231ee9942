#!/usr/bin/env bash
# kill.sh [N] - N times: a night changes the tree; agent, site or restore is killed (-9) at a seeded instant of the work.
#
# Held after each: every mark that had a receipt is listed under its id, in its place; a half-sent mark is invisible; the site
# starts without a hand in under 2 s; the next pass is sound and its mark equals the tree.  At the end: the store verifies, and
# marks restore to exactly what was replicated.  A failed run is repeated with SEED= as printed.
. "$(dirname "$0")/../e2e/lib.sh"
N=${1:-12}
SEED=${SEED:-$RANDOM}
RANDOM=$SEED
echo "# seed $SEED, $N rounds"
T=$W/tree
mkdir "$W/prints"
python3 "$E2E/trees.py" small "$T" --kib 6144 --seed "$SEED"
site_up
agent_join chengdu "$W/agent"
source_add "$W/agent" pension "$T"

now_ms() { local t=$EPOCHREALTIME; echo $(((${t%.*} * 1000000 + 10#${t#*.}) / 1000)); }
list() { farshore-snapshot list --store "$STORE" --json chengdu/pension | jq -r '.marks[].id'; }
began=$(now_ms)
ok "the first pass is sound" pass "$W/agent" || finish
FULL_MS=$(($(now_ms) - began))
list >"$W/known"
python3 "$E2E/trees.py" print "$T" >"$W/prints/$(tail -n 1 "$W/known")"
began=$(now_ms)
restore chengdu/pension "$W/back"
RESTORE_MS=$(($(now_ms) - began))
rm -rf "$W/back"
NIGHT_MS=$FULL_MS
SLOWEST_START_MS=0

# Every mark known before is listed still, in the same order; whatever is new stands after them.
marks_stand() {
    list >"$W/listed" || return 1
    head -n "$(wc -l <"$W/known")" "$W/listed" | cmp -s - "$W/known"
}
receipt_listed() { # the receipt in the agent's state is for a mark that the site lists
    local id
    id=$(grep -a '^mark ' "$W/agent/receipt" | head -n 1 | cut -d' ' -f2)
    grep -qx "$id" "$W/listed"
}
site_again() {
    local began=$EPOCHREALTIME ms
    site_start || return 1
    ms=$(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "%d", (b - a) * 1000 }')
    [ "$ms" -gt $SLOWEST_START_MS ] && SLOWEST_START_MS=$ms
    return 0
}
kill_after() { # milliseconds, pid: a seeded instant, not a synchronisation
    read -r -t "$(printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)))" -u "$TICK" _ || true
    kill -KILL "$2" 2>/dev/null
}

round() { # number: 0 if all held; says what did not
    local n=$1 victim=$((RANDOM % 4)) at seed=$((SEED * 1000 + $1)) pid status
    python3 "$E2E/trees.py" night "$T" --seed $seed
    at=$((RANDOM % (NIGHT_MS + NIGHT_MS / 4 + 1)))
    case $victim in
    0 | 1)
        farshore-agent once --state "$W/agent" >"$W/agent.log" 2>&1 </dev/null &
        pid=$!
        if [ $victim = 0 ]; then
            kill_after $at $pid
            wait $pid 2>/dev/null
            what="agent killed after $at ms"
        else
            kill_after $at "$SITE"
            wait "$SITE" 2>/dev/null
            forget "$SITE"
            what="site killed after $at ms"
            site_again || { echo "# round $n: $what: the site does not start"; tail -5 "$W/site.now"; return 1; }
            wait $pid
            status=$?
            [ $status = 0 ] || { echo "# round $n: $what: the agent did not mend it by itself: $status"; tail -5 "$W/agent.log"; return 1; }
        fi
        ;;
    2)
        at=$((RANDOM % (RESTORE_MS + RESTORE_MS / 4 + 1)))
        farshore-restore files --store "$STORE" chengdu/pension "$W/back" >/dev/null 2>&1 </dev/null &
        pid=$!
        kill_after $at $pid
        wait $pid 2>/dev/null
        what="restore killed after $at ms"
        rm -rf "$W/back"
        restore chengdu/pension "$W/back" || { echo "# round $n: $what: the next restore failed"; cat "$W/restore.out"; return 1; }
        python3 "$E2E/trees.py" print "$W/back" | cmp -s - "$W/prints/$(tail -n 1 "$W/known")" ||
            { echo "# round $n: $what: restored something else"; return 1; }
        rm -rf "$W/back"
        ;;
    3)
        farshore-agent once --state "$W/agent" >"$W/agent.log" 2>&1 </dev/null &
        pid=$!
        kill_after $at "$SITE"
        kill -KILL $pid 2>/dev/null
        wait "$SITE" $pid 2>/dev/null
        forget "$SITE"
        what="both killed after $at ms"
        site_again || { echo "# round $n: $what: the site does not start"; tail -5 "$W/site.now"; return 1; }
        ;;
    esac
    marks_stand || { echo "# round $n: $what: marks are gone"; diff "$W/known" "$W/listed"; return 1; }
    receipt_listed || { echo "# round $n: $what: a mark with a receipt is not listed"; return 1; }
    # What was listed beyond the known ones must be whole and equal the tree, for it was made of this night.
    if [ "$(wc -l <"$W/listed")" -gt "$(wc -l <"$W/known")" ]; then
        farshore-verify mark --store "$STORE" chengdu/pension --against "$T" >"$W/out" 2>&1 ||
            { echo "# round $n: $what: a listed mark is not whole"; tail -5 "$W/out"; return 1; }
    fi
    began=$(now_ms)
    pass "$W/agent" || { echo "# round $n: $what: the next pass failed"; tail -5 "$W/pass.out"; return 1; }
    NIGHT_MS=$(((NIGHT_MS * 3 + $(now_ms) - began) / 4))
    farshore-verify mark --store "$STORE" chengdu/pension --against "$T" >"$W/out" 2>&1 ||
        { echo "# round $n: $what: the mark of the next pass is not the tree"; tail -5 "$W/out"; return 1; }
    marks_stand || { echo "# round $n: $what: marks are gone after the next pass"; return 1; }
    cp "$W/listed" "$W/known"
    python3 "$E2E/trees.py" print "$T" >"$W/prints/$(tail -n 1 "$W/known")"
    TESTS=$((TESTS + 1))
    echo "ok $TESTS - round $n: $what"
}
i=0
while [ $i -lt "$N" ]; do
    i=$((i + 1))
    round $i || { TESTS=$((TESTS + 1)); FAILED=$((FAILED + 1)); echo "not ok $TESTS - round $i: ${what:-?} (SEED=$SEED)"; break; }
done
at_most $SLOWEST_START_MS $((2000 * SLOW)) "slowest start of a killed site, ms"
exits 0 "the store verifies" farshore-verify store --store "$STORE"
mapfile -t ids < <(shuf --random-source=<(yes "$SEED") -n 20 -e "$W"/prints/*)
for f in "${ids[@]}"; do
    restore "chengdu/pension@${f##*/}" "$W/back"
    is $? 0 "mark ${f##*/} is restored"
    ok "and is what was replicated" cmp "$f" <(python3 "$E2E/trees.py" print "$W/back")
    rm -rf "$W/back"
done
finish
