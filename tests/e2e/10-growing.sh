#!/usr/bin/env bash
# Goal: an append-only log that grows while it is read is taken as it stood; a file that never stands still is reported, and taken
# as last read.  Method: writers that run during the passes; each restored log must be a prefix of the final one.
. "$(dirname "$0")/lib.sh"
T=$W/tree
mkdir "$T"
head -c 30000000 /dev/urandom >"$T/before"
python3 -c 'import sys; open(sys.argv[1], "wb").write(b"".join(b"line %012d\n" % i for i in range(700000)))' "$T/log"
site_up
agent_join chengdu "$W/agent"
source_add "$W/agent" pension "$T"

start "$W/writer.log" python3 -c 'import sys, time
n = 700000
with open(sys.argv[1], "ab", 0) as f:
    print("writing", flush=True)
    while True:
        f.write(b"".join(b"line %012d\n" % i for i in range(n, n + 100)))
        n += 100
        time.sleep(0.0005) # a pace: the log grows by some megabytes a second, for as long as the passes take' "$T/log"
WRITER=$PID
await_line "$W/writer.log" writing "$WRITER" 10
size=$(stat -c %s "$T/log")
for i in 1 2 3; do
    exits 0 "pass $i over a growing log is sound" farshore-agent once --state "$W/agent"
    grew() { [ "$(stat -c %s "$T/log")" -gt "$size" ]; }
    ok "the log grew meanwhile" await 5 grew
    size=$(stat -c %s "$T/log")
done
kill "$WRITER"
wait "$WRITER" 2>/dev/null
forget "$WRITER"
for i in 0 1 2; do
    exits 0 "mark $i is restored" farshore-restore files --store "$STORE" "chengdu/pension@$(mark_id chengdu/pension "$i")" "$W/back$i"
    n=$(stat -c %s "$W/back$i/log")
    ok "its log, $n bytes, is a prefix of the final one" cmp -n "$n" "$W/back$i/log" "$T/log"
    ok "and not empty" test "$n" -ge 12600000
done
exits 0 "the store is whole" farshore-verify store --store "$STORE"

# A file that is rewritten all the time: it cannot be taken as it stood at any instant; this is said, and the rest is taken.
start "$W/writer.log" python3 -c 'import os, sys
f = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
os.truncate(f, 24000000)
print("writing", flush=True)
while True:
    os.pwrite(f, os.urandom(512), int.from_bytes(os.urandom(4), "little") % 23000000)' "$T/restless"
WRITER=$PID
await_line "$W/writer.log" writing "$WRITER" 10
exits 1 "a file that never stands still is a finding" farshore-agent once --state "$W/agent"
says 'restless' "which names it"
kill "$WRITER"
wait "$WRITER" 2>/dev/null
forget "$WRITER"
exits 0 "the mark verifies all the same" farshore-verify mark --store "$STORE" chengdu/pension
exits 0 "and is restored" farshore-restore files --store "$STORE" chengdu/pension "$W/back"
ok "the other files are right" cmp "$T/before" "$W/back/before"
exits 0 "once it stands still the pass is sound" farshore-agent once --state "$W/agent"
exits 0 "and equals the tree" farshore-verify mark --store "$STORE" chengdu/pension --against "$T"

# Files that come and go during the scan.
start "$W/writer.log" python3 -c 'import os, sys
d = sys.argv[1]
os.mkdir(d)
print("writing", flush=True)
while True:
    for i in range(200):
        with open(f"{d}/{i}", "w") as f: f.write("x" * i)
    for i in range(200): os.unlink(f"{d}/{i}")' "$T/come-and-go"
WRITER=$PID
await_line "$W/writer.log" writing "$WRITER" 10
for i in 1 2 3; do
    farshore-agent once --state "$W/agent" >"$W/out" 2>"$W/err"
    status=$?
    ok "pass $i over files that come and go ends soundly or with findings ($status)" test $status -le 1
done
kill "$WRITER"
wait "$WRITER" 2>/dev/null
forget "$WRITER"
exits 0 "the store is whole" farshore-verify store --store "$STORE"
finish
