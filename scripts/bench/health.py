#!/usr/bin/env python3
"""Asks /health of two agents in turns: one that measures itself only, one with 500 checks more, 50 of which hang.

    scripts/bench/health.py [--mesh target/release/mesh] [--checks 500] [--asks 300] [--idle 0]

Shown are the median and the 99th percentile of both and their ratio, and the CPU time of both agents meanwhile.
Asks are interleaved, so that a slow moment of the machine hits both. With --idle SECONDS nobody asks, the checks are
due every five minutes only, and shown is how often each agent woke up and what it used. Nothing here is a test.
"""

import argparse
import http.client
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]


def listeners():
    """Addresses of a server that answers at once and of one that never does."""
    answering, silent = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0), backlog=512)

    def answer():
        while True:
            stream, _ = answering.accept()
            with stream:
                stream.recv(4096)
                stream.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")

    threading.Thread(target=answer, daemon=True).start()
    return answering.getsockname()[1], silent, silent.getsockname()[1]


class Agent:
    def __init__(self, mesh, above, name, config):
        home = Path(above, name)
        environment = {"PATH": os.environ["PATH"], "HOME": str(above), "MESH_HOME": str(home)}
        remote = Path(above, f"{name}.git")
        subprocess.run(["git", "init", "-q", "--bare", str(remote)], check=True)
        init = [mesh, "init", "--name", name, "--mesh", "bench", "--remote", str(remote)]
        subprocess.run(init, check=True, env=environment, cwd=above, stdout=subprocess.DEVNULL)
        (home / "config/conf.d/bench.toml").write_text('[http]\nlisten = "127.0.0.1:0"\n' + config)
        self.process = subprocess.Popen(
            [mesh, "run"], env=environment, cwd=above, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        for line in self.process.stderr:
            if found := re.search(r"serving http://([\d.]+):(\d+)/health", line):
                self.address = found.group(1), int(found.group(2))
                break
        else:
            sys.exit(f"{name} ended before it served")
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def ask(self):
        started = time.perf_counter()
        connection = http.client.HTTPConnection(*self.address, timeout=30)
        connection.request("GET", "/health")
        body = connection.getresponse().read()
        connection.close()
        return (time.perf_counter() - started) * 1e3, len(body)

    def cpu(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def wakeups(self):
        """How often each of its threads went to sleep of its own will, and with it woke up."""
        found = {}
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            text = (task / "status").read_text()
            found[task.name] = int(re.search(r"\nvoluntary_ctxt_switches:\s+(\d+)", text).group(1))
        return found

    def rss(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024


def idle(agents, seconds):
    time.sleep(20)
    before = {name: (agent.wakeups(), agent.cpu()) for name, agent in agents.items()}
    time.sleep(seconds)
    for name, agent in agents.items():
        # A thread that is new has woken up as often as it says; one that is gone says nothing any more.
        woken = sum(count - before[name][0].get(task, 0) for task, count in agent.wakeups().items())
        used = agent.cpu() - before[name][1]
        print(f"{name:6} {woken:5} wake-ups and {used * 1e3:6.0f} ms of CPU in {seconds} s  RSS {agent.rss():5.1f} MiB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mesh", default=str(REPO / "target/release/mesh"))
    parser.add_argument("--checks", type=int, default=500)
    parser.add_argument("--asks", type=int, default=300)
    parser.add_argument("--idle", type=int, default=0)
    arguments = parser.parse_args()
    arguments.mesh = str(Path(arguments.mesh).resolve())
    good, _silent, hung = listeners()
    config = "".join(
        f'[[signal]]\nname = "c{n}"\nevery = "{300 if arguments.idle else 10}s"\ntimeout = "5s"\nhttp = "http://127.0.0.1:{hung if n % 10 == 0 else good}/"\n'
        for n in range(arguments.checks)
    )
    with tempfile.TemporaryDirectory() as above:
        agents = {"alone": Agent(arguments.mesh, above, "alone", ""), "busy": Agent(arguments.mesh, above, "busy", config)}
        try:
            # Both have made their first round and every check was asked once.
            time.sleep(20)
            if arguments.idle:
                return idle(agents, arguments.idle)
            took, size = {name: [] for name in agents}, {}
            before, started = {name: agent.cpu() for name, agent in agents.items()}, time.monotonic()
            for _ in range(arguments.asks):
                for name, agent in agents.items():
                    spent, size[name] = agent.ask()
                    took[name].append(spent)
                time.sleep(0.1)
            passed = time.monotonic() - started
            for name, agent in agents.items():
                ordered = sorted(took[name])
                median, late = statistics.median(ordered), ordered[int(len(ordered) * 0.99)]
                used = (agent.cpu() - before[name]) / passed * 100
                print(f"{name:6} median {median:6.2f} ms  p99 {late:6.2f} ms  {size[name] / 1024:6.1f} KiB  "
                      f"CPU {used:5.2f} %  RSS {agent.rss():5.1f} MiB")
            ratio = statistics.median(took["busy"]) / statistics.median(took["alone"])
            print(f"busy / alone, medians: {ratio:.2f}")
        finally:
            for agent in agents.values():
                agent.process.terminate()
            for agent in agents.values():
                agent.process.wait()


if __name__ == "__main__":
    main()
