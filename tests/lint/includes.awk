# Includes run one way, and each foreign library is known to one .c file.
#   awk -f tests/lint/includes.awk FILE...    FILE relative to the top of the project
# Tests may include any of ours (tests/unit mirrors the tree), and a foreign library as the oracle.
BEGIN {
    count = split("common:common snapshot:snapshot snapshot:common replicator:replicator replicator:snapshot " \
                  "replicator:common verify:verify verify:snapshot verify:common restore:restore " \
                  "restore:snapshot restore:common tests:tests tests:common tests:snapshot tests:replicator " \
                  "tests:verify tests:restore", edge, " ")
    for (i = 1; i <= count; i++) ok[edge[i]] = 1
    home["lmdb.h"] = "common/kv.c"
    home["librsync.h"] = "snapshot/delta.c"
    home["liburing.h"] = "common/ring.c"
    home["zstd.h"] = "common/zip.c"
    home["xxhash.h"] = "common/hash.c"
    home["jansson.h"] = "common/json.c"
    home["ini.h"] = "common/conf.c"
    home["openssl/ssl.h"] = "common/channel.c common/channel_context.c" # one module, split by verb
    # OpenSSL's small parts stay in the files that wrap them; nothing above common/ knows that it is OpenSSL.
    count = split("common/hash.c common/seal.c common/sign.c common/pki.c common/pem.c common/pem.h " \
                  "common/channel.c common/channel_context.c common/channel_internal.h", o, " ")
    for (i = 1; i <= count; i++) openssl[o[i]] = 1
}
function complain(text) {
    printf "%s:%d: %s\n", FILENAME, FNR, text
    bad = 1
}
FNR == 1 {
    sub(/^\.\//, "", FILENAME)
    split(FILENAME, from, "/")
}
/^[ \t]*#[ \t]*include[ \t]*"/ {
    path = $0
    sub(/^[^"]*"/, "", path)
    sub(/".*$/, "", path)
    split(path, to, "/")
    if (path !~ /\//) complain("\"" path "\" must be named from the top: \"" from[1] "/" path "\"")
    else if (!((from[1] ":" to[1]) in ok)) complain(from[1] " may not include " to[1])
    if (path in home) complain("<" path "> is a foreign header")
}
/^[ \t]*#[ \t]*include[ \t]*</ && from[1] != "tests" {
    path = $0
    sub(/^[^<]*</, "", path)
    sub(/>.*$/, "", path)
    if (path in home && index(" " home[path] " ", " " FILENAME " ") == 0)
        complain("<" path "> is included by " home[path] " alone")
    if (path ~ /^openssl\// && !(FILENAME in openssl)) complain("<" path "> is included by OpenSSL's wrappers in common/ alone")
}
END { exit bad }
