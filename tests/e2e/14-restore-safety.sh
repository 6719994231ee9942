#!/usr/bin/env bash
# Goal: a restore never writes outside its target, never over what is there unasked, and does only what is asked.
. "$(dirname "$0")/lib.sh"
ulimit -S -f unlimited
T=$W/tree
python3 "$E2E/trees.py" make "$T"
site_up
agent_join chengdu "$W/agent"
source_add "$W/agent" all "$T"
ok "the pass is sound" pass "$W/agent"
R="farshore-restore files --store $STORE chengdu/all"

exits 0 "a plan" $R "$W/plan" --plan
ok "touches nothing" test ! -e "$W/plan"
says '[0-9]' "and says how much"
exits 0 "a plan as JSON" $R "$W/plan" --plan --json
json '.[-1].schema == 1 and .[-1].bytes > 0 and .[-1].files > 3000' "has bytes and files"

mkdir "$W/there"
echo mine >"$W/there/mine"
exits 3 "a target that is not empty is refused" $R "$W/there"
says 'there|exists|empty' "by name"
is "$(ls -A "$W/there")" mine "and untouched"
echo file >"$W/file"
exits 3 "a target that is a file is refused" $R "$W/file"
is "$(cat "$W/file")" file "and untouched"
mkdir "$W/empty"
exits 0 "an empty directory will do" $R "$W/empty"
ok "and is the tree" same_tree "$T" "$W/empty"

# A symbolic link where a directory of the mark goes: it must not lead outside.
mkdir "$W/outside" "$W/trap"
ln -s "$W/outside" "$W/trap/names"
ln -s ../outside "$W/trap/meta"
ln -s / "$W/trap/borders"
$R "$W/trap" --overwrite always >"$W/out" 2>"$W/err"
status=$?
note "over symbolic links: status $status"
is "$(ls -A "$W/outside")" "" "nothing was written through a symbolic link in the way"
ok "nothing at / either" not compgen -G '/b65536*'
ok "and the status is not a crash" test $status -le 3
exits 0 "a link as the file's last component is replaced, not followed" true
mkdir -p "$W/trap2/borders"
echo precious >"$W/precious"
ln -s "$W/precious" "$W/trap2/borders/one"
exits 0 "overwriting a link" $R "$W/trap2" --overwrite always
is "$(cat "$W/precious")" precious "what it led to is untouched"
is "$(cat "$W/trap2/borders/one")" x "the file stands in its place"

# Overwrite.
cp -a "$T" "$W/half"
rm -r "$W/half/borders"
echo altered >"$W/half/meta/x"
exits 1 "overwrite never leaves what is there, and names it" $R "$W/half" --overwrite never
says 'skipped.*meta/x' "the altered file among them"
is "$(cat "$W/half/meta/x")" altered "even if it differs"
ok "and brings what lacks" cmp "$T/borders/one" "$W/half/borders/one"
exits 0 "overwrite always brings back the mark" $R "$W/half" --overwrite always
is "$(cat "$W/half/meta/x")" x "over what differs"
ok "whole" same_tree "$T" "$W/half"

# Only.
exits 0 "only a directory and a file" $R "$W/only" --only links --only meta/x
is "$(find "$W/only" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort | tr '\n' ' ')" "links meta " "nothing else is there"
ok "the directory is whole" same_tree "$T/links" "$W/only/links"
is "$(ls -A "$W/only/meta")" x "the file is alone"
exits 2 "only what does not exist fails" $R "$W/only2" --only no/such/thing
says 'no/such/thing' "by name"
for p in ../x /etc/passwd 'a/../../b' ''; do
    farshore-restore files --store "$STORE" chengdu/all "$W/only3" --only "$p" >"$W/out" 2>"$W/err"
    status=$?
    ok "only \"$p\" is refused ($status)" test $status = 64 -o $status = 2 -o $status = 3
    rm -rf "$W/only3"
done

# Untrusted.
exits 0 "untrusted" $R "$W/untrusted" --untrusted
is "$(find "$W/untrusted" \( -type b -o -type c -o -perm /6000 \) | wc -l)" 0 "no devices, no setuid, no setgid"
if as_root; then
    is "$(getfattr -R -h -d -m '^(security|trusted)\.' "$W/untrusted" 2>/dev/null)" "" "no security attributes"
    ok "while the trusted restore had them" test -n "$(find "$W/empty" -perm /4000)"
fi
ok "contents are whole" cmp "$T/borders/b65536+1" "$W/untrusted/borders/b65536+1"
exits 0 "with --sync" $R "$W/synced" --sync --only borders
ok "it is the same" same_tree "$T/borders" "$W/synced/borders"
finish
