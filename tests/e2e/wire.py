#!/usr/bin/env python3
"""A peer of the site that does as it likes: farshore-wire(5), from the outside.

wire.py hello ADDRESS [identity]     HELLO; exit 0 if WELCOME comes
wire.py linger ADDRESS [identity]    the same, then stays; ends when the site ends the connection
wire.py abuse ADDRESS [identity] --base DIGEST:SIZE
                                     everything that a stolen agent could try; a line for each: PASS or FAIL, what, what came back
wire.py rename-token TOKEN NAME      the same token for another agent's name
wire.py other-ca-token TOKEN         the same with another fingerprint
identity: --ca FILE [--key FILE --cert FILE] [--agent NAME]
"""
import argparse
import base64
import hashlib
import os
import random
import re
import socket
import ssl
import struct
import sys
import time

TYPES = ("HELLO WELCOME BEGIN BEGUN QUERY ANSWER WANT SUMS GET GOT BLOB ITEMS OBJECTS MARK RECEIPT MISSING BYE ERROR JOIN "
         "JOINED").split()
T = {name: i + 1 for i, name in enumerate(TYPES)}
KIND_BLOCK, KIND_MAP, KIND_NODE, KIND_PAGE, KIND_XATTRS = b"KMNPX"
COPY, LITERAL, ZERO = 1, 2, 3
BLOCK = 65536
FRAME_MAX = 1 << 20


def varint(v):
    out = b""
    while v >= 128:
        out += bytes([v & 127 | 128])
        v >>= 7
    return out + bytes([v])


def block(b):
    return varint(len(b)) + b


def u16(v):
    return struct.pack("<H", v)


def u32(v):
    return struct.pack("<I", v)


def u64(v):
    return struct.pack("<Q", v & (1 << 64) - 1)


def frame(kind, payload, size=None, padding=b"\0\0\0"):
    return u32(len(payload) if size is None else size) + bytes([T.get(kind, kind)]) + padding + payload


def hello(agent, version=1, receipt=b"", tail=b""):
    return frame("HELLO", u16(version) + block(agent.encode()) + block(b"wire.py") + u64(time.time_ns()) +
                 (block(receipt[:-64]) + receipt[-64:] if receipt else block(b"")) + tail)


def begin(source="pension"):
    return frame("BEGIN", block(source.encode() if isinstance(source, str) else source))


def query(questions, unit=1, count=None):
    return frame("QUERY", u32(unit) + varint(len(questions) if count is None else count) + b"".join(questions))


def question(kind=KIND_BLOCK, digest=bytes(32), base=None, base_map=0, sums_of=0):
    q = bytes([kind]) + digest + bytes([base is not None])
    return q + (base[0] + varint(base[1]) + varint(base_map) + u64(sums_of) if base else b"")


def blob(number, raw, data, zipped=0):
    return frame("BLOB", u32(number) + u32(raw) + bytes([zipped]) + block(data))


def op(kind, length, off=0, number=0):
    return bytes([kind]) + varint(length) + (varint(off) if kind != ZERO else b"") + (varint(number) if kind == LITERAL else b"")


def item_map(digest, size, ops, base=None, base_map=0, same=0, zero=0, digests=None, count=None):
    blocks = (size + BLOCK - 1) // BLOCK
    if digests is None:
        digests = b"".join(os.urandom(32) for n in range(blocks) if not same >> n & 1 and not zero >> n & 1)
    return (bytes([KIND_MAP]) + digest + varint(size) + bytes([base is not None]) +
            (base[0] + varint(base[1]) + varint(base_map) + u64(same) if base else b"") + u64(zero) + digests +
            varint(len(ops) if count is None else count) + b"".join(ops))


def item_block(digest, size, number, off):
    return bytes([KIND_BLOCK]) + digest + varint(size) + varint(number) + varint(off)


def entry(name, kind=b"f", size=0, digest=None, target=b""):
    e = kind + b"\0" + bytes([len(name)]) + name + varint(0o644) + varint(0)
    if kind == b"f":
        e += varint(size) + (digest or hashlib.sha256(b"").digest())
    if kind == b"l":
        e += block(target)
    return e


def page(entries, level=0, count=None, version=1):
    return bytes([version, level]) + u32(len(entries) if count is None else count) + b"".join(entries)


def objects(*things):
    return frame("OBJECTS", b"".join(bytes([kind]) + block(data) for kind, data in things))


def bomb(blocks, told=None):
    """A zstd frame of so many blocks of 128 KiB, four bytes each; told: the size that its header promises."""
    out = bytes.fromhex("28b52ffd") + (b"\x00\x58" if told is None else b"\xa0" + u32(told))
    for i in range(blocks):
        out += struct.pack("<I", (131072 << 3) | 2 | (i == blocks - 1))[:3] + b"A"
    return out


class Peer:
    def __init__(self, a, seconds=20):
        host, port = a.address.rsplit(":", 1)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.context.load_verify_locations(a.ca)
        if a.cert:
            self.context.load_cert_chain(a.cert, a.key)
        self.raw = socket.create_connection((host, int(port)), seconds)
        self.s = self.context.wrap_socket(self.raw, server_hostname=host)
        self.s.settimeout(seconds)

    def send(self, data):
        self.s.sendall(data)

    def exactly(self, n):
        out = b""
        while len(out) < n:
            piece = self.s.recv(n - len(out))
            if not piece:
                raise EOFError("the site closed the connection")
            out += piece
        return out

    def receive(self):
        size, kind = struct.unpack("<IB3x", self.exactly(8))
        payload = self.exactly(size)
        return (TYPES[kind - 1] if 0 < kind <= len(TYPES) else str(kind)), payload

    def until(self, *kinds):
        while True:
            kind, payload = self.receive()
            if kind == "ERROR" and "ERROR" not in kinds:
                raise RuntimeError("ERROR " + error_text(payload))
            if kind in kinds:
                return kind, payload

    def close(self):
        self.s.close()


def error_text(payload):
    return payload[2:].decode(errors="replace") if payload[1] < 128 else payload[3:].decode(errors="replace")


def greet(a):
    p = Peer(a)
    p.send(hello(a.agent))
    p.until("WELCOME")
    return p


def begun(a):
    p = greet(a)
    p.send(begin(a.source))
    p.until("BEGUN")
    return p


def read_token(text):
    raw = text[4:]
    return bytearray(base64.urlsafe_b64decode(raw + "=" * (-len(raw) % 4)))


def write_token(raw):
    return "fs1_" + base64.urlsafe_b64encode(bytes(raw)).decode().rstrip("=")


def cases(a):
    """name, where the session stands when it begins (0 TLS, 1 greeted, 2 begun), what is sent, what the error must say."""
    rng = random.Random(7)
    digest, size = a.base.split(":")
    base = (bytes.fromhex(digest), int(size))
    d = os.urandom(32)
    literal = os.urandom(5000)
    one = blob(0, len(literal), literal)
    yield "garbage instead of a frame", 0, rng.randbytes(4096), "frame|unknown|type|bytes"
    yield "a frame of 2 MiB", 0, frame("HELLO", b"x" * 100, size=2 << 20), "HELLO.*bytes|at most"
    yield "a frame of 4 GiB", 0, frame("HELLO", b"x" * 100, size=0xFFFFFFFF), "HELLO.*bytes|at most"
    yield "a frame of unknown type", 0, frame(99, b""), "unknown type 99"
    yield "padding in the header", 0, frame("HELLO", b"", padding=b"\0\1\0"), "padding"
    yield "BEGIN before HELLO", 0, begin(), "HELLO|BEGIN"
    yield "MARK before HELLO", 0, frame("MARK", b"x"), "HELLO|MARK"
    yield "JOIN with a certificate and no token", 0, frame("JOIN", bytes(16) + block(b"evil") + bytes(65 + 32) + block(b"") + bytes(64)), "."
    yield "HELLO of version 99", 0, hello(a.agent, version=99), "version"
    yield "HELLO in another's name", 0, hello("mianyang-not-me"), "name|agent|certificate"
    yield "HELLO with a name that is a path", 0, hello("../../etc"), "agent"
    yield "HELLO cut short", 0, frame("HELLO", u16(1) + b"\x05ch"), "HELLO"
    yield "HELLO with a tail", 0, hello(a.agent, tail=b"tail"), "HELLO.*too many"
    yield "HELLO with a receipt that nobody signed", 0, hello(a.agent, receipt=b"farshore-receipt-v1\n" + bytes(64)), "receipt|signature"
    yield "HELLO twice", 1, hello(a.agent), "HELLO"
    yield "QUERY before BEGIN", 1, query([question()]), "BEGIN|QUERY"
    yield "BLOB before BEGIN", 1, one, "BEGIN|BLOB"
    yield "BEGIN of a path", 1, begin("../../etc/passwd"), "source"
    yield "BEGIN of an absolute path", 1, begin("/etc"), "source"
    yield "BEGIN with a NUL", 1, begin(b"pen\0sion"), "source"
    yield "BEGIN of nothing", 1, begin(""), "source"
    yield "BEGIN of 300 letters", 1, begin("x" * 300), "source"
    yield "WELCOME from the agent", 1, frame("WELCOME", b""), "WELCOME"
    yield "RECEIPT from the agent", 2, frame("RECEIPT", b"x"), "RECEIPT"
    yield "HELLO in an upload", 2, hello(a.agent), "HELLO"
    yield "QUERY of nothing", 2, query([]), "QUERY.*count"
    yield "QUERY that counts too many", 2, query([question()], count=1 << 40), "QUERY.*count"
    yield "QUERY that counts more than it has", 2, query([question()], count=3), "QUERY"
    yield "QUERY of an unknown kind", 2, query([question(kind=ord("Z"))]), "QUERY.*kind"
    yield "QUERY of a map far outside the base", 2, query([question(kind=KIND_MAP, base=base, base_map=1 << 30)]), "QUERY.*base map"
    yield "WANT beyond the end", 2, frame("WANT", u32(1) + base[0] + varint(base[1]) + varint(0) + varint(base[1] + 1)), "WANT.*length"
    yield "WANT at an odd place", 2, frame("WANT", u32(1) + base[0] + varint(base[1]) + varint(5) + varint(10)), "WANT.*offset"
    yield "WANT of a size that overflows", 2, frame("WANT", u32(1) + base[0] + varint((1 << 64) - 1) + varint(0) + varint((1 << 64) - 1)), "WANT"
    yield "a varint without an end", 2, frame("WANT", u32(1) + base[0] + b"\xff" * 30), "WANT"
    yield "BLOB with a gap in its numbers", 2, blob(5, len(literal), literal), "BLOB|blob|number"
    yield "BLOB of no bytes", 2, blob(0, 0, b""), "BLOB.*raw"
    yield "BLOB of 1 GiB", 2, blob(0, 1 << 30, literal), "BLOB.*raw"
    yield "BLOB whose length is a lie", 2, blob(0, len(literal) + 1, literal), "BLOB|blob"
    yield "BLOB that is no zstd frame", 2, blob(0, 5000, literal, 1), "zstd|compress|BLOB|blob"
    yield "BLOB that explodes", 2, blob(0, 262144, bomb(8000), 1), "zstd|compress|BLOB|blob|long"
    yield "BLOB that explodes beyond what its header says", 2, blob(0, 262144, bomb(8000, 262144), 1), "zstd|compress|BLOB|blob|long"
    yield "BLOB whose header says 4 GiB", 2, blob(0, 262144, bomb(8000, 0xFFFFFFFF), 1), "zstd|compress|BLOB|blob|long"
    yield "BLOB that explodes within its bound and beyond its word", 2, blob(0, 1000, bomb(1, 1000), 1), "zstd|compress|BLOB|blob|long"
    yield "the same BLOB twice", 2, one + one, "BLOB|blob|number"
    yield "COPY outside the base", 2, one + frame("ITEMS", item_map(d, 5000, [op(COPY, 5000, base[1] - 10)], base)), "op offset"
    yield "COPY at an offset that overflows", 2, frame("ITEMS", item_map(d, 5000, [op(COPY, 5000, (1 << 64) - 100)], base)), "op offset"
    yield "COPY without a base", 2, frame("ITEMS", item_map(d, 5000, [op(COPY, 5000, 0)])), "op kind"
    yield "COPY from a base that is not here", 2, frame("ITEMS", item_map(d, 5000, [op(COPY, 5000, 0)], (os.urandom(32), 10000))), "base|not|digest|absent"
    yield "a base whose size is a lie", 2, frame("ITEMS", item_map(d, 5000, [op(COPY, 5000, 1 << 30)], (base[0], 1 << 40))), "."
    yield "ops that make too little", 2, one + frame("ITEMS", item_map(d, 5000, [op(LITERAL, 4000, 0, 0)])), "ops|length"
    yield "ops that overlap: too much", 2, one + frame("ITEMS", item_map(d, 5000, [op(LITERAL, 4000, 0, 0), op(LITERAL, 4000, 0, 0)])), "op"
    yield "an op of no bytes", 2, one + frame("ITEMS", item_map(d, 5000, [op(LITERAL, 0, 0, 0), op(LITERAL, 5000, 0, 0)])), "op length"
    yield "ops that explode", 2, frame("ITEMS", item_map(d, 5000, [op(ZERO, 1 << 40)])), "op length"
    yield "a count of ops that is a lie", 2, frame("ITEMS", item_map(d, 5000, [op(ZERO, 5000)], count=1 << 50)), "op count"
    yield "LITERAL of a blob that never came", 2, frame("ITEMS", item_map(d, 5000, [op(LITERAL, 5000, 0, 7)])), "blob"
    yield "LITERAL outside its blob", 2, one + frame("ITEMS", item_map(d, 5000, [op(LITERAL, 5000, 4000, 0)])), "blob|outside|LITERAL|bytes"
    yield "a file outside its blob", 2, one + frame("ITEMS", item_block(d, 5000, 0, 200000)), "blob|outside|LITERAL|bytes"
    yield "a block whose digest is a lie", 2, one + frame("ITEMS", item_block(d, 5000, 0, 0)), "digest"
    yield "a map whose digest is a lie", 2, one + frame("ITEMS", item_map(d, 5000, [op(LITERAL, 5000, 0, 0)])), "digest"
    yield "a map larger than a map", 2, frame("ITEMS", bytes([KIND_MAP]) + d + varint(1 << 30)), "bytes"
    yield "SAME blocks that the map does not have", 2, frame("ITEMS", item_map(d, 5000, [], base, same=1 << 40, digests=os.urandom(32))), "same"
    yield "an item cut short", 2, frame("ITEMS", item_block(d, 5000, 0, 0)[:-20]), "ITEMS"
    for name in (b"..", b".", b"/etc/passwd", b"a/b", b"nul\0nul", b""):
        yield f"a page with the name {name!r}", 2, objects((KIND_PAGE, page([entry(name)]))), "page|name"
    yield "a page out of order", 2, objects((KIND_PAGE, page([entry(b"b"), entry(b"a")]))), "page"
    yield "a page with a name twice", 2, objects((KIND_PAGE, page([entry(b"a"), entry(b"a")]))), "page"
    yield "a page with an empty target", 2, objects((KIND_PAGE, page([entry(b"a", b"l")]))), "page"
    yield "a page that counts too many", 2, objects((KIND_PAGE, page([entry(b"a")], count=1 << 30))), "page"
    yield "a page of version 9", 2, objects((KIND_PAGE, page([entry(b"a")], version=9))), "page"
    yield "a page of level 200", 2, objects((KIND_PAGE, page([], level=200))), "page"
    yield "a page of garbage", 2, objects((KIND_PAGE, rng.randbytes(3000))), "page"
    yield "a node of garbage", 2, objects((KIND_NODE, rng.randbytes(3001))), "node"
    yield "xattrs of garbage", 2, objects((KIND_XATTRS, rng.randbytes(3001))), "xattr|extended"
    yield "an object of data", 2, objects((ord("K"), b"x")), "OBJECTS.*kind"
    yield "an object of no bytes", 2, objects((KIND_PAGE, b"")), "OBJECTS"
    text = (f"farshore-mark-v1\nsource {a.agent}/{a.source}\nsequence 2\nprevious {'2' * 64}\nstarted 1790000000000000000\n"
            f"position -\nroot {'1' * 64}\nbytes 1\nfiles 1\n").encode()
    yield "a mark that nobody signed", 2, frame("MARK", block(text) + bytes(64)), "signature"
    yield "a mark of another's source", 2, frame("MARK", block(text.replace(a.agent.encode(), b"mianyang")) + bytes(64)), "upload of"
    yield "a mark that is none", 2, frame("MARK", block(b"hello\n") + bytes(64)), "mark"
    yield "a mark without a text", 2, frame("MARK", block(b"")), "MARK"
    yield "JOIN in a session", 2, frame("JOIN", b""), "JOIN"
    yield "ERROR from the agent", 2, frame("ERROR", b"\x05\x03bad"), ""
    yield "GET before it is due", 1, frame("GET", u32(1) + os.urandom(32)), "GET|BEGIN"


def abuse(a):
    for name, stage, data, must in cases(a):
        try:
            p = (Peer, greet, begun)[stage](a)
        except Exception as e:  # the site must serve on after whatever came before
            print(f"FAIL {name}: the session before it: {e}", flush=True)
            continue
        verdict, said = "FAIL", ""
        try:
            p.send(data)
            while True:
                kind, payload = p.receive()
                if kind == "ERROR":
                    said = error_text(payload)
                    break
                said += kind + " "
                if kind in ("RECEIPT", "MISSING"):
                    break
            verdict = "PASS" if kind == "ERROR" and re.search(must, said) else "FAIL"
        except (EOFError, OSError) as e:
            said += str(e)
            verdict = "PASS" if must == "" else "FAIL"
        finally:
            p.close()
        print(f"{verdict} {name}: {said[:150]}", flush=True)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("what")
    ap.add_argument("address")
    ap.add_argument("more", nargs="?")
    ap.add_argument("--ca")
    ap.add_argument("--key")
    ap.add_argument("--cert")
    ap.add_argument("--agent", default="chengdu")
    ap.add_argument("--source", default="pension")
    ap.add_argument("--base", default="0" * 64 + ":1000")
    a = ap.parse_args()
    if a.what == "hello":
        greet(a).close()
        print("welcome")
    elif a.what == "linger":
        p = begun(a)
        print("welcome", flush=True)
        p.s.settimeout(300)
        try:
            while True:
                print(p.receive(), flush=True)
        except (EOFError, OSError) as e:
            print("ended:", e)
    elif a.what == "abuse":
        abuse(a)
    elif a.what == "rename-token":
        raw = read_token(a.address)
        n = raw[49]
        print(write_token(raw[:49] + bytes([len(a.more)]) + a.more.encode() + raw[50 + n:]))
    elif a.what == "other-ca-token":
        raw = read_token(a.address)
        raw[20] ^= 1
        print(write_token(raw))
    elif a.what == "idle":  # a TCP connection that says nothing
        host, port = a.address.rsplit(":", 1)
        s = socket.create_connection((host, int(port)))
        print("connected", flush=True)
        s.settimeout(120)
        try:
            s.recv(1)
        except ConnectionResetError:
            pass
        print("cut")
    elif a.what == "flood":
        host, port = a.address.rsplit(":", 1)
        held = []
        for _ in range(int(a.more)):
            try:
                held.append(socket.create_connection((host, int(port)), 5))
            except OSError:
                break
        print("flooded", len(held), flush=True)
        sys.stdin.read()
    elif a.what == "garbage":
        host, port = a.address.rsplit(":", 1)
        for data in (os.urandom(5000), b"GET / HTTP/1.0\r\n\r\n", bytes.fromhex("1603010200010001fc0303") + os.urandom(400), b"\x16"):
            s = socket.create_connection((host, int(port)), 5)
            s.sendall(data)
            s.close()
        print("done")


main()
