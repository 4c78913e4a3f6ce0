#!/usr/bin/env python3
"""Audits about a million lines of Python with mesh, ast-grep, semgrep and ripgrep, side by side.

    scripts/bench/audit.py setup              tree, tools and rules below target/bench (needs the network)
    scripts/bench/audit.py run [--runs 5] [--case NAME]...

CPU seconds are the measure: they hold on a busy machine. Runs are interleaved, so that a slow moment hits
every program; shown are medians with the range. Maximum RSS is that of the largest process of a program; the
kernel starts the count with this script's own, about 16 MiB.
Nothing here is a test, and no number here fails anything.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
import tomllib
import zipfile
from pathlib import Path

sys.dont_write_bytecode = True
import rules  # noqa: E402  (beside this file; leaves no __pycache__)

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[1]
BENCH = REPO / "target" / "bench"
TREE = BENCH / "t1m"
BIN = BENCH / "venv" / "bin"

# Pure Python wheels, added in this order until the tree has LINES lines.
PACKAGES = [
    "django==5.2.7", "ansible-core==2.19.3", "apache-airflow==2.10.5", "celery==5.5.3", "sqlalchemy==2.0.44",
    "twisted==25.5.0", "sympy==1.14.0", "networkx==3.5", "jinja2==3.1.6", "pip==25.2",
]
LINES = 1_000_000
TOOLS = ["ast-grep-cli", "semgrep"]


def sh(*argv, **more):
    subprocess.run([str(a) for a in argv], check=True, **more)


# --- setup ---------------------------------------------------------------------------------------------


def count_lines(folder):
    return sum(path.read_bytes().count(b"\n") for path in folder.rglob("*.py"))


def setup_tree():
    if (TREE / ".git").exists():
        return
    shutil.rmtree(TREE, ignore_errors=True)
    wheels = BENCH / "wheels"
    lines = 0
    for package in PACKAGES:
        if lines >= LINES:
            break
        name = package.split("==")[0]
        folder = wheels / name
        # A wheel is only unpacked: nothing of it is installed, built or run.
        sh(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
           "--dest", folder, package)
        for wheel in folder.glob("*.whl"):
            zipfile.ZipFile(wheel).extractall(TREE / name)
        lines += count_lines(TREE / name)
        print(f"{package}: {lines} lines so far")
    # semgrep leaves out tests by default; an empty file makes all programs look at the same files.
    (TREE / ".semgrepignore").write_text("")
    git = ["git", "-C", TREE, "-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "gc.auto=0"]
    sh(*git, "init", "--quiet")
    sh(*git, "add", "--all")
    sh(*git, "commit", "--quiet", "--message", "Tree for benchmarks")


def setup_tools():
    if not (BIN / "semgrep").exists():
        sh(sys.executable, "-m", "venv", BENCH / "venv")
        sh(BIN / "pip", "install", "--quiet", *TOOLS)
    if not (BENCH / "usr" / "bin" / "rg").exists():
        # Unpacked, not installed: the host stays as it is.
        sh("apt-get", "download", "--quiet", "ripgrep", cwd=BENCH)
        sh("dpkg", "-x", next(BENCH.glob("ripgrep_*.deb")), BENCH)
    sh("cc", "-O2", "-o", BENCH / "lstat_floor", HERE / "lstat_floor.c")


def setup():
    BENCH.mkdir(parents=True, exist_ok=True)
    setup_tree()
    setup_tools()
    names = list_names()
    (BENCH / "names").write_bytes(b"".join(name + b"\0" for name in names))
    print(f"{count_lines(TREE)} lines, {len(names)} files and directories")


def list_names():
    """Every file and directory that an audit knows, relative to the tree."""
    names = []
    for folder, folders, files in os.walk(os.fsencode(TREE)):
        folders[:] = [name for name in folders if name != b".git"]
        relative = os.path.relpath(folder, os.fsencode(TREE))
        names.append(relative)
        names.extend(os.path.normpath(os.path.join(relative, name)) for name in files)
    return names


# --- measuring -----------------------------------------------------------------------------------------


class Program:
    """One program of a case: `prepare` runs before each run and is not measured."""

    def __init__(self, name, argv, prepare=None, count=None, env=None, accept=(0, 1)):
        self.name, self.argv = name, [str(a) for a in argv]
        self.prepare, self.count, self.env, self.accept = prepare, count, env, accept
        self.cpu, self.wall, self.rss, self.found = [], [], 0, None

    def run(self):
        if self.prepare:
            self.prepare()
        out = BENCH / "output"
        env = {**os.environ, **(self.env or {})}
        with open(out, "wb") as stdout, open(BENCH / "errors", "wb") as stderr:
            begin = time.monotonic()
            child = subprocess.Popen(self.argv, stdout=stdout, stderr=stderr, cwd=TREE, env=env)
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            self.wall.append(time.monotonic() - begin)
        if child.returncode not in self.accept:
            errors = (BENCH / "errors").read_text(errors="replace")[-2000:]
            sys.exit(f"{self.name} failed with {child.returncode}: {' '.join(self.argv)}\n{errors}")
        self.cpu.append(usage.ru_utime + usage.ru_stime)
        self.rss = max(self.rss, usage.ru_maxrss // 1024)
        if self.count:
            self.found = self.count(out.read_bytes())


def measure(case, programs, runs):
    for _ in range(runs):
        for program in programs:
            program.run()
    own = programs[0]
    print(f"\n### {case}\n")
    print("| program | CPU s | wall s | max RSS MiB | findings | CPU : mesh | wall : mesh |")
    print("|---|---|---|---|---|---|---|")
    middle = statistics.median
    for program in programs:
        spread = lambda values: f"{middle(values):.3f} ({min(values):.3f}-{max(values):.3f})"
        found = "" if program.found is None else program.found
        cpu, wall = middle(program.cpu) / max(middle(own.cpu), 1e-9), middle(program.wall) / middle(own.wall)
        print(f"| {program.name} | {spread(program.cpu)} | {spread(program.wall)} | {program.rss} | {found} "
              f"| {cpu:.2f} | {wall:.2f} |", flush=True)


def mesh_count(output):
    return len(json.loads(output)["findings"])


def ast_grep_count(output):
    return sum(1 for line in output.splitlines() if line.strip())


def semgrep_count(output):
    return len(json.loads(output)["results"])


# --- cases ---------------------------------------------------------------------------------------------


class Home:
    """A home of mesh with these lessons; `fresh` and `known` put it back before a run."""

    def __init__(self, mesh, name, lessons):
        self.mesh, self.path, self.kept = mesh, BENCH / "homes" / name, BENCH / "homes" / f"{name}.kept"
        shutil.rmtree(self.path, ignore_errors=True)
        remote = BENCH / "homes" / "remote.git"
        if not remote.exists():
            sh("git", "init", "--quiet", "--bare", remote)
        sh(mesh, "--home", self.path, "init", "--name", "bench", "--mesh", "bench", "--remote", remote,
           stdout=subprocess.DEVNULL)
        authored = self.path / "config" / "lessons"
        authored.mkdir(parents=True, exist_ok=True)
        for file, text in lessons.items():
            (authored / file).write_text(text)
        # The first run imports and admits the lessons, which is not what is measured.
        Program("mesh", self.argv()).run()
        self.keep()

    def argv(self, *more):
        return [self.mesh, "--home", self.path, "audit", TREE, "--format", "json", *more]

    def keep(self):
        shutil.rmtree(self.kept, ignore_errors=True)
        shutil.copytree(self.path, self.kept)

    def known(self):
        """The home as it was kept, with what it knew of the tree then."""
        shutil.rmtree(self.path, ignore_errors=True)
        shutil.copytree(self.kept, self.path)

    def fresh(self):
        """The home without anything known of the tree."""
        self.known()
        for snapshot in self.path.rglob("*.snapshot"):
            snapshot.unlink()


def peers(name, found, by_hand=None):
    """ast-grep, semgrep and ripgrep with the same rules, as far as each can express them. `by_hand` is what semgrep gets where its rules
    were written by a person."""
    folder = BENCH / "rules" / name
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "ast-grep").mkdir(parents=True)
    for rule in found:
        (folder / "ast-grep" / f"{rule['id']}.yml").write_text(json.dumps(rules.ast_grep(rule)))
    (folder / "sgconfig.yml").write_text(json.dumps({"ruleDirs": ["ast-grep"]}))
    expressed = by_hand or [converted for rule in found if (converted := rules.semgrep(rule))]
    (folder / "semgrep.yml").write_text(json.dumps({"rules": expressed}))
    (folder / "literals").write_text("\n".join(sorted({word for rule in found for word in rules.literals(rule)})) + "\n")
    print(f"{name}: {len(found)} syntax rules for ast-grep, {len(expressed)} for semgrep", flush=True)
    ast_grep = Program("ast-grep", [BIN / "ast-grep", "scan", "--config", folder / "sgconfig.yml", "--json=stream",
                                    "--threads", os.cpu_count(), "--no-ignore", "hidden", TREE], count=ast_grep_count)
    programs = [ast_grep]
    if expressed:
        programs.append(Program(
            "semgrep", [BIN / "semgrep", "scan", "--config", folder / "semgrep.yml", "--metrics=off",
                        "--disable-version-check", "--no-git-ignore", "--jobs", os.cpu_count(), "--quiet", "--json", TREE],
            count=semgrep_count, env={"SEMGREP_SEND_METRICS": "off"}))
    programs.append(Program("ripgrep, literals", [BENCH / "usr" / "bin" / "rg", "--files-with-matches", "--hidden",
                                                  "--fixed-strings", "--file", folder / "literals", TREE],
                            count=lambda out: f"{len(out.splitlines())} files"))
    return programs


def founding_rules():
    """The syntax rules of the founding lessons, as ast-grep would be given them."""
    found = []
    for file in sorted((REPO / "src" / "founding").glob("*.toml")):
        found += rules.of_lesson(tomllib.loads(file.read_text()))
    return found


def case_founding(mesh, runs):
    home = Home(mesh, "founding", {})
    own = Program("mesh", home.argv(), home.fresh, mesh_count)
    # YAML that is read by the Python that semgrep brought.
    read = "import json, sys, ruamel.yaml; print(json.dumps(ruamel.yaml.YAML(typ='safe').load(open(sys.argv[1]))['rules']))"
    by_hand = subprocess.run([BIN / "python", "-c", read, HERE / "founding-semgrep.yml"], check=True, stdout=subprocess.PIPE)
    measure("founding lessons, nothing known", [own, *peers("founding", founding_rules(), json.loads(by_hand.stdout))], runs)


def case_new_lesson(mesh, runs):
    lesson, found = rules.generated("new-lesson", [rules.SELECTIVE])
    home = Home(mesh, "new-lesson", {})
    (home.kept / "config" / "lessons" / "new-lesson.toml").write_text(lesson)
    (home.path / "config" / "lessons" / "new-lesson.toml").write_text(lesson)
    own = Program("mesh", home.argv("--lesson", "new-lesson"), home.known, mesh_count)
    measure("one new selective lesson on a known tree", [own, *peers("new-lesson", found)], runs)


def many_rules(mesh, runs, name, calls, what):
    lessons, found = {}, []
    for start in range(0, len(calls), 8):
        lesson, some = rules.generated(f"calls-{start:03}", calls[start:start + 8])
        lessons[f"calls-{start:03}.toml"] = lesson
        found += some
    home = Home(mesh, name, lessons)
    chosen = [word for name in lessons for word in ("--lesson", name.removesuffix(".toml"))]
    own = Program("mesh", home.argv(*chosen), home.fresh, mesh_count)
    measure(f"{len(found)} rules over {what}, nothing known", [own, *peers(name, found)], runs)


def case_common(mesh, runs):
    many_rules(mesh, runs, "common", rules.CALLS, "the commonest calls")


def case_regretted(mesh, runs):
    many_rules(mesh, runs, "regretted", rules.REGRETTED, "deprecated and dangerous calls")


def case_unchanged(mesh, runs):
    home = Home(mesh, "unchanged", {})
    # A tree that was just written is racy; the second look is the one that is kept.
    time.sleep(2.5)
    Program("mesh", home.argv()).run()
    programs = [
        Program("mesh", home.argv(), None, mesh_count),
        Program("lstat of every known name", [BENCH / "lstat_floor", TREE, BENCH / "names"], count=lambda out: int(out)),
        Program("git status --porcelain", ["git", "-C", TREE, "status", "--porcelain"]),
    ]
    measure("unchanged tree, known lessons", programs, runs * 5)


CASES = {"founding": case_founding, "new-lesson": case_new_lesson, "common": case_common, "regretted": case_regretted, "unchanged": case_unchanged}


def run(arguments):
    if not (BENCH / "names").exists():
        sys.exit("run `scripts/bench/audit.py setup` first")
    if not arguments.mesh.exists():
        sys.exit(f"{arguments.mesh} is not there: run `cargo build --release`")
    version = lambda *argv: subprocess.run([str(a) for a in argv], capture_output=True, text=True).stdout.split("\n")[0]
    print(f"{os.cpu_count()} processors, Linux {os.uname().release}, {count_lines(TREE)} lines of Python; "
          f"ast-grep {version(BIN / 'ast-grep', '--version').split()[-1]}, semgrep {version(BIN / 'semgrep', '--version')}, "
          f"{version(BENCH / 'usr' / 'bin' / 'rg', '--version')}, {version('git', '--version')}; median (range) of {arguments.runs} runs")
    for name in arguments.case or CASES:
        CASES[name](arguments.mesh.resolve(), arguments.runs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    commands.add_parser("setup").set_defaults(do=lambda _: setup())
    running = commands.add_parser("run")
    running.add_argument("--runs", type=int, default=5)
    running.add_argument("--case", action="append", choices=CASES)
    running.add_argument("--mesh", type=Path, default=REPO / "target" / "release" / "mesh")
    running.set_defaults(do=run)
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    arguments.do(arguments)


if __name__ == "__main__":
    main()
