#!/usr/bin/env python3
"""Farshore beside rsync, restic and borg: the same tree, the same machine, the same run.

The data set is city.py's; ours goes over TLS on loopback with everything on (compression, sealing, signatures, receipts), the
others write to a local directory.  Before each step the page cache is dropped (as root).  The tree lies a minute before it is
read, as DESIGN section 4.1 wants it, so that passes over what did not change go by stat.  rsync copies plainly: it neither
compresses nor encrypts nor keeps the day before.

Environment: BENCH_MIB (2048), BENCH_DIR (a scratch directory is made), BENCH_KEEP=1, BUILD (build),
BENCH_TOOLS (ours,rsync,restic,borg), BENCH_JSON=FILE (figures for machines).
"""
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(TOP, os.environ.get("BUILD", "build"))
MIB = int(os.environ.get("BENCH_MIB", "2048"))
TOOLS = os.environ.get("BENCH_TOOLS", "ours,rsync,restic,borg").split(",")
STEPS = [("full", "first full"), ("unchanged", "nothing changed"), ("night", "a night"), ("verify", "verify every byte"),
         ("restore", "restore all")]
figures = {t: {} for t in TOOLS}


def say(text):
    print(text, file=sys.stderr, flush=True)


def cold():
    os.sync()
    if os.geteuid() == 0:
        with open("/proc/sys/vm/drop_caches", "w") as f:
            f.write("3\n")


def run(command, env=None, cwd=None):
    """Wall and CPU seconds, peak RSS in bytes, standard output; a failure ends the benchmark."""
    out = tempfile.TemporaryFile()
    began = time.monotonic()
    p = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd=cwd,
                         env={**os.environ, **(env or {})})
    _, status, use = os.wait4(p.pid, 0)
    p.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - began
    out.seek(0)
    text = out.read().decode(errors="replace")
    if p.returncode != 0:
        sys.exit(f"bench: {' '.join(command)}: exit status {p.returncode}\n{text[-3000:]}")
    return wall, use.ru_utime + use.ru_stime, use.ru_maxrss * 1024, text


def disk(path):
    return int(subprocess.check_output(["du", "-sB1", path]).split()[0])


def lie(tree):
    """Wait until the youngest ctime of the tree is 61 s old."""
    youngest = 0
    for where, dirs, files in os.walk(tree):
        for name in files + dirs:
            youngest = max(youngest, os.lstat(os.path.join(where, name)).st_ctime)
    while (rest := youngest + 61 - time.time()) > 0:
        time.sleep(min(rest, 5))


class Ours:
    def __init__(self, d, tree):
        self.d, self.tree = d, tree
        self.store, self.state = f"{d}/site", f"{d}/agent"
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            address = "127.0.0.1:%d" % s.getsockname()[1]
        run([f"{BUILD}/farshore-site", "init", "--store", self.store, "--name", "bench", "--address", address])
        self.site = subprocess.Popen([f"{BUILD}/farshore-site", "serve", "--store", self.store], stdin=subprocess.DEVNULL,
                                     stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        for line in self.site.stderr:
            if b"listening on" in line:
                break
        else:
            sys.exit("bench: the site does not start")
        os.set_blocking(self.site.stderr.fileno(), False)
        token = run([f"{BUILD}/farshore-site", "token", "--store", self.store, "city"])[3].split()[-1]
        run([f"{BUILD}/farshore-agent", "join", token, "--state", self.state])
        with open(f"{self.state}/agent.conf", "a") as f:
            f.write(f"\n[source data]\ntype = files\npath = {tree}\n")
        self.agent_rss = 0

    def site_cpu(self):
        with open(f"/proc/{self.site.pid}/stat") as f:
            parts = f.read().rsplit(")", 1)[1].split()
        return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")

    def site_rss(self):
        with open(f"/proc/{self.site.pid}/status") as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM"))

    def backup(self):
        before = self.site_cpu()
        wall, cpu, rss, text = run([f"{BUILD}/farshore-agent", "once", "--state", self.state, "--json"])
        self.agent_rss = max(self.agent_rss, rss)
        for line in text.splitlines():
            try:
                o = json.loads(line)
            except ValueError:
                continue
            if o.get("type") == "result":
                self.sent = sum(s.get("sent", 0) for s in o.get("sources", []))
        return wall, cpu + self.site_cpu() - before

    def verify(self):
        return run([f"{BUILD}/farshore-verify", "store", "--store", self.store, "--quiet"])[:2]

    def restore(self, target):
        return run([f"{BUILD}/farshore-restore", "files", "--store", self.store, "city/data", target, "--quiet"])[:2]

    def bytes(self):
        return disk(self.store)

    def end(self):
        self.site.terminate()
        if self.site.wait(30) != 0:
            sys.exit("bench: the site did not end cleanly")


class Rsync:
    def __init__(self, d, tree):
        self.copy, self.tree = f"{d}/rsync", tree

    def backup(self):
        return run(["rsync", "-aHAX", "--delete", "--no-whole-file", self.tree + "/", self.copy + "/"])[:2]

    verify = None

    def restore(self, target):
        return run(["rsync", "-aHAX", self.copy + "/", target + "/"])[:2]

    def bytes(self):
        return disk(self.copy)

    def end(self):
        pass


class Restic:
    def __init__(self, d, tree):
        self.repo, self.tree = f"{d}/restic", tree
        self.env = {"RESTIC_REPOSITORY": self.repo, "RESTIC_PASSWORD": "bench", "RESTIC_CACHE_DIR": f"{d}/restic-cache"}
        run(["restic", "init"], self.env)

    def backup(self):
        return run(["restic", "backup", "--quiet", self.tree], self.env)[:2]

    def verify(self):
        return run(["restic", "check", "--quiet", "--read-data"], self.env)[:2]

    def restore(self, target):
        return run(["restic", "restore", "latest", "--quiet", "--target", target], self.env)[:2]

    def bytes(self):
        return disk(self.repo)

    def end(self):
        pass


class Borg:
    def __init__(self, d, tree):
        self.repo, self.tree, self.n = f"{d}/borg", tree, 0
        self.env = {"BORG_PASSPHRASE": "bench", "BORG_BASE_DIR": f"{d}/borg-base", "BORG_REPO": self.repo}
        run(["borg", "init", "-e", "repokey"], self.env)

    def backup(self):
        self.n += 1
        return run(["borg", "create", "--compression", "zstd,1", f"::n{self.n}", self.tree], self.env)[:2]

    def verify(self):
        return run(["borg", "check", "--verify-data"], self.env)[:2]

    def restore(self, target):
        os.makedirs(target)
        return run(["borg", "extract", f"::n{self.n}"], self.env, target)[:2]

    def bytes(self):
        return disk(self.repo)

    def end(self):
        pass


def table(rows):
    others = [t for t in TOOLS if t != "ours"]
    print("\n| step | " + " | ".join(TOOLS) + " | " + " | ".join(f"ours : {t}" for t in others) + " |")
    print("|---|" + "---|" * (len(TOOLS) + len(others)))
    for label, key, unit in rows:
        cells = []
        for t in TOOLS:
            v = figures[t].get(key)
            cells.append("-" if v is None else unit % v)
        mine = figures.get("ours", {}).get(key)
        for t in others:
            v = figures[t].get(key)
            cells.append("-" if not v or mine is None else "%.2f" % (mine / v))
        print(f"| {label} | " + " | ".join(cells) + " |")


def main():
    scratch = os.environ.get("BENCH_DIR") or tempfile.mkdtemp(prefix="farshore-bench.")
    tree = f"{scratch}/tree"
    city = [sys.executable, f"{TOP}/tests/bench/city.py"]
    made = {"ours": Ours, "rsync": Rsync, "restic": Restic, "borg": Borg}
    tools = {}
    try:
        say(f"bench: {MIB} MiB in {tree}")
        run(city + ["make", tree, "--seed", "11", "--mib", str(MIB)])
        lie(tree)
        tools = {t: made[t](scratch, tree) for t in TOOLS}
        for step, what in STEPS:
            if step == "night":
                run(city + ["night", tree, "--seed", "12"])
                lie(tree)
            for name, tool in tools.items():
                f = figures[name]
                cold()
                before = tool.bytes() if step == "night" else 0
                if step in ("full", "unchanged", "night"):
                    f[step], f[step + "_cpu"] = tool.backup()
                elif step == "verify" and tool.verify:
                    f[step], f[step + "_cpu"] = tool.verify()
                elif step == "restore":
                    f[step], f[step + "_cpu"] = tool.restore(f"{scratch}/back-{name}")
                    back = f"{scratch}/back-{name}" + (tree if name in ("restic", "borg") else "")
                    differ = run(["rsync", "-rlpt", "--dry-run", "--itemize-changes", "--delete", tree + "/", back + "/"])[3]
                    if differ:
                        sys.exit(f"bench: {name} restored something else:\n{differ[:2000]}")
                    shutil.rmtree(f"{scratch}/back-{name}")
                if step == "full":
                    f["stored"] = tool.bytes() / 1e6
                if step == "night":
                    f["added"] = (tool.bytes() - before) / 1e6
                if name == "ours" and step in ("full", "unchanged", "night"):
                    f[step + "_wire"] = tool.sent / 1e6
                if step in f:
                    say(f"bench: {what}: {name} {f[step]:.2f} s ({f[step + '_cpu']:.2f} s of CPU)")
        if "ours" in tools:
            figures["ours"]["agent_rss"] = tools["ours"].agent_rss / 1e6
            figures["ours"]["site_rss"] = tools["ours"].site_rss() / 1e6
    finally:
        for tool in tools.values():
            tool.end()
        if not os.environ.get("BENCH_KEEP") and not os.environ.get("BENCH_DIR"):
            shutil.rmtree(scratch, ignore_errors=True)
    rows = []
    for step, what in STEPS:
        rows += [(f"{what}, s", step, "%.1f"), (f"{what}, CPU s", step + "_cpu", "%.1f")]
    rows += [("stored after the full, MB", "stored", "%.0f"), ("added by the night, MB", "added", "%.0f"),
             ("sent by the full, MB", "full_wire", "%.0f"), ("sent by the night, MB", "night_wire", "%.1f"),
             ("sent, nothing changed, MB", "unchanged_wire", "%.2f"), ("peak memory of the agent, MB", "agent_rss", "%.0f"),
             ("peak memory of the site, MB", "site_rss", "%.0f")]
    print(f"{MIB} MiB, {os.cpu_count()} processors, cold cache before each step, one run: `BENCH_MIB={MIB} make bench`")
    table(rows)
    if os.environ.get("BENCH_JSON"):
        with open(os.environ["BENCH_JSON"], "w") as f:
            json.dump(figures, f, indent=1)


main()
