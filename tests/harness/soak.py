"""Random faults on the fleet for some minutes, then everything is put right and what must hold is looked at.

The seed alone decides which fault comes when and to whom: the same seed plays the same faults in the same order.
"""

import random
import statistics
import sys
import time

from fleet import Failed, Fleet, lesson, quiet_lesson, together

# The part of the time in which hosts publish.
PUBLISHING = 0.7
NAMES = ["alpha", "bravo", "charlie", "delta"]
# alpha is never ended: its memory is watched.
MORTAL = NAMES[1:]


def signal(host, name):
    """To the agent, if it runs."""
    host.tries(f"systemctl kill --kill-whom=main --signal={name} mesh.service")


def kill_agent(fleet, host, _):
    signal(host, "KILL")


def hang_agent(fleet, host, seconds):
    signal(host, "STOP")
    time.sleep(seconds)
    signal(host, "CONT")


def cut_power(fleet, host, seconds):
    host.cut_power()
    time.sleep(seconds)
    host.power_on()


def cut_line(fleet, host, seconds):
    host.network(False)
    time.sleep(seconds)
    host.network(True)


def wrong_clock(fleet, host, seconds):
    host.environment(MESH_CLOCK_AHEAD=600)
    host.agent("restart")
    time.sleep(seconds)
    host.environment()
    host.agent("restart")


def server_down(fleet, _, seconds):
    fleet.git.stop()
    time.sleep(seconds)
    fleet.git.start()


def server_slow(fleet, _, seconds):
    fleet.git.delay(2)
    time.sleep(seconds)
    fleet.git.delay(0)


def server_full(fleet, _, seconds):
    fleet.git.sh("head -c 100m /dev/zero >/srv/git/filler 2>/dev/null || true")
    time.sleep(seconds)
    fleet.git.sh("rm -f /srv/git/filler")


def server_rewound(fleet, _, __):
    fleet.git.tries("cd /; r='runuser -u git -- git -C /srv/git/mesh.git'; old=$($r rev-list mesh | sed -n 5p); [ -z \"$old\" ] || $r update-ref refs/heads/mesh $old")


def server_emptied(fleet, _, __):
    fleet.git.empty()


FAULTS = [kill_agent, kill_agent, hang_agent, cut_power, cut_line, wrong_clock,
          server_down, server_slow, server_full, server_rewound, server_emptied]


def plan(seed):
    """Endless steps: what is published by whom, and the fault that comes with it."""
    dice = random.Random(seed)
    number = 0
    while True:
        number += 1
        authors = dice.sample(NAMES, dice.randint(1, 2))
        yield number, authors, dice.choice(FAULTS), dice.choice(MORTAL), dice.choice([1, 3, 6])


def main(minutes, seed):
    fleet = Fleet()
    fleet.fresh(NAMES)
    # One lesson that every project needs: with the grant to propose it may make branches, and nothing else.
    fleet.alpha.publish("state-in-one-step", lesson("state-in-one-step"))
    published = {name: [] for name in NAMES}
    published["alpha"].append("state-in-one-step")
    fleet.converged(published)
    # Later on nobody publishes any more: memory is to stay as it is while what a host knows stays as it is.
    begun, memory, still, number = time.monotonic(), [], [], 0
    for number, authors, fault, victim, seconds in plan(seed):
        passed = (time.monotonic() - begun) / (60 * minutes)
        if passed > 1:
            break
        if passed > PUBLISHING:
            authors = []
        print(f"soak: {number}: {' and '.join(authors) or 'nobody'} publish, {fault.__name__} {victim} {seconds}", flush=True)
        for name in authors:
            fleet.all[name].publish(f"{name}-{number}", quiet_lesson(f"{name}-{number}"))
            published[name].append(f"{name}-{number}")
        fault(fleet, fleet.all[victim], seconds)
        (memory if authors else still).append(fleet.alpha.rss_mb())
    try:
        together(lambda host: host.tries("systemctl reset-failed mesh.service; systemctl start mesh.service"), fleet.hosts)
        fleet.converged(published)
        fleet.demand_sound(published)
        for host in fleet.hosts:
            if host.sh("git -C /srv/project rev-list --count main; git -C /srv/project status --porcelain").strip() != "1":
                raise Failed(f"{host.name}: what people use was changed, and nobody allowed that")
            states = {peer["state"] for peer in host.json("peers")["peers"]}
            if states != {"ok"}:
                raise Failed(f"{host.name}: {host.json('peers')}")
        third = max(1, len(still) // 3)
        first, early, late = (statistics.median(part) for part in (memory[:10], still[:third], still[-third:]))
        lessons = sum(len(lessons) for lessons in published.values())
        print(f"soak: alpha's memory: {first:.1f} MB with the first lessons; with {lessons} of them {early:.1f} MB, and later {late:.1f} MB")
        if late > early * 1.1 + 2:
            raise Failed("alpha's memory grows")
    except Failed as error:
        sys.exit(f"soak: seed {seed} after {number} faults: {error}\nsoak: what the hosts say of it is in {fleet.keep('soak')}")
    print(f"soak: {number - 1} faults, {lessons} lessons by 4 hosts: none lost, none doubled, nothing changed, all converged")


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
