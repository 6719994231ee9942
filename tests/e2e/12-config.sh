#!/usr/bin/env bash
# Goal: a wrong call ends with 64, a wrong configuration with 78, file and line, and nothing is done.  Method: tables.
. "$(dirname "$0")/lib.sh"
T=$W/tree
mkdir "$T"
echo a >"$T/a"
site_up
agent_join chengdu "$W/agent"
source_add "$W/agent" pension "$T"
ok "the configuration that join wrote is right" pass "$W/agent"
ok "it is commented" grep -q '^#' "$W/agent/agent.conf"
cp "$W/agent/agent.conf" "$W/good.conf"
lines=$(wc -l <"$W/good.conf")

# What is appended to a good file; the line of it that must be named; what must be said of it.
bad() { # description, line after the good ones, pattern, text
    { cat "$W/good.conf"; printf '%b' "$4"; } >"$W/agent/agent.conf"
    exits 78 "agent.conf: $1" farshore-agent once --state "$W/agent"
    says "agent.conf[:\" ].*$((lines + $2)).*" "with file and line"
    says "$3" "and what it is"
}
bad "an unknown key" 1 'colour' 'colour = red\n'
bad "a doubled key" 1 'path' "path = $T\n"
bad "an unknown section" 2 'fruit' '\n[fruit]\napple = 1\n'
bad "a doubled section" 2 'pension' '\n[source pension]\ntype = files\npath = /\n'
bad "a bad duration" 4 'interval' '\n[source two]\ntype = files\ninterval = soon\npath = /tmp\n'
bad "a relative path" 4 'path' '\n[source two]\ntype = files\npath = srv/pension\n'
bad "an unknown type" 3 'type' '\n[source two]\ntype = papyrus\npath = /tmp\n'
bad "a bad name" 2 'Two' '\n[source ../Two]\ntype = files\npath = /tmp\n'
bad "a line that is none" 2 '' '\nhello\n'
{ cat "$W/good.conf"; printf '\n[source two]\ntype = files\n'; } >"$W/agent/agent.conf"
exits 78 "agent.conf: a source without a path" farshore-agent once --state "$W/agent"
says 'path' "names the key that lacks"
cp "$W/good.conf" "$W/agent/agent.conf"
exits 64 "a source that is not configured" farshore-agent once --state "$W/agent" nowhere
says 'nowhere' "is named"
rm -rf "$T"
exits 2 "a source whose path is gone fails: an empty tree would look like a deletion" farshore-agent once --state "$W/agent"
says "$T" "and names it"
is "$(marks)" 1 "none of this made a mark"

cp "$STORE/site.conf" "$W/site.conf"
printf 'colour = red\n' >>"$STORE/site.conf"
exits 78 "site.conf: an unknown key" farshore-site status --store "$STORE"
says 'site.conf.*colour|colour.*site.conf' "with file and key"
cp "$W/site.conf" "$STORE/site.conf"

while IFS='|' read -r what pattern command; do
    [ -n "$what" ] || continue
    # shellcheck disable=SC2086
    exits 64 "wrong call: $what" $command
    says "$pattern" "and what is wrong is said"
done <<E2
no command|--help|farshore-site
unknown command|conquer|farshore-site conquer
unknown option|frobnicate|farshore-site status --store $STORE --frobnicate
option of another command|listen|farshore-site status --store $STORE --listen 1.2.3.4:5
no store|--store|farshore-site status
option without its value|store|farshore-snapshot list --store
operand too many|--help|farshore-site status --store $STORE more
operand missing|--help|farshore-site token --store $STORE
a bad agent name|\.\./etc|farshore-site token --store $STORE ../etc
not a POINT|@|farshore-snapshot show --store $STORE @
agent without state|--state|farshore-agent once
not a token|token|farshore-agent join hello --state $W/agent9
restore without target|--help|farshore-restore files --store $STORE chengdu/pension
bad overwrite|sometimes|farshore-restore files --store $STORE chengdu/pension $W/x --overwrite sometimes
bad engine|steam|farshore-agent once --state $W/agent --io steam
verify without command|--help|farshore-verify
diff with one point|--help|farshore-snapshot diff --store $STORE chengdu/pension
E2
for p in farshore-site farshore-agent farshore-snapshot farshore-verify farshore-restore; do
    exits 0 "$p --help" "$p" --help
    says 'store|state' "names its options"
    exits 0 "$p --version" "$p" --version
    says '[0-9]+\.[0-9]+\.[0-9]+' "is a version"
    exits 0 "$p --complete" "$p" --complete
    says '^--json' "lists --json"
done
exits 2 "no store there" farshore-snapshot list --store "$W/nowhere"
says 'nowhere' "names it"
exits 2 "a point that does not exist" farshore-snapshot show --store "$STORE" chengdu/nothing
says 'chengdu/nothing|chengdu/pension' "is named"
exits 3 "init does not touch a directory with something in it" farshore-site init --store "$STORE" --name sichuan --address 127.0.0.1:1
exits 3 "a second writer is refused" farshore-site serve --store "$STORE"
ok "the store can be named by the environment" env FARSHORE_STORE="$STORE" farshore-snapshot list
exits 1 "so can the state; that the last pass failed is a finding" env FARSHORE_STATE="$W/agent" farshore-agent status
finish
