#!/usr/bin/env bash
# Goal: every damage is found, under its kind and with its place, and no wrong byte is ever restored; the index is rebuilt from packs and
# ledger alone.  Method: a table: name, damage to a copy of a sound store, the exact finding (kind and text), what restore may do.
. "$(dirname "$0")/lib.sh"
T=$W/tree
python3 "$E2E/trees.py" small "$T" --kib 2048
head -c 3000000 /dev/urandom >"$T/large"
printf 'a name to look for' >"$T/docs/here"
site_up
agent_join chengdu "$W/agent"
source_add "$W/agent" pension "$T"
ok "the first pass is sound" pass "$W/agent"
cp -a "$STORE/index" "$W/index.early"
python3 "$E2E/trees.py" night "$T" --seed 1
ok "the second pass is sound" pass "$W/agent"
ids=$(farshore-snapshot list --store "$STORE" --json | jq -c '[.marks[].id]')
site_stop
is $? 0 "the site ends cleanly"
exits 0 "the store is whole to begin with" farshore-verify store --store "$STORE" --json
json '.[-1].type == "result" and .[-1].schema == 1' "its last line is the result"
json '[.. | numbers] | add > 0' "of something that was counted"
GOOD=$STORE
STORE=$W/damaged
# Another site's store, for what is put in from elsewhere.
STORE=$W/other
site_up
agent_join chengdu "$W/agent-other"
source_add "$W/agent-other" pension "$T"
pass "$W/agent-other" || bail "the other site's pass failed"
site_stop
OTHER=$STORE
STORE=$W/damaged

flip() { # file, offset, [bit]
    python3 -c 'import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(int(sys.argv[2])); b = f.read(1); f.seek(-1, 1); f.write(bytes([b[0] ^ 1 << int(sys.argv[3])]))' "$1" "$2" "${3:-3}"
}
packs() { find "$STORE/packs" -name '*.pack' | sort; }
pack() { packs | head -n 1; }
size() { stat -c %s "$1"; }
# Offsets of blobs and their kinds, by an own reading of the headers (farshore-store(5)).
blob_at() { # kind, n-th: offset of its ciphertext
    python3 -c 'import struct, sys
b = open(sys.argv[1], "rb").read(); at = 4096; n = int(sys.argv[3])
while at + 56 <= len(b) and b[at:at + 4] == b"FSb1":
    stored, = struct.unpack_from("<I", b, at + 24)
    if chr(b[at + 4]) == sys.argv[2]:
        if n == 0: print(at + 56); break
        n -= 1
    at += 56 + stored' "$(pack)" "$1" "$2"
}
# Restores both marks; nothing may differ from what was replicated, unless it is missing and named.
no_wrong_byte() {
    local id status
    for id in $(jq -r '.[]' <<<"$ids"); do
        rm -rf "$W/back"
        farshore-restore files --store "$STORE" "@$id" "$W/back" >"$W/restored" 2>&1 </dev/null
        status=$?
        [ $status -le 2 ] || { echo "restore of $id ended with $status"; return 1; }
        [ -d "$W/back" ] || continue
        python3 - "$W/back" "$W/good-$id" "$status" "$W/restored" <<'P' || return 1
import os, sys
back, good, status, said = sys.argv[1], sys.argv[2], int(sys.argv[3]), open(sys.argv[4], errors="replace").read()
def files(top):
    return {os.path.relpath(os.path.join(w, f), top) for w, _, fs in os.walk(top) for f in fs}
have, want = files(back), files(good)
bad = [f"{f}: not of the mark" for f in have - want]
for f in have & want:
    if open(f"{back}/{f}", "rb").read() != open(f"{good}/{f}", "rb").read():
        bad.append(f"{f}: wrong bytes")
missing = want - have
if missing and status == 0:
    bad.append(f"ended with 0 without {len(missing)} files")
if status == 1:
    bad += [f"{f}: missing and not named" for f in missing if os.path.basename(f) not in said and (os.path.dirname(f) or "\0") not in said]
print("\n".join(bad[:10]))
sys.exit(bool(bad))
P
    done
}
STORE=$GOOD
for id in $(jq -r '.[]' <<<"$ids"); do restore "@$id" "$W/good-$id" || bail "a sound store does not restore"; done
ok "the newest is the tree" same_tree "$T" "$W/good-$(jq -r '.[1]' <<<"$ids")"
STORE=$W/damaged

damage() { # name, kind (regex), text (regex), command...
    local name=$1 kind=$2 text=$3
    shift 3
    rm -rf "$STORE"
    cp -a "$GOOD" "$STORE"
    "$@" || { ok "$name: damage done" false; return; }
    exits 1 "$name: verify ends with findings" farshore-verify store --store "$STORE" --json
    TESTS=$((TESTS + 1))
    if jq -se --arg k "$kind" --arg t "$text" '[.[] | select(.type == "finding" and ((.kind // "") | test($k)) and ((.text // "") | test($t; "i")))] | length > 0' \
        "$W/out" >/dev/null 2>&1; then
        echo "ok $TESTS - $name: the finding is of kind $kind and says $text"
    else
        FAILED=$((FAILED + 1))
        echo "not ok $TESTS - $name: the finding is of kind $kind and says $text"
        head -n 8 "$W/out" | cut -c1-250 | sed 's/^/#   /'
    fi
    ok "$name: no wrong byte is restored" no_wrong_byte
}
flip_blob() { flip "$(pack)" $(($(blob_at "$1" "$2") + 20)); }
exchange() {
    python3 -c 'import struct, sys
b = bytearray(open(sys.argv[1], "rb").read()); at = 4096; by = {}
while at + 56 <= len(b) and b[at:at + 4] == b"FSb1":
    stored, = struct.unpack_from("<I", b, at + 24)
    by.setdefault(b[at + 4], []).append((at, stored)); at += 56 + stored
blobs = by[ord("d")]
(a, n), (c, m) = blobs[0], blobs[1]
k = min(n, m)
b[a + 56:a + 56 + k], b[c + 56:c + 56 + k] = b[c + 56:c + 56 + k], b[a + 56:a + 56 + k]
open(sys.argv[1], "wb").write(b)' "$(pack)"
}
zero_page() { # the root page of the main table
    python3 -c 'import struct, sys
f = open(sys.argv[1], "r+b"); b = f.read()
meta = max((struct.unpack_from("<Q", b, n * 4096 + 16 + 24 + 96 + 8)[0], n) for n in (0, 1))[1]
root, = struct.unpack_from("<Q", b, meta * 4096 + 16 + 24 + 48 + 40)
f.seek(root * 4096); f.write(bytes(4096))' "$STORE/index/data.mdb"
}

damage "a bit in data" '^(pack|blob)$' 'pack 1.*offset|pack.*offset|blob' flip_blob d 0
json '[.[] | select(.type == "hit" and .source == "chengdu/pension" and .mark != null and .path != null)] | length > 0' \
    "with source, mark and path that it hits"
damage "a bit in data further on" '^(pack|blob)$' '.' flip_blob d 3
damage "a bit in objects" '^(pack|blob|object|tree)$' '.' flip_blob o 0
damage "a bit in rows" '^(pack|blob)$' '.' flip_blob r 0
damage "a bit in a mark's record" '^(pack|blob|mark)$' '.' flip_blob m 1
damage "a bit in a blob header" '^(pack|blob)$' '.' eval 'flip "$(pack)" $(($(blob_at d 1) - 40))'
damage "a bit in the pack header" '^pack$|^blob$' 'pack 1: offset 0: the header does not match its checksum' eval 'flip "$(pack)" 20'
damage "a bit in the wrapped key" '^pack$|^blob$' 'pack 1: offset 0: the header does not match its checksum' eval 'flip "$(pack)" 90'
damage "a pack cut short" '^(pack|blob)$' '.' eval 'truncate -s -5000 "$(packs | tail -n 1)"'
damage "a pack emptied" '^(pack|blob)$' '.' eval ': >"$(pack)"'
damage "a pack gone" '^(pack|blob)$' 'pack' eval 'rm "$(pack)"'
damage "a pack of zeros" '^(pack|blob)$' '.' eval 'n=$(size "$(pack)"); truncate -s 0 "$(pack)"; truncate -s "$n" "$(pack)"'
damage "a pack of another site" '^(pack|blob)$' '.' eval 'cp "$(find "$OTHER/packs" -name "*.pack" | sort | head -n 1)" "$(pack)"'
damage "two blobs exchanged" '^(pack|blob)$' '.' exchange
damage "a bit in the ledger" '^ledger$' '.' eval 'flip "$STORE/ledger/log" 40'
damage "the ledger's last bytes gone" '^ledger$' '.' eval 'truncate -s -70 "$STORE/ledger/log"'
damage "the ledger's end gone" '^(ledger|index)$' '.' eval 'truncate -s $(($(size "$STORE/ledger/log") / 2)) "$STORE/ledger/log"'
damage "the ledger of another site" '^(ledger|index)$' '.' eval 'cp "$OTHER/ledger/log" "$STORE/ledger/log"'
damage "a forged head" '^ledger$' 'head' eval 'flip "$STORE/ledger/head" 60'
damage "bytes after the ledger" '^ledger$' '.' eval 'echo more >>"$STORE/ledger/log"'
damage "an early index" '^(index|ledger|pack)$' '.' eval 'rm -r "$STORE/index"; cp -a "$W/index.early" "$STORE/index"'
damage "the index cut in the middle" '^index$' '.' eval 'truncate -s $(($(size "$STORE/index/data.mdb") / 8192 * 4096)) "$STORE/index/data.mdb"'
damage "a page of the index zeroed" '^index$' '.' zero_page

# What readers say of damage, and the way back.
rm -rf "$STORE"
cp -a "$GOOD" "$STORE"
rm -r "$STORE/index"
exits 2 "without an index nothing is listed" farshore-snapshot list --store "$STORE"
says 'reindex|index' "and the way out is named"
exits 0 "reindex" farshore-snapshot reindex --store "$STORE"
is "$(farshore-snapshot list --store "$STORE" --json | jq -c '[.marks[].id]')" "$ids" "brings back every mark"
exits 0 "the store is whole" farshore-verify store --store "$STORE"
ok "both marks restore" no_wrong_byte
for d in garbage early; do
    rm -rf "$STORE"
    cp -a "$GOOD" "$STORE"
    if [ $d = garbage ]; then head -c 300000 /dev/urandom >"$STORE/index/data.mdb"; else
        rm -r "$STORE/index"
        cp -a "$W/index.early" "$STORE/index"
    fi
    exits 0 "reindex over an index of $d" farshore-snapshot reindex --store "$STORE"
    is "$(farshore-snapshot list --store "$STORE" --json | jq -c '[.marks[].id]')" "$ids" "brings back every mark"
    exits 0 "the store is whole" farshore-verify store --store "$STORE"
done
# A damaged pack and no index: what is whole comes back, what is not is named.
rm -rf "$STORE"
cp -a "$GOOD" "$STORE"
flip_blob d 2
rm -r "$STORE/index"
farshore-snapshot reindex --store "$STORE" >"$W/out" 2>&1
status=$?
ok "reindex over a damaged pack ends with 0 (it opens no data) or 1 ($status)" test $status -le 1
ok "no wrong byte is restored" no_wrong_byte
exits 1 "verify names it" farshore-verify store --store "$STORE"
exits 1 "a mark that the damage hits does not verify" farshore-verify mark --store "$STORE" chengdu/pension
finish
