#!/usr/bin/env bash
# Goal: whatever a stolen agent sends is refused by an error that names it, and the site serves on, holding nothing for it.
# Method: a client of our own (wire.py) with a real agent's certificate; after all of it the store must be whole, the marks what they
# were, and the site's memory bounded.
. "$(dirname "$0")/lib.sh"
T=$W/tree
mkdir "$T"
head -c 300000 /dev/urandom >"$T/base"
echo small >"$T/small"
site_up
agent_join chengdu "$W/agent"
source_add "$W/agent" pension "$T"
ok "a real pass" pass "$W/agent"
before=$(farshore-snapshot list --store "$STORE" --json)
base=$(farshore-snapshot ls --store "$STORE" --json chengdu/pension base | jq -r 'select(.name == "base") | .digest + ":" + (.bytes | tostring)')
ok "a base to talk about ($base)" grep -qE '^[0-9a-f]{64}:300000$' <<<"$base"
me=(--ca "$W/agent/ca.crt" --key "$W/agent/tls.key" --cert "$W/agent/tls.crt" --agent chengdu)

timeout 600 python3 "$E2E/wire.py" abuse "127.0.0.1:$PORT" "${me[@]}" --base "$base" >"$W/abuse" 2>&1
is $? 0 "the table was worked off" || tail -n 5 "$W/abuse"
while read -r verdict what; do ok "$what" test "$verdict" = PASS; done <"$W/abuse"
at_least "$(grep -c . "$W/abuse")" 70 "cases"
ok "the site lives" kill -0 "$SITE"
ok "garbage below TLS" python3 "$E2E/wire.py" garbage "127.0.0.1:$PORT"
ok "and serves on" pass "$W/agent"

start "$W/idle.log" python3 "$E2E/wire.py" idle "127.0.0.1:$PORT"
IDLE=$PID
await_line "$W/idle.log" connected "$IDLE" 10
start "$W/flood.log" python3 "$E2E/wire.py" flood "127.0.0.1:$PORT" 400
FLOOD=$PID
await_line "$W/flood.log" flooded "$FLOOD" 60
is $? 0 "400 connections that say nothing are opened"
ok "a connection that says nothing is cut" gone "$IDLE" 40
stop "$FLOOD"
ok "a real pass after the flood" pass "$W/agent"
rss=$(awk '/VmHWM/ { print $2 }' "/proc/$SITE/status")
[ "$SLOW" = 1 ] && at_most "$rss" 262144 "KiB of memory at most"
is "$(farshore-snapshot list --store "$STORE" --json | jq -c '.marks[0:1]')" "$(jq -c .marks <<<"$before")" "the mark is what it was"
exits 0 "the store is whole" farshore-verify store --store "$STORE"
exits 0 "and is restored" farshore-restore files --store "$STORE" chengdu/pension "$W/back"
ok "to the byte" same_tree "$T" "$W/back"
site_stop
is $? 0 "the site ends cleanly"
finish
