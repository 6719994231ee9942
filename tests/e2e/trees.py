#!/usr/bin/env python3
"""Trees for the tests: make one with everything that a file system knows, print what a tree holds, change it as a night does.

trees.py make DIR [--seed N]          everything of a file tree that must survive (what root alone can make only as root)
trees.py deep DIR [--levels N]        a path far longer than PATH_MAX
trees.py small DIR [--seed N] [--kib N]   files of the kinds that nights change: pages, text, documents, a log
trees.py night DIR [--seed N]         one night's changes to a small tree
trees.py print DIR                    a line for each name at any depth: all that is compared (any depth, any name)
trees.py remove DIR                   at any depth
"""
import argparse
import hashlib
import os
import random
import socket
import stat
import sys

BLOCK = 65536
MAP = 64 * BLOCK


def put(path, data, mode=0o644):
    with open(path, "wb") as f:
        f.write(data)
    os.chmod(path, mode)


def make_borders(d, rng):
    """Sizes around the borders of blocks, maps and the delta's runs."""
    os.mkdir(d)
    for base in (BLOCK, 4 * BLOCK, MAP, 2 * MAP):
        for off in (-1, 0, 1):
            put(f"{d}/b{base}{off:+d}", rng.randbytes(base + off))
    put(f"{d}/empty", b"")
    put(f"{d}/one", b"x")
    put(f"{d}/zeros-block", bytes(BLOCK))
    put(f"{d}/zeros-map", bytes(MAP))
    put(f"{d}/zeros-odd", bytes(3 * MAP + 17))
    put(f"{d}/text-then-zeros", b"begin" + bytes(2 * BLOCK))
    put(f"{d}/zeros-then-text", bytes(BLOCK - 1) + b"end" + rng.randbytes(100))


def make_sparse(d, rng):
    os.mkdir(d)
    with open(f"{d}/hole-first", "wb") as f:
        f.seek(10 * MAP)
        f.write(rng.randbytes(5000))
    with open(f"{d}/hole-last", "wb") as f:
        f.write(rng.randbytes(70000))
        f.truncate(9 * MAP + 5)
    with open(f"{d}/holes", "wb") as f:
        for i in range(40):
            f.seek(i * 300_000)
            f.write(rng.randbytes(4096))
    with open(f"{d}/all-hole", "wb") as f:
        f.truncate(123_456_789)
    with open(f"{d}/far", "wb") as f:
        f.seek(1 << 30)
        f.write(b"far away")


def make_names(d, rng):
    os.mkdir(d)
    b = os.fsencode(d)
    for name in (b"\xff\xfe\x80", b"latin1-\xe9t\xe9", b"new\nline", b"tab\there", b"quote\"'`$(x)", b"-rf", b"back\\slash",
                 b" lead", b"trail ", b"...", b"%s%n", b"*", "省人社厅.txt".encode(), b"n" * 255, b"\x01\x7f"):
        with open(os.path.join(b, name), "wb") as f:
            f.write(b"name " + name)
    os.mkdir(os.path.join(b, b"dir-\xff"))
    put(os.path.join(b, b"dir-\xff", b"in"), b"inside")
    for i in range(3000):  # several pages of a directory
        if i == 0:
            os.mkdir(f"{d}/many")
        put(f"{d}/many/f{i:05d}", b"%d" % i if i % 7 else b"")


def make_links(d, rng):
    os.mkdir(d)
    os.mkdir(f"{d}/other")
    put(f"{d}/a", rng.randbytes(200_000))
    os.link(f"{d}/a", f"{d}/b")
    os.link(f"{d}/a", f"{d}/other/c")
    put(f"{d}/tiny", b"t")
    os.link(f"{d}/tiny", f"{d}/other/tiny2")
    put(f"{d}/none", b"")
    os.link(f"{d}/none", f"{d}/none2")
    os.symlink("a", f"{d}/to-a")
    os.symlink("/nowhere/at/all", f"{d}/dangling")
    os.symlink("../../..", f"{d}/up")
    os.symlink("x" * 4000, f"{d}/long")
    os.symlink(b"\xff\xfe", os.fsencode(d) + b"/raw")
    os.mkfifo(f"{d}/fifo", 0o640)
    os.link(f"{d}/fifo", f"{d}/fifo2")
    here = os.getcwd()
    os.chdir(d)
    socket.socket(socket.AF_UNIX).bind("socket")
    os.chdir(here)


def make_meta(d, rng):
    os.mkdir(d)
    for mode in (0o400, 0o444, 0o600, 0o755, 0o777, 0o1644, 0o2755, 0o4755, 0o6711):
        put(f"{d}/m{mode:04o}", b"%o" % mode, mode)
    os.mkdir(f"{d}/sticky")
    os.chmod(f"{d}/sticky", 0o1777)
    os.mkdir(f"{d}/setgid")
    os.chmod(f"{d}/setgid", 0o2775)
    for name, ns in (("old", 1), ("before-1970", -1_234_567_891), ("ns", 1_600_000_000_123_456_789),
                     ("far", 4_200_000_000_999_999_999)):
        put(f"{d}/{name}", name.encode())
        os.utime(f"{d}/{name}", ns=(ns, ns))
    for name in ("x", "y"):
        put(f"{d}/{name}", name.encode())
        os.setxattr(f"{d}/{name}", "user.short", b"v\x00\xff")
    for i in range(12):
        os.setxattr(f"{d}/y", f"user.long{i}", rng.randbytes(200))
    os.setxattr(f"{d}/y", "user.empty", b"")
    os.mkdir(f"{d}/xd")
    os.setxattr(f"{d}/xd", "user.on-a-directory", b"yes")


def make_root(d, rng):
    """What only root may make."""
    os.mkdir(d)
    for i, (uid, gid) in enumerate(((0, 0), (1, 1), (1000, 1000), (65534, 65534), (123456, 654321), (4294967293, 7))):
        put(f"{d}/owner{i}", b"%d" % uid)
        os.chown(f"{d}/owner{i}", uid, gid)
    put(f"{d}/suid", b"#!/bin/sh\n")
    os.chown(f"{d}/suid", 1, 1)
    os.chmod(f"{d}/suid", 0o6755)
    put(f"{d}/unreadable", b"for nobody but root", 0)
    os.mkdir(f"{d}/read-only")
    put(f"{d}/read-only/in", b"in a directory that nobody may write")
    os.chmod(f"{d}/read-only", 0o555)
    os.symlink("suid", f"{d}/owned-link")
    os.lchown(f"{d}/owned-link", 1000, 1000)
    try:
        os.mknod(f"{d}/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        os.mknod(f"{d}/disk", 0o660 | stat.S_IFBLK, os.makedev(7, 99))
        os.mknod(f"{d}/big", 0o600 | stat.S_IFCHR, os.makedev(300, 70000))
    except PermissionError:
        print("devices: not allowed here", file=sys.stderr)
    for name, value in (("security.capability", bytes.fromhex("0100000200200000000000000000000000000000")),
                        ("trusted.ours", b"t")):
        try:
            os.setxattr(f"{d}/suid", name, value)
        except OSError as e:
            print(f"{name}: {e}", file=sys.stderr)


def times(d):
    """Give every name a time of its own in nanoseconds, deepest first, so that a wrong one is seen."""
    n = 0
    for where, dirs, files in os.walk(d, topdown=False):
        for name in sorted(files + dirs) + ["."]:
            p = os.path.join(where, name)
            if os.path.dirname(p).endswith("meta") and name in ("old", "before-1970", "ns", "far"):
                continue
            n += 1
            ns = 1_700_000_000_000_000_000 + n * 1_000_000_007
            os.utime(p, ns=(ns, ns), follow_symlinks=False)


def make(a):
    rng = random.Random(a.seed)
    os.makedirs(a.dir, exist_ok=True)
    for f in (make_borders, make_sparse, make_names, make_links, make_meta):
        f(os.path.join(a.dir, f.__name__[5:]), rng)
    os.makedirs(f"{a.dir}/empty/empty/empty")
    if os.geteuid() == 0:
        make_root(f"{a.dir}/root", rng)
    times(a.dir)


def deep(a):
    os.makedirs(a.dir, exist_ok=True)
    fd = os.open(a.dir, os.O_RDONLY)
    for i in range(a.levels):
        name = f"level-{i:04d}-" + "d" * 80
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        f = os.open("file", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=below)
        os.write(f, b"at level %d" % i)
        os.close(f)
        os.close(fd)
        fd = below
    os.symlink("file", "link", dir_fd=fd)
    os.close(fd)


def small(a):
    rng = random.Random(a.seed)
    os.makedirs(a.dir, exist_ok=True)
    with open(f"{a.dir}/pages.dat", "wb") as f:
        for i in range(a.kib // 8 // 2):
            f.write(i.to_bytes(8, "little") + rng.randbytes(3000) + bytes(8192 - 3008))
    with open(f"{a.dir}/export.txt", "wb") as f:
        while f.tell() < a.kib * 1024 // 5:
            f.write(b"%018d|%06d|PENSION|MEDICAL\n" % (rng.getrandbits(58), rng.randrange(10**6)))
    for i in range(max(10, a.kib // 64)):
        os.makedirs(f"{a.dir}/docs/{i // 40:02d}", exist_ok=True)
        put(f"{a.dir}/docs/{i // 40:02d}/d{i:05d}", rng.randbytes(int(2 ** rng.uniform(5, 15))))
    put(f"{a.dir}/log", b"start\n")


def night(a):
    rng = random.Random(a.seed)
    pages = os.path.getsize(f"{a.dir}/pages.dat") // 8192
    with open(f"{a.dir}/pages.dat", "r+b") as f:
        for i in rng.sample(range(pages), max(1, pages // 50)):
            f.seek(i * 8192 + rng.randrange(4000))
            f.write(rng.randbytes(100))
    text = open(f"{a.dir}/export.txt", "rb").read()
    at = rng.randrange(len(text) // 4)
    put(f"{a.dir}/export.txt", text[:at] + b"%018d|inserted\n" % rng.getrandbits(50) * rng.randrange(1, 30) + text[at:])
    docs = sorted(os.path.join(w, f) for w, _, fs in os.walk(f"{a.dir}/docs") for f in fs)
    rng.shuffle(docs)
    k = max(1, len(docs) // 30)
    for p in docs[:k]:
        put(p, rng.randbytes(int(2 ** rng.uniform(5, 15))))
    if len(docs) > 40:
        for p in docs[k:2 * k]:
            os.unlink(p)
    for p in docs[2 * k:3 * k]:
        os.rename(p, p + "m")
    os.makedirs(f"{a.dir}/docs/new{a.seed}", exist_ok=True)
    for i in range(k):
        put(f"{a.dir}/docs/new{a.seed}/n{i}", rng.randbytes(int(2 ** rng.uniform(5, 17))))
    with open(f"{a.dir}/log", "ab") as f:
        f.write(b"night %d\n" % a.seed * 50)


def walk(fd, prefix, out, groups):
    for name in sorted(os.listdir(fd)):
        raw = os.fsencode(name)
        path = prefix + b"/" + raw
        st = os.lstat(name, dir_fd=fd)
        kind = stat.S_IFMT(st.st_mode)
        what = [f"{st.st_mode:o}", st.st_uid, st.st_gid, st.st_mtime_ns]
        if kind == stat.S_IFLNK:
            what.append(os.fsencode(os.readlink(name, dir_fd=fd)))
        elif kind == stat.S_IFREG:
            f = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=fd)
            what += [st.st_size, content(f, st.st_size)]
            what.append(sorted((x, os.getxattr(f, x)) for x in os.listxattr(f) if x.startswith("user.")))
            os.close(f)
        elif kind in (stat.S_IFCHR, stat.S_IFBLK):
            what.append(st.st_rdev)
        if st.st_nlink > 1 and kind != stat.S_IFDIR:
            what.append("link of %r" % groups.setdefault((st.st_dev, st.st_ino), path))
        out(b"%r %s\n" % (path, repr(what).encode()))
        if kind == stat.S_IFDIR:
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
            walk(below, path, out, groups)
            os.close(below)


def content(f, size):
    """Digest of the bytes: of each megabyte that is not all zero, with its place, so that holes cost nothing."""
    h = hashlib.sha256()
    at = 0
    while at < size:
        try:
            at = os.lseek(f, at, os.SEEK_DATA) >> 20 << 20
        except OSError:
            break
        piece = os.pread(f, 1 << 20, at)
        if piece.count(0) != len(piece):
            h.update(b"%d:" % at + piece)
        at += 1 << 20
    return h.hexdigest()


def show(a):
    sys.setrecursionlimit(20000)
    fd = os.open(a.dir, os.O_RDONLY)
    walk(fd, b"", sys.stdout.buffer.write, {})


def remove(a):
    def clear(fd):
        for name in os.listdir(fd):
            if stat.S_ISDIR(os.lstat(name, dir_fd=fd).st_mode):
                below = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=fd)
                clear(below)
                os.close(below)
                os.rmdir(name, dir_fd=fd)
            else:
                os.unlink(name, dir_fd=fd)
    sys.setrecursionlimit(20000)
    fd = os.open(a.dir, os.O_RDONLY)
    clear(fd)
    os.close(fd)
    os.rmdir(a.dir)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("what", choices=["make", "deep", "small", "night", "print", "remove"])
    ap.add_argument("dir")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--levels", type=int, default=120)
    ap.add_argument("--kib", type=int, default=4096)
    a = ap.parse_args()
    {"make": make, "deep": deep, "small": small, "night": night, "print": show, "remove": remove}[a.what](a)


main()
