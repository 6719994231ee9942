#!/usr/bin/env python3
"""flip.py STORE TREE SCRATCH N SEED FIRST - flips N bits of a store, one at a time, and prints a TAP line for each.

A flip in the index that verify does not report must lie in bytes that LMDB never looks at; which these are is found out here, by
an own reading of data.mdb, not by asking the code under test."""
import hashlib
import os
import random
import re
import shutil
import struct
import subprocess
import sys

store, tree, scratch, count, seed, first = (sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]),
                                            int(sys.argv[6]))
rng = random.Random(seed)
PAGE = 4096


class Index:
    """Which bytes of data.mdb are looked at when the newest snapshot is read: everything else cannot matter to a reader."""

    def __init__(self, path):
        self.data = open(path, "rb").read()
        self.used = {}
        metas = []
        for n in (0, 1):
            at = n * PAGE + 16
            magic, version, _, _ = struct.unpack_from("<IIQQ", self.data, at)
            assert magic == 0xBEEFC0DE and version == 1
            metas.append((struct.unpack_from("<Q", self.data, at + 24 + 96 + 8)[0], n))
        self.newest = max(metas)[1]
        meta = self.newest * PAGE + 16
        self.mark(meta, meta + 8, "meta page")
        main = meta + 24 + 48
        free = meta + 24
        self.table(main)
        self.table(free)  # a writer takes pages from it: a false one would overwrite live data
        self.mark(meta + 24 + 96, meta + 24 + 96 + 16, "meta page")

    def mark(self, a, b, what):
        for i in range(a, b):
            self.used[i] = what

    def table(self, at):
        root, = struct.unpack_from("<Q", self.data, at + 40)
        self.mark(at + 4, at + 8, "flags and depth of a table")
        self.mark(at + 40, at + 48, "root of a table")
        if root != 0xFFFFFFFFFFFFFFFF:
            self.page(root)

    def page(self, number):
        at = number * PAGE
        _, _, flags, lower, upper = struct.unpack_from("<QHHHH", self.data, at)
        self.mark(at, at + 8, "page number")
        self.mark(at + 10, at + 16, "page header")
        keys = (lower - 16) // 2
        for i in range(keys):
            self.mark(at + 16 + 2 * i, at + 18 + 2 * i, "node offset")
            node = at + struct.unpack_from("<H", self.data, at + 16 + 2 * i)[0]
            lo, hi, nflags, ksize = struct.unpack_from("<HHHH", self.data, node)
            self.mark(node, node + 8, "node header")
            self.mark(node + 8, node + 8 + ksize, "key")
            value = node + 8 + ksize
            if flags & 1:
                self.page(lo | hi << 16 | nflags << 32)
            elif nflags & 1:
                self.mark(value, value + 8, "overflow page number")
                self.overflow(struct.unpack_from("<Q", self.data, value)[0], lo | hi << 16)
            elif nflags & 2:
                self.table(value)
            else:
                self.mark(value, value + (lo | hi << 16), "value")

    def overflow(self, number, size):
        at = number * PAGE
        self.mark(at, at + 8, "page number")
        self.mark(at + 10, at + 16, "page header")
        self.mark(at + 16, at + 16 + size, "value")


def digest(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while piece := f.read(1 << 20):
            h.update(piece)
    return h.digest()


def contents(top):
    out = {}
    for where, _, files in os.walk(top):
        for name in files:
            p = os.path.join(where, name)
            if os.path.isfile(p) and not os.path.islink(p):
                out[os.path.relpath(p, top)] = p
    return out


def run(*command):
    p = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)
    return p.returncode, p.stdout.decode(errors="replace")


def wrong_bytes(back, said, whole):
    """Files that were restored to something else and not named, or that hold bytes that are neither right nor zero.  A restore that
    failed (whole is false: status 2, so nothing is vouched for) may leave files unfinished, but never with wrong bytes."""
    bad = []
    now = contents(back) if os.path.isdir(back) else {}
    for name, path in now.items():
        if name not in want:
            bad.append(f"{name}: never existed")
            continue
        if digest(path) == want_digest[name]:
            continue
        if whole and os.path.basename(name) not in said:
            bad.append(f"{name}: differs and is not named")
        with open(path, "rb") as a, open(want[name], "rb") as b:
            while True:
                x, y = a.read(65536), b.read(65536)
                if not x and not y:
                    break
                if x and x != y[:len(x)] and x.count(0) != len(x):
                    bad.append(f"{name}: wrong bytes")
                    break
    return bad


def lie(path, at, index):
    """Where the flip lies, and the reason why it cannot matter, or None if it must be found."""
    if path.endswith("data.mdb"):
        what = index.used.get(at)
        if what:
            return f"index page {at // PAGE}, {what}", None
        return f"index page {at // PAGE}", "bytes of data.mdb that no reader of the newest snapshot looks at"
    if 124 <= at < 4096:
        return "padding of the pack header", "padding"
    return f"pack at {at}", None


def placed(said, path, at):
    """Did verify name the place: the page of the index, or the blob of the pack that holds the byte?"""
    if path.endswith("data.mdb"):
        return "finding: index:" in said or "finding: store:" in said
    pack = int(os.path.basename(path).split(".")[0])
    offsets = [int(n) for n in re.findall(rf"pack {pack}: offset (\d+)", said)]
    return any(n <= at < n + 56 + 256 * 1024 + 4096 for n in offsets)


want = contents(tree)
want_digest = {name: digest(p) for name, p in want.items()}
packs = sorted(os.path.join(w, f) for w, _, fs in os.walk(f"{store}/packs") for f in fs)
index_path = f"{store}/index/data.mdb"
index = Index(index_path)
if not index.used or not packs:
    sys.exit("flip.py: nothing to flip")
used = list(index.used)
harmless = {}
failed = 0
for n in range(count):
    path = index_path if rng.random() < 0.5 else rng.choice(packs)
    # Half of the index flips go where rows are: most of a young LMDB file is free pages.
    if path == index_path and rng.random() < 0.7:
        at = rng.choice(used)
    else:
        at = rng.randrange(os.path.getsize(path))
    bit = rng.randrange(8)
    where, excuse = lie(path, at, index)
    with open(path, "r+b") as f:
        f.seek(at)
        old = f.read(1)
        f.seek(at)
        f.write(bytes([old[0] ^ 1 << bit]))
    back = f"{scratch}/flip-back"
    problems = []
    status, said = run("farshore-verify", "store", "--store", store)
    if status not in (0, 1):
        problems.append(f"verify ended with {status}")
    if status == 0 and not excuse:
        problems.append("verify did not find it")
    if status == 1 and not excuse and not placed(said, path, at):
        problems.append("verify did not name the place")
    if status == 0 and excuse:
        harmless[excuse] = harmless.get(excuse, 0) + 1
    rstatus, rsaid = run("farshore-restore", "files", "--store", store, "chengdu/pension", back)
    if rstatus not in (0, 1, 2):
        problems.append(f"restore ended with {rstatus}")
    if status == 0 and rstatus != 0:
        problems.append(f"verify found nothing, yet restore ended with {rstatus}")
    if rstatus == 0 and set(contents(back)) != set(want):
        problems.append("restore ended with 0 and files are missing")
    problems += wrong_bytes(back, rsaid, rstatus != 2)
    lstatus, _ = run("farshore-snapshot", "list", "--store", store)
    if lstatus not in (0, 1, 2):
        problems.append(f"list ended with {lstatus}")
    shutil.rmtree(back, ignore_errors=True)
    with open(path, "r+b") as f:
        f.seek(at)
        f.write(old)
    name = f"{os.path.basename(path)} byte {at} bit {bit}: {where}" + (f" ({excuse})" if excuse else "")
    if problems:
        failed += 1
        print(f"not ok {first + n} - {name} SEED={seed}")
        for p in problems:
            print(f"#   {p}")
        for line in (said + rsaid).splitlines()[-8:]:
            print(f"#     {line[:200]}")
    else:
        print(f"ok {first + n} - {name}: verify {status}, restore {rstatus}")
    sys.stdout.flush()
for what, n in sorted(harmless.items()):
    print(f"# {n} of {count} flips lay in {what}")
sys.exit(failed > 0)
