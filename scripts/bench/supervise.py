#!/usr/bin/env python3
"""Puts supervision by mesh beside monit, supervisord and a minimal pidfd loop, in one run on this machine.

    scripts/bench/supervise.py [--mesh target/release/mesh] [--kills 30] [--window 60] [--counts 1,100,500]
                               [--only latency,idle,hanging,killed,memory]

Needs cc, git, python3-venv, and apt-get and pip that can fetch monit and supervisor; both are put in a temporary folder
and not installed. Figures are ratios of one run: a busy machine hits all of them. Nothing here is a test.
"""

import argparse
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[1]
TICKS = os.sysconf("SC_CLK_TCK")


def run(*argv, **more):
    return subprocess.run([str(one) for one in argv], check=True, stdout=subprocess.DEVNULL, **more)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def rss_mb(pid):
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text).group(1)) / 1024


def cpu(pid):
    """Seconds that a process and the children that it waited for had of a processor. Its own by its clock, which is finer
    than the ticks of /proc: at rest a tick is a third of what there is to see."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return time.clock_gettime(~pid << 3 | 2) + sum(int(field) for field in fields[13:15]) / TICKS


def wakeups(pid):
    """How often each thread has waited so far."""
    counts = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        text = (task / "status").read_text()
        counts[task.name] = int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.M).group(1))
    return counts


class Voice:
    """Where beacons say that they started."""

    def __init__(self, path):
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)

    def hear(self, seconds):
        self.socket.settimeout(seconds)
        pid, at = self.socket.recv(128).split()
        return int(pid), int(at)

    def drain(self):
        self.socket.settimeout(0)
        try:
            while True:
                self.socket.recv(128)
        except OSError:
            pass


class Under:
    """A supervisor that runs in a folder of its own. Each kind says how it is configured and started."""

    def __init__(self, tools, name):
        self.tools, self.dir = tools, Path(tempfile.mkdtemp(prefix=f"{name}-", dir=tools.above))
        self.process = None

    def start(self, argv, env=None):
        log = open(self.dir / "output", "ab")
        self.process = subprocess.Popen([str(one) for one in argv], cwd=self.dir, env=env, stdout=log, stderr=log)

    def end(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            # Only what was started from this folder.
            if str(self.dir).encode() in command:
                try:
                    os.kill(int(entry.name), signal.SIGKILL)
                except OSError:
                    pass

    def services(self, count):
        """Commands of `count` services: each a beacon that is known by this folder."""
        return [(f"s{n}", [self.tools.beacon, self.voice.path, self.dir / f"s{n}.pid"]) for n in range(count)]

    def listen(self):
        self.voice = Voice(self.dir / "voice")


class Mesh(Under):
    name = "mesh"

    def config(self, text):
        home = self.dir / "home"
        self.env = {"PATH": os.environ["PATH"], "HOME": str(self.dir), "MESH_HOME": str(home)}
        run("git", "init", "-q", "--bare", self.dir / "remote.git")
        argv = [self.tools.mesh, "init", "--name", "a", "--mesh", "b", "--remote", self.dir / "remote.git"]
        run(*argv, env=self.env, cwd=self.dir)
        head = '[http]\nlisten = ""\n[sync]\ninterval = "24h"\n'
        (home / "config/conf.d/bench.toml").write_text(head + text)

    def supervise(self, services, more=""):
        self.config("".join(
            f'[[service]]\nname = "{name}"\ncommand = {[str(one) for one in argv]}\n'
            f'steady = "1s"\nrestarts = 1000000\n{more}'
            for name, argv in services
        ))
        self.go()

    def go(self):
        self.start([self.tools.mesh, "run"], self.env)

    def settle(self):
        """Waits until the first round is over."""
        limit = time.time() + 300
        while b"Next round" not in (self.dir / "output").read_bytes():
            if time.time() > limit:
                sys.exit("mesh: no round within five minutes")
            time.sleep(0.2)


class Supervisord(Under):
    name = "supervisord"

    def supervise(self, services):
        text = (
            f"[supervisord]\nnodaemon=true\nlogfile={self.dir}/log\npidfile={self.dir}/pid\nchildlogdir={self.dir}\n"
            f"minfds=8192\nminprocs=100\n"
        )
        for name, argv in services:
            command = " ".join(str(one) for one in argv)
            text += f"[program:{name}]\ncommand={command}\nautorestart=true\nstartsecs=0\nstartretries=1000000\n"
        (self.dir / "supervisord.conf").write_text(text)
        self.go()

    def go(self):
        self.start([self.tools.venv / "bin/supervisord", "-c", self.dir / "supervisord.conf"])

    def settle(self):
        time.sleep(5)


class Monit(Under):
    name = "monit"

    def supervise(self, services, cycle=30):
        checks = "".join(
            f'check process {name} with pidfile {self.dir}/{name}.pid\n'
            f'  start program = "/bin/sh -c \'{" ".join(str(one) for one in argv)} &\'"\n'
            for name, argv in services
        )
        self.config(checks, cycle)

    def config(self, checks, cycle):
        control = self.dir / "monitrc"
        control.write_text(
            f"set daemon {cycle}\nset log {self.dir}/log\nset pidfile {self.dir}/monit.pid\n"
            f"set idfile {self.dir}/id\nset statefile {self.dir}/state\n{checks}"
        )
        control.chmod(0o600)
        self.start([self.tools.monit, "-I", "-c", control])

    def settle(self):
        time.sleep(10)


class Loop(Under):
    name = "pidfd loop"

    def supervise(self, services):
        [(_, argv)] = services
        self.start([self.tools.loop, *argv])

    def settle(self):
        pass


class Tools:
    def __init__(self, above, mesh):
        self.above, self.mesh = Path(above), Path(mesh).resolve()
        if not self.mesh.exists():
            sys.exit(f"no {self.mesh}: run cargo build --release")
        self.beacon, self.loop = self.above / "beacon", self.above / "pidfd_loop"
        for program in (self.beacon, self.loop):
            run("cc", "-O2", "-o", program, HERE / "supervise" / f"{program.name}.c")
        run("apt-get", "download", "-q", "monit", cwd=above, stderr=subprocess.DEVNULL)
        run("dpkg", "-x", next(self.above.glob("monit_*.deb")), self.above / "monit")
        self.monit = self.above / "monit/usr/bin/monit"
        self.venv = self.above / "venv"
        run(sys.executable, "-m", "venv", self.venv)
        run(self.venv / "bin/pip", "install", "-q", "supervisor", "setuptools<81")


def latency(tools, kills):
    print(f"\nrecovery after kill -9, {kills} kills 1.5 s apart, in ms from the kill to the first line of the new process")
    found = {}
    for kind in (Loop, Mesh, Supervisord, Monit):
        under = kind(tools, kind.name.replace(" ", "-"))
        under.listen()
        try:
            if kind is Monit:
                under.supervise(under.services(1), cycle=1)
            else:
                under.supervise(under.services(1))
            under.settle()
            pid, _ = under.voice.hear(60)
            took = []
            for _ in range(kills):
                time.sleep(1.5)
                under.voice.drain()
                before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
                os.kill(pid, signal.SIGKILL)
                pid, at = under.voice.hear(60)
                took.append((at - before) / 1e6)
        finally:
            under.end()
        took.sort()
        found[kind.name] = statistics.median(took)
        p99 = took[min(len(took) - 1, int(len(took) * 0.99))]
        ratio = found[kind.name] / found["pidfd loop"]
        print(f"  {kind.name:12} median {found[kind.name]:9.2f}  p99 {p99:9.2f}  {ratio:8.2f}x the pidfd loop", flush=True)


def idle(tools, counts, window):
    print(f"\nat rest, {window} s each: RSS in MB, CPU in s per hour, voluntary wake-ups per s (of the supervisor itself)")
    for count in counts:
        figures = {}
        for kind in (Monit, Supervisord, Mesh):
            under = kind(tools, kind.name)
            under.listen()
            try:
                under.supervise(under.services(count))
                heard = set()
                limit = time.time() + 240
                while len(heard) < count and time.time() < limit:
                    try:
                        heard.add(under.voice.hear(5)[0])
                    except TimeoutError:
                        pass
                under.settle()
                # What belongs to the start is over by then, the second look of the rules included.
                time.sleep(90)
                pid = under.process.pid
                at, before = cpu(pid), wakeups(pid)
                time.sleep(window)
                # Threads that ended are not known of any more.
                woken = sum(count - before.get(task, 0) for task, count in wakeups(pid).items())
                figures[kind.name] = (rss_mb(pid), (cpu(pid) - at) * 3600 / window, woken / window)
            finally:
                under.end()
            rss, used, woken = figures[kind.name]
            first = figures["monit"]
            ratio = f"{used / first[1]:5.2f}x" if first[1] else "    -"
            print(
                f"  {count:4} services  {kind.name:12} RSS {rss:6.1f} ({rss / first[0]:4.2f}x monit)"
                f"  CPU {used:6.2f} ({ratio})  wake-ups {woken:6.2f}  running {len(heard)}",
                flush=True,
            )


def gaps(path):
    times = [float(line) for line in path.read_text().split()]
    between = [b - a for a, b in zip(times, times[1:])]
    return statistics.median(between), max(between)


def hanging(tools, window):
    print(f"\na check every 5 s beside 10 that hang for 60 s, {window} s each: seconds between two runs of the quick one")
    results = {}
    for kind in (Monit, Mesh):
        for hung in (0, 10):
            under = kind(tools, kind.name)
            ticks, quick = under.dir / "ticks", under.dir / "quick.sh"
            quick.write_text(f"#!/bin/sh\ndate +%s.%N >> {ticks}\n")
            slow = under.dir / "slow.sh"
            slow.write_text("#!/bin/sh\nexec sleep 60\n")
            for script in (quick, slow):
                script.chmod(0o755)
            try:
                if kind is Monit:
                    checks = "".join(
                        f"check program slow{n} with path {slow} with timeout 55 seconds\n  if status != 0 then alert\n"
                        for n in range(hung)
                    )
                    under.config(checks + f"check program quick with path {quick}\n  if status != 0 then alert\n", 5)
                else:
                    service = '[[service]]\nname = "{}"\ncommand = ["sh", "-c", "sleep 100000; exit", "{}"]\n' \
                        'probe = {{ command = ["{}"], every = "5s", timeout = "55s" }}\n'
                    text = "".join(service.format(f"slow{n}", under.dir, slow) for n in range(hung))
                    under.config(text + service.format("quick", under.dir, quick))
                    under.go()
                under.settle()
                ticks.write_text("")
                time.sleep(window)
                results[kind.name, hung] = gaps(ticks)
            finally:
                under.end()
        (alone, alone_most), (beside, beside_most) = results[kind.name, 0], results[kind.name, 10]
        print(
            f"  {kind.name:12} alone median {alone:5.2f} most {alone_most:5.2f}   beside hanging ones median {beside:5.2f}"
            f" most {beside_most:5.2f}   {beside / alone:4.2f}x",
            flush=True,
        )


def killed(tools):
    print("\nsupervisor killed with -9 and started again, 10 children, 2 of which die meanwhile")
    for kind in (Supervisord, Mesh):
        under = kind(tools, kind.name)
        under.listen()
        try:
            under.supervise(under.services(10))
            before = {under.voice.hear(60)[0] for _ in range(10)}
            time.sleep(3)
            under.process.kill()
            under.process.wait()
            survived = {pid for pid in before if alive(pid)}
            for pid in sorted(survived)[:2]:
                os.kill(pid, signal.SIGKILL)
            survived = set(sorted(survived)[2:])
            under.voice.drain()
            under.go()
            started = set()
            limit = time.time() + 20
            while time.time() < limit:
                try:
                    started.add(under.voice.hear(2)[0])
                except TimeoutError:
                    pass
            kept = sum(alive(pid) for pid in survived)
            running = kept + sum(alive(pid) for pid in started)
            print(
                f"  {kind.name:12} kept {kept} of 8, started {len(started)}, running {running}: "
                f"{max(0, running - 10)} doubled, {8 - kept} restarted",
                flush=True,
            )
        finally:
            under.end()


def memory(tools):
    limit, rate = 50, 20
    print(f"\ngrowth of {rate} MB/s past a limit of {limit} MB: the most it had")
    grow = "import sys, time\nkept = []\nwhile True:\n    kept.append(b'a' * 200000)\n    time.sleep(0.01)\n"
    for kind, cycle in ((Monit, 1), (Monit, 30), (Mesh, 0)):
        under = kind(tools, kind.name)
        script = under.dir / "grow.py"
        pidfile = under.dir / "grow.pid"
        script.write_text(f"import os\nopen({str(pidfile)!r}, 'w').write(str(os.getpid()))\n" + grow)
        try:
            if kind is Monit:
                under.config(
                    f"check process grow with pidfile {pidfile}\n"
                    f'  start program = "/bin/sh -c \'{sys.executable} {script} &\'"\n'
                    f'  stop program = "/bin/sh -c \'kill -9 `cat {pidfile}`\'"\n'
                    f"  if total memory > {limit} MB then restart\n",
                    cycle,
                )
            else:
                under.config(
                    f'[[service]]\nname = "grow"\ncommand = ["{sys.executable}", "{script}"]\nmemory_mb = {limit}\n'
                )
                under.go()
            stop = time.time() + 90
            while not pidfile.exists() and time.time() < stop:
                time.sleep(0.05)
            pid, most = int(pidfile.read_text()), 0.0
            while alive(pid) and time.time() < stop and most < 2000:
                try:
                    most = max(most, rss_mb(pid))
                except (OSError, AttributeError):
                    break
                time.sleep(0.002)
            name = f"monit, {cycle} s" if kind is Monit else kind.name
            print(f"  {name:12} {most:7.1f} MB, {most / limit:5.2f}x the limit", flush=True)
        finally:
            under.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mesh", default=str(REPO / "target/release/mesh"))
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--window", type=int, default=60)
    parser.add_argument("--counts", default="1,100,500")
    parser.add_argument("--only", default="latency,idle,hanging,killed,memory")
    asked = parser.parse_args()
    only = asked.only.split(",")
    with tempfile.TemporaryDirectory() as above:
        tools = Tools(above, asked.mesh)
        print(f"load of the machine at the start: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
        if "latency" in only:
            latency(tools, asked.kills)
        if "idle" in only:
            idle(tools, [int(count) for count in asked.counts.split(",")], asked.window)
        if "hanging" in only:
            hanging(tools, asked.window)
        if "killed" in only:
            killed(tools)
        if "memory" in only:
            memory(tools)


if __name__ == "__main__":
    main()
