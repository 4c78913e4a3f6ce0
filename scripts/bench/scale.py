#!/usr/bin/env python3
"""How a mesh of many hosts uses one git server: real homes, real processes, real git over smart HTTP on this machine.

    scripts/bench/scale.py pushes HOSTS [SECONDS [ROWS]]   every host has news: spread over SECONDS, and all at the same instant
    scripts/bench/scale.py history                         one cycle with one new entry, by how many entries the branch holds
    target/venv/bin/python scripts/bench/scale.py year [HOSTS]   how large the home of a reader is after a year of so many hosts

ROWS are some of branch-spread, branch-once, refs-once, refs-spread and bare, in this order and joined by commas; all of them when
nothing is said.

MESH is the program (default target/debug/mesh). Compare figures of one run only: the machine and its load are part of them.
"""

import collections
import concurrent.futures
import http.server
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
MESH = os.environ.get("MESH", str(REPOSITORY / "target/debug/mesh"))
ATTESTATION = {
    "outcome": "validated", "short_window": False,
    "predicted": {"expr": "last(\"log.records\") > 0", "within": "7d"}, "n": 1,
    "observed": {"check": "true", "finding": "true", "signal": "true"},
    "environment": {"os": "linux", "arch": "x86_64", "distro": "debian"},
}
LESSON = (REPOSITORY / "src/founding/rename-without-fsync.toml").read_text()


def git(*arguments, cwd=None, input=None):
    quiet = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "PATH": os.environ["PATH"], "HOME": "/nonexistent",
             "GIT_AUTHOR_NAME": "b", "GIT_AUTHOR_EMAIL": "b@localhost", "GIT_COMMITTER_NAME": "b", "GIT_COMMITTER_EMAIL": "b@localhost"}
    return subprocess.run(["git", *arguments], cwd=cwd, input=input, env=quiet, check=True, stdout=subprocess.PIPE).stdout


class Server:
    """git http-backend behind a small HTTP server that counts what goes through. Eight requests are served at a time."""

    def __init__(self, root):
        self.root, self.repo = root, root / "mesh.git"
        git("init", "-q", "--bare", "-b", "mesh", str(self.repo))
        git("config", "http.receivepack", "true", cwd=self.repo)
        git("config", "gc.auto", "0", cwd=self.repo)
        backend = pathlib.Path(git("--exec-path").decode().strip()) / "git-http-backend"
        self.counts, self.lock, room = collections.Counter(), threading.Lock(), threading.Semaphore(8)
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def serve(self):
                if "chunked" in self.headers.get("Transfer-Encoding", ""):
                    body = b""
                    while size := int(self.rfile.readline(), 16):
                        body += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                else:
                    body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                path, _, query = self.path.partition("?")
                environment = {
                    "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(server.root), "GIT_HTTP_EXPORT_ALL": "1", "REMOTE_USER": "mesh",
                    "REQUEST_METHOD": self.command, "PATH_INFO": path, "QUERY_STRING": query, "CONTENT_LENGTH": str(len(body)),
                    "CONTENT_TYPE": self.headers.get("Content-Type", ""), "REMOTE_ADDR": "127.0.0.1",
                    "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""), "GIT_CONFIG_NOSYSTEM": "1",
                    "GIT_COMMITTER_NAME": "b", "GIT_COMMITTER_EMAIL": "b@localhost",
                }
                with room:
                    out = subprocess.run([str(backend)], input=body, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
                head, _, answer = out.partition(b"\r\n\r\n")
                headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
                with server.lock:
                    server.counts["requests"] += 1
                    server.counts["sent"] += len(answer)
                    server.counts["received"] += len(body)
                    server.counts["pushes"] += self.command == "POST" and path.endswith("git-receive-pack")
                self.send_response(int(headers.pop("Status", "200").split()[0]))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                try:
                    self.wfile.write(answer)
                except (BrokenPipeError, ConnectionResetError):
                    # Whoever asked has given up.
                    self.close_connection = True

            do_GET = do_POST = serve

            def log_message(self, *_):
                pass

        class Listener(http.server.ThreadingHTTPServer):
            request_queue_size = 2048
            daemon_threads = True

        self.listener = Listener(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.listener.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.listener.server_address[1]}/mesh.git"

    def since(self, before):
        with self.lock:
            return self.counts - before

    def now(self):
        with self.lock:
            return self.counts.copy()


class Host:
    def __init__(self, folder, name):
        self.home, self.name = folder / name, name

    def mesh(self, *arguments):
        ended = subprocess.run([MESH, "--home", str(self.home), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env={"PATH": os.environ["PATH"], "HOME": str(self.home)})
        if ended.returncode:
            raise SystemExit(f"{self.name}: mesh {arguments}: {ended.returncode}\n{ended.stdout.decode()}{ended.stderr.decode()}")
        return ended.stdout.decode()

    def publish(self, lesson):
        (self.home / "config/lessons" / f"{lesson}.toml").write_text(
            LESSON.replace('id = "rename-without-fsync"', f'id = "{lesson}"', 1))
        self.mesh("outbox", "publish", "--no-sync", lesson)

    def sync(self):
        """One sync; wall and CPU seconds of the process and its children, and what it said."""
        begun = time.monotonic()
        child = subprocess.Popen([MESH, "--home", str(self.home), "--json", "sync", "--once"], stdout=subprocess.PIPE,
                                 stderr=subprocess.DEVNULL, env={"PATH": os.environ["PATH"], "HOME": str(self.home)})
        said = child.stdout.read()
        _, _, used = os.wait4(child.pid, 0)
        child.returncode = 0
        return time.monotonic() - begun, used.ru_utime + used.ru_stime, json.loads(said)

    def layout(self, name):
        (self.home / "config/conf.d/layout.toml").write_text(f'[remote]\nlayout = "{name}"\n')

    def place(self):
        """Where in the interval it syncs: as the agent spreads itself by its id."""
        return int.from_bytes(bytes.fromhex(json.loads(self.mesh("--json", "id"))["host"])[:8], "little") / 2**64


def many(work, over, workers=4):
    with concurrent.futures.ThreadPoolExecutor(max_workers=workers) as pool:
        return list(pool.map(work, over))


def percentile(values, part):
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


def rounds_until_all_is_out(hosts):
    """Syncs those again that could not push, and says how many syncs that took."""
    left, syncs = hosts, 0
    while left:
        said = many(lambda host: host.sync()[2], left)
        syncs += len(left)
        left = [host for host, report in zip(left, said) if report["remote"]]
    return syncs


def all_push(server, hosts, offsets, what):
    """Every host has one new entry and syncs once, `offsets` seconds after the start."""
    before, begun = server.now(), time.monotonic()

    def one(pair):
        host, offset = pair
        time.sleep(max(0.0, begun + offset - time.monotonic()))
        return host.sync()

    done = many(one, zip(hosts, offsets), workers=len(hosts))
    took, used = time.monotonic() - begun, server.since(before)
    walls, cpu = [wall for wall, _, _ in done], [cpu for _, cpu, _ in done]
    failed = [host for host, (_, _, report) in zip(hosts, done) if report["remote"]]
    reasons = collections.Counter(json.dumps(report["remote"]) for _, _, report in done if report["remote"])
    later = rounds_until_all_is_out(failed)
    each = len(hosts)
    print(f"{what:34} {took:7.1f} s  {60 * used['pushes'] / took:6.0f} pushes/min  {used['pushes'] / each:5.2f} attempts/host  "
          f"p50 {percentile(walls, 0.5):5.1f} s  p95 {percentile(walls, 0.95):5.1f} s  {sum(cpu) / each:5.2f} CPU s/host  "
          f"{used['requests'] / each:5.1f} requests  {used['sent'] / each / 1000:7.1f} kB down  {used['received'] / each / 1000:6.1f} kB up  {len(failed)} had to try again ({later} syncs)",
          flush=True)
    for reason, times in reasons.most_common(5):
        print(f"    {times} x {reason}", flush=True)


def built(bench):
    """A program of benches/, built if it is not."""
    lines = subprocess.run(["cargo", "build", "--locked", "--release", "--quiet", "--bench", bench, "--message-format", "json"], cwd=REPOSITORY,
                           check=True, stdout=subprocess.PIPE).stdout.splitlines()
    found = [line["executable"] for line in map(json.loads, lines) if line.get("executable") and line["target"]["name"] == bench]
    return found[0]


def bare_pushes(folder, source, program, times):
    """The floor: as many processes with git2 alone fetch, push one ref each and list it, all at the same instant. Their server is
    another one, and what they push are the very files that the hosts pushed, an entry more each time."""
    refs = git("for-each-ref", "--format=%(refname)", "refs/heads/mesh-host/", cwd=source.repo).decode().split()
    if not refs:
        raise SystemExit("bare needs refs-once or refs-spread before it: it pushes what they pushed")
    folder.mkdir()
    server = Server(folder)
    for n, ref in enumerate(refs):
        git("init", "-q", "--bare", str(folder / f"bare-{n}"))
        (folder / f"files-{n}").mkdir()
        archive = git("archive", ref, cwd=source.repo)
        subprocess.run(["tar", "-x", "-C", str(folder / f"files-{n}")], input=archive, check=True)

    def one(n, turn):
        subprocess.run([program, str(folder / f"bare-{n}"), server.url, f"{n:04}", str(folder / f"files-{n}"), str(turn)], check=True)

    for turn in range(1, times + 1):
        before, begun = server.now(), time.monotonic()
        many(lambda n: one(n, turn), range(len(refs)), workers=len(refs))
        took, used, each = time.monotonic() - begun, server.since(before), len(refs)
        print(f"{f'git2 alone, refs, all at once ({turn})':34} {took:7.1f} s  {60 * each / took:6.0f} pushes/min  "
              f"{used['requests'] / each:5.1f} requests  {used['sent'] / each / 1000:7.1f} kB down  {used['received'] / each / 1000:6.1f} kB up",
              flush=True)


ROWS = ["branch-spread", "branch-once", "refs-once", "refs-spread", "bare"]


def pushes(folder, count, seconds, rows):
    bare = built("bare_push") if "bare" in rows else None
    server = Server(folder)
    hosts = [Host(folder, f"h{n:04}") for n in range(count)]
    author = hosts[0]
    many(lambda host: host.mesh("init", "--name", host.name, "--mesh", "scale", "--remote", server.url), hosts)
    # Everybody hears one author; who hears whom changes nothing about who pushes.
    line = author.mesh("id").strip()
    many(lambda host: host.mesh("enroll", "author", line), hosts[1:])
    rounds_until_all_is_out(hosts)
    places = [host.place() * seconds for host in hosts]
    number = 0

    def round_of(offsets, what):
        nonlocal number
        number += 1
        many(lambda host: host.publish(f"{host.name}-{number}"), hosts)
        all_push(server, hosts, offsets, what)

    print(f"{count} hosts, each with one new entry, {os.cpu_count()} processors, load {os.getloadavg()[0]:.0f}", flush=True)
    if "branch-spread" in rows:
        round_of(places, f"branch, spread over {seconds} s")
    if "branch-once" in rows:
        round_of([0] * count, "branch, all at once")
    single = "refs-once" in rows or "refs-spread" in rows
    if single:
        for host in hosts:
            host.layout("refs")
    if "refs-once" in rows:
        round_of([0] * count, "refs, all at once (1)")
        for time_number in (2, 3):
            round_of([0] * count, f"refs, all at once ({time_number})")
    if "refs-spread" in rows:
        round_of(places, f"refs, spread over {seconds} s")
    if bare:
        bare_pushes(folder / "bare", server, bare, number)
    reader, entries = hosts[-1], {}
    before = server.now()
    _, cpu, _ = reader.sync()
    used = server.since(before)
    print(f"a host that reads all of it: {cpu:.2f} CPU s, {used['sent'] / 1000:.0f} kB")
    before = server.now()
    _, cpu, _ = reader.sync()
    used = server.since(before)
    print(f"a cycle without news, {count} refs: {cpu:.2f} CPU s, {used['sent'] / 1000:.1f} kB")
    # Whoever has a ref of its own took along what the branch had of it.
    refs = git("for-each-ref", "--format=%(refname)", "refs/heads/mesh-host/" if single else "refs/heads/mesh", cwd=server.repo).decode().split()
    for ref in refs:
        for path in git("ls-tree", "-r", "--name-only", ref, cwd=server.repo).decode().split():
            if "/log/" in path:
                host = path.split("/")[2]
                entries[host] = entries.get(host, 0) + 1
    lost = [host for host, found in entries.items() if found != number]
    print(f"{len(entries)} hosts, each with {number} entries: " + ("nothing is lost" if not lost and len(entries) == count else f"LOST: {lost}"))
    if lost or len(entries) != count:
        raise SystemExit(1)


# A host that joins reads at most 100,000 objects, trees among them.
JOINS = 90_000


def strangers_history(repo, numbers):
    """Small entries of 500 hosts that nobody here knows, as one commit on the branch."""
    stream = [b"commit refs/heads/mesh\ncommitter b <b@localhost> 1 +0000\ndata 1\nx\n"]
    if numbers.start == 0:
        stream.append(b"M 100644 inline mesh-format\ndata 14\nmesh-branch/1\n\nM 100644 inline .gitattributes\ndata 8\n* -text\n\n")
    else:
        stream.append(b"from refs/heads/mesh^0\n")
    for n in numbers:
        host, seq = n % 500, n // 500 + 1
        name = f"{host:064x}"[::-1]
        text = f"{n * 2654435761 % 2**32:08x}"
        path = f"hosts/{name[:2]}/{name}/log/{(seq - 1) // 100:08}/{seq:010}.json"
        stream.append(f"M 100644 inline {path}\ndata {len(text)}\n{text}\n".encode())
    git("fast-import", "--quiet", cwd=repo, input=b"".join(stream))


def history(folder):
    print(f"one cycle with one new entry, {os.cpu_count()} processors, load {os.getloadavg()[0]:.0f}; best of 5")
    for entries in (1_000, 10_000, 100_000):
        below = folder / str(entries)
        below.mkdir()
        server = Server(below)
        joined = min(entries, JOINS)
        strangers_history(server.repo, range(joined))
        author, reader = Host(below, "author"), Host(below, "reader")
        for host in (author, reader):
            host.mesh("init", "--name", host.name, "--mesh", "scale", "--remote", server.url)
        reader.mesh("enroll", "author", author.mesh("id").strip())
        before = server.now()
        _, first_cpu, report = reader.sync()
        first = server.since(before)
        if report["remote"]:
            raise SystemExit(f"{entries}: {report['remote']}")
        author.sync()
        if joined < entries:
            strangers_history(server.repo, range(joined, entries))
            author.sync()
        reader.sync()
        rows = []
        for n in range(5):
            author.publish(f"new-{n}")
            before = server.now()
            _, out_cpu, _ = author.sync()
            out = server.since(before)
            before = server.now()
            _, in_cpu, report = reader.sync()
            into = server.since(before)
            if report["received"] != 1:
                raise SystemExit(f"{entries}: {report}")
            rows.append((out_cpu, out["sent"] + out["received"], in_cpu, into["sent"] + into["received"]))
        before = server.now()
        _, idle_cpu, _ = reader.sync()
        idle = server.since(before)
        best = [min(row[k] for row in rows) for k in range(4)]
        print(f"{entries:6} entries: publish {best[0]:.3f} CPU s {best[1] / 1000:6.1f} kB   read {best[2]:.3f} CPU s {best[3] / 1000:6.1f} kB   "
              f"no news {idle_cpu:.3f} CPU s {(idle['sent'] + idle['received']) / 1000:.1f} kB   first read of {joined} {first_cpu:.2f} CPU s {first['sent'] / 1e6:.1f} MB", flush=True)
        shutil.rmtree(below)


class Signer:
    """A host that nobody runs: its key, and where its log stands."""

    def __init__(self, simulator):
        self.simulator, self.key, self.seq, self.tip = simulator, simulator.Key(), 0, None

    def entry(self, kind, body):
        header = {"mesh": "scale", "host": self.key.id, "seq": self.seq + 1, "prev": self.tip, "issued_at": self.simulator.now()}
        file = self.simulator.seal(kind, self.simulator.to_bytes({**header, **body}), self.key)
        self.seq, self.tip = self.seq + 1, self.simulator.entry_id(file)
        return self.simulator.entry_path(self.key.id, self.seq), file

    def head(self, n):
        body = {"mesh": "scale", "host": self.key.id, "n": n, "seq": self.seq, "tip": self.tip, "issued_at": self.simulator.now(),
                "expires_at": self.simulator.now(48), "roster": None, "agent": "bench/1", "seen": []}
        return f"{self.simulator.directory(self.key.id)}/head.json", self.simulator.seal("head", self.simulator.to_bytes(body), self.key)


def commit(repo, files):
    stream = [b"commit refs/heads/mesh\ncommitter b <b@localhost> 1 +0000\ndata 1\nx\nfrom refs/heads/mesh^0\n"]
    for path, file in files:
        stream.append(f"M 100644 inline {path}\ndata {len(file)}\n".encode() + file + b"\n")
    git("fast-import", "--quiet", cwd=repo, input=b"".join(stream))


def year(folder, count):
    """Each host: ten lessons a year and four attestations a week. All of it comes in 52 fetches but the last week, which comes in 300."""
    sys.path.insert(0, str(REPOSITORY / "tests"))
    sys.dont_write_bytecode = True
    import mesh_simulator
    server = Server(folder)
    reader = Host(folder, "reader")
    reader.mesh("init", "--name", "reader", "--mesh", "scale", "--remote", server.url)
    hosts = [Signer(mesh_simulator) for _ in range(count)]
    for n, host in enumerate(hosts):
        reader.mesh("enroll", f"host-{n}", host.key.line)
    reader.sync()
    lessons, heads, known = 0, 0, []

    def sign(host, n, week, turn):
        nonlocal lessons
        if turn is None:
            slug = f"lesson-{lessons}"
            lessons += 1
            file = host.entry("lesson", mesh_simulator.lesson(slug))
            known.append((slug, host.tip))
            return file
        slug, entry = known[(week * 31 + n * 17 + turn * 7) % len(known)]
        about = {"lesson": slug, "entry": entry, "intervention": f"{host.seq + 1:08x}.1"}
        return host.entry("attestation", {**ATTESTATION, **about})

    def sync(files):
        commit(server.repo, files)
        received = 0
        while True:
            _, cpu, report = reader.sync()
            if report["remote"] or report["refused"]:
                raise SystemExit(f"{report}")
            received += report["received"]
            if report["received"] == 0:
                return received, cpu

    def size(path):
        out = subprocess.run(["du", "-sk", str(path)], check=True, stdout=subprocess.PIPE).stdout
        return int(out.split()[0]) / 1024

    expected = received = most = 0
    for week in range(1, 53):
        wanted = [(host, n, week, None) for n, host in enumerate(hosts) if (week * 10 + n * 7) % 52 < 10 or (week, n) == (1, 0)]
        wanted += [(host, n, week, turn) for turn in range(4) for n, host in enumerate(hosts)]
        expected += len(wanted)
        parts = 300 if week == 52 else 1
        for part in range(parts):
            some = wanted[len(wanted) * part // parts:len(wanted) * (part + 1) // parts]
            files = [sign(*one) for one in some]
            heads += 1
            files += [host.head(heads) for host in {id(one[0]): one[0] for one in some}.values()]
            before = server.now()
            received += sync(files)[0]
            most = max(most, server.since(before)["sent"]) if part else 0
        # The agent syncs 672 times a week, and packs 256 entries each time.
        for _ in range(received // 256 + 2):
            reader.sync()
        if week in (4, 13, 26, 51, 52):
            state = reader.home / "state"
            print(f"week {week:2}: {received:6} entries   home {size(reader.home):6.1f} MiB: database {size(state / 'mesh.db'):6.1f}, "
                  f"cache {size(state / 'cache.git'):6.1f} in {len(list((state / 'cache.git/objects/pack').glob('*.pack')))} packs"
                  + (f"; at most {most / 1000:.1f} kB in one sync of the last week" if most else ""), flush=True)
    if received != expected:
        raise SystemExit(f"{received} of {expected} entries were received")


def main(arguments):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="mesh-scale-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    try:
        match arguments:
            case ["pushes", count]:
                pushes(folder, int(count), int(count), ROWS)
            case ["pushes", count, seconds]:
                pushes(folder, int(count), int(seconds), ROWS)
            case ["pushes", count, seconds, rows] if set(rows.split(",")) <= set(ROWS):
                pushes(folder, int(count), int(seconds), rows.split(","))
            case ["history"]:
                history(folder)
            case ["year"]:
                year(folder, 300)
            case ["year", count]:
                year(folder, int(count))
            case _:
                raise SystemExit(__doc__)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:])
