#!/usr/bin/env bash
# demo.sh - the main job, end to end, on real input: two trees of a city replicated to a site over TLS, one destroyed and brought
# back, everything proven.  Run as root (or through sudo); leaves nothing behind.  Exits 0 only if every claim held.
set -u -o pipefail
export LC_ALL=C.UTF-8
cd "$(dirname "$0")/.." || exit 2
TOP=$PWD
BUILD=${BUILD:-build}
case $BUILD in /*) ;; *) BUILD=$TOP/$BUILD ;; esac
PATH=$BUILD:$PATH
# /usr/share has names that only root may read, and owners that only root can give back.
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null && exec sudo env BUILD="$BUILD" TMPDIR="${TMPDIR:-/tmp}" "$0"
    echo "demo: run it as root: it replicates /usr/share, and only root can restore its owners" >&2
    exit 2
fi
W=$(mktemp -d "${TMPDIR:-/tmp}/farshore-demo.XXXXXX") || exit 2
SITE=
began=$SECONDS
end() {
    trap - EXIT
    [ -n "$SITE" ] && kill -TERM "$SITE" 2>/dev/null && wait "$SITE" 2>/dev/null
    chmod -R u+rwx "$W" 2>/dev/null
    rm -rf "$W"
}
trap end EXIT
trap 'exit 130' INT TERM

bold=$(tput bold 2>/dev/null || true) plain=$(tput sgr0 2>/dev/null || true)
[ -t 1 ] || bold='' plain=''
say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
show() { # the command as a user would type it, then what it prints
    printf '  $ %s\n' "$(sed "s|$W|DEMO|g" <<<"$*")"
    "$@" 2>&1 </dev/null | sed "s|$W|DEMO|g; s|^|    |" | cut -c1-230
    local status=${PIPESTATUS[0]}
    [ "$status" = 0 ] || { echo "demo: that ended with status $status; the demonstration fails"; exit 1; }
}
prove() { # claim, command...
    local claim=$1
    shift
    if "$@" >"$W/proof" 2>&1 && [ ! -s "$W/proof" ]; then
        echo "    proven: $claim"
    else
        echo "    NOT proven: $claim"
        head -n 20 "$W/proof"
        exit 1
    fi
}
differences() { rsync -aHAXS --checksum --dry-run --itemize-changes --delete "$1/" "$2/"; }

say "1. A disaster-recovery site, with its own certification authority and sealing key"
port=$(python3 -c 'import socket
s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
show farshore-site init --store "$W/site" --name sichuan --address "127.0.0.1:$port"
farshore-site serve --store "$W/site" 2>"$W/site.log" </dev/null &
SITE=$!
until grep -q 'listening on' "$W/site.log"; do # a poll on the condition; the site ends by itself if it cannot listen
    kill -0 "$SITE" 2>/dev/null || { cat "$W/site.log"; exit 1; }
    sleep 0.05
done
sed 's/^/    /' "$W/site.log"

say "2. A city joins with a one-time token; its keys never leave it"
token=$(farshore-site token --store "$W/site" chengdu) || exit 1
echo "  \$ farshore-site token --store DEMO/site chengdu"
echo "    ${token:0:24}...  (${#token} characters)"
farshore-agent join "$token" --state "$W/agent" >"$W/join.out" 2>&1 || { cat "$W/join.out"; exit 1; }
echo "  \$ farshore-agent join ${token:0:12}... --state DEMO/agent"
sed "s|$W|DEMO|g; s|^|    |" "$W/join.out"
python3 "$TOP/tests/e2e/trees.py" small "$W/pension" --kib 40960 --seed 7
python3 "$TOP/tests/e2e/trees.py" make "$W/pension/kinds" 2>/dev/null
rm -rf "$W/pension/kinds/root"
cat >>"$W/agent/agent.conf" <<E2

[source pension]
type = files
path = $W/pension

[source usr-share]
type = files
path = /usr/share
E2
echo "    two sources: the machine's own /usr/share ($(find /usr/share 2>/dev/null | wc -l) names), and pension, a tree that changes" \
    "($(find "$W/pension" | wc -l) names)"

say "3. The first night: everything travels once, compressed, over TLS 1.3; each mark counts when the site has signed for it"
show farshore-agent once --state "$W/agent"

say "4. A working day passes (pages rewritten, lines inserted, documents edited, moved, deleted), and the second night"
first=$(du -sb "$W/site/packs" | cut -f1)
python3 "$TOP/tests/e2e/trees.py" night "$W/pension" --seed 8
mv "$W/pension/docs/01" "$W/pension/docs/archive"
cp -a "$W/pension" "$W/witness"
show farshore-agent once --state "$W/agent"
echo "    the night added $((($(du -sb "$W/site/packs" | cut -f1) - first) / 1024)) KiB to $((first / 1024 / 1024)) MiB in packs;" \
    "yet each mark is a whole tree"
show farshore-snapshot list --store "$W/site"

say "5. Is what lies at the site whole? Every byte is read"
show farshore-verify store --store "$W/site"

say "6. Disaster: the pension tree is destroyed"
chmod -R u+rwx "$W/pension"
rm -rf "$W/pension"
echo "  \$ rm -rf DEMO/pension"
show farshore-restore files --store "$W/site" chengdu/pension "$W/pension" --plan
show farshore-restore files --store "$W/site" chengdu/pension "$W/pension"
prove "rsync -aHAXS --checksum finds no difference to the copy kept aside (bytes, holes, links, modes, owners, times, xattrs)" \
    differences "$W/witness" "$W/pension"
show farshore-verify mark --store "$W/site" chengdu/pension --against "$W/pension"

say "7. And the day before? Each mark stands on its own"
older=$(farshore-snapshot list --store "$W/site" --json chengdu/pension | jq -r '.marks[0].id')
echo "  \$ farshore-snapshot diff --store DEMO/site @${older:0:12} chengdu/pension"
farshore-snapshot diff --store "$W/site" "@${older:0:12}" chengdu/pension >"$W/diff"
[ $? = 1 ] || { echo "demo: the two nights should differ"; exit 1; }
head -n 4 "$W/diff" | sed 's/^/    /'
echo "    ... $(wc -l <"$W/diff") lines"
show farshore-restore files --store "$W/site" "chengdu/pension@${older:0:12}" "$W/yesterday"
prove "it is whole, with the directory that was moved in its old place" test -d "$W/yesterday/docs/01"
show farshore-verify mark --store "$W/site" "chengdu/pension@${older:0:12}" --against "$W/yesterday"

say "8. The machine's own /usr/share comes back, too"
show farshore-restore files --store "$W/site" chengdu/usr-share "$W/usr-share"
prove "rsync -aHAXS --checksum finds no difference to /usr/share" differences /usr/share "$W/usr-share"

say "9. A single bit flips in a pack: it is found, named, and not restored"
pack=$(find "$W/site/packs" -name '*.pack' | sort | head -n 1)
python3 - "$pack" <<'P'
import os, sys
with open(sys.argv[1], "r+b") as f:
    f.seek(os.path.getsize(sys.argv[1]) // 2)
    b = f.read(1)
    f.seek(-1, 1)
    f.write(bytes([b[0] ^ 4]))
P
echo "  \$ farshore-verify store --store DEMO/site"
farshore-verify store --store "$W/site" >"$W/found" 2>&1
status=$?
sed "s|$W|DEMO|g; s|^|    |" "$W/found" | cut -c1-230 | head -n 12
[ $status = 1 ] || { echo "demo: a flipped bit was not found"; exit 1; }
echo "    proven: exit status 1, with findings"

kill -TERM "$SITE"
wait "$SITE"
status=$?
SITE=
[ $status = 0 ] || { echo "demo: the site did not end cleanly ($status)"; exit 1; }
say "All proven, in $((SECONDS - began)) seconds. Nothing is left behind."
