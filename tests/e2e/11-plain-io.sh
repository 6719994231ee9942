#!/usr/bin/env bash
# Goal: io_uring and plain system calls give the same.  Method: the same tree from two agents, one with each engine; root digests
# must be equal; the engines are told apart by what the agent says.
. "$(dirname "$0")/lib.sh"
unset FARSHORE_IO
T=$W/tree
python3 "$E2E/trees.py" make "$T"
site_up
agent_join chengdu "$W/agent1"
agent_join mianyang "$W/agent2"
source_add "$W/agent1" all "$T"
source_add "$W/agent2" all "$T"
root_of() { farshore-snapshot show --store "$STORE" --json "$1" | jq -r .mark.root; }

exits 0 "a pass with plain system calls is sound" env FARSHORE_IO=plain farshore-agent once --state "$W/agent1"
if FARSHORE_IO=uring farshore-agent once --state "$W/agent2" >"$W/uring.out" 2>&1; then
    ok "a pass with io_uring is sound" true
else
    note "io_uring is not allowed here: $(tail -n 1 "$W/uring.out")"
    ok "without leave for io_uring the default engine works" pass "$W/agent2"
fi
is "$(root_of mianyang/all)" "$(root_of chengdu/all)" "both engines give the same root digest"
ok "a digest it is" grep -qE '^[0-9a-f]{64}$' <<<"$(root_of chengdu/all)"
exits 0 "restored with plain system calls" env FARSHORE_IO=plain farshore-restore files --store "$STORE" mianyang/all "$W/back1"
exits 0 "restored with the default engine" farshore-restore files --store "$STORE" chengdu/all "$W/back2"
ok "the plain one is the tree" same_tree "$T" "$W/back1"
ok "the default one is the tree" same_tree "$T" "$W/back2"
finish
