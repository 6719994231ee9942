#!/usr/bin/env bash
# Goal: every form of POINT finds its mark; list, show, ls, diff tell what is true; --json has its schema.
. "$(dirname "$0")/lib.sh"
T=$W/tree
mkdir -p "$T/sub"
echo one >"$T/a"
echo sub >"$T/sub/s"
site_up
exits 0 "an empty store lists nothing" farshore-snapshot list --store "$STORE" --json
json '.[0] | .schema == 1 and .marks == []' "as an empty list"
agent_join chengdu "$W/agent"
source_add "$W/agent" pension "$T"
source_add "$W/agent" second "$T/sub"
ok "first pass" pass "$W/agent" pension
between=$(date --rfc-3339=ns | tr ' ' T)
echo two >>"$T/a"
echo new >"$T/b"
rm "$T/sub/s"
mkdir "$T/new-dir"
printf x >"$T/$(printf 'raw\377name')"
chmod 750 "$T/sub"
ok "second pass" pass "$W/agent"
exits 0 "list as JSON" farshore-snapshot list --store "$STORE" --json
json '.[0].schema == 1' "schema is 1"
json '.[0].marks | length == 3' "three marks"
json '.[0].marks | all(has("id") and has("source") and has("time") and has("bytes") and has("files"))' "each with id, source, time, bytes, files"
json '[.[0].marks[] | select(.source == "chengdu/pension") | .time] | . == sort' "oldest first"
json '.[0].marks | all(.id | test("^[0-9a-f]{64}$"))' "ids are whole digests"
json '.[0].marks | all(.time | test("^[0-9]{4}-[0-9]{2}-[0-9]{2}T.*(Z|[+-][0-9]{2}:[0-9]{2})$"))' "times are RFC 3339"
exits 0 "list of one source" farshore-snapshot list --store "$STORE" --json chengdu/second
json '.[0].marks | length == 1' "one mark"
exits 0 "list for people" farshore-snapshot list --store "$STORE"
says 'chengdu/pension' "names the source"
first=$(mark_id chengdu/pension 0)
second=$(mark_id chengdu/pension 1)
find_point() { farshore-snapshot show --store "$STORE" --json "$1" | jq -r .mark.id; }
while read -r point want; do
    is "$(find_point "$point")" "$want" "POINT ${point/$first/ID}"
done <<E2
chengdu/pension $second
chengdu/pension@latest $second
chengdu/pension@$first $first
chengdu/pension@${first:0:8} $first
@${first:0:10} $first
@$second $second
chengdu/pension@$between $first
chengdu/pension@2099-01-01T00:00:00Z $second
chengdu/pension@2099-01-01T00:00:00+08:00 $second
chengdu/pension@$(TZ=UTC-8 date -d "$between" +%Y-%m-%dT%H:%M:%S.%N%:z) $first
E2
exits 2 "a time before the first mark finds nothing" farshore-snapshot show --store "$STORE" chengdu/pension@2001-01-01T00:00:00Z
exits 2 "an unknown id" farshore-snapshot show --store "$STORE" @00000000
exits 2 "an unknown agent" farshore-snapshot show --store "$STORE" nobody/pension
for p in chengdu/pension@ '@' chengdu chengdu/pension@2026-11-23T02:00:00 chengdu/pension@abc 'a/b/c' '@latest@latest'; do
    exits 64 "not a POINT: $p" farshore-snapshot show --store "$STORE" "$p"
done

exits 0 "show" farshore-snapshot show --store "$STORE" chengdu/pension
says "$second" "has the id"
exits 0 "show as JSON" farshore-snapshot show --store "$STORE" chengdu/pension --json
json '.[0] | .schema == 1 and (.mark | .source == "chengdu/pension" and (.root | test("^[0-9a-f]{64}$")) and .sequence == 2 and .signature_holds)' "is the record"
exits 0 "ls of the root" farshore-snapshot ls --store "$STORE" chengdu/pension
is "$(grep -c . "$W/out")" 5 "has five names"
says 'b' "with the new one"
exits 0 "ls of a directory in the first mark" farshore-snapshot ls --store "$STORE" "chengdu/pension@$first" sub
says 's$' "has what was deleted since"
exits 0 "ls of a file" farshore-snapshot ls --store "$STORE" chengdu/pension a
says 'a$' "is a line"
exits 2 "ls of nothing" farshore-snapshot ls --store "$STORE" chengdu/pension sub/s
exits 0 "ls as JSON" farshore-snapshot ls --store "$STORE" chengdu/pension --json
json '.[-1].schema == 1' "has a schema"
json '[.. | objects | select(has("name")) | .name] | index("a") != null' "has the names"

exits 1 "diff of two that differ" farshore-snapshot diff --store "$STORE" "chengdu/pension@$first" chengdu/pension
for f in a b sub/s new-dir; do says "$f" "names $f"; done
exits 1 "diff as JSON" farshore-snapshot diff --store "$STORE" "chengdu/pension@$first" chengdu/pension --json
json '.[-1].schema == 1' "has a schema"
exits 0 "diff with itself" farshore-snapshot diff --store "$STORE" chengdu/pension chengdu/pension
is "$OUT" "no difference" "says so"
exits 0 "status of the site" farshore-site status --store "$STORE"
says 'chengdu' "names the agent"
exits 0 "status as JSON" farshore-site status --store "$STORE" --json
json '.[0].schema == 1' "has a schema"
# Readers work without a site, too, and on a store that they may not write.
site_stop
exits 0 "list without a site" farshore-snapshot list --store "$STORE"
exits 0 "the older mark is restored" farshore-restore files --store "$STORE" "chengdu/pension@$between" "$W/back"
is "$(cat "$W/back/a" "$W/back/sub/s" | tr '\n' ' ')" "one sub " "as it was"
finish
