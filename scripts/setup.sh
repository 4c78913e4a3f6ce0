#!/bin/sh
# Makes what the tests need beside Rust: a Python environment with a JSON schema checker and a second implementation of
# the envelope, and the SARIF schema, all below target/. Safe to run again; does nothing when all is there.
set -eu
cd "$(dirname "$0")/.."

venv=target/venv
pins='jsonschema==4.26.0 securesystemslib[crypto]==1.6.0'
stamp=$venv/pins
if [ "$(cat "$stamp" 2>/dev/null || true)" != "$pins" ]; then
    command -v python3 >/dev/null || { echo 'python3 is missing: apt-get install python3 python3-venv' >&2; exit 1; }
    rm -rf "$venv"
    mkdir -p target
    python3 -m venv "$venv"
    # shellcheck disable=SC2086 # the pins are words
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check $pins
    printf '%s\n' "$pins" >"$stamp"
fi

# The schema comes with the crate serde-sarif; it is only read, never built.
schema=target/sarif-2.1.0.schema.json
sum=af47e7b67f24efe74076621fd3a5fbe7398add9e84fe820c971219a385895cea
matches() { printf '%s  %s\n' "$sum" "$1" | sha256sum --check --status 2>/dev/null; }
if ! matches "$schema"; then
    fetch=target/sarif-fetch
    rm -rf "$fetch"
    mkdir -p "$fetch/src"
    : >"$fetch/src/lib.rs"
    cat >"$fetch/Cargo.toml" <<'TOML'
[package]
name = "sarif-fetch"
version = "0.0.0"
edition = "2021"

[dependencies]
serde-sarif = { version = "=0.8.0", default-features = false }

[workspace]
TOML
    found=$(cargo metadata --quiet --format-version 1 --manifest-path "$fetch/Cargo.toml" |
        "$venv/bin/python" -c '
import json, os, sys
packages = json.load(sys.stdin)["packages"]
manifest = next(p["manifest_path"] for p in packages if p["name"] == "serde-sarif")
print(os.path.join(os.path.dirname(manifest), "src", "schema.json"))')
    matches "$found" || { echo "$found is not the SARIF 2.1.0 schema that was expected" >&2; exit 1; }
    cp "$found" "$schema"
    rm -rf "$fetch"
fi
