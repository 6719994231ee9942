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
link() { # a line for each connection to come
    printf '%s\n' "$@" >"$W/control"
    : >"$W/relay.log"
}
ended() { [ "$(grep -c '^done' "$W/relay.log")" -ge "$1" ]; }
carried() { # number of connections that must have ended: bytes from the agent over all of them
    await 20 ended "$1"
    awk '/^done/ { n += $3 } END { print n + 0 }' "$W/relay.log"
}
answered() { await 20 ended 1; awk '/^done/ { n += $4 } END { print n + 0 }' "$W/relay.log"; }

link "cut 1000" "cut 25000000" "cut 20000000" "pass 0"
exits 0 "cut in the handshake, then twice in the middle: the pass is done by itself" farshore-agent once --workers 2 --state "$W/agent"
says 'trying again' "it says what happened"
# A worker sends the literals of a map (4 MiB) before the map itself: that much of each may be on its way at a cut.
# (Under a sanitizer the site is still busy with the old connection when the new one asks: then more is sent twice.)
[ "$SLOW" = 1 ] && at_most "$(carried 4)" $((61200000 + 2 * (2 * 4300000) + 1000000)) "bytes sent of 61 MB over two cuts: what arrived whole is not sent again"
exits 0 "the mark equals the tree" farshore-verify mark --store "$STORE" chengdu/pension --against "$T"
is "$(marks)" 1 "there is one mark"

# A reset throws away what was on its way; a stall hides that the other end is gone.
head -c 40000000 /dev/urandom >"$T/large2"
link "reset 12000000" "stall 10000000" "pass 0"
start "$W/once.log" farshore-agent once --state "$W/agent"
ONCE=$PID
await_line "$W/relay.log" stalled "$RELAY" 60
is $? 0 "the link was reset in the middle, then stalled"
ok "the agent said so, and tried again by itself" grep -qE 'trying again' "$W/once.log"
is "$(marks)" 1 "a half-sent mark is invisible"
stop "$ONCE"
is $? 2 "an agent that is ended then fails cleanly"
exits 0 "the next pass is sound" farshore-agent once --state "$W/agent"
exits 0 "the mark equals the tree" farshore-verify mark --store "$STORE" chengdu/pension --against "$T"

# Every border of the conversation: the receipt itself may be lost, and then must be adopted, not repeated.
python3 - "$T/large" <<'P'
import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(20_000_000)
    f.write(b"changed" * 1000)
P
link "pass 0"
exits 0 "a night over a good link" farshore-agent once --state "$W/agent"
whole=$(answered)
note "the site's answers: $whole bytes"
for short in 40 300 600 1500; do
    echo "night $short" >"$T/f1"
    link "answers $((whole - short))" "pass 0"
    exits 0 "the answer is lost $short bytes before its end: the agent mends it" farshore-agent once --state "$W/agent"
    exits 0 "the mark equals the tree" farshore-verify mark --store "$STORE" chengdu/pension --against "$T"
done
at_most "$(marks)" 10 "marks: a lost receipt was adopted, or its pass repeated once"
is "$(farshore-snapshot list --store "$STORE" --json | jq '[.marks[].sequence] == [range(1; (.marks | length) + 1)]')" true "no gap in their sequence"
exits 0 "the store is whole" farshore-verify store --store "$STORE"

# A stall: nothing moves, and nobody says goodbye.  Both sides give up by their limit (60 s); the site serves others meanwhile.
head -c 8000000 /dev/urandom >"$T/more"
link "stall 3000000" "pass 0"
start "$W/stalled.log" farshore-agent once --state "$W/agent"
STALLED=$PID
await_line "$W/relay.log" stalled "$RELAY" 30
is $? 0 "the link is stalled"
agent_join mianyang "$W/agent2"
mkdir "$W/tree2"
echo hello >"$W/tree2/a"
source_add "$W/agent2" docs "$W/tree2"
ok "another agent is served meanwhile" pass "$W/agent2"
ok "a stalled agent gives the connection up by itself, and goes on" gone "$STALLED" 90
wait "$STALLED"
is $? 0 "to a sound end"
forget "$STALLED"
head -c 3000000 /dev/urandom >"$T/slow"
link "dribble 700"
exits 0 "a link that carries 700 bytes at a time" farshore-agent once --state "$W/agent"
link "cut 500"
exits 2 "a link that always dies: the agent gives up after a minute" farshore-agent once --state "$W/agent"
says '(closed|reset|ended|lost|connection)' "and says why"
exits 0 "the mark equals the tree" farshore-verify mark --store "$STORE" chengdu/pension --against "$T"
exits 0 "the store is whole" farshore-verify store --store "$STORE"
finish
