#!/usr/bin/env bash
# Goal: only an enrolled agent with its own, valid certificate gets in; a token works once, for its agent, for an hour; each refusal
# says why, and the site serves on.  Method: identities made with openssl beside real ones, and the clock of a token moved.
. "$(dirname "$0")/lib.sh"
T=$W/tree
mkdir "$T"
echo a >"$T/a"
site_up
agent_join chengdu "$W/agent"
source_add "$W/agent" pension "$T"
ok "a real agent gets in" pass "$W/agent"
ok "its keys are its own alone" test "$(stat -c %a "$W/agent/tls.key")$(stat -c %a "$W/agent/mark.key")" = 600600
ok "the site's keys are its own alone" test "$(stat -c %a "$STORE/seal.key")$(stat -c %a "$STORE/ca.key")$(stat -c %a "$STORE/site.key")" = 600600600
serves() { ok "the site serves on after $1" pass "$W/agent"; }
tls() { # key, certificate: a TLS client that waits for the server's word
    timeout 20 python3 "$E2E/wire.py" hello 127.0.0.1:"$PORT" --ca "$W/agent/ca.crt" ${1:+--key "$1"} ${2:+--cert "$2"} >"$W/tls.out" 2>&1
}

ok "a real certificate is answered" tls "$W/agent/tls.key" "$W/agent/tls.crt"
ok "no certificate: refused" not tls "" ""
serves "no certificate"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$W/evil-ca.key" -out "$W/evil-ca.crt" -subj /CN=sichuan \
    -days 3 2>/dev/null
issue() { # CA certificate, CA key, name, days valid, where
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$5.key" -subj "/CN=$3" 2>/dev/null |
        openssl x509 -req -CA "$1" -CAkey "$2" -days "$4" -out "$5.crt" -extfile <(echo "extendedKeyUsage=clientAuth") 2>/dev/null
}
issue "$W/evil-ca.crt" "$W/evil-ca.key" chengdu 3 "$W/evil"
ok "another CA's certificate: refused" not tls "$W/evil.key" "$W/evil.crt"
ok "the site names it" grep -qiE 'certificate|handshake|tls' "$W/site.now"
serves "another CA's certificate"
issue "$STORE/ca.crt" "$STORE/ca.key" chengdu 3 "$W/unknown"
ok "the CA's certificate for a key that never joined: refused" not tls "$W/unknown.key" "$W/unknown.crt"
serves "a stranger's certificate"
issue "$STORE/ca.crt" "$STORE/ca.key" chengdu -1 "$W/expired"
ok "an expired certificate: refused" not tls "$W/expired.key" "$W/expired.crt"
serves "an expired certificate"
for v in -tls1_2 -tls1_1; do
    ok "TLS below 1.3: refused ($v)" not timeout 10 openssl s_client -connect "127.0.0.1:$PORT" $v -cert "$W/agent/tls.crt" \
        -key "$W/agent/tls.key" -CAfile "$W/agent/ca.crt" </dev/null
done
timeout 10 openssl s_client -connect "127.0.0.1:$PORT" -tls1_3 -cert "$W/agent/tls.crt" -key "$W/agent/tls.key" \
    -CAfile "$W/agent/ca.crt" </dev/null >"$W/s_client" 2>&1
ok "the site's certificate verifies" grep -q 'Verify return code: 0 (ok)' "$W/s_client"
ok "no session tickets" not grep -q 'Post-Handshake New Session Ticket' "$W/s_client"

# The agent checks the site, too.
cp -a "$W/agent" "$W/misled"
cp "$W/evil-ca.crt" "$W/misled/ca.crt"
exits 2 "an agent does not talk to a site of another CA" farshore-agent once --state "$W/misled"
says 'certificate' "and says why"

# Tokens.
once=$(token mianyang)
is "$(wc -l <<<"$once")" 1 "a token is one line"
ok "with its prefix" grep -q '^fs1_' <<<"$once"
ok "join" farshore-agent join "$once" --state "$W/m1"
exits 3 "a token works once" farshore-agent join "$once" --state "$W/m2"
says 'token' "and it is said"
ok "nothing is left of the try" test ! -e "$W/m2/tls.crt"
again=$(farshore-site token --store "$STORE" mianyang 2>"$W/err")
if [ -n "$again" ]; then
    note "a token for an enrolled agent is given: it may join again with new keys"
fi
other=$(token deyang)
for bad in "${other:0:20}" "${other}x" "fs1_" "fs1_AAAA" "fs9_${other:4}" "$(tr 'A-Za-z' 'N-ZA-Mn-za-m' <<<"$other")"; do
    farshore-agent join "$bad" --state "$W/bad" >"$W/out" 2>"$W/err"
    status=$?
    ok "a damaged token is refused (${bad:0:12}..., $status)" test $status = 64 -o $status = 2
done
ok "no state was made of them" test ! -e "$W/bad/tls.crt"
# The same secret for another name: the site decides by what it wrote down.
python3 "$E2E/wire.py" rename-token "$other" guangyuan >"$W/renamed"
exits 3 "a token for another agent's name is refused" farshore-agent join "$(cat "$W/renamed")" --state "$W/g"
python3 "$E2E/wire.py" other-ca-token "$other" >"$W/wrong-ca"
exits 2 "a token with another CA's fingerprint: the agent refuses the site" farshore-agent join "$(cat "$W/wrong-ca")" --state "$W/g"
says 'certificate|CA|fingerprint' "and says why"
ok "the token itself still works" farshore-agent join "$other" --state "$W/d"
# A token made by a site whose clock stood two hours back.
site_stop
cc -shared -fPIC -O1 -o "$W/clock.so" -x c - <<'C'
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t which, struct timespec *t)
{
    const int r = (int)syscall(SYS_clock_gettime, which, t);
    if (which == CLOCK_REALTIME)
        t->tv_sec -= 7200;
    return r;
}
C
old=$(ASAN_OPTIONS="$ASAN_OPTIONS:verify_asan_link_order=0" LD_PRELOAD=$W/clock.so farshore-site token --store "$STORE" old 2>"$W/err")
site_start
ok "a token of two hours ago" grep -q '^fs1_' <<<"$old"
exits 3 "is expired, and refused" farshore-agent join "$old" --state "$W/o"
says 'token|expired' "by that reason"
exits 3 "join does not overwrite a state" farshore-agent join "$(token chengdu2)" --state "$W/agent"
serves "all that"

# Revocation, at once: also on a connection that lives.
start "$W/live.log" python3 "$E2E/wire.py" linger "127.0.0.1:$PORT" --ca "$W/m1/ca.crt" --key "$W/m1/tls.key" --cert "$W/m1/tls.crt" --agent mianyang
LIVE=$PID
await_line "$W/live.log" 'welcome' "$LIVE" 20
is $? 0 "a live connection of mianyang"
exits 0 "revoke" farshore-site revoke --store "$STORE" mianyang
ok "the live connection is cut" gone "$LIVE" 10
source_add "$W/m1" docs "$T"
exits 3 "the revoked agent is refused" farshore-agent once --state "$W/m1"
says 'revoked' "by that name"
exits 2 "nobody to revoke" farshore-site revoke --store "$STORE" nobody
serves "a revocation"
site_stop
exits 0 "revoke without a site" farshore-site revoke --store "$STORE" deyang
site_start
source_add "$W/d" docs "$T"
exits 3 "is in force when it starts" farshore-agent once --state "$W/d"
exits 0 "marks of others are untouched" farshore-verify store --store "$STORE"
finish
