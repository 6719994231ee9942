#!/usr/bin/env bash
# Goal: everything that a file tree can hold comes back.  Method: a tree of all kinds (trees.py make), replicated, verified and
# restored; rsync must find no difference in contents, modes, owners, times, xattrs, ACLs, links, devices; blocks on disk are
# counted to see that holes stayed holes; a path far deeper than PATH_MAX is compared by descriptors.
. "$(dirname "$0")/lib.sh"
ulimit -S -f unlimited # two sparse files are larger than the usual bound

T=$W/tree
ok "a tree of all kinds is made" python3 "$E2E/trees.py" make "$T"
if as_root && setfacl -m u:1000:rw,g:1:r "$T/meta/x" 2>/dev/null; then
    setfacl -d -m u:1000:rwx "$T/meta/xd"
    setfacl -m u:65534:r "$T/meta/xd"
    note "with access and default ACLs"
fi
python3 "$E2E/trees.py" deep "$W/deep"
mkdir -m 700 "$W/void"
site_up
agent_join chengdu "$W/agent"
source_add "$W/agent" all "$T"
source_add "$W/agent" deep "$W/deep"
source_add "$W/agent" void "$W/void"

exits 0 "the first pass is sound" farshore-agent once --state "$W/agent" --json
json 'map(select(.type == "result")) | length == 1' "its last line is the result"
is "$(marks)" 3 "each source has a mark"
exits 0 "the store verifies" farshore-verify store --store "$STORE"
for s in all deep void; do exits 0 "the mark of $s verifies" farshore-verify mark --store "$STORE" "chengdu/$s"; done
exits 0 "the mark equals the living tree" farshore-verify mark --store "$STORE" chengdu/all --against "$T"

exits 0 "the tree is restored" farshore-restore files --store "$STORE" chengdu/all "$W/back"
ok "rsync finds no difference" same_tree "$T" "$W/back"
ok "our own eyes find none" cmp <(python3 "$E2E/trees.py" print "$T") <(python3 "$E2E/trees.py" print "$W/back")
exits 0 "the mark equals the restored tree" farshore-verify mark --store "$STORE" chengdu/all --against "$W/back"
for f in hole-first hole-last holes all-hole far; do
    a=$(stat -c %b "$T/sparse/$f") b=$(stat -c %b "$W/back/sparse/$f")
    ok "holes of $f stay holes ($a blocks, restored $b)" test "$b" -le $((a * 2 + 512))
done
exits 0 "an empty directory is restored" farshore-restore files --store "$STORE" chengdu/void "$W/back-void"
ok "with its mode and time" same_tree "$W/void" "$W/back-void"
exits 0 "a path deeper than PATH_MAX is restored" farshore-restore files --store "$STORE" chengdu/deep "$W/back-deep"
ok "and is the same at every level" cmp <(python3 "$E2E/trees.py" print "$W/deep") <(python3 "$E2E/trees.py" print "$W/back-deep")

# A file of 100 GB, nearly all of it holes: none of them may be read, sent, stored or written.
mkdir "$W/huge"
python3 - "$W/huge/file" <<'P'
import os, sys
with open(sys.argv[1], "wb") as f:
    f.truncate(100_000_000_000)
    for at in (0, 4_194_304 * 64 - 100, 33_333_333_333, 99_999_999_000):
        f.seek(at)
        f.write(os.urandom(1000))
P
source_add "$W/agent" huge "$W/huge"
SECONDS_MAX=120 exits 0 "a sparse file of 100 GB is replicated" farshore-agent once --state "$W/agent" huge
exits 0 "verified" farshore-verify mark --store "$STORE" chengdu/huge
exits 0 "restored" farshore-restore files --store "$STORE" chengdu/huge "$W/back-huge"
ok "and is the same" cmp <(python3 "$E2E/trees.py" print "$W/huge") <(python3 "$E2E/trees.py" print "$W/back-huge")
at_most "$(stat -c %b "$W/back-huge/file")" 2048 "blocks on the disk"
printf changed | dd of="$W/huge/file" bs=1 seek=33333333400 conv=notrunc status=none
before=$(store_bytes)
ok "a change in it" pass "$W/agent" huge
at_most $(($(store_bytes) - before)) 200000 "costs bytes stored"
exits 0 "and is there" farshore-verify mark --store "$STORE" chengdu/huge --against "$W/huge"

# The table was lost, as after a reinstallation that kept the keys: everything is read, nothing is sent.
ok "a second pass without a change is sound" pass "$W/agent"
before=$(store_bytes)
ok "the agent keeps its table in the state directory" test -d "$W/agent/table"
rm -rf "$W/agent/table"
ok "a pass without the table is sound" pass "$W/agent"
at_most $(($(store_bytes) - before)) 100000 "bytes stored again although the table was lost"
same=$(farshore-snapshot list --store "$STORE" --json chengdu/all | jq -r '.marks[].id' | sort -u | wc -l)
is "$same" 3 "each pass made a mark"
exits 0 "first and last mark do not differ" farshore-snapshot diff --store "$STORE" "chengdu/all@$(mark_id chengdu/all 0)" chengdu/all
is "$OUT" "no difference" "and it says so"
finish
