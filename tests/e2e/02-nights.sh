#!/usr/bin/env bash
# Goal: a night costs what changed.  Method: bytes of packs and bytes on the wire after each kind of change, with generous bounds;
# and each night's mark equals the tree as it was.
. "$(dirname "$0")/lib.sh"
T=$W/tree
python3 "$E2E/trees.py" small "$T" --kib 24576
mkdir "$T/dump"
head -c 6000000 /dev/urandom >"$T/dump/pension-2026-11-22.sql"
site_up
agent_join chengdu "$W/agent"
source_add "$W/agent" pension "$T"

sent() { jq -s '[.[] | select(.type == "result") | .sources[].sent] | add' "$W/pass.json"; }
night() { # description, most bytes stored, most bytes sent
    local before
    before=$(store_bytes)
    farshore-agent once --state "$W/agent" --json >"$W/pass.json" 2>"$W/pass.err" </dev/null
    is $? 0 "$1: the pass is sound" || sed 's/^/#   /' "$W/pass.err"
    at_most $(($(store_bytes) - before)) "$2" "$1: bytes stored"
    at_most "$(sent)" "$3" "$1: bytes sent"
    ok "$1: the mark equals the tree" farshore-verify mark --store "$STORE" chengdu/pension --against "$T"
}
night "first" 40000000 40000000
night "nothing changed" 30000 60000

python3 - "$T/pages.dat" <<'P'
import random, sys
rng = random.Random(5)
with open(sys.argv[1], "r+b") as f:
    for page in rng.sample(range(1500), 20):
        f.seek(page * 8192 + 100)
        f.write(rng.randbytes(60))
P
night "20 pages changed" 400000 1500000

python3 - "$T/export.txt" <<'P'
import sys
text = open(sys.argv[1], "rb").read()
open(sys.argv[1], "wb").write(b"000|new line at the head\n" + text[:50000] + b"000|another\n" * 7 + text[50000:])
P
night "lines inserted at the head of an export" 500000 2500000

cp -a "$T/docs" "$T/docs-copy"
night "a tree copied" 200000 1500000
mkdir "$T/archive"
mv "$T/docs" "$T/archive/docs"
mv "$T/pages.dat" "$T/archive/pages.dat"
night "a tree and a large file moved" 200000 1500000

cp "$T/dump/pension-2026-11-22.sql" "$T/dump/pension-2026-11-23.sql"
printf 'a few rows more' >>"$T/dump/pension-2026-11-23.sql"
printf 'other' | dd of="$T/dump/pension-2026-11-23.sql" bs=1 seek=3000000 conv=notrunc status=none
night "a dump under a new date" 500000 2500000
python3 - "$T/dump" <<'P'
import os, sys
old = open(sys.argv[1] + "/pension-2026-11-23.sql", "rb").read()
open(sys.argv[1] + "/pension-2026-11-24.sql", "wb").write(old[:1000] + os.urandom(5000) + old[1000:])
P
night "a dump under a new date with a shift" 600000 3000000

truncate -s 3000000 "$T/dump/pension-2026-11-22.sql"
night "a file cut short" 200000 800000
head -c 20000 /dev/urandom >>"$T/dump/pension-2026-11-22.sql"
night "a file that grew" 300000 800000
cat "$T/archive/pages.dat" >"$T/same-bytes-elsewhere"
night "a copy under another name" 200000 1500000
chmod 600 "$T/log"
touch -d '2001-02-03 04:05:06.789' "$T/export.txt"
night "mode and time alone" 100000 800000
rm -r "$T/archive/docs"
night "a tree removed" 100000 200000

for seed in 11 12 13 14; do
    mkdir -p "$T/docs/00"
    [ -f "$T/pages.dat" ] || mv "$T/archive/pages.dat" "$T/pages.dat"
    python3 "$E2E/trees.py" night "$T" --seed $seed
    night "night $seed" 4000000 6000000
done
exits 0 "the store verifies" farshore-verify store --store "$STORE"
exits 0 "the newest is restored" farshore-restore files --store "$STORE" chengdu/pension "$W/back"
ok "rsync finds no difference" same_tree "$T" "$W/back"
is "$(marks chengdu/pension)" 17 "every night has its mark"
finish
