#!/usr/bin/env bash
# flip.sh [N] - N single-bit flips over packs and index, one at a time (flip.py): each is found by verify with its place, or lies in
# bytes that cannot matter, which are named; nothing crashes; no wrong byte is restored.  SEED= repeats a run.
. "$(dirname "$0")/../e2e/lib.sh"
N=${1:-60}
SEED=${SEED:-$RANDOM}
echo "# seed $SEED, $N flips"
T=$W/tree
python3 "$E2E/trees.py" small "$T" --kib 1024 --seed 3
ln "$T/log" "$T/log-again"
truncate -s 3000000 "$T/sparse"
site_up
agent_join chengdu "$W/agent"
source_add "$W/agent" pension "$T"
ok "the first pass is sound" pass "$W/agent"
for seed in 1 2 3; do
    python3 "$E2E/trees.py" night "$T" --seed $seed
    ok "night $seed is sound" pass "$W/agent"
done
site_stop
is $? 0 "the site ends cleanly"
exits 0 "the store is whole to begin with" farshore-verify store --store "$STORE"
[ "$FAILED" = 0 ] || finish
python3 "$TOP/tests/fault/flip.py" "$STORE" "$T" "$W" "$N" "$SEED" $((TESTS + 1)) || FAILED=$((FAILED + 1))
TESTS=$((TESTS + N))
exits 0 "the store is whole after all flips were taken back" farshore-verify store --store "$STORE"
finish
