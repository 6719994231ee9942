#!/usr/bin/env bash
# Goal: `run` makes a mark of each source at its interval by itself, lives through a site that goes away, and ends cleanly; status
# says how things stand; before and after run around a pass.
. "$(dirname "$0")/lib.sh"
T=$W/tree
python3 "$E2E/trees.py" small "$T" --kib 512
site_up
agent_join chengdu "$W/agent"
source_add "$W/agent" pension "$T" "interval = 1s" "before = echo before >>$W/hooks" "after = echo after >>$W/hooks"
exits 0 "status before the first pass" farshore-agent status --state "$W/agent" --json
json '.[0].schema == 1' "has a schema"

start "$W/run.log" farshore-agent run --state "$W/agent"
AGENT=$PID
more() { [ "$(marks)" -ge "$1" ]; }
ok "marks come by themselves" await 60 more 2
echo changed >>"$T/log"
n=$(marks)
ok "and go on" await 60 more $((n + 2))
ok "the newest equals the tree" farshore-verify mark --store "$STORE" chengdu/pension --against "$T"
is "$(head -n 2 "$W/hooks" | tr '\n' ' ')" "before after " "before and after ran around the pass"
exits 3 "a second agent on the same state is refused" farshore-agent once --state "$W/agent"
exits 0 "status while it runs" farshore-agent status --state "$W/agent" --json
json '.[0].sources[] | select(.source == "pension" or .name == "pension")' "names the source"
exits 0 "the site's status" farshore-site status --store "$STORE" --json
json '.[0].agents[] | select(.name == "chengdu" or .agent == "chengdu")' "names the agent"

# The site is away for a while.
site_stop
is $? 0 "the site ends cleanly on SIGTERM"
ok "the agent notices, and says so" await 60 grep -qiE 'refused|closed|connect|lost' "$W/run.log"
ok "the agent lives on" kill -0 "$AGENT"
ok "the site starts again" site_start
n=$(marks)
ok "marks go on without a hand" await 120 more $((n + 1))
# A source that fails does not stop the others.
mkdir "$W/two"
echo 2 >"$W/two/2"
stop "$AGENT"
is $? 0 "the agent ends cleanly on SIGTERM"
source_add "$W/agent" gone "$W/not-there" "interval = 1s"
source_add "$W/agent" two "$W/two" "interval = 1s"
start "$W/run.log" farshore-agent run --state "$W/agent"
AGENT=$PID
has_two() { [ "$(marks chengdu/two)" -ge 2 ]; }
ok "a source that fails does not stop the others" await 60 has_two
ok "it is named" grep -q 'not-there\|gone' "$W/run.log"
stop "$AGENT" INT
is $? 0 "the agent ends cleanly on SIGINT"
source_add "$W/agent" hooked "$T" "before = exit 7"
exits 2 "a before that fails fails the pass" farshore-agent once --state "$W/agent" hooked
says 'before' "and says so"
is "$(marks chengdu/hooked)" 0 "no mark of it"
exits 0 "the store is whole" farshore-verify store --store "$STORE"
site_stop INT
is $? 0 "the site ends cleanly on SIGINT"

# For machines.
start "$W/serve.json" farshore-site serve --store "$STORE" --json --quiet
SITE=$PID
await_line "$W/serve.json" '"listening"' "$SITE" 20
is $? 0 "serve --json says that it listens"
exits 0 "join --json" farshore-agent join "$(token json)" --state "$W/json" --json
json '.[0] | .schema == 1 and .joined' "is one object"
source_add "$W/json" one "$W/two" "interval = 1s"
start "$W/run.json" farshore-agent run --state "$W/json" --json --quiet
AGENT=$PID
await_line "$W/run.json" '"pass"' "$AGENT" 30
is $? 0 "run --json has a line for each pass"
stop "$AGENT"
ok "and a result at its end" jq -se '.[-1] | .schema == 1 and .type == "result"' "$W/run.json"
exits 0 "accept --json" farshore-agent accept --state "$W/json" --json
json '.[0] | .schema == 1 and .accepted' "is one object"
exits 0 "revoke --json" farshore-site revoke --store "$STORE" json --json
json '.[0] | .schema == 1 and .agent == "json"' "is one object"
exits 0 "token --json" farshore-site token --store "$STORE" other --json
json '.[0] | .schema == 1 and (.token | test("^fs1_"))' "is one object"
site_stop
ok "serve --json has a result at its end" jq -Rse '[split("\n")[] | fromjson?] | .[-1] | .schema == 1 and .type == "result"' "$W/serve.json"
exits 0 "init --json" farshore-site init --store "$W/third" --name third --address 127.0.0.1:1 --json
json '.[0] | .schema == 1 and .site == "third"' "is one object"
exits 0 "reindex --json" farshore-snapshot reindex --store "$STORE" --json
json '.[-1] | .schema == 1 and .type == "result" and .marks > 3' "ends with a result"
finish
