"""A mesh of five hosts written from docs/protocol.md alone, for tests/simulator.rs.

mesh_simulator.py MESH_BINARY FOLDER

Uses git, securesystemslib and the documented formats; nothing of mesh but its command line. The binary is the sixth
host. Every step prints one line; the first thing that is not as documented ends the run.
"""

import base64
import hashlib
import json
import pathlib
import subprocess
import sys
from datetime import datetime, timedelta, timezone

from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner, SSlibKey

MESH = "home"
TYPE = "application/vnd.mesh.%s.v1+json"


def now(hours=0):
    return (datetime.now(timezone.utc) + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")


def demand(holds, what):
    if not holds:
        sys.exit(f"simulator: {what}")


def say(what):
    print("ok:", what, flush=True)


def public_key(host):
    return SSlibKey(keyid=host, keytype="ed25519", scheme="ed25519", keyval={"public": host})


def to_bytes(document):
    return (json.dumps(document, indent=2) + "\n").encode()


class Key:
    """A signing key, by the names that the protocol gives it."""

    def __init__(self):
        signer = CryptoSigner.generate_ed25519()
        self.id = signer.public_key.keyval["public"]
        if len(self.id) != 64:  # some versions keep PEM
            from cryptography.hazmat.primitives.serialization import (Encoding, PublicFormat, load_pem_public_key)
            self.id = load_pem_public_key(self.id.encode()).public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
        self.signer = CryptoSigner(signer._private_key, public_key(self.id))

    @property
    def blob(self):
        parts = (b"ssh-ed25519", bytes.fromhex(self.id))
        return b"".join(len(part).to_bytes(4, "big") + part for part in parts)

    @property
    def line(self):
        return "ssh-ed25519 " + base64.b64encode(self.blob).decode()

    @property
    def fingerprint(self):
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")


def seal(kind, payload, *keys):
    envelope = Envelope(payload, TYPE % kind, {})
    for key in keys:
        envelope.sign(key.signer)
    return to_bytes(envelope.to_dict())


def entry_id(file):
    envelope = json.loads(file)
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
    pae = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    return hashlib.sha256(pae).hexdigest()


def verified(file, host):
    """The kind and payload of a file, whose one signature must be the host's."""
    envelope = json.loads(file)
    demand(len(envelope["signatures"]) == 1, "a host's document carries another number of signatures than one")
    Envelope.from_dict(envelope).verify([public_key(host)], 1)
    kind = envelope["payloadType"].removeprefix("application/vnd.mesh.").removesuffix(".v1+json")
    return kind, json.loads(base64.b64decode(envelope["payload"]))


def directory(host):
    return f"hosts/{host[:2]}/{host}"


def entry_path(host, seq):
    return f"{directory(host)}/log/{(seq - 1) // 100:08}/{seq:010}.json"


class Branch:
    """The shared branch, through a clone."""

    def __init__(self, folder):
        self.bare, self.work = folder / "remote.git", folder / "work"
        subprocess.run(["git", "init", "-q", "--bare", "-b", "mesh", self.bare], check=True)
        subprocess.run(["git", "clone", "-q", self.bare, self.work], check=True, stderr=subprocess.DEVNULL)
        self.git("checkout", "-q", "-B", "mesh")

    def git(self, *arguments):
        command = ["git", "-C", str(self.work), "-c", "user.name=x", "-c", "user.email=x@x", "-c", "core.autocrlf=false"]
        return subprocess.run([*command, *arguments], check=True, capture_output=True).stdout

    def pull(self):
        if subprocess.run(["git", "-C", str(self.bare), "rev-parse", "-q", "--verify", "mesh"], capture_output=True).returncode == 0:
            self.git("fetch", "-q", "origin")
            self.git("reset", "-q", "--hard", "origin/mesh")

    def push(self, files):
        self.pull()
        if not (self.work / "mesh-format").exists():
            files = {"mesh-format": b"mesh-branch/1\n", ".gitattributes": b"* -text\n", **files}
        for path, content in files.items():
            target = self.work / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "simulated")
        self.git("push", "-q", "origin", "mesh")

    def read(self, path):
        target = self.work / path
        return target.read_bytes() if target.exists() else None


class Host:
    """A host of the mesh."""

    def __init__(self, name, branch, key=None):
        self.name, self.branch, self.key = name, branch, key or Key()
        self.seq, self.tip, self.n, self.seen = 0, None, 0, []

    def header(self):
        return {"mesh": MESH, "host": self.key.id, "seq": self.seq + 1, "prev": self.tip, "issued_at": now()}

    def make(self, kind, body):
        """An entry that would be the next one, and is not counted."""
        return seal(kind, to_bytes({**self.header(), **body}), self.key)

    def append(self, kind, body):
        file = self.make(kind, body)
        self.seq, self.tip = self.seq + 1, entry_id(file)
        return {entry_path(self.key.id, self.seq): file}

    def head(self, roster=None):
        self.n += 1
        head = {
            "mesh": MESH, "host": self.key.id, "n": self.n, "seq": self.seq, "tip": self.tip, "issued_at": now(),
            "expires_at": now(48), "roster": roster, "agent": "simulator/1", "seen": self.seen,
        }
        return {f"{directory(self.key.id)}/head.json": seal("head", to_bytes(head), self.key)}

    def join(self):
        join = {"mesh": MESH, "host": self.key.id, "name": self.name, "issued_at": now(), "agent": "simulator/1"}
        return {f"{directory(self.key.id)}/join.json": seal("join", to_bytes(join), self.key)}

    def push(self, files=None, roster=None):
        self.branch.push({**(files or {}), **self.head(roster)})


class Mesh:
    """The binary with a home of its own."""

    def __init__(self, binary, home):
        self.binary, self.home = binary, home

    def run(self, *arguments, code=0):
        command = [self.binary, "--home", str(self.home), "--json", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "HOME": str(self.home)})
        said = f"mesh {' '.join(arguments)} ended with {done.returncode}, not {code}: {done.stdout}{done.stderr}"
        demand(done.returncode == code, said)
        return json.loads(done.stdout) if done.stdout.strip() else None

    def sync(self, code=0):
        return self.run("sync", "--once", code=code)

    def peers(self, code=0):
        return {peer["name"]: peer for peer in self.run("peers", code=code)["peers"]}

    def lessons(self):
        return {(row["host"], row["lesson"]): row["state"] for row in self.run("inbox", "list")["entries"]}


def lesson(name, rev=1):
    """The documented lesson under another name."""
    example = pathlib.Path(__file__).parent.parent / "docs/example/entry-1.json"
    fields = json.loads(base64.b64decode(json.loads(example.read_bytes())["payload"]))
    for field in ("mesh", "host", "seq", "prev", "issued_at"):
        del fields[field]
    return {**fields, "id": name, "rev": rev}


def log_of(branch, host):
    """Every entry of a host, checked as the protocol asks."""
    branch.pull()
    entries, tip = [], None
    while (file := branch.read(entry_path(host, len(entries) + 1))) is not None:
        kind, payload = verified(file, host)
        demand((payload["mesh"], payload["host"], payload["seq"]) == (MESH, host, len(entries) + 1), "wrong header")
        demand(payload["prev"] == tip, "the chain does not link")
        tip = entry_id(file)
        entries.append((kind, payload, file))
    kind, head = verified(branch.read(f"{directory(host)}/head.json"), host)
    demand((kind, head["seq"], head["tip"]) == ("head", len(entries), tip), f"the head does not name the log's end: {head}")
    demand(head["expires_at"] > head["issued_at"] and head["n"] >= 1, "the head is not sound")
    return entries, head


def play(binary, folder):
    branch = Branch(folder)
    mesh = Mesh(binary, folder / "home")
    mesh.run("init", "--name", "judge", "--mesh", MESH, "--remote", str(branch.bare))
    judge = mesh.run("id")["host"]
    a, b, c, d, e = hosts = [Host(name, branch) for name in ("ada", "ben", "cho", "dag", "eva")]

    for host in hosts:
        host.push(host.join())
    mesh.sync()
    asked = {row["name"]: row["fingerprint"] for row in mesh.run("requests")["requests"]}
    demand(asked == {host.name: host.key.fingerprint for host in hosts}, f"other requests than were made: {asked}")
    mesh.run("enroll", "ada", "--fingerprint", b.key.fingerprint[:-4] + "AAAA", code=3)
    for host in hosts:
        mesh.run("enroll", host.name, "--fingerprint", host.key.fingerprint)
    mesh.sync()
    demand({peer["state"] for peer in mesh.peers().values()} == {"ok"}, "not everybody is in order")
    demand(mesh.run("requests")["requests"] == [], "enrolled hosts still ask")
    branch.pull()
    kind, join = verified(branch.read(f"{directory(judge)}/join.json"), judge)
    demand((kind, join["name"]) == ("join", "judge"), "the binary's own request is another one")
    say("five hosts joined")

    a.push(a.append("lesson", lesson("of-ada")))
    mesh.sync()
    demand(("ada", "of-ada") in mesh.lessons(), "the lesson did not arrive")
    say("a lesson was shared")

    a.push(a.append("retract", {"entry": a.tip, "lesson": "of-ada", "reason": "It was wrong."}))
    a.push(a.append("lesson", lesson("of-ada")))
    mesh.sync()
    states = [row["state"] for row in mesh.run("inbox", "list")["entries"] if row["lesson"] == "of-ada"]
    demand(sorted(states) == ["rejected", "retired"], f"a retracted lesson came again: {states}")
    say("a lesson was retracted, and did not come again")

    # The server hides ben's entry from the binary; cho tells what it has seen.
    hidden = b.append("lesson", lesson("of-ben"))
    c.seen = [{"host": b.key.id, "seq": 1, "tip": b.tip}]
    c.push()
    mesh.sync(code=5)
    peer = mesh.peers(code=5)["ben"]
    demand(peer["state"] == "withheld" and "cho has seen entry 1" in peer["detail"], f"not seen: {peer}")
    b.push(hidden)
    mesh.sync()
    say("a hidden entry was seen by what another host says")

    # dag signs a second first entry; only the first is on the branch, and the proof is cho's.
    second = d.make("lesson", lesson("other"))
    d.push(d.append("lesson", lesson("of-dag")))
    mesh.sync()
    first = branch.read(entry_path(d.key.id, 1))
    one, other = sorted([(entry_id(first), first), (entry_id(second), second)])
    claim = {"key": d.key.id, "at": 1, "one": one[0], "other": other[0]}
    c.push(c.append("forkproof", claim))
    mesh.sync()
    demand(mesh.peers()["dag"]["state"] == "ok", "a claim without its entries was believed")
    c.push({f"{directory(c.key.id)}/proof/{known}.json": file for known, file in (one, other)})
    mesh.sync(code=4)
    demand(mesh.peers(code=4)["dag"]["state"] == "quarantined", "the proof was not believed")
    say("a fork that cho proved is a quarantine, and a claim is none")

    # ben signs its first entry again: the binary finds that itself and proves it to all.
    b.seq, b.tip = 0, None
    b.push(b.append("lesson", lesson("of-ben", rev=2)))
    mesh.sync(code=4)
    demand(mesh.peers(code=4)["ben"]["state"] == "quarantined", "a fork was not found")
    mesh.sync(code=4)
    entries, _ = log_of(branch, judge)
    proofs = [payload for kind, payload, _ in entries if kind == "forkproof"]
    demand([proof["key"] for proof in proofs] == [b.key.id], f"other proofs than one of ben: {proofs}")
    for name in ("one", "other"):
        file = branch.read(f"{directory(judge)}/proof/{proofs[0][name]}.json")
        demand(file is not None and entry_id(file) == proofs[0][name], "a proof's entry is not shown")
        kind, payload = verified(file, b.key.id)
        demand((payload["host"], payload["seq"]) == (b.key.id, proofs[0]["at"]), "a proof's entry proves nothing")
    say("a fork that the binary found is proved by two entries that verify")

    # eva moves to a new key.
    last = e.append("rotate", {"to": (new := Key()).id})
    e.push(last)
    mesh.sync(code=4)
    demand(mesh.peers(code=4)["eva"]["host"] == e.key.id, "a move was followed before the new key took it up")
    moved = Host("eva", branch, new)
    moved.push(moved.append("rotate", {"from": e.key.id, "entry": e.tip}))
    mesh.sync(code=4)
    mesh.sync(code=4)
    moved.push(moved.append("lesson", lesson("of-eva")))
    mesh.sync(code=4)
    peer = mesh.peers(code=4)["eva"]
    demand((peer["host"], peer["state"], peer["seq"]) == (new.id, "ok", 2), f"the move was not followed: {peer}")
    say("a host moved to a new key and kept its name")

    # The binary moves as well.
    moved_to = mesh.run("rotate")
    demand(moved_to["moved"] and moved_to["old"] == judge, f"the binary did not move: {moved_to}")
    old, _ = log_of(branch, judge)
    young, _ = log_of(branch, moved_to["new"])
    kind, payload, file = old[-1]
    demand((kind, payload["to"]) == ("rotate", moved_to["new"]), "the old key's last entry is no move")
    kind, payload, _ = young[0]
    demand((kind, payload["from"], payload["entry"]) == ("rotate", judge, entry_id(file)), "the new key does not take it up")
    demand(mesh.run("id")["host"] == moved_to["new"], "the binary still uses the old key")
    mesh.run("fsck")
    say("the binary moved to a new key")

    roster(binary, folder, branch, [a, c])


def roster(binary, folder, branch, listed):
    """A home that trusts an admin instead of keys: one of one, then two of three."""
    admins = [Key(), Key(), Key()]
    mesh = Mesh(binary, folder / "second")
    line = admins[0].line + " admin"
    mesh.run("init", "--name", "second", "--mesh", MESH, "--remote", str(branch.bare), "--admin", line)
    mesh.sync()
    demand(mesh.peers() == {}, "somebody is trusted before the admin says so")

    def version(number, hosts, admins, threshold, signers, revoked=()):
        document = {
            "mesh": MESH, "version": number, "issued_at": now(), "expires_at": now(24), "threshold": threshold,
            "admins": [admin.id for admin in admins],
            "hosts": [{"name": host.name, "key": host.key.id, "grant": "audit", "scope": [], "not_after": None} for host in hosts],
            "revoked": [{"key": host.key.id, "trust_through": through} for host, through in revoked],
        }
        branch.push({f"roster/{number:010}.json": seal("roster", to_bytes(document), *signers)})

    version(1, listed, admins[:1], 1, admins[:1])
    mesh.sync()
    demand({name: peer["grant"] for name, peer in mesh.peers().items()} == {"ada": "audit", "cho": "audit"}, "other peers than listed")
    version(2, listed[:1], admins[1:], 1, admins[1:])
    mesh.sync(code=5)
    demand(set(mesh.peers(code=5)) == {"ada", "cho"}, "new admins alone changed the list")
    version(2, listed[:1], admins, 2, admins[:2], revoked=[(listed[1], 0)])
    mesh.sync()
    demand(set(mesh.peers()) == {"ada"}, "a removed host is still trusted")
    version(3, listed, admins, 2, admins[:1])
    mesh.sync(code=5)
    demand(mesh.run("peers", code=5)["roster"]["version"] == 2, "one of two admins sufficed")
    say("a list of hosts was followed by the rules of both thresholds")


if __name__ == "__main__":
    play(sys.argv[1], pathlib.Path(sys.argv[2]))
