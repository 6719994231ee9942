#!/usr/bin/env bash
# million.sh [N] - N small files (default a million): replicated, one of them changed, verified and restored, in bounded memory.
. "$(dirname "$0")/../e2e/lib.sh"
N=${1:-1000000}
T=$W/tree
SECONDS_MAX=3600
python3 - "$T" "$N" <<'P'
import os, sys
top, n = sys.argv[1], int(sys.argv[2])
for i in range(n):
    d = f"{top}/{i // 40000:03d}/{i // 1000:04d}"
    if i % 1000 == 0:
        os.makedirs(d, exist_ok=True)
    with open(f"{d}/f{i}", "w") as f:
        f.write(f"file {i}\n" * (1 + i % 5))
os.mkdir(f"{top}/flat")
for i in range(n // 4):
    os.link(f"{top}/{i // 40000:03d}/{i // 1000:04d}/f{i}", f"{top}/flat/l{i}")
P
site_up
agent_join chengdu "$W/agent"
source_add "$W/agent" many "$T"
peak() { awk '/VmHWM/ { print $2 }' "/proc/$1/status"; }
measured() { # description, option...: one pass; the agent's peak memory in KiB is in $RSS
    local what=$1
    shift
    RSS=$(python3 - "$W/pass.out" farshore-agent once --state "$W/agent" --quiet "$@" <<'P'
import os, sys
pid = os.fork()
if pid == 0:
    out = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.execvp(sys.argv[2], sys.argv[2:])
_, status, use = os.wait4(pid, 0)
print(use.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
P
    )
    is $? 0 "$what" || cat "$W/pass.out"
    cat "$W/pass.out"
    at_most "$RSS" 262144 "$what: KiB of memory of the agent"
}
measured "the first pass"
echo "one more" >>"$T/000/0000/f77"
before=$(store_bytes)
measured "a pass after one change"
at_most $(($(store_bytes) - before)) 500000 "bytes that it added"
at_most "$(peak "$SITE")" 262144 "KiB of memory of the site"
exits 0 "the mark equals the tree" farshore-verify mark --store "$STORE" chengdu/many --against "$T"
exits 0 "the store verifies" farshore-verify store --store "$STORE"
exits 0 "it is restored" farshore-restore files --store "$STORE" chengdu/many "$W/back"
ok "rsync finds no difference" same_tree "$T" "$W/back"
exits 1 "the two marks differ" farshore-snapshot diff --store "$STORE" "chengdu/many@$(mark_id chengdu/many 0)" chengdu/many
says 'f77' "in that file"
finish
