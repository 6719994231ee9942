#!/usr/bin/env bash
# Goal: a link that dies, stalls or is reset in the middle costs no more than what was on its way.  Method: a relay between agent
# and site that breaks at byte n (relay.py); the bytes that the next try sends are counted at the relay.
. "$(dirname "$0")/lib.sh"
T=$W/tree
mkdir "$T"
head -c 60000000 /dev/urandom >"$T/large"
for i in $(seq 1 300); do head -c 3000 /dev/urandom >"$T/f$i"; done
# The certificate names the address that agents connect to: the relay stands there, the site listens behind it.
site_make
OUTER=$PORT
INNER=$(free_port)
site_start --listen "127.0.0.1:$INNER" || bail "the site does not start"
echo "pass 0" >"$W/control"
start "$W/relay.log" python3 "$E2E/relay.py" "$OUTER" "$INNER" "$W/control"
RELAY=$PID
await_line "$W/relay.log" relaying "$RELAY" 10 || bail "no relay"
agent_join chengdu "$W/agent"
source_add "$W/agent" pension "$T"
carried() { await 10 grep -q "^done" "$W/relay.log"; awk '/^done/ { n += $3 } END { print n + 0 }' "$W/relay.log"; }
answered() { awk '/^done/ { n += $4 } END { print n + 0 }' "$W/relay.log"; }
try() { # mode, bytes, status, description
    echo "$1 $2" >"$W/control"
    : >"$W/relay.log"
    exits "$3" "$4" farshore-agent once --state "$W/agent"
}
broken() { says '(closed|reset|ended|stall|lost|connection|timed out)' "$1"; }

try cut 1000 2 "cut in the handshake: a clean failure"
broken "it says what happened"
try reset 25000000 2 "reset after 25 MB: a clean failure"
broken "it says what happened"
is "$(marks)" 0 "a half-sent mark is invisible"
try cut 25000000 2 "cut after 25 MB more"
is "$(marks)" 0 "still no mark"
try pass 0 0 "the link holds: the pass is done"
at_most "$(carried)" 30000000 "bytes sent by the third try of 61 MB"
exits 0 "the mark equals the tree" farshore-verify mark --store "$STORE" chengdu/pension --against "$T"

# Every border of the conversation: the receipt itself may be lost, and then must be adopted, not repeated.
python3 - "$T/large" <<'P'
import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(20_000_000)
    f.write(b"changed" * 1000)
P
try pass 0 0 "a night over a good link"
whole=$(answered)
count=$(marks)
for short in 40 400 1500; do
    echo "night $short" >"$T/f1"
    try answers $((whole - short)) 2 "the answer is lost $short bytes before its end"
    try pass 0 0 "the next pass is sound"
    count=$(marks)
done
at_most "$count" 8 "marks: a lost receipt was adopted or its mark repeated once"
exits 0 "the store is whole" farshore-verify store --store "$STORE"

# A stall: nothing moves, and nobody says goodbye.  Both sides give up by their limit (60 s); the site serves others meanwhile.
head -c 8000000 /dev/urandom >"$T/more"
echo "stall 3000000" >"$W/control"
: >"$W/relay.log"
start "$W/stalled.log" farshore-agent once --state "$W/agent"
STALLED=$PID
await_line "$W/relay.log" stalled "$RELAY" 30
is $? 0 "the link is stalled"
echo "pass 0" >"$W/control"
agent_join mianyang "$W/agent2"
mkdir "$W/tree2"
echo hello >"$W/tree2/a"
source_add "$W/agent2" docs "$W/tree2"
ok "another agent is served meanwhile" pass "$W/agent2"
ok "a stalled agent gives up by itself" gone "$STALLED" 90
wait "$STALLED"
is $? 2 "and fails cleanly"
forget "$STALLED"
try pass 0 0 "then goes on"
try dribble 700 0 "and over a link that carries 700 bytes at a time"
exits 0 "the mark equals the tree" farshore-verify mark --store "$STORE" chengdu/pension --against "$T"
exits 0 "the store is whole" farshore-verify store --store "$STORE"
finish
