#!/usr/bin/env bash
# Goal: a full disk is a clean error on either side; what has a receipt stays; it goes on once there is space.
# Method: a small ext4 in a loop-mounted file under the store, then under the agent's state.
. "$(dirname "$0")/lib.sh"
if ! as_root || ! truncate -s 64M "$W/disk.img" || ! mkfs.ext4 -q -F -m 0 "$W/disk.img" || ! mkdir "$W/disk" ||
    ! mount -o loop "$W/disk.img" "$W/disk" 2>/dev/null; then
    skip 1 "no loop mounts here"
    finish
fi
MOUNTS+=("$W/disk")
STORE=$W/disk/site
T=$W/tree
mkdir "$T"
head -c 8000000 /dev/urandom >"$T/a"
site_up
agent_join chengdu "$W/agent"
source_add "$W/agent" pension "$T"
ok "a pass with space is sound" pass "$W/agent"
first=$(mark_id chengdu/pension)
cp "$T/a" "$W/first-a"

# Leave less than the next pass needs.
free=$(($(stat -f -c '%a*%S' "$W/disk")))
fallocate -l $((free - 3000000)) "$W/disk/ballast"
head -c 20000000 /dev/urandom >"$T/b"
exits 2 "the site's disk is full: the pass fails" farshore-agent once --state "$W/agent"
says '(no space|full|ENOSPC)' "with the reason"
is "$(marks)" 1 "a half-sent mark is invisible"
ok "the site lives on" kill -0 "$SITE"
exits 0 "what had a receipt verifies" farshore-verify mark --store "$STORE" "chengdu/pension@$first"
exits 0 "and is restored" farshore-restore files --store "$STORE" "chengdu/pension@$first" "$W/back"
ok "to the byte" cmp "$W/first-a" "$W/back/a"
exits 2 "it fails again while the disk is full" farshore-agent once --state "$W/agent"
rm "$W/disk/ballast"
exits 0 "with space again the next pass is sound, without a restart" farshore-agent once --state "$W/agent"
exits 0 "the mark equals the tree" farshore-verify mark --store "$STORE" chengdu/pension --against "$T"
exits 0 "the store is whole" farshore-verify store --store "$STORE"

# Full to the last byte, and the site killed meanwhile: it must start without a hand.
free=$(($(stat -f -c '%a*%S' "$W/disk")))
fallocate -l $((free - 20000)) "$W/disk/ballast"
head -c 9000000 /dev/urandom >"$T/c"
exits 2 "full to the brim" farshore-agent once --state "$W/agent"
kill -KILL "$SITE"
wait "$SITE" 2>/dev/null
forget "$SITE"
rm "$W/disk/ballast"
ok "a site killed on a full disk starts when there is space" site_start
exits 0 "and takes the pass" farshore-agent once --state "$W/agent"
exits 0 "the store is whole still" farshore-verify store --store "$STORE"
is "$(marks)" 3 "all marks are there"
site_stop
ok "the site ends cleanly" test $? = 0
umount "$W/disk"
MOUNTS=()

# The other side: the agent's state on a small disk.
truncate -s 24M "$W/small.img"
mkfs.ext4 -q -F -m 0 "$W/small.img"
mount -o loop "$W/small.img" "$W/disk"
MOUNTS+=("$W/disk")
STORE=$W/site2
site_up
agent_join chengdu "$W/disk/agent"
source_add "$W/disk/agent" pension "$T"
ok "a pass with space for the state is sound" pass "$W/disk/agent"
free=$(($(stat -f -c '%a*%S' "$W/disk")))
fallocate -l "$free" "$W/disk/ballast"
for i in $(seq 1 4000); do echo "$i" >"$T/many$i"; done
exits 2 "the agent's disk is full: the pass fails" farshore-agent once --state "$W/disk/agent"
says '(no space|full)' "with the reason"
rm "$W/disk/ballast"
exits 0 "with space again it goes on" farshore-agent once --state "$W/disk/agent"
exits 0 "the mark equals the tree" farshore-verify mark --store "$STORE" chengdu/pension --against "$T"
exits 0 "the store is whole" farshore-verify store --store "$STORE"

# And the target of a restore.
rm -rf "$W/disk/agent"
exits 2 "a restore onto a disk too small fails" farshore-restore files --store "$STORE" chengdu/pension "$W/disk/target"
says '(no space|full|needs)' "with the reason"
finish
