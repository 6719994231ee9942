#!/usr/bin/env bash
# Goal: a copy of the agent, an agent set back and a site set back are noticed at the first connection, and nothing is overwritten.
# Method: copies of the state directory and of the store put in place of the real ones (DESIGN section 7).
. "$(dirname "$0")/lib.sh"
T=$W/tree
python3 "$E2E/trees.py" small "$T" --kib 1024
site_up
agent_join chengdu "$W/agent"
source_add "$W/agent" pension "$T"
ok "the first pass is sound" pass "$W/agent"
cp -a "$W/agent" "$W/clone"
site_stop || bail "the site did not end cleanly"
cp -a "$STORE" "$W/last-week"
site_start || bail "the site does not start again"

python3 "$E2E/trees.py" night "$T" --seed 1
ok "the second pass is sound" pass "$W/agent"
ok "the third pass is sound" pass "$W/agent"
python3 "$E2E/trees.py" print "$T" >"$W/second.txt"
second=$(mark_id chengdu/pension)

# The clone knows the first receipt, the site later ones.  (A single one might have been lost on the way: then the site keeps quiet,
# and the agent alone can tell.)
exits 1 "a cloned agent is told, and ends with a finding" farshore-agent once --state "$W/clone"
says '(clone|rolled back|set back|behind)' "it says so"
is "$(farshore-snapshot list --store "$STORE" --json chengdu/pension | jq -r '.marks[2].id')" "$second" \
    "the mark of the real agent stands"
exits 0 "the third mark is what it was" farshore-restore files --store "$STORE" "chengdu/pension@$second" "$W/back2"
ok "to the byte" cmp "$W/second.txt" <(python3 "$E2E/trees.py" print "$W/back2")
ok "the site logged an alarm" grep -qiE 'alarm|clone|behind' "$W/site.now"
# Now the real one is the older of the two.
exits 1 "then the real agent is told, too" farshore-agent once --state "$W/agent"
exits 0 "and goes on" farshore-agent once --state "$W/agent"
is "$(marks chengdu/pension)" 6 "no mark was lost or overwritten"
exits 0 "the chain of marks is whole" farshore-verify store --store "$STORE"

# The site is set back to last week's copy of its disk.
site_stop
mv "$STORE" "$W/newer"
cp -a "$W/last-week" "$STORE"
site_start || bail "the older copy of the store does not start"
cp -a "$W/agent" "$W/agent.before"
exits 3 "an agent stops at a site that was set back" farshore-agent once --state "$W/agent"
says 'accept' "it names the way out"
is "$(marks chengdu/pension)" 1 "nothing was written to the older site"
exits 3 "it stops again" farshore-agent once --state "$W/agent"
ok "pending work and receipt were kept" cmp "$W/agent/receipt" "$W/agent.before/receipt"
exits 0 "the operator accepts" farshore-agent accept --state "$W/agent"
exits 0 "then passes go on" farshore-agent once --state "$W/agent"
is "$(marks chengdu/pension)" 2 "with a new mark"
exits 0 "that equals the tree" farshore-verify mark --store "$STORE" chengdu/pension --against "$T"
exits 0 "the store is whole" farshore-verify store --store "$STORE"

# Both forked: the site that was away comes back.
site_stop
mv "$STORE" "$W/older"
mv "$W/newer" "$STORE"
site_start || bail "the newer store does not start"
exits 3 "the other branch is a fork, and is refused" farshore-agent once --state "$W/agent"
is "$(marks chengdu/pension)" 6 "and nothing is overwritten there"
finish
