"""Scenarios on a fleet of real hosts. Each starts from a new mesh in the same containers; its story is its first line."""

import re
import sys
import time
import traceback

from fleet import LIMIT, STATE, Failed, Fleet, lesson, quiet_lesson, together, until

ALL = []
THREE = ["alpha", "bravo", "charlie"]
FOUR = [*THREE, "delta"]
APPLY = {"alpha": "apply"}


def scenario(function):
    ALL.append(function)
    return function


def demand(holds, what):
    if not holds:
        raise Failed(what if isinstance(what, str) else repr(what))


def text(host):
    return host.read("/srv/project/save.py")


def healed(host):
    return "os.replace" in text(host)


@scenario
def a_fix_on_one_host_heals_the_others(fleet):
    """A person mends alpha's project and learns from the commit; bravo and charlie apply it in their waves, and alpha hears that it works."""
    fleet.fresh(THREE, APPLY)
    good = lesson("state-in-one-step")
    fleet.alpha.publish("state-in-one-step", good)
    for host in (fleet.bravo, fleet.charlie):
        until(f"{host.name} is healed", lambda host=host: healed(host))
        trailer = host.sh("git -C /srv/project log -1 --format=%B")
        demand("Mesh-Lesson: " in trailer and "Mesh-Intervention: " in trailer, trailer)
    waves = {host.name: host.fixes()[0] for host in (fleet.bravo, fleet.charlie)}
    demand(all(fix["state"] in ("validating", "validated") for fix in waves.values()), waves)

    def attested():
        supports = [host.inbox_of("state-in-one-step")["attestations"] for host in (fleet.bravo, fleet.charlie)]
        return all(support and support["validated"] == 2 for support in supports) and supports

    until(lambda: f"both heard of each other: {[h.inbox_of('state-in-one-step') for h in (fleet.bravo, fleet.charlie)]}", attested)
    # No command of alpha counts what is said of its own lesson yet; that it has verified both words shows in the chains.
    until("alpha hears both", lambda: all(fleet.alpha.peer(name)["seq"] == 1 for name in ("bravo", "charlie")))
    fleet.demand_sound({"alpha": ["state-in-one-step"]})


@scenario
def a_fourth_host_joins_and_is_revoked_while_the_others_run(fleet):
    """delta is enrolled on running agents and heard, then revoked, and what it publishes later is taken by nobody."""
    fleet.fresh(THREE)
    delta = fleet.delta
    Fleet.set_up(delta)
    Fleet.enroll(delta, [*fleet.hosts, delta], {})
    line = delta.mesh("id").strip()
    delta.agent("start")
    together(lambda host: host.mesh("enroll", "delta", line), fleet.hosts)
    delta.publish("before", quiet_lesson("before"))
    fleet.converged({"delta": ["before"]})
    together(lambda host: host.mesh("revoke", "delta"), fleet.hosts)
    delta.publish("after", quiet_lesson("after"))
    until("delta published again", lambda: len(fleet.git.logs().get(delta.key, [])) == 2 and not delta.status()["waiting"])
    fleet.alpha.publish("from-alpha", quiet_lesson("from-alpha"))
    fleet.converged({"alpha": ["from-alpha"], "delta": ["before"]})
    for host in fleet.hosts:
        demand([lesson for _, lesson in host.inbox() if lesson == "after"] == [], f"{host.name} took an entry of a revoked key")
        demand(host.peer("delta")["state"] == "revoked", host.peer("delta"))
    fleet.demand_sound({"alpha": ["from-alpha"]})


@scenario
def a_host_that_was_cut_off_for_an_hour_catches_up(fleet):
    """charlie's line is cut, both sides go on for an hour, and once it is back everybody has everything."""
    fleet.fresh(THREE)
    fleet.converged({})
    fleet.charlie.network(False)
    try:
        fleet.alpha.publish("a-1", quiet_lesson("a-1"))
        fleet.bravo.publish("b-1", quiet_lesson("b-1"))
        fleet.charlie.publish("c-1", quiet_lesson("c-1"))
        until("alpha and bravo go on", lambda: ("bravo", "b-1") in fleet.alpha.inbox() and ("alpha", "a-1") in fleet.bravo.inbox())
        for host in fleet.hosts:
            host.environment(MESH_CLOCK_AHEAD=3600)
        together(lambda host: host.agent("restart"), fleet.hosts)
        until("charlie says why it waits", lambda: "remote not reached" in fleet.charlie.journal())
        demand(fleet.charlie.status()["waiting"] == 1, fleet.charlie.status())
        fleet.alpha.publish("a-2", quiet_lesson("a-2"))
    finally:
        fleet.charlie.network(True)
    published = {"alpha": ["a-1", "a-2"], "bravo": ["b-1"], "charlie": ["c-1"]}
    fleet.converged(published)
    fleet.demand_sound(published)
    demand(fleet.alpha.peer("charlie")["state"] == "ok", fleet.alpha.peer("charlie"))


@scenario
def the_git_server_is_down_then_slow(fleet):
    """With the server gone every host goes on and keeps what waits; with one that takes seconds for an answer all arrives."""
    fleet.fresh(THREE)
    fleet.converged({})
    fleet.git.stop()
    together(lambda host: host.publish(f"{host.name}-1", quiet_lesson(f"{host.name}-1")), fleet.hosts)
    for host in fleet.hosts:
        until(f"{host.name} says so", lambda host=host: "not synced" in host.journal() or "remote not reached" in host.journal())
        demand(host.status()["waiting"] == 1, host.status())
        demand(host.tries("systemctl is-active mesh.service")[1].strip() == "active", "the agent goes on")
    fleet.git.delay(2)
    fleet.git.start()
    published = {host.name: [f"{host.name}-1"] for host in fleet.hosts}
    fleet.converged(published)
    fleet.git.delay(0)
    fleet.demand_sound(published)


@scenario
def the_git_server_runs_out_of_disk(fleet):
    """A full disk on the server refuses pushes; nothing counts as published, and with room again everything is sent once."""
    fleet.fresh(THREE)
    fleet.converged({})
    fleet.git.sh("head -c 100m /dev/zero >/srv/git/filler 2>/dev/null || true; df /srv/git >&2")
    fleet.alpha.publish("a-1", quiet_lesson("a-1"))
    fleet.bravo.publish("b-1", quiet_lesson("b-1"))
    until("both were refused", lambda: all(re.search("not synced|remote ", host.journal()) for host in (fleet.alpha, fleet.bravo)))
    demand(fleet.alpha.status()["waiting"] == 1 and fleet.bravo.status()["waiting"] == 1, "nothing is published on a full disk")
    fleet.git.sh("rm /srv/git/filler")
    published = {"alpha": ["a-1"], "bravo": ["b-1"]}
    fleet.converged(published)
    fleet.demand_sound(published)


@scenario
def the_git_server_is_rewound_and_then_replaced_by_an_empty_one(fleet):
    """An old backup of the branch, then an empty repository: each host pushes its own log again, and peers keep what they verified."""
    fleet.fresh(THREE)
    together(lambda host: host.publish(f"{host.name}-1", quiet_lesson(f"{host.name}-1")), fleet.hosts)
    published = {host.name: [f"{host.name}-1"] for host in fleet.hosts}
    fleet.converged(published)
    old = fleet.git.tip()
    together(lambda host: host.publish(f"{host.name}-2", quiet_lesson(f"{host.name}-2")), fleet.hosts)
    published = {host.name: [f"{host.name}-1", f"{host.name}-2"] for host in fleet.hosts}
    fleet.converged(published)
    fleet.git.git("update-ref", "refs/heads/mesh", old)
    until("everybody pushed again", lambda: all(fleet.git.logs().get(host.key) == [1, 2] for host in fleet.hosts))
    fleet.converged(published)
    fleet.git.empty()
    until("everybody pushed everything", lambda: all(fleet.git.logs().get(host.key) == [1, 2] for host in fleet.hosts))
    fleet.alpha.publish("alpha-3", quiet_lesson("alpha-3"))
    published["alpha"].append("alpha-3")
    fleet.converged(published)
    fleet.demand_sound(published)
    for host in fleet.hosts:
        demand({peer["state"] for peer in host.json("peers")["peers"]} == {"ok"}, host.json("peers"))


# What was begun by a killed process is undone and not begun again for the same text: that is `aborted`.
ENDED = ("validated", "no_effect", "aborted")
SIGN_POINTS = ["sign.before-persist", "sign.persisted", "publish.before-push", "publish.pushed", "publish.confirmed"]
APPLY_POINTS = ["apply.approved", "apply.proved", "apply.journaled", "apply.object-written", "apply.file-replaced",
                "apply.ref-moved", "apply.changed", "apply.applied", "validate.judged"]


@scenario
def kill_9_at_each_point_of_a_publication_under_load(fleet):
    """alpha's agent dies by SIGKILL at each point between sign and confirm while all publish; nothing is lost or doubled."""
    fleet.fresh(THREE)
    published = {name: [] for name in THREE}
    for number, point in enumerate(SIGN_POINTS):
        fleet.alpha.agent("stop")
        for host in fleet.hosts:
            host.publish(f"{host.name}-{number}", quiet_lesson(f"{host.name}-{number}"))
            published[host.name].append(f"{host.name}-{number}")
        fleet.alpha.environment("Restart=no", MESH_CRASH_AT=point)
        fleet.alpha.tries("systemctl start mesh.service")
        until(f"killed at {point}", lambda: fleet.alpha.sh("systemctl show --value -p Result mesh.service").strip() == "signal")
        fleet.alpha.environment()
        fleet.alpha.agent("start")
    fleet.converged(published)
    fleet.demand_sound(published)


@scenario
def kill_9_at_each_point_of_a_change(fleet):
    """bravo's agent dies at each point of making and judging a change; after the next start the change is whole, once, or nothing of it is."""
    fleet.fresh(["alpha", "bravo"], APPLY)
    fleet.alpha.publish("state-in-one-step", lesson("state-in-one-step"))
    until("the lesson arrived", lambda: healed(fleet.bravo))
    mistake = fleet.bravo.sh("git -C /srv/project show HEAD~1:save.py")

    def ended(path):
        return any(fix["path"] == path.rsplit("/", 1)[1] and fix["state"] in ENDED for fix in fleet.bravo.fixes())

    for number, point in enumerate(APPLY_POINTS):
        fleet.bravo.agent("stop")
        path = f"/srv/project/save_{number}.py"
        fleet.bravo.write(path, mistake)
        fleet.bravo.sh("cd /srv/project && git add -A && git commit -qm more")
        fleet.bravo.environment("Restart=no", MESH_CRASH_AT=point)
        fleet.bravo.tries("systemctl start mesh.service")
        until(f"killed at {point}", lambda: fleet.bravo.sh("systemctl show --value -p Result mesh.service").strip() == "signal")
        fleet.bravo.environment()
        fleet.bravo.agent("start")
        until(f"settled after {point}", lambda: ended(path))
    until(lambda: f"all ended: {fleet.bravo.fixes()}", lambda: all(fix["state"] in ENDED for fix in fleet.bravo.fixes()))
    made = [fix["path"] for fix in fleet.bravo.fixes() if fix["state"] != "aborted"]
    demand(len(fleet.bravo.fixes()) == len(APPLY_POINTS) + 1 and len(made) >= len(APPLY_POINTS) / 2, fleet.bravo.fixes())
    for fix in fleet.bravo.fixes():
        mended = "os.replace" in fleet.bravo.read(f"/srv/project/{fix['path']}")
        demand(mended == (fix["path"] in made), f"{fix['path']} is {fix['state']}, and {'mended' if mended else 'as it was'}")
    commits = fleet.bravo.sh("git -C /srv/project log --format=%B main | grep -c '^Mesh-Intervention'").strip()
    demand(commits == str(len(made)), f"{commits} commits of mesh for {len(made)} changes")
    left = fleet.bravo.sh("cd /srv/project; git status --porcelain; git fsck --strict --no-dangling; ls .git/*.lock 2>/dev/null || true")
    demand(left == "", f"something lies about: {left}")
    fleet.bravo.mesh("fsck")


@scenario
def a_power_cut_leaves_the_state_intact(fleet):
    """charlie loses power three times in the middle of rounds; it comes up by itself with all it had signed, and goes on."""
    fleet.fresh(THREE)
    published = {name: [] for name in THREE}
    for number in range(3):
        for host in fleet.hosts:
            host.publish(f"{host.name}-{number}", quiet_lesson(f"{host.name}-{number}"))
            published[host.name].append(f"{host.name}-{number}")
        fleet.charlie.cut_power()
        fleet.charlie.power_on()
    demand(fleet.charlie.tries("systemctl is-active mesh.service")[1].strip() == "active", "it starts with the machine")
    fleet.converged(published)
    fleet.demand_sound(published)


@scenario
def clocks_that_are_wrong_by_minutes_and_by_a_day(fleet):
    """bravo's clock is 10 minutes ahead, charlie's a day: every entry is taken, in order, and nobody is called stale or forked."""
    fleet.fresh(THREE)
    fleet.bravo.environment(MESH_CLOCK_AHEAD=600)
    fleet.charlie.environment(MESH_CLOCK_AHEAD=86_400)
    together(lambda host: host.agent("restart"), [fleet.bravo, fleet.charlie])
    published = {name: [f"{name}-{n}" for n in range(3)] for name in THREE}
    for n in range(3):
        together(lambda host: host.publish(f"{host.name}-{n}", quiet_lesson(f"{host.name}-{n}")), fleet.hosts)
    fleet.converged(published)
    for host in fleet.hosts:
        states = {peer["name"]: peer["state"] for peer in host.status()["peers"]}
        demand(set(states.values()) == {"ok"}, f"{host.name} sees {states}")
    fleet.demand_sound(published)
    # Set right again: what was signed a day ahead stays in its place, and the chain goes on.
    fleet.charlie.environment()
    fleet.charlie.agent("restart")
    fleet.charlie.publish("charlie-3", quiet_lesson("charlie-3"))
    published["charlie"].append("charlie-3")
    fleet.converged(published)
    fleet.demand_sound(published)


@scenario
def the_disk_under_the_state_is_full(fleet):
    """bravo has no room under its state: services run on, nothing is half written, and with room again it catches up."""
    fleet.fresh(THREE)
    bravo = fleet.bravo
    bravo.agent("stop")
    bravo.sh(f"mkdir -p /srv/small; mount -t tmpfs -o size=24m,mode=0700 tmpfs /srv/small; cp -a {STATE}/. /srv/small/; mount --move /srv/small {STATE}")
    bravo.configure('[reserve]\nfree_mib = 1\nfree_percent = 0.1\n[[service]]\nname = "own"\ncommand = ["/bin/sleep", "100001"]\n')
    bravo.agent("start")
    until("the service runs", lambda: bravo.tries("pgrep -f '[s]leep 100001'")[0] == 0)
    bravo.sh(f"head -c 100m /dev/zero >{STATE}/filler 2>/dev/null || true")
    fleet.alpha.publish("a-1", quiet_lesson("a-1"))
    fleet.converged({"alpha": ["a-1"]}, [fleet.charlie])
    until("bravo says that it has no room", lambda: re.search("space|full|No space", bravo.journal(60)))
    demand(bravo.tries("pgrep -f '[s]leep 100001'")[0] == 0, "services run on")
    bravo.sh("pkill -KILL -f '[s]leep 100001'")
    until("a killed service is back though the disk is full", lambda: bravo.tries("pgrep -f '[s]leep 100001'")[0] == 0)
    bravo.sh(f"rm {STATE}/filler")
    bravo.publish("b-1", quiet_lesson("b-1"))
    published = {"alpha": ["a-1"], "bravo": ["b-1"]}
    fleet.converged(published)
    fleet.demand_sound(published)
    bravo.agent("stop")
    bravo.sh(f"pkill -KILL -f '[s]leep 100001'; umount {STATE}")


@scenario
def two_agents_with_one_cloned_key(fleet):
    """alpha's whole disk is copied to delta: the copy refuses to sign, says what to do, and the mesh is as it was."""
    fleet.fresh(THREE)
    fleet.alpha.publish("a-1", quiet_lesson("a-1"))
    fleet.converged({"alpha": ["a-1"]})
    disk = fleet.alpha.sh(f"systemctl stop mesh; tar -C {STATE} -c . | base64 -w0; systemctl start mesh")
    fleet.delta.sh(f"base64 -d | tar -C {STATE} -x", disk.encode())
    fleet.delta.publish("d-1", quiet_lesson("d-1"))
    fleet.delta.agent("start")
    until("the copy refuses to sign", lambda: "this home was set up on another machine" in fleet.delta.journal())
    # Somebody who copies the key alone into a home of its own: the copy signs while alpha signs the same seq.
    fleet.delta.sh(f"systemctl stop mesh; mv {STATE}/keys/host.key {STATE}/keys/host.pub /srv; rm -rf {STATE}/* {STATE}/.??*")
    Fleet.set_up(fleet.delta)
    fleet.delta.sh(f"mv /srv/host.key /srv/host.pub {STATE}/keys/")
    fleet.delta.agent("start")
    until("the copy of the key took over its log", lambda: fleet.delta.status()["entries"] == 1)
    fleet.delta.agent("stop")
    fleet.delta.environment("Restart=no", MESH_CRASH_AT="publish.before-push")
    fleet.delta.publish("d-2", quiet_lesson("d-2"))
    fleet.delta.tries("systemctl start mesh.service")
    until("the copy signed entry 2", lambda: fleet.delta.sh("systemctl show --value -p Result mesh.service").strip() == "signal")
    fleet.alpha.publish("a-2", quiet_lesson("a-2"))
    fleet.converged({"alpha": ["a-1", "a-2"]})
    fleet.delta.environment()
    fleet.delta.agent("start")
    until("the copy stops", lambda: "the key is used on two machines" in fleet.delta.journal())
    fleet.delta.agent("stop")
    fleet.alpha.publish("a-3", quiet_lesson("a-3"))
    published = {"alpha": ["a-1", "a-2", "a-3"]}
    fleet.converged(published)
    fleet.demand_sound(published)


@scenario
def a_host_that_was_restored_from_an_old_disk(fleet):
    """bravo's disk is put back to what it was two entries ago: it takes over what it signed since, and signs on without a gap."""
    fleet.fresh(THREE)
    fleet.bravo.publish("b-1", quiet_lesson("b-1"))
    fleet.converged({"bravo": ["b-1"]})
    fleet.bravo.sh(f"systemctl stop mesh; tar -C {STATE} -cf /srv/backup.tar .; systemctl start mesh")
    fleet.bravo.publish("b-2", quiet_lesson("b-2"))
    fleet.bravo.publish("b-3", quiet_lesson("b-3"))
    fleet.converged({"bravo": ["b-1", "b-2", "b-3"]})
    fleet.bravo.sh(f"systemctl stop mesh; rm -rf {STATE}/*; tar -C {STATE} -xf /srv/backup.tar; rm /srv/backup.tar")
    fleet.bravo.publish("b-4", quiet_lesson("b-4"))
    fleet.bravo.agent("start")
    published = {"bravo": ["b-1", "b-2", "b-3", "b-4"]}
    fleet.converged(published)
    fleet.demand_sound(published)


@scenario
def a_bad_lesson_is_stopped_before_its_second_wave(fleet):
    """A fix that makes things worse is applied on one host alone, taken back there, attested, and the others never make it."""
    fleet.fresh(FOUR, APPLY)
    for host in fleet.hosts:
        host.write("/srv/harmed-by-the-fix", "")
    # Its first wave begins on a host that is well, and whose agent has measured that: else what it makes worse was bad before.
    def is_well(host):
        return any(one["name"] == "check.value/app" and one["value"] == 1 for one in host.json("signal", "list")["signals"])

    until("every project was measured to be well", lambda: all(is_well(host) for host in fleet.hosts))
    fleet.alpha.publish("harmful", lesson("harmful"))
    others = [fleet.bravo, fleet.charlie, fleet.delta]

    def reverted():
        return [host for host in others if any(fix["state"] == "reverted" for fix in host.fixes())]

    first = until("the first host took it back", reverted)
    demand(len(first) == 1, f"{[host.name for host in first]}")
    until("the others heard it", lambda: all(
        (host.inbox_of("harmful")["attestations"] or {}).get("hosts") == 1 for host in others if host is not first[0]))
    # Three rounds more, in which they might make it.
    seen = {host.name: host.status()["synced_at"] for host in others}
    for _ in range(3):
        until("another round", lambda: all(host.status()["synced_at"] > seen[host.name] for host in others))
        seen = {host.name: host.status()["synced_at"] for host in others}
    for host in others:
        made = [fix["state"] for fix in host.fixes() if fix["state"] not in ("backlog", "proposed", "guarded", "refused")]
        demand(made == (["reverted"] if host is first[0] else []), f"{host.name}: {made}")
        demand(not healed(host), f"{host.name} has the harmful fix")
        commits = host.sh("git -C /srv/project rev-list --count main").strip()
        demand(commits == ("3" if host is first[0] else "1"), f"{host.name}: {commits} commits")


@scenario
def a_rolling_upgrade_of_the_package(fleet):
    """The package is replaced host by host while the mesh works: agents go on with the state they had, and stopped ones stay stopped."""
    fleet.fresh(THREE)
    together(lambda host: host.sh("dpkg --install /opt/mesh/old.deb"), fleet.hosts)
    published = {name: [f"{name}-old"] for name in THREE}
    together(lambda host: host.publish(f"{host.name}-old", quiet_lesson(f"{host.name}-old")), fleet.hosts)
    fleet.converged(published)
    for host in fleet.hosts:
        before = host.agent_pid()
        host.sh("dpkg --install /opt/mesh/new.deb")
        demand(host.agent_pid() not in (0, before), "the new program runs")
        for other in fleet.hosts:
            name = f"{other.name}-while-{host.name}"
            other.publish(name, quiet_lesson(name))
            published[other.name].append(name)
        fleet.converged(published)
    fleet.demand_sound(published)


@scenario
def a_crash_loop_is_met_with_growing_and_uneven_gaps(fleet):
    """A unit of alpha that dies at every start is started again after longer and longer gaps that no two hosts share, then given up."""
    fleet.fresh(["alpha", "bravo"])
    for host in fleet.hosts:
        host.write("/etc/systemd/system/own-crash.service", "[Service]\nExecStart=/bin/sh -c 'date +%%s.%%N >>/srv/own-starts; exit 3'\n")
        host.sh("systemctl daemon-reload")
        host.configure('[[service]]\nname = "crash"\nmanager = "systemd"\nunit = "own-crash.service"\nbackoff = "1s"\nretry_after = "1h"\n')
    together(lambda host: host.agent("restart"), fleet.hosts)
    gaps = {}
    for host in fleet.hosts:
        until(f"{host.name} gives up", lambda host=host: host.service("crash").get("state") == "given_up")
        starts = [float(line) for line in host.read("/srv/own-starts").split()]
        gaps[host.name] = [after - before for before, after in zip(starts, starts[1:])]
    for name, found in gaps.items():
        demand(len(found) >= 5, f"{name}: {found}")
        # Doubled, less up to half by chance: the last is more than twice the second one on any dice.
        demand(found[-1] > 2 * found[1] and found[-1] > found[0] + 3, f"{name}: {found}")
    # One gap may be the same on both by chance.
    alike = [(a, b) for a, b in list(zip(*gaps.values()))[1:] if abs(a - b) < 0.01]
    demand(len(alike) < 2, f"the same gaps on two hosts: {gaps}")


@scenario
def an_oom_kill_is_named_as_the_cause(fleet):
    """A service of alpha grows beyond the memory of its cgroup; the kernel kills it, mesh names that cause and starts it again."""
    fleet.fresh(["alpha"])
    alpha = fleet.alpha
    alpha.write("/srv/own-grow.py", "import os, time\nif not os.path.exists('/srv/own-grown'):\n    open('/srv/own-grown', 'w').close()\n    x = bytearray(256 << 20)\n    x[::4096] = b'x' * len(x[::4096])\ntime.sleep(100000)\n")
    alpha.write("/etc/systemd/system/own-grow.service", "[Service]\nMemoryMax=64M\nMemoryLimit=64M\nExecStart=/usr/bin/python3 /srv/own-grow.py\n")
    alpha.sh("systemctl daemon-reload")
    alpha.configure('[[service]]\nname = "grow"\nmanager = "systemd"\nunit = "own-grow.service"\n')
    alpha.agent("restart")

    until("killed once", lambda: alpha.service("grow").get("restarts", 0) >= 1)
    until("it runs again", lambda: alpha.service("grow")["state"] == "up")
    events = " ".join(event["what"] for event in alpha.json("service", "show", "grow")["events"])
    demand(re.search("memory|oom", events, re.I), f"the cause is not named: {events}; {alpha.tries('systemctl show own-grow.service -p Result')[1]}")


@scenario
def a_stopped_agent_harms_nothing_and_its_peers_notice(fleet):
    """charlie's agent hangs: every service of its host runs on, and two days later its peers say that it is silent."""
    fleet.fresh(THREE)
    charlie = fleet.charlie
    charlie.environment("WatchdogSec=0")
    charlie.configure('[[service]]\nname = "own"\ncommand = ["/bin/sleep", "100002"]\n')
    charlie.agent("restart")
    until("the service runs", lambda: charlie.tries("pgrep -f '[s]leep 100002'")[0] == 0)
    until("charlie was heard", lambda: fleet.alpha.peer("charlie")["state"] == "ok")
    pids = charlie.sh("pgrep -f '[s]leep 100002'; systemctl show --value -p MainPID load.service")
    charlie.sh(f"kill -STOP {charlie.agent_pid()}")
    for host in (fleet.alpha, fleet.bravo):
        host.environment(MESH_CLOCK_AHEAD=3600 * 49)
        host.agent("restart")
    for host in (fleet.alpha, fleet.bravo):
        until(f"{host.name} says that charlie is silent", lambda host=host: host.peer("charlie")["state"] == "stale")
    demand(charlie.sh("pgrep -f '[s]leep 100002'; systemctl show --value -p MainPID load.service") == pids, "its services are the same processes")
    charlie.environment(MESH_CLOCK_AHEAD=3600 * 49)
    charlie.sh("systemctl kill --kill-whom=main --signal=KILL mesh.service; systemctl restart mesh.service")
    for host in (fleet.alpha, fleet.bravo):
        until(f"{host.name} hears charlie again", lambda host=host: host.peer("charlie")["state"] == "ok")
    demand(charlie.sh("pgrep -f '[s]leep 100002'; systemctl show --value -p MainPID load.service") == pids, "taken over, not started twice")
    charlie.sh("pkill -KILL -f '[s]leep 100002'")


def main(names):
    known = {function.__name__: function for function in ALL}
    unknown = [name for name in names if not any(name in one for one in known)]
    if unknown:
        sys.exit(f"fleet: there is no scenario {', '.join(unknown)}; there are: {', '.join(known)}")
    chosen = [one for name, one in known.items() if not names or any(part in name for part in names)]
    fleet = Fleet()
    failed = []
    for one in chosen:
        begun = time.monotonic()
        print(f"fleet: {one.__name__}: {one.__doc__}", flush=True)
        try:
            one(fleet)
            print(f"fleet: {one.__name__} passed in {time.monotonic() - begun:.0f} s", flush=True)
        except Exception as error:
            failed.append(one.__name__)
            if not isinstance(error, Failed):
                traceback.print_exc()
            print(f"fleet: {one.__name__} FAILED: {error}", flush=True)
            try:
                print(f"fleet: what the hosts say of it is in {fleet.keep(one.__name__)}", flush=True)
            except Exception as lost:
                print(f"fleet: and that could not be kept: {lost}", flush=True)
    if failed:
        sys.exit(f"fleet: {len(failed)} of {len(chosen)} scenarios failed: {', '.join(failed)}")
    print(f"fleet: all {len(chosen)} scenarios passed")


if __name__ == "__main__":
    main(sys.argv[1:])
