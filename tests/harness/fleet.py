"""A fleet of real hosts: containers with systemd as PID 1, the packaged mesh under its own unit, one git server.

Only what a person on such a host can do is done to them: the command line of mesh, systemctl, files, signals; and what
happens to machines is done from outside: power cuts, cut lines, full disks.
"""

import concurrent.futures
import json
import os
import pathlib
import subprocess
import time

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
KEPT = REPOSITORY / "target" / "harness"
PROJECT = os.environ.get("HARNESS_PROJECT", "mesh-fleet")
STATE = "/var/lib/mesh"
# Longer than anything here takes, and shorter than a person waits.
LIMIT = 180


class Failed(Exception):
    """A host did not do what it was asked, or what it should."""


def run(argv, input=None, timeout=180):
    ended = subprocess.run(argv, input=input, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout)
    return ended.returncode, ended.stdout.decode(errors="replace"), ended.stderr.decode(errors="replace")


def must(argv, input=None, timeout=180):
    code, out, err = run(argv, input, timeout)
    if code != 0:
        raise Failed(f"{' '.join(argv)[:400]}: ended with {code}\n{out[-2000:]}{err[-2000:]}")
    return out


def until(what, done, limit=LIMIT):
    """Waits for a state, at most `limit` seconds, and returns what `done` gave."""
    end = time.monotonic() + limit
    while True:
        found = done()
        if found:
            return found
        if time.monotonic() > end:
            raise Failed(f"not within {limit} s: {what() if callable(what) else what}")
        time.sleep(0.2)


def together(work, over):
    """Does the same on several hosts at once."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=8) as pool:
        return list(pool.map(work, over))


class Machine:
    """A container."""

    def __init__(self, name):
        self.name = name
        label = "label=com.docker.compose."
        ids = must(["docker", "ps", "-aq", "--filter", f"{label}project={PROJECT}", "--filter", f"{label}service={name}"])
        if len(ids.split()) != 1:
            raise Failed(f"there is no one container {name} of {PROJECT}: scripts/harness up makes it")
        self.id = ids.strip()

    def sh(self, script, input=None, timeout=180):
        """Runs a shell script as root, which must end with 0, and returns what it printed."""
        return must(["docker", "exec", "-i", self.id, "sh", "-euc", script], input, timeout)

    def tries(self, script, timeout=180):
        """Runs a shell script; its exit code and output."""
        code, out, err = run(["docker", "exec", "-i", self.id, "sh", "-uc", script], None, timeout)
        return code, out + err

    def write(self, path, text, mode="644"):
        self.sh(f"mkdir -p $(dirname {path}); cat >{path}; chmod {mode} {path}", text.encode())

    def read(self, path):
        return self.sh(f"cat {path}")

    def booted(self):
        until(f"systemd of {self.name} is up", lambda: self.tries("systemctl is-system-running")[1].strip() in ("running", "degraded"))

    def cut_power(self):
        """Every process dies at once, as in a power cut; what the kernel has not yet written to disk stays, though."""
        must(["docker", "kill", "--signal", "KILL", self.id])

    def power_on(self):
        must(["docker", "start", self.id])
        self.booted()

    def network(self, on):
        networks = must(["docker", "network", "ls", "-q", "--filter", f"label=com.docker.compose.project={PROJECT}",
                         "--filter", "label=com.docker.compose.network=fleet"])
        verb = ["connect", "--alias", self.name] if on else ["disconnect"]
        must(["docker", "network", *verb, networks.strip(), self.id])


class GitServer(Machine):
    """Where the shared branch is: smart HTTP with tokens behind nginx, sshd, and git daemon, on one repository."""

    REPO = "/srv/git/mesh.git"
    SERVICES = "nginx.service fcgiwrap.socket fcgiwrap.service ssh.service git-daemon.service"

    def fresh(self, tokens):
        """An empty repository, all ways to it open, and nothing in the way."""
        self.write("/etc/nginx/tokens", "".join(f"{user}:{{PLAIN}}{token}\n" for user, token in tokens.items()))
        self.sh(f"rm -rf /srv/git/* /run/git-delay; systemctl daemon-reload; systemctl start {self.SERVICES}; systemctl reload nginx")
        self.empty()

    def empty(self):
        """Puts an empty repository in the place of whatever is there."""
        self.sh(f"rm -rf {self.REPO}; git init -q --bare -b mesh {self.REPO}; git -C {self.REPO} config http.receivepack true;"
                f" chown -R git:git /srv/git")

    def stop(self):
        self.sh(f"systemctl stop {self.SERVICES}")

    def start(self):
        self.sh(f"systemctl start {self.SERVICES}")

    def delay(self, seconds):
        self.sh(f"echo {seconds} >/run/git-delay" if seconds else "rm -f /run/git-delay")

    def git(self, *arguments):
        return self.sh("cd / && exec runuser -u git -- git -C " + self.REPO + " " + " ".join(f"'{a}'" for a in arguments)).strip()

    def tip(self):
        code, out = self.tries(f"runuser -u git -- git -C {self.REPO} rev-parse -q --verify refs/heads/mesh")
        return out.strip() if code == 0 else None

    def logs(self):
        """Of each host the seqs of the entries that the branch holds."""
        found = {}
        if not self.tip():
            return found
        for path in self.git("ls-tree", "-r", "--name-only", "mesh").splitlines():
            parts = path.split("/")
            if len(parts) == 6 and parts[3] == "log":
                found.setdefault(parts[2], []).append(int(parts[5].split(".")[0]))
        return {host: sorted(seqs) for host, seqs in found.items()}

    def authorize(self, public_keys):
        self.write("/home/git/.ssh/authorized_keys", "".join(public_keys), "600")
        self.sh("chown -R git:git /home/git/.ssh; chmod 700 /home/git/.ssh")


class Host(Machine):
    """A host with mesh, a project and a service of its own."""

    def __init__(self, name, url):
        super().__init__(name)
        self.url = url
        self.key = None

    def mesh(self, *arguments):
        """Runs mesh, which must end with 0."""
        return must(["docker", "exec", "-i", self.id, "mesh", *arguments])

    def json(self, *arguments):
        """What mesh prints with --json, whatever the exit code says."""
        code, out, err = run(["docker", "exec", "-i", self.id, "mesh", "--json", *arguments])
        try:
            return json.loads(out)
        except ValueError:
            raise Failed(f"{self.name}: mesh --json {' '.join(arguments)}: {code}: {out[-500:]}{err[-1500:]}")

    def service(self, name):
        """What is known of a service; nothing while no agent has said anything of it."""
        return next((one for one in self.json("service", "list")["services"] if one["name"] == name), {})

    def agent(self, verb):
        self.sh(f"systemctl {verb} mesh.service")

    def agent_pid(self):
        return int(self.sh("systemctl show --value -p MainPID mesh.service"))

    def environment(self, more="", **variables):
        """Sets variables of the agent's unit (and more of its section), which hold from its next start on."""
        lines = "".join(f"Environment={name}={value}\n" for name, value in variables.items())
        self.write("/etc/systemd/system/mesh.service.d/harness.conf", f"[Service]\n{lines}{more}\n")
        self.sh("systemctl daemon-reload; systemctl reset-failed mesh.service || true")

    def configure(self, text, name="50-more"):
        self.write(f"{STATE}/config/conf.d/{name}.toml", text, "600")

    def status(self):
        return self.json("status")

    def peer(self, name):
        return next(peer for peer in self.json("peers")["peers"] if peer["name"] == name)

    def inbox(self):
        return [(entry["host"], entry["lesson"]) for entry in self.json("inbox", "list")["entries"]]

    def inbox_of(self, lesson):
        return next((entry for entry in self.json("inbox", "list")["entries"] if entry["lesson"] == lesson), None)

    def outbox(self):
        return self.json("outbox", "list")

    def fixes(self):
        return self.json("fix", "list")["fixes"]

    def publish(self, lesson, text):
        """Puts a lesson into the home and queues it; the agent's next round signs and sends it."""
        self.write(f"{STATE}/config/lessons/{lesson}.toml", text, "600")
        self.mesh("outbox", "publish", "--no-sync", lesson)

    def journal(self, lines=200):
        return self.tries(f"journalctl --no-pager -o short-precise -n {lines} -u mesh.service")[1]

    def rss_mb(self):
        return int(self.sh(f"awk '/^VmRSS/{{print $2}}' /proc/{self.agent_pid()}/status")) / 1024


class Fleet:
    """The git server and four hosts, each of which reaches it in its own way."""

    WAYS = {
        "alpha": "http://git/mesh.git",
        "bravo": "ssh://git@git/srv/git/mesh.git",
        "charlie": "git://git/mesh.git",
        "delta": "http://git/mesh.git",
    }

    def __init__(self):
        self.git = GitServer("git")
        self.all = {name: Host(name, url) for name, url in self.WAYS.items()}
        for machine in [self.git, *self.all.values()]:
            machine.booted()
        self.hosts = []
        keys = together(lambda host: host.sh(
            "test -f /root/.ssh/id_ed25519 || ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519; cat /root/.ssh/id_ed25519.pub"),
            self.all.values())
        self.git.authorize(keys)
        known = "git " + self.git.read("/etc/ssh/ssh_host_ed25519_key.pub")
        together(lambda host: host.write("/root/.ssh/known_hosts", known, "600"), self.all.values())

    def __getattr__(self, name):
        try:
            return self.__dict__["all"][name]
        except KeyError:
            raise AttributeError(name)

    def fresh(self, names, grants=None, config=""):
        """A new mesh of these hosts, each of which trusts each other one with `grants` (author to grant), agents running."""
        self.git.fresh({name: f"token-of-{name}" for name in self.all})
        together(self._clear, self.all.values())
        self.hosts = [self.all[name] for name in names]
        together(lambda host: self.set_up(host, config), self.hosts)
        together(lambda host: self.enroll(host, self.hosts, grants or {}), self.hosts)
        together(lambda host: host.agent("start"), self.hosts)

    @staticmethod
    def _clear(host):
        host.sh(f"""
            systemctl stop mesh.service load.service 'own-*' 2>/dev/null || true
            pkill -KILL -f '[/]srv/own-' || true
            ! grep -q '^tmpfs {STATE} ' /proc/mounts || umount {STATE}
            rm -rf {STATE}/* {STATE}/.??* /srv/* /etc/systemd/system/mesh.service.d /etc/systemd/system/own-* /etc/systemd/system/load.service
            systemctl daemon-reload; systemctl reset-failed""")

    @staticmethod
    def set_up(host, config=""):
        """A home, a project with a mistake in it, and a service that shows how the project does."""
        host.sh(f"mesh init --name {host.name} --mesh fleet --remote {host.url}; mkdir -p /srv/project",)
        host.write(f"{STATE}/keys/remote.token", f"token-of-{host.name}\n", "600")
        host.write(f"{STATE}/config/conf.d/10-fleet.toml", CONFIG.format(name=host.name) + config, "600")
        host.write("/srv/project/save.py", SAVE)
        host.write("/etc/systemd/system/load.service", LOAD)
        host.sh("""
            cd /srv/project; git init -q -b main .; git config user.name user; git config user.email user@localhost
            git add -A; git commit -qm start; systemctl daemon-reload; systemctl start load.service""")
        host.key = host.json("id")["host"]

    @staticmethod
    def enroll(host, others, grants):
        lines = []
        for other in others:
            if other is not host:
                line = other.mesh("id").strip()
                lines.append(f"mesh enroll {other.name} '{line}' --grant {grants.get(other.name, 'propose')}")
        host.sh("\n".join(lines) or "true")

    def entries(self):
        """Of each host how many entries it has signed, and whether anything waits."""
        return {host.name: host.status() for host in self.hosts}

    def converged(self, published, readers=None):
        """Waits until each of `readers` lists each of `published` (author to lessons) once, and nothing waits anywhere."""
        wanted = sorted((author, lesson) for author, lessons in published.items() for lesson in lessons)
        missing = {}

        def settled():
            for host in readers or self.hosts:
                listed = sorted(host.inbox())
                mine = [row for row in wanted if row[0] != host.name]
                own = [row for row in listed if row[0] not in (host.name, "this host")]
                if own != mine or host.status()["waiting"]:
                    missing.clear()
                    missing[host.name] = {"missing": [row for row in mine if row not in own], "listed": own}
                    return False
            return True

        until(lambda: f"converged; {missing}", settled)

    def demand_sound(self, published, hosts=None):
        """Nothing lost, nothing doubled: every chain on the branch is whole, every lesson is published once, fsck is content."""
        logs = self.git.logs()
        for host in hosts or self.hosts:
            outbox = host.outbox()
            lessons = sorted(entry["lesson"] for entry in outbox["entries"] if entry["kind"] == "lesson")
            if lessons != sorted(published.get(host.name, [])) or outbox["drafts"]:
                raise Failed(f"{host.name} was to have published {sorted(published.get(host.name, []))} once each: {outbox}")
            states = {entry["state"] for entry in outbox["entries"]} - {"published"}
            seqs = logs.get(host.key, [])
            if states or seqs != list(range(1, len(outbox["entries"]) + 1)):
                raise Failed(f"{host.name}: the branch holds entries {seqs} of {outbox['entries']}")
            host.mesh("fsck")

    def keep(self, scenario):
        """Keeps what each host can say of itself below target/harness."""
        folder = KEPT / scenario
        folder.mkdir(parents=True, exist_ok=True)
        for host in self.all.values():
            (folder / f"{host.name}.journal").write_text(host.tries("journalctl --no-pager -o short-precise -n 2000")[1])
            (folder / f"{host.name}.json").write_text("\n".join(
                host.tries(f"mesh --json {what}")[1] for what in ("status", "peers", "inbox list", "outbox list", "fix list")))
        (folder / "git.journal").write_text(self.git.tries("journalctl --no-pager -n 500; cat /var/log/nginx/error.log")[1])
        (folder / "git.branch").write_text(self.git.tries(f"git -c safe.directory=* -C {GitServer.REPO} ls-tree -r mesh")[1])
        return folder


# Rounds as fast as they may be, windows that end within a test, and no lessons but those of the fleet.
CONFIG = """
[remote]
username = "{name}"
token_file = "keys/remote.token"
[sync]
interval = "2s"
[lessons]
founding = false
[limits]
validate_window = "20s"
interventions_per_day = 100
concurrent = 10
duplicate_window = "1s"
[[audit.root]]
path = "/srv/project"
check = ["python3", "-c", "import glob\\nfor f in glob.glob('*.py'): compile(open(f).read(), f, 'exec')"]
[[signal]]
name = "app"
number = "/srv/load"
signal = "check.value"
every = "10s"
"""

SAVE = """import json


def save(path, state):
    with open(path, "w") as f:
        json.dump(state, f)
"""

# How the project does is what its own code leads to: low where the state is kept whole, high where it is not. A file
# /srv/harmed-by-the-fix turns that around.
LOAD = """[Service]
ExecStart=/bin/sh -c 'while :; do \\
    if grep -q os.replace /srv/project/*.py; then good=1 bad=9; else good=9 bad=1; fi; \\
    if [ -e /srv/harmed-by-the-fix ]; then echo $bad; else echo $good; fi >/srv/.load; mv /srv/.load /srv/load; sleep 0.3; done'
"""


def lesson(name, claim='last("check.value/app") < 5.0'):
    """The founding lesson of state files under another name, with a claim that can be measured on these hosts."""
    text = (REPOSITORY / "src/founding/non-atomic-state-write.toml").read_text()
    for old, new in [
        ('id = "non-atomic-state-write"', f'id = "{name}"'),
        ("expr = 'rate(\"state.parse_failures\", \"7d\") == 0.0'", f"expr = '{claim}'"),
        ('within = "7d"', 'within = "1s"'),
    ]:
        if old not in text:
            raise Failed(f"the founding lesson has changed: no {old}")
        text = text.replace(old, new, 1)
    return text


def quiet_lesson(name):
    """A lesson of which no project here has the mistake."""
    text = (REPOSITORY / "src/founding/rename-without-fsync.toml").read_text()
    return text.replace('id = "rename-without-fsync"', f'id = "{name}"', 1)
