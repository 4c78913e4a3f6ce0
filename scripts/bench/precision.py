#!/usr/bin/env python3
"""Re-makes the precision run of docs/founding-lessons.md.

    scripts/bench/precision.py [--mesh PATH] [--work DIR] [--sample N] [--seed N]

Downloads the packages by pip at the versions below, unpacks them, copies the standard library without its
tests, runs `mesh audit --format json` over each set, prints how many findings each lesson has, how earlier
judged ones were judged, and a seeded sample of the others for a person to judge.
"""

import argparse
import csv
import json
import pathlib
import random
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections import Counter

FIRST = """aiohttp==3.14.5 ansible-core==2.19.14 apache-airflow-core==3.3.2 apscheduler==3.11.3 black==26.10.1
boto3==1.44.5 botocore==1.44.5 buildbot==4.3.0 celery==5.7.0 certbot==5.8.0 circus==0.19.0 django==5.2.19
dramatiq==2.2.1 duplicity==3.2.1 fabric==3.2.3 flask==3.1.3 glances==4.5.8 gunicorn==27.0.1 huey==3.5.4
ipython==9.18.1 jupyter-core==5.9.1 locust==2.47.0 luigi==3.8.1 mitmproxy==11.0.2 notebook==7.6.5
paramiko==5.1.0 pip==26.3 poetry==2.5.1 requests==2.34.2 rq==3.0.0 scrapy==2.19.0 setuptools==84.2.1
supervisor==4.3.0 urllib3==2.8.0 uvicorn==0.54.0 watchdog==7.1.0""".split()
SECOND = """awscli==1.46.3 beets==2.14.1 distributed==2026.8.0 gevent==26.9.0 homeassistant==2024.3.3 httpie==3.2.4
jupyter-server==2.21.1 jupyterhub==6.1.1 kombu==5.7.0 kopf==1.45.2 matrix-synapse==1.163.2 mlflow==3.18.0
pdm==2.29.4 pipx==1.18.4 pre-commit==4.7.0 prefect==3.9.1 sanic==25.12.1 streamlit==1.67.0 tornado==6.6.1
tox==4.67.15 twisted==26.10.0 virtualenv==21.15.8 yt-dlp==2026.10.26""".split()


def fetch(packages, downloads, sources):
    """Downloads and unpacks into one folder for each package."""
    downloads.mkdir(parents=True, exist_ok=True)
    for package in packages:
        name = package.split("==")[0].replace("-", "_")
        if (sources / name).exists():
            continue
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
        before = set(downloads.iterdir())
        subprocess.run([*pip, "-d", str(downloads), package], check=True)
        archives = set(downloads.iterdir()) - before or set(downloads.glob(f"{name}-*"))
        for archive in archives:
            if archive.suffix == ".whl":
                with zipfile.ZipFile(archive) as packed:
                    packed.extractall(sources / name)
            else:
                with tarfile.open(archive) as packed:
                    packed.extractall(sources / name, filter="data")


def standard_library(target):
    if target.exists():
        return
    skip = shutil.ignore_patterns("site-packages", "test", "tests", "idle_test", "__pycache__")
    shutil.copytree(sysconfig.get_path("stdlib"), target, ignore=skip)


def audit(mesh, root):
    run = subprocess.run([mesh, "audit", "--format", "json", "."], cwd=root, capture_output=True, text=True)
    try:
        return json.loads(run.stdout)["findings"]
    except (ValueError, KeyError):
        sys.exit(f"{mesh} audit in {root} gave no findings list (exit {run.returncode}): {run.stderr.strip()}")


def place(finding):
    return finding["lesson"], finding["path"].removeprefix("./"), int(finding["line"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--mesh", default="mesh")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("precision-work"))
    parser.add_argument("--sample", type=int, default=100)
    parser.add_argument("--seed", type=int, default=20261122)
    options = parser.parse_args()
    judged = {}
    with open(pathlib.Path(__file__).with_name("precision-judged.tsv"), encoding="utf-8", newline="") as f:
        for row in csv.DictReader(f, delimiter="\t"):
            judged[row["lesson"], row["path"], int(row["line"])] = row["verdict"]
    fetch(FIRST, options.work / "downloads", options.work / "first" / "pkgs")
    standard_library(options.work / "first" / "stdlib")
    fetch(SECOND, options.work / "downloads", options.work / "second")
    for name in ("first", "second"):
        root = options.work / name
        findings = sorted(audit(options.mesh, root), key=place)
        print(f"{name}: {len(findings)} findings")
        for lesson, count in sorted(Counter(finding["lesson"] for finding in findings).items()):
            verdicts = Counter(judged.get(place(f), "not judged") for f in findings if f["lesson"] == lesson)
            print(f"  {count:4} {lesson}: " + ", ".join(f"{n} {verdict}" for verdict, n in sorted(verdicts.items())))
        fresh = [finding for finding in findings if place(finding) not in judged]
        for finding in random.Random(options.seed).sample(fresh, min(options.sample, len(fresh))):
            lesson, path, line = place(finding)
            print(f"\n## judge: {lesson} {path}:{line}\n{finding['message']}")
            lines = (root / path).read_text(encoding="utf-8", errors="replace").splitlines()
            print("\n".join(lines[max(0, line - 10) : line + 6]))


if __name__ == "__main__":
    main()
